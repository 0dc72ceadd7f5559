"""Every login of the local server has its own password, which shows nowhere."""

import pytest

from soma_cli.local.home import Home
from soma_cli.local.postgres import Login, Postgres
from soma_schemas.clock import SystemClock


@pytest.fixture
def postgres(home: Home) -> Postgres:
    return Postgres(home, SystemClock(), lambda _: None)


def test_a_login_is_told_where_and_with_what_to_log_in(postgres: Postgres) -> None:
    settings = postgres.settings(Login.WORKER)

    assert (settings.host, settings.port, settings.database, settings.user) == (
        "127.0.0.1",
        postgres.port,
        "soma",
        "soma_worker",
    )
    assert settings.password.get_secret_value() == postgres.password(Login.WORKER)


def test_every_login_has_a_password_of_its_own(postgres: Postgres) -> None:
    assert len({postgres.password(login) for login in Login}) == len(Login)


def test_settings_show_no_password(postgres: Postgres) -> None:
    settings = postgres.settings(Login.API)

    assert postgres.password(Login.API) not in repr(settings)


def test_an_unknown_login_has_no_password(postgres: Postgres) -> None:
    with pytest.raises(ValueError, match="somebody"):
        postgres.password("somebody")
