"""Brings the tables back from an archive, and sets from where the workers read the log on.

The order is what makes it safe to interrupt: the dump comes back in one transaction, and the revision of the
tables, without which nothing starts on them, is written last, together with what the log knows of data keys
and erasures. So whoever starts finds the key of every event, and nothing that was erased.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from soma_cli.administrative_acts import record_act
from soma_cli.backups.archive_file import Archive
from soma_cli.backups.backup_errors import ArchiveError, NotRestorableError
from soma_cli.backups.client_programs import ClientPrograms
from soma_cli.backups.former_logs import FormerLog, apply_former, former_logs, read_former
from soma_cli.backups.log_positions import (
    Continuation,
    changed_offsets,
    continuations,
    look_at_groups,
    read_topics,
)
from soma_cli.backups.logged_changes import LoggedChanges, put_erasures, put_keys, read_logged_changes
from soma_cli.backups.making import REMEMBER, registered_schemas
from soma_cli.backups.manifest import Manifest, TableContent
from soma_cli.backups.table_contents import (
    Fullness,
    fullness,
    stored_watermarks,
    table_contents,
    table_sizes,
)
from soma_cli.output import progress
from soma_cli.settings import OperatorSettings
from soma_schemas.clock import Clock
from soma_schemas.settings import PostgresSettings, RegistrySettings, TopicSettings
from soma_schemas.tables import HEAD, REVISIONS, require_live
from soma_schemas.tables.migrations import migrate
from soma_schemas.tables.roles import make_roles
from soma_streams.committed import commit_offsets

_REVISION = "INSERT INTO alembic_version (version_num) VALUES (%(revision)s)"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a restore is about to do.

    Attributes:
        resumes: Whether an earlier one has filled the tables already.
        continuations: Where the groups go on.
        former: Logs that were in force since the dump, and are over.
        logged: What the log says of data keys and erasures.
    """

    resumes: bool
    continuations: Sequence[Continuation]
    former: Sequence[FormerLog]
    logged: LoggedChanges

    @property
    def lost(self) -> list[Continuation]:
        """Where the log does not reach back to the dump any more."""
        tails = [part for log in self.former for part in log.tail]
        return [each for each in [*tails, *self.continuations] if each.lost]


def plan_restore(manifest: Manifest, settings: OperatorSettings, clock: Clock) -> Plan:
    """Look at everything that a restore needs, without changing anything.

    Raises:
        NotRestorableError: The archive does not fit, the database is not empty, or workers run.
        MismatchError: The database is a point in time.
        SomaError: The brokers or the registry do not answer.
        psycopg.Error: PostgreSQL does not answer or refuses.
    """
    with psycopg.connect(settings.postgres.conninfo()) as connection:
        require_live(connection)
        found = fullness(connection)
        database = connection.info.dbname
    if found is Fullness.FULL:
        raise NotRestorableError(
            f"database `{database}` is not empty",
            remedy="restore into an empty one: create it with `createdb` and name it with "
            "SOMA_POSTGRES__DATABASE; for a local stack, move the folder `postgres` out of its home",
        )
    groups = asyncio.run(look_at_groups(settings.kafka, settings.topics))
    topics = read_topics(settings.kafka, settings.topics)
    decided = continuations(manifest, topics, groups, settings.topics)
    found_logs = read_former(settings.kafka, settings.topics, manifest.epoch)
    former = former_logs(manifest, found_logs, settings.topics)
    then = settings.topics.at(manifest.epoch, settings.topics.partitions)
    require_schemas(manifest, settings.registry, then)
    logged = read_logged_changes(manifest, topics, settings, clock)
    return Plan(found is Fullness.HALF_RESTORED, decided, former, logged)


