"""The real parts keep what they acknowledged, through a restart and a SIGKILL, and open to no one else."""

import asyncio
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psutil
import psycopg
import pytest
import pytest_asyncio
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from soma_cli.local.artifacts import Artifacts
from soma_cli.local.backing_service import BackingService
from soma_cli.local.backing_services import BackingServices, open_backing_services
from soma_cli.local.errors import HomeInUseError
from soma_cli.local.home import LOOPBACK, Home
from soma_cli.local.postgres import Login
from soma_cli.local.unit import PartChange, PartState
from soma_schemas.clock import SystemClock

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOPIC = "words"
FIRST = '{"type": "record", "name": "Word", "fields": [{"name": "word", "type": "string"}]}'
BROKEN = '{"type": "record", "name": "Word", "fields": [{"name": "word", "type": "int"}]}'


@dataclass
class Running:
    """BackingServices that run, and what was heard of them since they were first started."""

    parts: BackingServices
    changes: list[PartChange]
    home: Home

    def part(self, name: str) -> BackingService:
        return next(part for part in self.parts.all if part.name == name)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("parts") / "home", Random())


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def running(home: Home, artifacts: Artifacts) -> AsyncIterator[Running]:
    """BackingServices at their second start, with a record, a schema and a row from the first."""
    async with open_backing_services(home, artifacts, SystemClock()) as parts:
        await asyncio.to_thread(_leave_traces, parts)
    changes: list[PartChange] = []
    async with open_backing_services(
        Home(home.path, Random()), artifacts, SystemClock(), changes.append
    ) as parts:
        yield Running(parts, changes, home)


def _leave_traces(parts: BackingServices) -> None:
    admin = AdminClient(parts.kafka.settings().librdkafka())
    admin.create_topics([NewTopic(TOPIC, 1)])[TOPIC].result(timeout=10)
    publish(parts, "first")
    register(parts, FIRST)
    with psycopg.connect(parts.postgres.dsn(Login.OWNER)) as connection:
        connection.execute("CREATE TABLE words (word text)")
        connection.execute("INSERT INTO words VALUES ('first')")


def publish(parts: BackingServices, word: str) -> None:
    """Publish a word, and return when it is acknowledged."""
    refused: list[object] = []
    producer = Producer({**parts.kafka.settings().librdkafka(), "acks": "all", "delivery.timeout.ms": 20_000})
    producer.produce(TOPIC, word.encode(), on_delivery=lambda error, _: refused.append(error))
    assert producer.flush(20) == 0
    assert refused == [None]


def published(parts: BackingServices) -> list[str]:
    """Return all words of the topic."""
    with reading(parts) as consumer:
        _, end = consumer.get_watermark_offsets(TopicPartition(TOPIC, 0), timeout=20)
        consumer.assign([TopicPartition(TOPIC, 0, 0)])
        return [(message.value() or b"").decode() for message in consumer.consume(end, timeout=20)]


@contextmanager
def reading(parts: BackingServices) -> Iterator[Consumer]:
    consumer = Consumer({**parts.kafka.settings().librdkafka(), "group.id": "reader"})
    try:
        yield consumer
    finally:
        consumer.close()


def register(parts: BackingServices, schema: str) -> int:
    with SchemaRegistryClient({"url": parts.registry.url}) as registry:
        return int(registry.register_schema(TOPIC, Schema(schema, "AVRO")))


def registered(parts: BackingServices) -> list[str]:
    with SchemaRegistryClient({"url": parts.registry.url}) as registry:
        return list(registry.get_subjects())


def rows(parts: BackingServices) -> list[str]:
    with psycopg.connect(parts.postgres.dsn(Login.OWNER)) as connection:
        return [word for (word,) in connection.execute("SELECT word FROM words")]


def listening(pid: int) -> set[str]:
    """Return the addresses on which a process and its children accept connections."""
    process = psutil.Process(pid)
    return {
        connection.laddr.ip.removeprefix("::ffff:")
        for one in (process, *process.children(recursive=True))
        for connection in one.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }


async def test_a_second_start_finds_the_log(running: Running) -> None:
    assert "first" in await asyncio.to_thread(published, running.parts)


async def test_a_second_start_finds_the_schemas(running: Running) -> None:
    assert await asyncio.to_thread(registered, running.parts) == [TOPIC]


async def test_a_second_start_finds_the_rows(running: Running) -> None:
    assert "first" in await asyncio.to_thread(rows, running.parts)


async def test_a_start_is_reported_step_by_step(running: Running) -> None:
    for part in running.parts.all:
        states = [change.state for change in running.changes if change.part == part.name]

        assert states[:2] == [PartState.STARTING, PartState.READY]


async def test_everything_listens_on_loopback_alone(running: Running) -> None:
    pids = [part.pid for part in running.parts.all]

    assert None not in pids
    assert {address for pid in pids if pid is not None for address in listening(pid)} == {LOOPBACK}


async def test_a_second_stack_on_this_home_is_refused(running: Running, artifacts: Artifacts) -> None:
    with pytest.raises(HomeInUseError):
        async with open_backing_services(Home(running.home.path, Random()), artifacts, SystemClock()):
            pass

    assert running.parts.kafka.state is PartState.READY


