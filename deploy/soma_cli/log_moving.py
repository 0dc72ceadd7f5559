"""What `soma topics migrate` does, step by step: says it, asks, and tells how far it is."""

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import typer
from confluent_kafka.admin import AdminClient
from rich.console import Group, RenderableType
from rich.text import Text

from soma_cli.administrative_acts import record_acts
from soma_cli.database_errors import told_in_words
from soma_cli.failures import UsageError
from soma_cli.log_layout import Log, LogLayout, layout_of, log_of
from soma_cli.log_migration import (
    LogMigrationError,
    absent,
    alone,
    close_log,
    drain,
    drop_logs,
    joined,
    look_at_sinks,
    make_next,
    next_layout,
    open_log,
    register_for,
)
from soma_cli.output import Result, say, waiting_for
from soma_cli.settings import OperatorSettings
from soma_cli.tasks import in_thread
from soma_schemas.clock import Clock, SystemClock
from soma_schemas.settings import TopicSettings
from soma_schemas.topic_admin import open_admin
from soma_schemas.topics import MEMORY_EVENTS

_TELL_SECONDS = 5.0


class Migrated(Result):
    """What a migration did.

    Attributes:
        log: Where it is now.
        former: The topic that it followed; null where nothing was done.
        settled: Offsets that the sinks still had to pass when it was closed.
        closed_seconds: For how long this run had writes refused.
        resumed: Whether an earlier run had closed the log: writes were refused since then.
        joined: Whether both sinks read the new topic.
        dropped: Topics that were deleted.
    """

    log: Log
    former: str | None = None
    settled: int = 0
    closed_seconds: float = 0.0
    resumed: bool = False
    joined: bool = True
    dropped: tuple[str, ...] = ()

    def drawn(self) -> RenderableType:
        """Return a line for each thing done."""
        lines = [f"deleted {name}" for name in self.dropped]
        if self.former is not None:
            before = ", and before that since an earlier run closed the log" if self.resumed else ""
            lines.append(
                f"{self.log.topic} follows {self.former}: {self.settled:,} offsets settled first, "
                f"writes were refused for {self.closed_seconds:.1f} s{before}"
            )
        return Group(*map(Text, lines), self.log.drawn())


def migrate_log(settings: OperatorSettings, partitions: int | None, *, recreate: bool, yes: bool) -> Migrated:
    """Move the log to the topic of the next epoch, or go on with that.

    Raises:
        SomaError: It is not needed, cannot be, or stopped on its way.
        psycopg.Error: PostgreSQL does not answer.
    """
    admin = open_admin(settings.kafka)
    with told_in_words(settings.postgres), alone(settings.postgres) as still_alone:
        layout = layout_of(admin, settings.topics)
        following = next_layout(layout, partitions or layout.topics.partitions, recreate=recreate)
        moved = asyncio.run(_move(admin, settings, layout, following, still_alone, yes=yes))
        details = {"former": layout.name, "partitions": following.partitions}
        record_acts(settings.postgres.conninfo(), "log.migrate", [moved.log.topic], details)
        return moved


def abort_migration(settings: OperatorSettings, *, yes: bool) -> Migrated:
    """Open a log again that a migration has closed.

    Raises:
        SomaError: It is open, or the brokers do not answer.
        psycopg.Error: PostgreSQL does not answer.
    """
    admin = open_admin(settings.kafka)
    with told_in_words(settings.postgres), alone(settings.postgres):
        opened = _abort(admin, layout_of(admin, settings.topics), yes=yes)
        record_acts(settings.postgres.conninfo(), "log.open", [opened.log.topic], {})
        return opened


def drop_former(settings: OperatorSettings, *, yes: bool) -> Migrated:
    """Delete the topics of earlier epochs.

    Raises:
        SomaError: There is none, somebody may need one, or the brokers do not answer.
        psycopg.Error: PostgreSQL does not answer.
    """
    admin = open_admin(settings.kafka)
    with told_in_words(settings.postgres), alone(settings.postgres):
        result = asyncio.run(_drop(admin, settings, layout_of(admin, settings.topics), yes=yes))
        record_acts(settings.postgres.conninfo(), "log.drop", result.dropped, {})
        return result


