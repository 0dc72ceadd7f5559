"""Makes a backup: a dump of what one snapshot shows, and a manifest that the same snapshot fills."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import psycopg

from soma_cli.administrative_acts import record_act
from soma_cli.backups.archive_file import write_archive
from soma_cli.backups.client_programs import ClientPrograms
from soma_cli.backups.log_positions import read_topics
from soma_cli.backups.manifest import DumpFile, Manifest, RegisteredSchema
from soma_cli.backups.table_contents import stored_watermarks, table_contents, table_sizes
from soma_cli.output import progress
from soma_cli.settings import OperatorSettings
from soma_schemas.clock import Clock
from soma_schemas.registry import check_schemas, open_registry
from soma_schemas.settings import PostgresSettings, RegistrySettings, TopicSettings
from soma_schemas.tables import HEAD, check_head

# Also of an archive from which the tables came back: when it was made they did not know of it yet.
REMEMBER = """
INSERT INTO backups (made_at, sha256) VALUES (%(made_at)s, %(sha256)s) ON CONFLICT (made_at) DO NOTHING
"""
_KEPT = "SELECT made_at, sha256 FROM backups ORDER BY made_at DESC LIMIT %(limit)s::bigint"


def make_backup(
    settings: OperatorSettings, path: Path, key: bytes | None, environment: Mapping[str, str], clock: Clock
) -> Manifest:
    """Write a backup of the tables while others write to them, and put it on record.

    Args:
        settings: Where everything is; PostgreSQL as the owner of the database.
        path: The archive, which must not be there yet.
        key: Encrypts it; None leaves it plain.
        environment: Where PATH is.
        clock: Measures how long it takes.

    Raises:
        MismatchError: The database is ahead of this program or behind it.
        BackupError: It was not made; nothing is left of it.
        psycopg.Error: PostgreSQL does not answer or refuses.
        SomaError: The brokers or the registry do not answer.
    """
    begin, made_at = clock.monotonic(), clock.now()
    conninfo = settings.postgres.conninfo()
    check_head(conninfo)
    schemas = registered_schemas(settings.registry, settings.topics)
    with psycopg.connect(conninfo) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        (snapshot,) = connection.execute("SELECT pg_export_snapshot()").fetchone() or ("",)
        programs = ClientPrograms(connection.info.server_version, environment)
        tables = table_sizes(connection)
        size = sum(table.bytes for table in tables)
        with progress("Reading what the tables hold", size) as advance:
            contents = table_contents(connection, tables, advance)
        watermarks = stored_watermarks(connection)
        # After the snapshot, so that the log reaches at least as far as the watermarks.
        topics = read_topics(settings.kafka, settings.topics)
        server = connection.info.parameter_status("server_version") or ""

        def describe(dump: DumpFile) -> Manifest:
            return Manifest(
                made_at=made_at,
                seconds=round(clock.monotonic() - begin, 3),
                product=version("somafractalmemory"),
                postgres=server,
                revision=HEAD,
                tables=contents,
                watermarks=watermarks,
                epoch=settings.topics.epoch,
                declared_epoch=settings.topics.declared.epoch,
                topics=topics,
                schemas=schemas,
                model=settings.embedder.model,
                dimensions=settings.embedder.dimensions,
                dump=dump,
            )

        with (
            progress("Dumping the tables", size) as advance,
            closing(programs.dump(settings.postgres, snapshot)) as pieces,
        ):
            manifest = write_archive(path, _counted(pieces, advance), describe, key)
    with psycopg.connect(conninfo) as connection:
        details = {"archive": path.name, "encrypted": key is not None, "bytes": path.stat().st_size}
        record_act(connection, "backup.made", manifest.dump.sha256, details, clock.now())
        connection.execute(REMEMBER, {"made_at": made_at, "sha256": manifest.dump.sha256})
    return manifest


def kept_backups(postgres: PostgresSettings, limit: int) -> list[tuple[datetime, str]]:
    """Return when the newest backups on record were made, with the digests of their dumps.

    Raises:
        psycopg.Error: PostgreSQL does not answer or refuses.
    """
    with psycopg.connect(postgres.conninfo()) as connection:
        cursor = connection.execute("SET LOCAL TIME ZONE 'UTC'")
        return cursor.execute(_KEPT, {"limit": limit}).fetchall()


def registered_schemas(registry: RegistrySettings, topics: TopicSettings) -> list[RegisteredSchema]:
    """Return under which ids the registry has our schemas.

    Raises:
        RegistryError: It cannot be reached.
    """
    with open_registry(registry) as client:
        return [
            RegisteredSchema(subject=each.subject, version=each.version, schema_id=each.schema_id)
            for each in check_schemas(client, topics)
        ]


def _counted(pieces: Iterable[bytes], advance: Callable[[int], None]) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        advance(len(piece))
