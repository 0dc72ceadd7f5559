"""`soma restore`: bring the tables back from an archive."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from random import Random
from typing import Annotated

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from soma_cli.backups.archive_file import open_archive
from soma_cli.backups.encrypted_stream import read_key_file
from soma_cli.backups.log_positions import Continuation, until_forgotten
from soma_cli.backups.logged_changes import LoggedChanges
from soma_cli.backups.point_in_time import plan_point, restore_point
from soma_cli.backups.restoring import Plan, plan_restore, require_known
from soma_cli.backups.restoring import restore as bring_back
from soma_cli.commands.options import ArchiveFile, AsJson, KeyFile
from soma_cli.connection import named_places
from soma_cli.database_errors import told_in_words
from soma_cli.failures import FindingsError, UsageError
from soma_cli.invocation import Invocation, invocation_of
from soma_cli.output import Result, progress, say, show, waiting_for
from soma_cli.parsing import moment_of
from soma_cli.settings import KNOWN, OperatorSettings, operator_settings
from soma_cli.tasks import in_thread
from soma_cli.topic_application import at_present
from soma_schemas.clock import SystemClock
from soma_schemas.configuration import as_environment, load
from soma_schemas.outcomes import Outcome
from soma_schemas.tables import HEAD

app = typer.Typer(add_completion=False)


class ContinuedPartition(Result):
    """Where a group goes on; see `Continuation`."""

    group: str
    topic: str
    partition: int
    offset: int
    lost: int
    ahead: int


class Restored(Result):
    """What came back.

    Attributes:
        rows: Of all tables together.
        resumed: Whether an earlier run had brought the tables back and was interrupted.
        revision: Of the tables now.
        continued: Where the workers read on.
        data_keys: That the log has, and the tables now too.
        erasures: That are carried out again, or were not complete; readers see nothing of what they select.
    """

    made_at: datetime
    tables: int
    rows: int
    resumed: bool
    revision: str
    continued: list[ContinuedPartition]
    data_keys: int
    erasures: int

    def drawn(self) -> RenderableType:
        """Return what came back, and what follows."""
        began = "an earlier run brought back" if self.resumed else "restored"
        return Group(
            Text(
                f"{began} {self.rows:,} rows of {self.tables} tables as of {self.made_at:%Y-%m-%d %H:%M:%S} "
                f"UTC, at revision {self.revision},\n"
                f"and {self.data_keys:,} data keys from the log"
            ),
            _continued(self.continued),
            Text(
                "Start the workers: they apply what is ahead by themselves, and `soma lag` shows it.\n"
                "API keys and the audit log are not in the log: keys made since then are gone, and keys\n"
                "revoked since then open again. Look at `soma keys list`."
            ),
            *self._erasures(),
        )

    def _erasures(self) -> list[RenderableType]:
        if not self.erasures:
            return []
        what = "1 erasure" if self.erasures == 1 else f"{self.erasures:,} erasures"
        return [
            Text(
                f"{what} of which this backup knows nothing, or not the end, will be carried out by\n"
                "`soma work retention`. Nobody sees what is to be erased; see `soma erase list`."
            )
        ]


class RestoredPoint(Result):
    """What there was at a time.

    Attributes:
        made_at: When the backup was made that it begins with.
        until: What was logged before it was applied.
        memories: How many there were.
        applied: Events of the log that this run has applied.
        dead_lettered: Events that cannot be applied, here as in the live tables.
    """

    database: str
    made_at: datetime
    until: datetime
    memories: int
    applied: int
    dead_lettered: int

    def drawn(self) -> RenderableType:
        """Return what there is now, and what it is not."""
        unusable = f"; {self.dead_lettered:,} cannot be applied" if self.dead_lettered else ""
        return Text(
            f"database `{self.database}` holds {self.memories:,} memories as of "
            f"{self.until:%Y-%m-%d %H:%M:%S} UTC\n"
            f"from the backup of {self.made_at:%Y-%m-%d %H:%M:%S} UTC and {self.applied:,} events of the log"
            f"{unusable}\n"
            "It can be read and not changed, and no worker and no API starts on it. The live tables, the\n"
            "index, the log and the groups are as they were: what came after is there, and stays there.\n"
            "Policies, keys and dead letters are as the backup has them, and so is what was erased since.\n"
            "Read it with any client of PostgreSQL; drop it when nobody needs it any more."
        )


@app.command()
def restore(
    context: typer.Context,
    archive: ArchiveFile,
    *,
    key_file: KeyFile = None,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes",
            help="Restore although the log does not reach back to the backup, or a master key is lost.",
        ),
    ] = False,
    until: Annotated[
        str | None,
        typer.Option(
            help="Bring back what there was at a time, such as `2026-03-02T09:15:00Z`, beside the live "
            "database: what was logged before it, and nothing after.",
            metavar="TIME",
            show_default=False,
        ),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            help="The database that is made for that, on the server of the live one.",
            metavar="NAME",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Bring the tables back from an archive into an empty database.

    Checks the archive, the database, the log and the registry before it changes anything, compares what came
    back with the manifest, and has the workers read the log on from where the backup was made. The workers
    must be stopped. An interrupted run changes nothing, or says `half restored` and goes on when it is run
    again.

    Without settings that name other places it restores the local stack: stop `soma up`, then run this; it
    starts Kafka, the registry and PostgreSQL itself and stops them again.

    With --until and --database everything runs on, and nothing of it is changed: a second database has the
    memories as they were then, to look at and to copy from. No worker and no API starts on it, so what came
    later is neither applied there nor lost where it is. An interrupted run goes on when it is run again.
    """
    root = invocation_of(context)
    key = None if key_file is None else read_key_file(key_file)
    if until is not None or database is not None:
        show(_point(root, archive, key, until, database, yes=yes), as_json=as_json)
        return
    with open_archive(archive, key) as opened:
        manifest = opened.manifest
        require_known(manifest)
        with progress("Checking the archive", manifest.dump.bytes) as advance:
            opened.check(advance)

        def run(settings: OperatorSettings) -> tuple[Plan, int]:
            settings = at_present(settings)
            with told_in_words(settings.postgres):
                clock = SystemClock()
                plan = plan_restore(manifest, settings, clock)
                _require_consent(plan.lost, plan.logged, yes=yes)
                return plan, bring_back(opened, plan, settings, root.environment, clock)

        if named_places(root.environment):
            plan, erasures = run(operator_settings(root)[0])
        else:
            plan, erasures = asyncio.run(_beside_stores(root, run))
    restored = Restored(
        made_at=manifest.made_at,
        tables=len(manifest.tables),
        rows=sum(each.rows for each in manifest.tables.values()),
        resumed=plan.resumes,
        revision=HEAD,
        continued=[_shown(each) for each in plan.continuations],
        data_keys=len(plan.logged.keys) - sum(plan.logged.lost.values()),
        erasures=erasures,
    )
    show(restored, as_json=as_json)