async def test_a_schema_that_old_readers_cannot_read_is_refused(running: Running) -> None:
    with pytest.raises(SchemaRegistryError) as caught:
        await asyncio.to_thread(register, running.parts, BROKEN)

    assert caught.value.http_status_code == 409


async def test_acknowledged_records_survive_the_kill_of_the_broker(running: Running) -> None:
    words = [f"word {number}" for number in range(20)]
    for word in words:
        await asyncio.to_thread(publish, running.parts, word)

    await running.parts.kafka.kill()
    await running.parts.kafka.start()

    assert (await asyncio.to_thread(published, running.parts))[-20:] == words


async def test_registered_schemas_survive_the_kill_of_the_registry(running: Running) -> None:
    number = await asyncio.to_thread(register, running.parts, FIRST)

    await running.parts.registry.kill()
    await running.parts.registry.start()

    assert await asyncio.to_thread(register, running.parts, FIRST) == number


async def test_committed_rows_survive_the_kill_of_the_database(running: Running) -> None:
    with psycopg.connect(running.parts.postgres.dsn(Login.OWNER)) as connection:
        connection.execute("INSERT INTO words VALUES ('committed')")

    await running.parts.postgres.kill()
    await running.parts.postgres.start()

    assert "committed" in await asyncio.to_thread(rows, running.parts)


async def test_the_registry_works_on_after_the_database_came_back(running: Running) -> None:
    await running.parts.postgres.restart()

    assert await asyncio.to_thread(registered, running.parts) == [TOPIC]


async def test_a_killed_part_is_reported_and_the_others_run_on(running: Running) -> None:
    running.changes.clear()

    await running.parts.kafka.kill()

    assert [(change.part, change.state) for change in running.changes] == [("kafka", PartState.FAILED)]
    assert running.parts.postgres.state is PartState.READY
    await running.parts.kafka.start()


@pytest.mark.parametrize("login", list(Login))
async def test_a_login_with_a_wrong_password_is_refused(running: Running, login: Login) -> None:
    dsn = running.parts.postgres.dsn(login)

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(dsn.replace(running.parts.postgres.password(login), "guess"))


@pytest.mark.parametrize("login", [Login.WORKER, Login.API])
async def test_a_process_may_do_nothing_that_was_not_granted(running: Running, login: Login) -> None:
    with psycopg.connect(running.parts.postgres.dsn(login)) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT * FROM words")
        connection.rollback()
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("CREATE TABLE mine ()")


async def test_the_owner_may_make_roles_and_databases_and_is_no_superuser(running: Running) -> None:
    with psycopg.connect(running.parts.postgres.dsn(Login.OWNER)) as connection:
        found = connection.execute(
            "SELECT rolcreaterole, rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user"
        )

        assert found.fetchone() == (True, False, True)


async def test_the_registrys_login_cannot_enter_our_database(running: Running) -> None:
    dsn = running.parts.postgres.dsn(Login.REGISTRY).removesuffix("/registry") + "/soma"

    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(dsn)


async def test_roles_are_granted_once_the_migrations_made_them(running: Running) -> None:
    with psycopg.connect(running.parts.postgres.dsn(Login.OWNER)) as connection:
        connection.execute("CREATE ROLE soma_sinks")
        connection.execute("CREATE ROLE soma_readers")
        connection.execute("GRANT SELECT ON words TO soma_readers")

    await running.parts.postgres.grant_roles()
    await running.parts.postgres.grant_roles()

    with psycopg.connect(running.parts.postgres.dsn(Login.API)) as connection:
        assert connection.execute("SELECT count(*) FROM words").fetchone() is not None


async def test_the_database_makes_every_commit_durable(running: Running) -> None:
    with psycopg.connect(running.parts.postgres.dsn(Login.WORKER)) as connection:
        values = [
            connection.execute(f"SHOW {name}").fetchone()
            for name in ("fsync", "synchronous_commit", "full_page_writes")
        ]

        assert values == [("on",), ("on",), ("on",)]


async def test_no_log_quotes_what_was_stored(running: Running, home: Home) -> None:
    with psycopg.connect(running.parts.postgres.dsn(Login.OWNER), autocommit=True) as connection:
        connection.execute("CREATE TABLE once (word text PRIMARY KEY)")
        connection.execute("INSERT INTO once VALUES ('private words')")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO once VALUES ('private words')")

    text = home.log("postgres").read_text()
    assert "duplicate key" in text
    assert "private words" not in text


async def test_a_home_stays_closed_to_others_while_it_is_in_use(running: Running) -> None:
    # As root, the database runs as another user, who gets in all the same.
    assert stat.S_IMODE(running.home.path.stat().st_mode) == 0o700


async def test_no_secret_is_readable_by_others(running: Running) -> None:
    password = running.parts.postgres.password(Login.REGISTRY)

    assert [path for path in _text_files(running.home.path) if _shows(path, password)] == []


def _text_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "data" not in path.parts]


def _shows(path: Path, secret: str) -> bool:
    return bool(path.stat().st_mode & 0o077) and secret.encode() in path.read_bytes()