async def _move(
    admin: AdminClient,
    settings: OperatorSettings,
    layout: LogLayout,
    following: TopicSettings,
    still_alone: Callable[[], object],
    *,
    yes: bool,
) -> Migrated:
    clock, topics, name = SystemClock(), layout.topics, MEMORY_EVENTS.full_name(following)
    if away := absent(await look_at_sinks(settings.kafka, topics), topics):
        raise LogMigrationError(
            f"nobody is in {', '.join(away)}, so the log would not be drained",
            remedy="start the workers (`soma work ...`, or the local stack), then run it again",
        )
    _require_consent(
        f"{'go on: ' if layout.closed else ''}close {layout.name} ({topics.partitions} partitions), wait "
        f"until both sinks have settled it, and go on with {name} ({following.partitions} partitions); "
        "writes are refused meanwhile",
        yes=yes,
    )
    await in_thread(partial(register_for, settings, following))
    begin = clock.monotonic()
    say(f"Closing {layout.name}")
    await close_log(admin, settings.kafka, topics, clock)
    lines = _DrainLines(clock)
    with waiting_for("the sinks"):
        await drain(settings.kafka, topics, clock, lines.tell)
    still_alone()
    await in_thread(partial(make_next, admin, following))
    closed_seconds = clock.monotonic() - begin
    say(f"The log goes on in {name}")
    with waiting_for("the workers"):
        both = await joined(settings.kafka, following, clock, lambda _: None)
    return Migrated(
        log=log_of(await in_thread(partial(layout_of, admin, settings.topics))),
        former=layout.name,
        settled=lines.most,
        closed_seconds=round(closed_seconds, 3),
        resumed=layout.closed,
        joined=both,
    )


def _abort(admin: AdminClient, layout: LogLayout, *, yes: bool) -> Migrated:
    if not layout.closed:
        raise LogMigrationError(f"{layout.name} is open", remedy="there is nothing to do")
    _require_consent(f"open {layout.name} again", yes=yes)
    open_log(admin, layout.topics)
    return Migrated(log=log_of(replace(layout, closed=False)))


async def _drop(admin: AdminClient, settings: OperatorSettings, layout: LogLayout, *, yes: bool) -> Migrated:
    names = [MEMORY_EVENTS.full_name(each) for each in layout.former]
    if not names:
        raise LogMigrationError("there is no topic of an earlier epoch", remedy="there is nothing to do")
    if not await joined(settings.kafka, layout.topics, SystemClock(), lambda _: None):
        raise LogMigrationError(
            f"not every sink reads {layout.name}, and one may still need what went before",
            remedy="start the workers, and wait until `soma lag` shows them there",
        )
    _require_consent(
        f"delete {', '.join(names)}: backups from before the migration cannot be brought up to date then",
        yes=yes,
    )
    dropped = await in_thread(partial(drop_logs, admin, layout.former))
    return Migrated(log=log_of(replace(layout, former=())), dropped=tuple(dropped))


def _require_consent(what: str, *, yes: bool) -> None:
    say(f"This will {what}.")
    if yes:
        return
    if not (sys.stdin.isatty() and typer.confirm("Do it?", err=True)):
        raise UsageError("nothing was done", remedy="say --yes to do it without being asked")


class _DrainLines:
    """Tells on stderr how fast a log is drained, and how long it takes at that rate.

    Attributes:
        most: Offsets that were left at the first look.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._begin = self._told = clock.monotonic()
        self.most = 0

    def tell(self, left: int) -> None:
        """Tell how many offsets are left: at first, every few seconds, and at the end."""
        now = self._clock.monotonic()
        first = not self.most
        self.most = self.most or left
        if not (first or not left or now - self._told > _TELL_SECONDS):
            return
        self._told = now
        rate = (self.most - left) / max(now - self._begin, 0.001)
        pace = f", {rate:,.0f}/s, {left / rate:,.0f} s left" if left and rate else ""
        say(f"Draining: {left:,} offsets to settle{pace}")