def _point(
    root: Invocation, path: Path, key: bytes | None, until: str | None, database: str | None, *, yes: bool
) -> RestoredPoint:
    if until is None or database is None:
        raise UsageError(
            "a point in time wants both --until and --database",
            remedy="say `soma restore ARCHIVE --until 2026-03-02T09:15:00Z --database before`",
        )
    moment, clock = moment_of("--until", until), SystemClock()
    with open_archive(path, key) as opened:
        manifest = opened.manifest
        require_known(manifest)
        with progress("Checking the archive", manifest.dump.bytes) as advance:
            opened.check(advance)
        settings = at_present(operator_settings(root)[0])
        with told_in_words(settings.postgres):
            point = plan_point(manifest, moment, settings, clock)
            _require_consent(point.lost, point.logged, yes=yes)
            memories, outcomes = restore_point(
                opened, point, database, settings, environment=root.environment, clock=clock
            )
    return RestoredPoint(
        database=database,
        made_at=manifest.made_at,
        until=moment,
        memories=memories,
        applied=sum(outcomes.values()) - outcomes[Outcome.DEAD_LETTERED],
        dead_lettered=outcomes[Outcome.DEAD_LETTERED],
    )


async def _beside_stores(
    root: Invocation, run: Callable[[OperatorSettings], tuple[Plan, int]]
) -> tuple[Plan, int]:
    """Run the stores of the local stack, and nothing that reads the log, while something is done."""
    from soma_cli.local.artifacts import Artifacts  # noqa: PLC0415  # only where there is a local stack
    from soma_cli.local.backing_services import open_backing_services  # noqa: PLC0415  # see above
    from soma_cli.local.home import Home  # noqa: PLC0415  # see above
    from soma_cli.local.master_key import master_key_file  # noqa: PLC0415  # see above
    from soma_cli.local.postgres import Login  # noqa: PLC0415  # see above
    from soma_cli.local.stack import register_released  # noqa: PLC0415  # see above
    from soma_cli.status_table import StatusTable  # noqa: PLC0415  # see above
    from soma_cli.topic_application import apply_visibly  # noqa: PLC0415  # see above
    from soma_schemas.topic_admin import open_admin  # noqa: PLC0415  # see above

    if not root.home.exists():
        raise UsageError(
            f"no settings for Kafka, registry or PostgreSQL, and no local stack has been in {root.home}",
            remedy="set SOMA_HOME, or SOMA_KAFKA__BOOTSTRAP_SERVERS and the other addresses",
        )
    clock = SystemClock()
    with StatusTable(
        ("kafka", "postgres", "registry"), clock, Console(stderr=True, highlight=False)
    ) as table:
        home = Home(root.home, Random())  # noqa: S311  # chooses ports
        artifacts = Artifacts(root.cache, table.download)
        async with open_backing_services(home, artifacts, clock, table.observe) as parts:
            table.close()
            key = {"SOMA_ENCRYPTION__MASTER_KEY_FILE": str(master_key_file(home))}
            environment = {**root.environment, **as_environment(parts.places(Login.OWNER)), **key}
            settings = load(OperatorSettings, environment=environment, known=KNOWN).settings
            # Where PostgreSQL's data is lost, so are the schemas, which the registry keeps there.
            await in_thread(partial(register_released, settings.kafka, settings.registry))
            # A version that came since may have declared more topics.
            await apply_visibly(open_admin(settings.kafka), settings.topics, clock)
            with waiting_for("the brokers to forget the workers that were stopped"):
                await until_forgotten(settings.kafka, settings.topics, clock)
            restored = await in_thread(partial(run, settings))
            await parts.postgres.grant_roles()
            say("Stopping Kafka, the registry and PostgreSQL; `soma up` starts them with the workers.")
            return restored


