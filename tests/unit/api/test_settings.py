import sys
from datetime import timedelta

import pytest

from soma_api.settings import ApiSettings
from soma_api.shared_windows import SharedWindows
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


@pytest.mark.parametrize(
    "address",
    [
        "valkey://store",
        "valkey://:hush@store:6379/0",
        "valkeys://user:hush@[::1]:6379/1",
        "valkeys://10.0.0.7:6380?db=2",
    ],
)
def test_a_store_of_rate_limits_is_a_secret(address: str) -> None:
    loaded = load(ApiSettings, environment={"SOMA_API__RATE_LIMIT_STORE": address})

    assert loaded.settings.api.rate_limit_store is not None
    assert loaded.settings.api.rate_limit_store.get_secret_value() == address
    assert [
        each for each in loaded.effective if address in str(each.value) or "hush" in str(each.value)
    ] == []


@pytest.mark.parametrize(
    "address", ["memory://", "memcached://:hush@store", "valkey://", "valkey+unix:///hush", "hush:6379"]
)
def test_a_store_of_rate_limits_that_is_none_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(ConfigurationError, match="SOMA_API__RATE_LIMIT_STORE") as refused:
        load(ApiSettings, environment={"SOMA_API__RATE_LIMIT_STORE": address})

    assert "hush" not in str(refused.value)


def test_a_store_of_rate_limits_without_its_client_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "valkey", None)

    with pytest.raises(ConfigurationError) as refused:
        SharedWindows("valkey://store")

    assert "shared-limits" in str(refused.value.remedy)
