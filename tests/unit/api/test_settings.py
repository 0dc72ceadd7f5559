from datetime import timedelta

import pytest

from soma_api.settings import ApiSettings
from soma_schemas.configuration import describe, load
from soma_schemas.errors import ConfigurationError


def test_the_api_listens_on_loopback_and_logs_in_as_itself() -> None:
    settings = ApiSettings()

    assert (settings.api.host, settings.api.port) == ("127.0.0.1", 8420)
    assert settings.postgres.user == "soma_api"


def test_settings_come_from_the_environment() -> None:
    settings = load(
        ApiSettings,
        environment={"SOMA_API__PORT": "0", "SOMA_API__MAX_WAIT": "5", "SOMA_POSTGRES__USER": "me"},
    ).settings

    assert (settings.api.port, settings.api.max_wait, settings.postgres.user) == (
        0,
        timedelta(seconds=5),
        "me",
    )


def test_a_part_of_postgres_that_is_set_keeps_the_apis_own_login() -> None:
    settings = load(ApiSettings, environment={"SOMA_POSTGRES__PORT": "5555"}).settings

    assert settings.postgres.user == "soma_api"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SOMA_API__CURSOR_SECRET", "short"),
        ("SOMA_API__MAX_WAIT", "0"),
        ("SOMA_API__COLOUR", "green"),
    ],
)
def test_a_value_that_cannot_be_right_is_refused_with_its_name(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match="SOMA_API"):
        load(ApiSettings, environment={name: value})


def test_every_setting_is_described() -> None:
    assert [setting.name for setting in describe(ApiSettings) if not setting.description] == []