def restore(
    archive: Archive, plan: Plan, settings: OperatorSettings, environment: Mapping[str, str], clock: Clock
) -> int:
    """Do what was planned; the archive was checked before.

    Returns:
        How many erasures are open then: readers see nothing of what they select.

    Raises:
        ArchiveError: What came back is not what the manifest says.
        BackupError: The dump did not come back; the database is as empty as it was.
        SomaError: The brokers do not answer; a second run goes on here.
        psycopg.Error: PostgreSQL does not answer or refuses.
    """
    manifest = archive.manifest
    if not plan.resumes:
        load(archive, settings.postgres, environment)
    with psycopg.connect(settings.postgres.conninfo()) as connection:
        # Nothing but what is applied below changes the tables, and only once they were compared.
        untouched = stored_watermarks(connection) == list(manifest.watermarks)
    if untouched or not plan.former:
        require_content(manifest, contents_of(settings.postgres))
    if plan.former:
        with psycopg.connect(settings.postgres.conninfo()) as connection:
            put_keys(connection, plan.logged)
        apply_former(plan.former, settings, clock)
    for group, offsets in changed_offsets(plan.continuations).items():
        commit_offsets(settings.kafka, group.on_brokers(settings.topics), offsets)
    opened = 0

    @contextmanager
    def around(connection: psycopg.Connection[Any]) -> Iterator[None]:
        nonlocal opened
        details = {"made_at": manifest.made_at.isoformat(), "lost": sum(e.lost for e in plan.lost)}
        record_act(connection, "backup.restored", manifest.dump.sha256, details, clock.now())
        write_revision(connection, manifest)
        yield
        # Of an older revision, only now there is a place for these.
        connection.execute(REMEMBER, {"made_at": manifest.made_at, "sha256": manifest.dump.sha256})
        put_keys(connection, plan.logged)
        opened = put_erasures(connection, plan.logged)

    migrate(settings.postgres.conninfo(), require_live, around)
    return opened


def write_revision(connection: psycopg.Connection[Any], manifest: Manifest) -> None:
    """Say of which revision the tables are that came back: now they are whole."""
    connection.execute(_REVISION, {"revision": manifest.revision})


def load(archive: Archive, postgres: PostgresSettings, environment: Mapping[str, str]) -> None:
    """Bring the dump into an empty database: all of it or nothing.

    Raises:
        BackupError: It did not come back; the database is as empty as it was.
        psycopg.Error: PostgreSQL does not answer or refuses.
    """
    with psycopg.connect(postgres.conninfo()) as connection:
        make_roles(connection)
        server_version = connection.info.server_version
    programs = ClientPrograms(server_version, environment)
    with progress("Restoring the tables", archive.manifest.dump.bytes) as advance:

        def pieces() -> Iterator[bytes]:
            for piece in archive.dump():
                yield piece
                advance(len(piece))

        programs.restore(postgres, pieces())
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        connection.execute("ANALYZE")


def contents_of(postgres: PostgresSettings) -> dict[str, TableContent]:
    """Return what the tables of a database hold.

    Raises:
        psycopg.Error: PostgreSQL does not answer or refuses.
    """
    with psycopg.connect(postgres.conninfo()) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        tables = table_sizes(connection)
        with progress("Comparing with the manifest", sum(table.bytes for table in tables)) as advance:
            return table_contents(connection, tables, advance)


def require_content(manifest: Manifest, found: Mapping[str, TableContent]) -> None:
    """Return when tables hold what the manifest says.

    Raises:
        ArchiveError: They do not.
    """
    if wrong := sorted(
        name for name in manifest.tables.keys() | found.keys() if manifest.tables.get(name) != found.get(name)
    ):
        raise ArchiveError(
            f"the database does not hold what the archive's manifest says: {', '.join(wrong)} differ",
            remedy="make the database anew and restore again; from another archive if it was this one",
        )


def require_known(manifest: Manifest) -> None:
    """Return when this program knows the revision of the tables.

    Raises:
        NotRestorableError: It does not.
    """
    if manifest.revision not in REVISIONS:
        raise NotRestorableError(
            f"the backup is of revision {manifest.revision} of the tables; this program knows {HEAD}",
            remedy=f"use the version that made it ({manifest.product}), or a newer one",
        )


def require_schemas(manifest: Manifest, registry: RegistrySettings, topics: TopicSettings) -> None:
    """Return when events in the log mean what they meant.

    Raises:
        NotRestorableError: The registry has other schemas under the ids that they carry.
    """
    now = {(each.subject, each.version): each.schema_id for each in registered_schemas(registry, topics)}
    if wrong := [
        f"{each.subject} version {each.version} was {each.schema_id}, "
        f"is {now.get((each.subject, each.version))}"
        for each in manifest.schemas
        if now.get((each.subject, each.version)) != each.schema_id
    ]:
        raise NotRestorableError(
            f"the registry has other ids than the events in the log: {'; '.join(wrong)}",
            remedy="restore the registry first, with its ids; if it is empty, try `soma schemas register`",
        )
