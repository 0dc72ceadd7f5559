"""Backups of the real tables, made while workers write, and their way back beside the real log."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from datetime import datetime
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Any
from zipfile import ZipFile

import psycopg
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from psycopg import sql

from chaos.publishing import Publishing
from chaos.workload import LIMITS, Workload
from conftest import LocalParts
from integration.workers.test_workers import COLLECTION, worker_settings
from judge.verdict import behind, judge
from judging import embedded_points, installation
from soma_cli.backups import client_programs, making, restoring
from soma_cli.backups.archive_file import Archive
from soma_cli.local.embedded_index import EmbeddedIndex
from soma_cli.local.postgres import Login
from soma_cli.local.postgres_programs import programs
from soma_command import Soma
from soma_schemas.clock import SystemClock
from soma_schemas.errors import MismatchError
from soma_schemas.groups import SinkGroup
from soma_schemas.metrics import MetricSet
from soma_schemas.postgres_pool import open_pool
from soma_schemas.settings import (
    PublishingSettings,
)
from soma_schemas.tables import HEAD, REVISIONS, check_head
from soma_schemas.tables.migrations import downgrade, migrate
from soma_schemas.topic_admin import BrokerError
from soma_schemas.topics import MEMORY_EVENTS
from soma_schemas.vectors.embedders import PackagedEmbedder
from soma_streams import workers
from soma_streams.backup_age import BackupAge
from soma_streams.committed import commit_offsets, committed_watermarks
from soma_streams.settings import PostgresWorkerSettings, VectorWorkerSettings
from waiting import eventually


@pytest.fixture
def another(local_parts: LocalParts, operator: dict[str, str]) -> Iterator[dict[str, str]]:
    """The same environment with a second database, which has nothing in it."""
    name = sql.Identifier("another")
    admin = local_parts.parts.postgres.dsn(Login.ADMIN)
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER soma_owner").format(name))
    yield operator | {"SOMA_POSTGRES__DATABASE": "another"}
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def dsn_of(local_parts: LocalParts, database: str) -> str:
    settings = local_parts.parts.postgres.settings(Login.OWNER)
    return settings.model_copy(update={"database": database}).conninfo()


def lose_tables(local_parts: LocalParts) -> None:
    """Drop the database, and make an empty one in its place, as an operator does."""
    postgres = local_parts.parts.postgres
    with psycopg.connect(postgres.dsn(Login.ADMIN), autocommit=True) as connection:
        connection.execute("DROP DATABASE soma WITH (FORCE)")
    local_parts.run(postgres.arrange())


@pytest.fixture
def whole_again(local_parts: LocalParts) -> Iterator[None]:
    """Leaves the tables that other tests expect, whatever this one has lost."""
    yield
    lose_tables(local_parts)
    migrate(local_parts.parts.postgres.dsn(Login.OWNER))


@asynccontextmanager
async def both_workers(
    local_parts: LocalParts, publishing: PublishingSettings, folder: Path
) -> AsyncIterator[None]:
    """The workers as processes run them, until the block ends."""
    settings = worker_settings(local_parts, publishing) | {"limits": LIMITS}
    common: dict[str, Any] = {"clock": SystemClock(), "random": Random(1), "metrics": MetricSet()}
    stop = asyncio.Event()
    async with AsyncExitStack() as opened:
        index = opened.enter_context(closing(EmbeddedIndex.open(folder, COLLECTION)))
        embedder = opened.enter_context(closing(PackagedEmbedder()))
        running = asyncio.gather(
            workers.work_postgres(PostgresWorkerSettings(**settings), **common, stop=stop),
            workers.work_vectors(
                VectorWorkerSettings(**settings),
                writer=index,
                embedder=embedder,
                collection=COLLECTION,
                **common | {"metrics": MetricSet()},
                stop=stop,
            ),
        )
        try:
            yield
        finally:
            stop.set()
            await running


@pytest.mark.parametrize(
    "index_too", [False, pytest.param(True, marks=pytest.mark.long)], ids=["tables", "tables and index"]
)
@pytest.mark.usefixtures("whole_again")
async def test_what_is_lost_after_a_backup_comes_back_from_the_log(
    local_parts: LocalParts,
    publishing_settings: PublishingSettings,
    another: dict[str, str],
    soma: Soma,
    tmp_path: Path,
    *,
    operator: dict[str, str],
    index_too: bool,
) -> None:
    publishing = publishing_settings.model_copy(update={"limits": LIMITS})
    archive, folder, lost = tmp_path / "a.zip", tmp_path / "vectors", tmp_path / "lost"
    at = installation(publishing, local_parts.parts.postgres.dsn(Login.OWNER))

    async def left() -> int:
        return behind(at)

    async def taken() -> int:
        with psycopg.connect(at.database) as connection:
            return len(connection.execute("SELECT FROM memory_history").fetchall())

    def typed(*arguments: str) -> dict[str, Any]:
        ran = soma(*arguments, "--json", environment=operator)
        assert ran.code == 0, ran.err
        return dict(json.loads(ran.out))

    async with both_workers(local_parts, publishing, folder):
        with Publishing(publishing, Workload(5)) as sending:
            sending.publish(400)
            await eventually(taken, lambda seen: seen >= 100, seconds=60)
            made = await asyncio.to_thread(soma, "backup", "-o", str(archive), environment=operator)
            sending.publish(400)
            sending.finish()
        refused = await asyncio.to_thread(soma, "restore", str(archive), environment=another)
        await eventually(left, lambda seen: seen == 0, seconds=120)
    lose_tables(local_parts)
    folder.rename(lost if index_too else folder)

    restored = await asyncio.to_thread(typed, "restore", str(archive))
    async with both_workers(local_parts, publishing, folder):
        await eventually(left, lambda seen: seen == 0, seconds=120)

    events = MEMORY_EVENTS.full_name(publishing.topics)
    dumped = sum(
        each["next_offset"]
        for each in json.loads(ZipFile(archive).read("manifest.json"))["watermarks"]
        if (each["group"], each["topic"]) == (SinkGroup.POSTGRES, events)
    )
    ahead = sum(
        each["ahead"]
        for each in restored["continued"]
        if (each["group"], each["topic"]) == (SinkGroup.POSTGRES, events)
    )
    assert (made.code, refused.code) == (0, 1)
    assert "workers run" in refused.err
    assert ahead == 800 - dumped >= 400
    verdict = judge(at, embedded_points(folder), dict.fromkeys(range(3), -1))
    assert verdict.right, str(verdict)
    assert verdict.events == 800


def some_rows(local_parts: LocalParts, publishing: PublishingSettings, offset: int = 3) -> None:
    """Tables that have taken so many events of partition 0, beside a log that has ten."""
    topic = MEMORY_EVENTS.full_name(publishing.topics)
    with psycopg.connect(local_parts.parts.postgres.dsn(Login.OWNER)) as connection:
        connection.execute(
            "INSERT INTO memories (tenant, memory_id, version, updated_at, deleted, recent_event_ids) "
            "SELECT 'acme', gen_random_uuid(), n, now(), true, '{}' FROM generate_series(1, 50) AS n"
        )
        connection.execute("SELECT soma_ensure_history_partition('2026-03-01')")
        connection.execute(
            "INSERT INTO memory_history (partition, version, logged_at, outcome, content) "
            "VALUES (0, 1, '2026-03-02', 'applied', %s)",
            ['{"text": "a line\\nand a \\"quote\\""}'],
        )
        connection.execute(
            "INSERT INTO sink_watermarks VALUES ('soma-postgres', %s, 0, 1, %s, now())", [topic, offset]
        )
    producer = Producer(publishing.kafka.librdkafka())
    for number in range(10):
        producer.produce(topic, f"{number}".encode(), partition=0)
    producer.flush()


@pytest.fixture
def archive(
    local_parts: LocalParts,
    publishing_settings: PublishingSettings,
    operator: dict[str, str],
    soma: Soma,
    tmp_path: Path,
) -> Path:
    """A backup of some rows."""
    some_rows(local_parts, publishing_settings)
    path = tmp_path / "some.zip"
    ran = soma("backup", "-o", str(path), environment=operator)
    assert ran.code == 0, ran.err
    return path


def schema_of(local_parts: LocalParts, database: str) -> str:
    """Tables, functions, policies and rights, as PostgreSQL's own program writes them."""
    dumped = subprocess.run(
        [str(programs() / "pg_dump"), "--schema-only", dsn_of(local_parts, database)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = [line for line in dumped.splitlines() if not line.startswith("\\")]
    # Rights on one thing are dumped in the order in which they were given, which says nothing.
    runs = groupby(lines, lambda line: line.startswith("GRANT "))
    return "\n".join(line for granted, run in runs for line in (sorted(run) if granted else run))


def rights_on(local_parts: LocalParts, database: str) -> list[Any]:
    with psycopg.connect(local_parts.parts.postgres.dsn(Login.ADMIN)) as connection:
        return connection.execute(
            "SELECT grantee::regrole::text, privilege_type FROM pg_database, aclexplode(datacl) "
            "WHERE datname = %s AND grantee IN ('soma_sinks'::regrole, 'soma_operators'::regrole) ORDER BY 1",
            [database],
        ).fetchall()


def test_a_restored_database_is_as_a_migrated_one(
    local_parts: LocalParts, soma: Soma, archive: Path, another: dict[str, str]
) -> None:
    ran = soma("restore", str(archive), environment=another)

    assert ran.code == 0, ran.err
    assert "keys\nrevoked since then open again" in ran.out
    check_head(dsn_of(local_parts, "another"))
    assert schema_of(local_parts, "another") == schema_of(local_parts, "soma")
    assert rights_on(local_parts, "another") == rights_on(local_parts, "soma") != []


async def newest_backup(local_parts: LocalParts, database: str) -> float | None:
    """What the retention worker's metric says of a database."""
    metrics = MetricSet()
    settings = local_parts.parts.postgres.settings(Login.WORKER).model_copy(update={"database": database})
    async with open_pool(settings) as pool:
        age = BackupAge(pool, SystemClock(), metrics)
        before = metrics.registry.get_sample_value("soma_backup_made_timestamp_seconds")
        await age.look()
    assert before is None
    return metrics.registry.get_sample_value("soma_backup_made_timestamp_seconds")


async def test_the_newest_backup_is_known_where_it_was_made_and_where_it_came_back(
    local_parts: LocalParts, soma: Soma, operator: dict[str, str], another: dict[str, str], tmp_path: Path
) -> None:
    never = await newest_backup(local_parts, "soma")
    none = await asyncio.to_thread(soma, "backup", "list", environment=operator)
    path = tmp_path / "first.zip"
    made = await asyncio.to_thread(soma, "backup", "-o", str(path), "--json", environment=operator)
    known = await newest_backup(local_parts, "soma")
    restored = await asyncio.to_thread(soma, "restore", str(path), environment=another)
    listed = await asyncio.to_thread(soma, "backup", "list", "--json", environment=another)

    manifest = json.loads(made.out)["manifest"]
    at = datetime.fromisoformat(manifest["made_at"]).timestamp()
    assert (never, known, restored.code) == (0.0, at, 0)
    assert none.out == "There is no backup. `soma backup` makes one.\n"
    assert await newest_backup(local_parts, "another") == at
    assert [each["sha256"] for each in json.loads(listed.out)["backups"]] == [manifest["dump"]["sha256"]]


def test_an_archive_holds_no_logins_and_no_passwords(
    local_parts: LocalParts, archive: Path, tmp_path: Path
) -> None:
    subprocess.run(["python", "-m", "zipfile", "-e", str(archive), str(tmp_path)], check=True)
    script = subprocess.run(
        [str(programs() / "pg_restore"), "--file=-", str(tmp_path / "tables.dump")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert "CREATE TABLE public.memories" in script
    assert "PASSWORD" not in script
    assert "ROLE" not in script
    for login in Login:
        assert local_parts.parts.postgres.password(login) not in script


def test_a_database_that_is_not_empty_is_left_as_it_is(
    local_parts: LocalParts, soma: Soma, archive: Path, operator: dict[str, str], another: dict[str, str]
) -> None:
    with psycopg.connect(dsn_of(local_parts, "another")) as connection:
        connection.execute("CREATE TABLE somebodys (n integer)")

    for environment in (operator, another):
        ran = soma("restore", str(archive), "--yes", environment=environment)
        assert (ran.code, ran.out) == (1, "")
        assert "is not empty" in ran.err


def test_a_restore_that_is_interrupted_while_the_dump_comes_back_changes_nothing(
    local_parts: LocalParts,
    soma: Soma,
    archive: Path,
    another: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = Archive.dump

    def cut_off(self: Archive) -> Iterator[bytes]:
        yield b"".join(whole(self))[:-2000]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Archive, "check", lambda *_: None)
        patch.setattr(Archive, "dump", cut_off)
        interrupted = soma("restore", str(archive), environment=another)

    assert interrupted.code != 0
    with psycopg.connect(dsn_of(local_parts, "another")) as connection:
        assert connection.execute("SELECT FROM pg_tables WHERE schemaname = 'public'").rowcount == 0
    assert soma("restore", str(archive), environment=another).code == 0


def test_a_restore_that_is_interrupted_later_says_so_and_goes_on(
    local_parts: LocalParts,
    publishing_settings: PublishingSettings,
    soma: Soma,
    archive: Path,
    another: dict[str, str],
    *,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(*_: object) -> None:
        raise BrokerError("the brokers are away")

    with monkeypatch.context() as patch:
        patch.setattr(restoring, "commit_offsets", away)
        interrupted = soma("restore", str(archive), environment=another)
    with pytest.raises(MismatchError, match="half restored"):
        check_head(dsn_of(local_parts, "another"))
    migrated = soma("migrate", environment=another)
    again = soma("restore", str(archive), "--json", environment=another)

    assert (interrupted.code, migrated.code, again.code) == (1, 1, 0), again.err
    assert "half restored" in migrated.err
    assert "hint: run `soma restore`" in migrated.err
    assert json.loads(again.out)["resumed"] is True
    check_head(dsn_of(local_parts, "another"))
    kafka, topics = publishing_settings.kafka, publishing_settings.topics
    assert [
        (each.partition, each.next_offset) for each in committed_watermarks(kafka, topics, SinkGroup.POSTGRES)
    ] == [(0, 3)]


def test_a_half_restored_database_that_holds_something_else_is_refused(
    local_parts: LocalParts,
    soma: Soma,
    archive: Path,
    another: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(restoring, "commit_offsets", lambda *_: (_ for _ in ()).throw(BrokerError("away")))
        soma("restore", str(archive), environment=another)
    with psycopg.connect(dsn_of(local_parts, "another")) as connection:
        connection.execute("UPDATE memories SET version = version + 1 WHERE version = 50")

    ran = soma("restore", str(archive), environment=another)

    assert ran.code == 1
    assert "memories differ" in ran.err


def test_what_the_log_has_no_more_is_named_and_wants_consent(
    publishing_settings: PublishingSettings,
    soma: Soma,
    archive: Path,
    another: dict[str, str],
    admin: AdminClient,
) -> None:
    topic = MEMORY_EVENTS.full_name(publishing_settings.topics)
    for done in admin.delete_records([TopicPartition(topic, 0, 7)]).values():
        done.result(20)

    refused = soma("restore", str(archive), environment=another)
    restored = soma("restore", str(archive), "--yes", "--json", environment=another)

    lost = f"soma-postgres: 4 events of {topic}, partition 0, from offset 3 to 6"
    assert (refused.code, refused.out) == (1, "")
    assert lost in refused.err
    assert f"lost: {lost}" in restored.err
    assert [
        (each["offset"], each["lost"], each["ahead"]) for each in json.loads(restored.out)["continued"]
    ] == [(7, 4, 3)]


def test_a_damaged_archive_is_refused_before_anything_is_restored(
    local_parts: LocalParts, soma: Soma, archive: Path, another: dict[str, str]
) -> None:
    content = bytearray(archive.read_bytes())
    content[len(content) // 3] ^= 1
    archive.write_bytes(content)

    ran = soma("restore", str(archive), environment=another)

    assert ran.code == 1
    assert "damaged" in ran.err
    with psycopg.connect(dsn_of(local_parts, "another")) as connection:
        assert connection.execute("SELECT FROM pg_tables WHERE schemaname = 'public'").rowcount == 0


@pytest.mark.parametrize("found", [REVISIONS[-2], "9999"])
def test_a_database_ahead_of_this_program_or_behind_it_is_not_backed_up(
    local_parts: LocalParts, soma: Soma, operator: dict[str, str], tmp_path: Path, found: str
) -> None:
    owner = dsn_of(local_parts, "soma")
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = %s", [found])
        try:
            ran = soma("backup", "-o", str(tmp_path / "a.zip"), environment=operator)
        finally:
            connection.execute("UPDATE alembic_version SET version_num = %s", [HEAD])

    assert ran.code == 1
    assert f"is at revision {found}" in ran.err
    assert not (tmp_path / "a.zip").exists()


def test_a_backup_of_an_older_revision_is_migrated_after_it_came_back(
    local_parts: LocalParts,
    operator: dict[str, str],
    another: dict[str, str],
    soma: Soma,
    tmp_path: Path,
    *,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path, older = tmp_path / "older.zip", REVISIONS[-2]
    owner = dsn_of(local_parts, "soma")
    downgrade(owner, older)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(making, "HEAD", older)
            patch.setattr(making, "check_head", lambda _: None)
            patch.setattr(making, "REMEMBER", "SELECT")  # it had no such table
            made = soma("backup", "-o", str(path), environment=operator)
    finally:
        migrate(owner)

    restored = soma("restore", str(path), "--json", environment=another)

    assert (made.code, restored.code) == (0, 0), made.err + restored.err
    assert json.loads(restored.out)["revision"] == HEAD
    assert schema_of(local_parts, "another") == schema_of(local_parts, "soma")


def test_a_drill_compares_and_leaves_nothing(
    local_parts: LocalParts, soma: Soma, archive: Path, operator: dict[str, str]
) -> None:
    well = soma("backup", "drill", str(archive), "--live", "--json", environment=operator)
    with psycopg.connect(dsn_of(local_parts, "soma")) as connection:
        connection.execute("DELETE FROM memories WHERE version <= 2")
        connection.execute("UPDATE memories SET version = 1000 WHERE version = 3")
    worse = soma("backup", "drill", str(archive), "--live", environment=operator)

    assert well.code == 0, well.err
    found = json.loads(well.out)
    assert {each["table"] for each in found["tables"] if each["rows"]} >= {
        "memories",
        "memory_history_2026_03",
    }
    assert all(each["same"] for each in found["tables"])
    assert found["live"] == {"same": 50, "newer": 0, "added": 0, "older": 0, "missing": 0}
    assert worse.code == 1
    assert "47 memories are the same there, 1 changed since" in worse.out
    assert "the live database has lost 2 memories or changes" in worse.err
    with psycopg.connect(local_parts.parts.postgres.dsn(Login.ADMIN)) as connection:
        assert connection.execute("SELECT FROM pg_database WHERE datname LIKE 'soma_drill_%'").rowcount == 0


def test_programs_of_another_version_are_refused_in_words(
    soma: Soma, operator: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "pg_dump"
    program.write_text("#!/bin/sh\necho 'pg_dump (PostgreSQL) 12.3'\n")
    program.chmod(0o700)
    monkeypatch.setattr(client_programs, "programs", lambda: tmp_path)

    ran = soma("backup", "-o", str(tmp_path / "a.zip"), environment=operator | {"PATH": str(tmp_path)})

    assert ran.code == 1
    assert f"{program} is of 12" in ran.err
    assert "hint: install the client programs of PostgreSQL 18" in ran.err


def test_offsets_of_a_group_that_somebody_is_in_are_refused(
    publishing_settings: PublishingSettings, archive: Path
) -> None:
    del archive
    kafka, topics = publishing_settings.kafka, publishing_settings.topics
    topic = MEMORY_EVENTS.full_name(topics)
    group = SinkGroup.POSTGRES.on_brokers(topics)
    consumer = Consumer(kafka.librdkafka() | {"group.id": group, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    assert consumer.poll(30) is not None
    with pytest.raises(BrokerError):
        commit_offsets(kafka, group, {(topic, 0): 1})
    consumer.close()

    commit_offsets(kafka, group, {(topic, 0): 1})

    assert [each.next_offset for each in committed_watermarks(kafka, topics, SinkGroup.POSTGRES)] == [1]
