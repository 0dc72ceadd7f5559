"""Who makes backups: an operator beside the shared stores."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from conftest import LocalParts
from soma_cli.local.postgres import Login
from soma_command import Soma
from soma_schemas.configuration import as_environment
from soma_schemas.settings import (
    KafkaSettings,
    PostgresSettings,
    PublishingSettings,
    RegistrySettings,
    TopicSettings,
)


class _Places(BaseModel):
    kafka: KafkaSettings
    registry: RegistrySettings
    postgres: PostgresSettings
    topics: TopicSettings


@pytest.fixture
def soma(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Soma:
    """`soma` without a local stack."""
    return Soma(tmp_path, capfd)


@pytest.fixture
def operator(
    local_parts: LocalParts, publishing_settings: PublishingSettings, owner_dsn: str
) -> dict[str, str]:
    """The environment of an operator, with topics of this test and an empty database."""
    del owner_dsn
    return as_environment(
        _Places(
            kafka=publishing_settings.kafka,
            registry=publishing_settings.registry,
            postgres=local_parts.parts.postgres.settings(Login.OWNER),
            topics=publishing_settings.topics,
        )
    )
