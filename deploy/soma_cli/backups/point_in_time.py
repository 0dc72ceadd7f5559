"""Brings the tables back as they were at a time, in a database of their own beside the live one.

That database is marked from its birth: workers, API and `soma migrate` start on nothing that is marked, so
nobody applies there what came after. Nothing of the live installation is changed: the log, the groups'
offsets, the tables and the index are as they were.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random

import psycopg
from psycopg import sql

from soma_cli.backups.archive_file import Archive
from soma_cli.backups.backup_errors import NotRestorableError
from soma_cli.backups.log_positions import Continuation, read_topics, require_log
from soma_cli.backups.logged_changes import LoggedChanges, put_keys, read_logged_changes
from soma_cli.backups.manifest import Manifest
from soma_cli.backups.restoring import contents_of, load, require_content, require_schemas, write_revision
from soma_cli.backups.second_database import create_database
from soma_cli.backups.table_contents import Fullness, fullness, stored_watermarks
from soma_cli.output import progress
from soma_cli.settings import OperatorSettings
from soma_schemas.clock import Clock
from soma_schemas.groups import SinkGroup
from soma_schemas.outcomes import Outcome
from soma_schemas.postgres_pool import open_pool
from soma_schemas.settings import PostgresSettings
from soma_schemas.tables import POINT_IN_TIME, point_in_time
from soma_schemas.tables.migrations import migrate
from soma_schemas.topics import MEMORY_EVENTS
from soma_streams.audit.retained_log import RetainedLog
from soma_streams.log_replay import replay
from soma_streams.sinks.data_key_reader import DataKeyReader

_MEMORIES = "SELECT count(*) FROM memories WHERE NOT deleted"


@dataclass(frozen=True, slots=True)
class Point:
    """The tables at a time.

    Attributes:
        until: What was logged before it is in them.
        partitions: What of the log they take after the dump; `ahead` is up to the time.
        logged: What the log says of data keys.
    """

    until: datetime
    partitions: Sequence[Continuation]
    logged: LoggedChanges

    @property
    def lost(self) -> list[Continuation]:
        """Where the log does not reach back to the dump any more."""
        return [each for each in self.partitions if each.lost]


def plan_point(manifest: Manifest, until: datetime, settings: OperatorSettings, clock: Clock) -> Point:
    """Find where in the log the time is, without changing anything.

    Raises:
        NotRestorableError: The archive does not fit the log, or holds what is later than the time.
        SomaError: The brokers or the registry do not answer.
    """
    if until > clock.now():
        raise NotRestorableError(
            f"{_spelled(until)} is not over: more may be logged before it",
            remedy="name a time that has passed, such as now",
        )
    topics = read_topics(settings.kafka, settings.topics)
    require_log(manifest, topics, settings.topics)
    topic = MEMORY_EVENTS.full_name(settings.topics)
    extent = topics[topic]
    if topic not in manifest.topics or extent.id != manifest.topics[topic].id:
        raise NotRestorableError(
            f"{topic} was begun or made anew since the backup: the log has nothing that follows it",
            remedy="take a backup that was made beside this log",
        )
    require_schemas(manifest, settings.registry, settings.topics)
    with RetainedLog(settings.kafka, settings.topics, clock) as retained:
        ends = asyncio.run(retained.offsets_at(until, extent.ends))
    marks = {
        each.partition: each.next_offset
        for each in manifest.watermarks
        if (each.group, each.topic, each.epoch) == (SinkGroup.POSTGRES, topic, manifest.epoch)
    }
    found = []
    for partition, end in sorted(ends.items()):
        wanted, start = marks.get(partition, 0), extent.starts[partition]
        if wanted > end:
            raise NotRestorableError(
                f"the backup, of {_spelled(manifest.made_at)}, holds events that were logged at "
                f"{_spelled(until)} or later",
                remedy="take an older backup; `soma backup list` shows when they were made",
            )
        offset = min(max(wanted, start), end)
        found.append(
            Continuation(
                SinkGroup.POSTGRES, topic, partition, offset, max(wanted, start) - wanted, end - offset
            )
        )
    return Point(until, found, read_logged_changes(manifest, topics, settings, clock))


def restore_point(
    archive: Archive,
    point: Point,
    database: str,
    settings: OperatorSettings,
    *,
    environment: Mapping[str, str],
    clock: Clock,
) -> tuple[int, Mapping[Outcome, int]]:
    """Make the database, bring the dump back into it, and apply the log up to the time.

    Interrupted, the same call goes on.

    Args:
        archive: Was checked before.
        point: As planned.
        database: Its name; it is made on the server of the live one.
        settings: Where everything is; PostgreSQL as a login that may create databases.
        environment: Where PATH is.
        clock: Time.

    Returns:
        How many memories there are then, and what became of the events.

    Raises:
        NotRestorableError: There is such a database, and it is not the beginning of this.
        BackupError: The dump did not come back, or the login may not create a database.
        MasterKeyError: An event is encrypted, and there is no master key, or another one.
        SomaError: The brokers or the registry do not answer.
        psycopg.Error: PostgreSQL does not answer or refuses.
    """
    manifest = archive.manifest
    own = settings.postgres.model_copy(update={"database": database})
    _create(settings.postgres, database, f"{_spelled(point.until)} {manifest.dump.sha256}")
    with psycopg.connect(own.conninfo()) as connection:
        found = fullness(connection)
    if found is Fullness.EMPTY:
        load(archive, own, environment)
    if found is not Fullness.FULL:
        require_content(manifest, contents_of(own))
        with psycopg.connect(own.conninfo()) as connection:
            write_revision(connection, manifest)
    # The mark keeps off others.
    writable = f"{own.conninfo()} options='-c default_transaction_read_only=off'"
    migrate(writable, require=lambda _: None)
    with psycopg.connect(writable) as connection:
        put_keys(connection, point.logged)
    outcomes = _replayed(point, own, settings, clock)
    with psycopg.connect(own.conninfo()) as connection:
        (memories,) = connection.execute(_MEMORIES).fetchone() or (0,)
    read_only = sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on")
    with psycopg.connect(settings.postgres.conninfo()) as connection:
        connection.execute(read_only.format(sql.Identifier(database)))
    return memories, outcomes


def _create(live: PostgresSettings, database: str, mark: str) -> None:
    """Make a marked database, or find the one that an earlier run has made."""
    name = sql.Identifier(database)
    with psycopg.connect(live.conninfo(), autocommit=True) as connection:
        there = connection.execute("SELECT FROM pg_database WHERE datname = %s", [database]).rowcount
        if not there:
            create_database(connection, database)
            connection.execute(
                sql.SQL("COMMENT ON DATABASE {} IS {}").format(name, sql.Literal(POINT_IN_TIME + mark))
            )
            return
    with psycopg.connect(live.model_copy(update={"database": database}).conninfo()) as connection:
        if point_in_time(connection) != mark:
            raise NotRestorableError(
                f"there is a database `{database}`, and it is not the beginning of this restore",
                remedy=f"name another with --database; or, if nobody needs it, drop it: `dropdb {database}`",
            )


def _replayed(
    point: Point, own: PostgresSettings, settings: OperatorSettings, clock: Clock
) -> Mapping[Outcome, int]:
    with psycopg.connect(own.conninfo()) as connection:
        reached = {
            each.partition: each.next_offset
            for each in stored_watermarks(connection)
            if (each.group, each.topic) == (SinkGroup.POSTGRES, point.partitions[0].topic)
        }
    spans = {
        each.partition: (max(each.offset, reached.get(each.partition, 0)), each.offset + each.ahead)
        for each in point.partitions
    }
    with progress("Applying the log", sum(max(0, end - start) for start, end in spans.values())) as advance:

        async def apply() -> Mapping[Outcome, int]:
            async with open_pool(own) as pool:
                return await replay(
                    settings,
                    own,
                    spans,
                    DataKeyReader(pool, settings.encryption),
                    clock=clock,
                    random=Random(),  # noqa: S311  # jitter
                    advance=advance,
                )

        return asyncio.run(apply())


def _spelled(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
