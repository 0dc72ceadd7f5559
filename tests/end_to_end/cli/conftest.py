"""What the commands run against: an operator's real parts, and a whole stack that `soma up` started."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from conftest import LocalParts
from recording_door import RecordingDoor, proxy_everywhere
from soma_cli.local.postgres import Login
from soma_command import Soma
from soma_schemas.configuration import as_environment
from soma_schemas.settings import KafkaSettings, PostgresSettings, RegistrySettings
from soma_up import Demonstration, Up, demonstrate, soma_up


class _Places(BaseModel):
    kafka: KafkaSettings
    registry: RegistrySettings
    postgres: PostgresSettings


# Every character that means something to a shell, a list of paths, a properties file, a connection string, a
# format, a URL or a pattern, and one beyond ASCII.
ODD_NAME = """ a,b;c:d=e#f%s%(g)s${h}\\i"j'k`l&m*n?(o)[p]{q}~r!s|t<u>v@w\u00fc\u6f22 """


@pytest.fixture(scope="package")
def proxy() -> Iterator[RecordingDoor]:
    """A proxy that the environment of the stack names."""
    with RecordingDoor() as door:
        yield door


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory, proxy: RecordingDoor) -> Iterator[Up]:
    """One stack for all tests of this folder, where it is hard; they keep to namespaces of their own."""
    home = tmp_path_factory.mktemp("up") / ODD_NAME
    # What is killed must not be waited for until its session ends.
    environment = proxy_everywhere(f"http://{proxy.host_port}") | {"SOMA_DELIVERY__SESSION_TIMEOUT": "600"}
    with soma_up(home, environment) as running:
        yield running


@pytest.fixture(scope="package")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Demonstration:
    """`soma up --demo` on a home of its own, ended."""
    return demonstrate(tmp_path_factory.mktemp("demo") / "home")


@pytest.fixture
def at_home(capfd: pytest.CaptureFixture[str], stack: Up) -> Soma:
    """`soma` as somebody types it beside the running stack."""
    return Soma(stack.home, capfd)


@pytest.fixture
def soma(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Soma:
    """`soma` without a local stack."""
    return Soma(tmp_path, capfd)


@pytest.fixture
def operator(local_parts: LocalParts, owner_dsn: str) -> dict[str, str]:
    """The environment of an operator, with the database empty."""
    del owner_dsn
    parts = local_parts.parts
    return as_environment(
        _Places(
            kafka=parts.kafka.settings(),
            registry=parts.registry.settings(),
            postgres=parts.postgres.settings(Login.OWNER),
        )
    )
