"""What the commands of an operator run against: the real broker, registry and database."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from conftest import LocalParts
from soma_cli.local.postgres import Login
from soma_command import Soma
from soma_schemas.configuration import as_environment
from soma_schemas.settings import KafkaSettings, PostgresSettings, RegistrySettings


class _Places(BaseModel):
    kafka: KafkaSettings
    registry: RegistrySettings
    postgres: PostgresSettings


@pytest.fixture
def soma(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Soma:
    """Run `soma`."""
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
