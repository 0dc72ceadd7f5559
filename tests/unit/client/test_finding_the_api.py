"""A client finds the API: named by the caller, by the environment, or by the local stack that runs."""

from pathlib import Path

import pytest

from soma_client import NoConnectionError, SomaClient
from soma_client.client_file import ClientFile, client_file_of, read_client_file
from soma_client.connection import Connection, find_connection
from soma_schemas.errors import ConfigurationError

LOCAL = ClientFile(url="http://127.0.0.1:8420", api_key="local-key", tenant="local", environment={})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of a local stack that runs."""
    client_file_of(tmp_path).write_text(LOCAL.model_dump_json())
    return tmp_path


def variables(home: Path, **more: str) -> dict[str, str]:
    return {"SOMA_HOME": str(home), **more}


def test_the_caller_comes_before_the_environment_and_that_before_the_local_stack(home: Path) -> None:
    elsewhere = variables(home, SOMA_URL="https://memory.example", SOMA_API_KEY="env-key")

    named = find_connection(elsewhere, "https://other.example", "key")

    assert named == Connection("https://other.example", "key")
    assert find_connection(elsewhere, None, None) == Connection("https://memory.example", "env-key")
    assert find_connection(variables(home), None, None) == Connection("http://127.0.0.1:8420", "local-key")


def test_without_arguments_a_client_asks_the_local_stack(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOMA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(home))
    (home / ".soma").symlink_to(home)

    with SomaClient() as client:
        assert client.url == "http://127.0.0.1:8420"


def test_the_key_of_the_local_stack_goes_nowhere_else(home: Path) -> None:
    with pytest.raises(NoConnectionError, match="no API key for"):
        find_connection(variables(home, SOMA_URL="https://memory.example"), None, None)


def test_the_local_stack_may_be_named_by_its_address(home: Path) -> None:
    found = find_connection(variables(home), "http://127.0.0.1:8420/", None)

    assert found == Connection("http://127.0.0.1:8420", "local-key")


def test_without_a_stack_or_an_address_it_says_how_to_get_one(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for home in (tmp_path, tmp_path / "file", tmp_path / "missing"):
        with pytest.raises(NoConnectionError, match="no local stack runs") as refused:
            find_connection(variables(home), None, None)
        assert "soma up" in str(refused.value.remedy)


@pytest.mark.parametrize("address", ["memory.example:80", "http://memory\udcff:80", "http://memory\x7f:80"])
def test_an_address_that_is_none_is_refused(home: Path, address: str) -> None:
    with pytest.raises(NoConnectionError, match="http://"):
        find_connection(variables(home), address, "key")


def test_a_key_that_no_header_can_carry_is_refused_and_not_quoted(home: Path) -> None:
    with pytest.raises(NoConnectionError) as refused:
        find_connection(variables(home), "http://memory.example", "soma_a\nsecret")

    assert "secret" not in str(refused.value)


def test_a_key_is_not_in_the_representation_of_a_connection() -> None:
    assert "secret" not in repr(Connection("http://memory.example", "secret"))


def test_a_file_of_another_version_is_told_as_one(home: Path) -> None:
    client_file_of(home).write_text("{}")

    with pytest.raises(ConfigurationError, match="another version"):
        read_client_file(home)


def test_a_stack_of_another_version_keeps_nobody_from_an_api_that_was_named(home: Path) -> None:
    client_file_of(home).write_text("{}")

    found = find_connection(variables(home), "https://memory.example", "key")

    assert found == Connection("https://memory.example", "key")
