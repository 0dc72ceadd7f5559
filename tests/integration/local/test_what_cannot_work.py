"""What can never work ends the start at once, with its reason, and is not started again."""

import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from soma_cli.local.artifacts import Artifacts
from soma_cli.local.backing_service import BackingService
from soma_cli.local.errors import PartError
from soma_cli.local.home import LOOPBACK, Home
from soma_cli.local.kafka import KafkaBroker, plan_nodes
from soma_cli.local.postgres import Postgres
from soma_cli.local.soma_process import SomaProcess
from soma_cli.local.supervision import Supervisor
from soma_cli.local.unit import ignore
from soma_schemas.clock import SystemClock

CLOCK = SystemClock()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", Random())


@pytest.fixture
def kafka(home: Home, artifacts: Artifacts) -> KafkaBroker:
    nodes = plan_nodes(home, 1)
    return KafkaBroker(home, artifacts, CLOCK, ignore, node=nodes[0], nodes=nodes)


@pytest.fixture
def postgres(home: Home) -> Postgres:
    return Postgres(home, CLOCK, ignore)


def a_process(home: Home, port: int, **environment: str) -> SomaProcess:
    """The API on a port, with its parts nowhere: it gets as far as it can without them."""
    nowhere = {
        "SOMA_KAFKA__BOOTSTRAP_SERVERS": f"{LOOPBACK}:9",
        "SOMA_REGISTRY__URL": f"http://{LOOPBACK}:9",
        "SOMA_POSTGRES__HOST": LOOPBACK,
        "SOMA_POSTGRES__PORT": "9",
        "SOMA_API__PORT": str(port),
    }
    return SomaProcess(
        "api",
        home,
        CLOCK,
        ignore,
        arguments=["serve"],
        environment=nowhere | environment,
        port=port,
        needs=[],
        after=[],
    )


async def refused(part: BackingService) -> str:
    """Start a part that cannot work, and return what was said of it."""
    supervisor = Supervisor([part], CLOCK)
    with pytest.raises(PartError) as caught:
        await supervisor.start()
    assert supervisor.restarts == {}
    assert part.pid is None
    return "\n".join((str(caught.value), *caught.value.last_lines))


async def test_a_port_that_is_taken_is_no_place_for_the_database(postgres: Postgres) -> None:
    with closing(socket.create_server((LOOPBACK, postgres.port))):
        assert "Address already in use" in await refused(postgres)


async def test_a_port_that_is_taken_is_no_place_for_the_broker(kafka: KafkaBroker) -> None:
    port = int(kafka.bootstrap.rpartition(":")[2])
    with closing(socket.create_server((LOOPBACK, port))):
        said = await refused(kafka)

    assert f"Socket server failed to bind to {kafka.bootstrap}" in said


async def test_a_port_that_is_taken_is_no_place_for_a_process_of_ours(home: Home) -> None:
    port = home.port("api")
    with closing(socket.create_server((LOOPBACK, port))):
        said = await refused(a_process(home, port))

    assert f"cannot listen on {LOOPBACK}:{port}: Address already in use" in said


async def test_a_wrong_setting_is_named(home: Home) -> None:
    said = await refused(a_process(home, home.port("api"), SOMA_LIMITS__TEXT_BYTES="many"))

    assert "SOMA_LIMITS__TEXT_BYTES" in said


async def test_a_broker_does_not_start_on_a_damaged_folder(kafka: KafkaBroker, home: Home) -> None:
    await kafka.start()
    await kafka.stop()
    (home.folder("kafka", "1") / "data" / "meta.properties").write_text("version=7\n")

    assert "meta.properties" in await refused(kafka)


def spoil(path: Path) -> None:
    path.write_bytes(b"no such thing")


def blank(path: Path) -> None:
    for segment in path.glob("0*"):
        segment.write_bytes(bytes(segment.stat().st_size))


@pytest.mark.parametrize(
    ("file", "damage", "reason"),
    [
        ("global/pg_control", spoil, 'could not read file "global/pg_control"'),
        ("PG_VERSION", spoil, "is not a valid data directory"),
        ("pg_wal", blank, "could not locate a valid checkpoint record"),
    ],
)
async def test_a_database_does_not_start_on_damaged_files(
    postgres: Postgres, home: Home, file: str, damage: Callable[[Path], None], reason: str
) -> None:
    await postgres.start()
    await postgres.stop()
    damage(home.folder("postgres") / "data" / file)

    assert reason in await refused(postgres)