def _require_consent(lost: list[Continuation], logged: LoggedChanges, *, yes: bool) -> None:
    if not lost and not logged.lost:
        return
    lines = tuple(
        f"{each.group}: {each.lost:,} events of {each.topic}, partition {each.partition}, "
        f"from offset {each.offset - each.lost} to {each.offset - 1}"
        for each in lost
    ) + tuple(
        f"{count:,} data keys, which master key {master} wrapped, and with them what they encrypt in the log"
        for master, count in sorted(logged.lost.items())
    )
    if yes:
        for line in lines:
            say(f"lost: {line}")
        return
    raise FindingsError(
        "the log does not reach back to the backup any more; this would be lost"
        if lost
        else "the file of the master key lacks a key; this would be lost",
        lines,
        remedy="restore a newer backup; or say --yes to go on without these events"
        if lost
        else "name the right file with SOMA_ENCRYPTION__MASTER_KEY_FILE; or say --yes to go on without them",
    )


def _shown(each: Continuation) -> ContinuedPartition:
    return ContinuedPartition(
        group=each.group,
        topic=each.topic,
        partition=each.partition,
        offset=each.offset,
        lost=each.lost,
        ahead=each.ahead,
    )


def _continued(partitions: list[ContinuedPartition]) -> Table:
    table = Table("group", "topic", "ahead", "lost", box=None, header_style="bold", pad_edge=False)
    for group, topic in dict.fromkeys((each.group, each.topic) for each in partitions):
        own = [each for each in partitions if (each.group, each.topic) == (group, topic)]
        table.add_row(
            group, topic, f"{sum(each.ahead for each in own):,}", f"{sum(each.lost for each in own):,}"
        )
    return table
