"""What the commands run against: an operator's real parts, and a whole stack that `soma up` started."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from conftest import LocalParts
from soma_cli.local.postgres import Login
from soma_command import Soma
from soma_schemas.configuration import as_environment
from soma_schemas.settings import KafkaSettings, PostgresSettings, RegistrySettings
from soma_up import Up, soma_up


class _Places(BaseModel):
    kafka: KafkaSettings
    registry: RegistrySettings
    postgres: PostgresSettings


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One stack for all tests of this folder; they keep to namespaces of their own."""
    with soma_up(tmp_path_factory.mktemp("up") / "home") as running:
        yield running


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
