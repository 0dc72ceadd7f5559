"""A command finds the parts behind the API, and never mixes two installations."""

from pathlib import Path

import pytest

from soma_cli.client_file import remove_client_file, write_client_file
from soma_cli.connection import find_settings
from soma_cli.failures import UsageError
from soma_cli.invocation import Invocation
from soma_client.client_file import ClientFile, read_client_file

LOCAL = ClientFile(
    url="http://127.0.0.1:8420",
    api_key="local-key",
    tenant="local",
    environment={"SOMA_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:20001", "SOMA_POSTGRES__PORT": "20002"},
)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The home of a local stack that runs."""
    write_client_file(tmp_path, LOCAL)
    return tmp_path


def _root(home: Path, **variables: str) -> Invocation:
    return Invocation({"SOMA_HOME": str(home), **variables})


def test_settings_come_from_the_local_stack_when_the_environment_names_no_place(home: Path) -> None:
    given = {
        "SOMA_LOG__LEVEL": "debug",
        "SOMA_INDEX__LANGUAGE": "german",
        "SOMA_NEXT_EMBEDDER__MODEL": "minilm-l6-v2-int8",
    }
    variables, local = find_settings(_root(home, SOMA_URL="https://memory.example", **given))

    assert local == LOCAL
    assert variables["SOMA_KAFKA__BOOTSTRAP_SERVERS"] == "127.0.0.1:20001"
    assert given.items() <= variables.items()


@pytest.mark.parametrize(
    "variable",
    ["SOMA_KAFKA__BOOTSTRAP_SERVERS", "SOMA_TOPICS__PREFIX", "SOMA_CONFIG_FILE", "SOMA_SECRETS_DIR"],
)
def test_settings_of_the_environment_are_never_mixed_with_the_local_ones(home: Path, variable: str) -> None:
    root = _root(home, **{variable: "elsewhere"})

    variables, local = find_settings(root)

    assert local is None
    assert variables == root.environment


def test_what_soma_env_prints_names_the_local_stack_and_not_another(home: Path) -> None:
    printed = {"SOMA_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:20001", "SOMA_URL": LOCAL.url}

    same, local = find_settings(_root(home, **printed))
    other, elsewhere = find_settings(_root(home, **printed, SOMA_REGISTRY__URL="http://127.0.0.1:1"))

    assert local == LOCAL
    assert same["SOMA_POSTGRES__PORT"] == "20002"
    assert elsewhere is None
    assert "SOMA_POSTGRES__PORT" not in other


def test_a_stack_of_another_version_keeps_nobody_from_working_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "client.json").write_text("{}")

    variables, local = find_settings(_root(tmp_path, SOMA_KAFKA__BOOTSTRAP_SERVERS="elsewhere:9092"))

    assert local is None
    assert variables["SOMA_KAFKA__BOOTSTRAP_SERVERS"] == "elsewhere:9092"


def test_without_settings_or_a_stack_it_says_how_to_get_them(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no settings") as refused:
        find_settings(_root(tmp_path))

    assert "SOMA_KAFKA__BOOTSTRAP_SERVERS" in str(refused.value.remedy)


def test_a_stack_leaves_its_address_and_key_for_its_owner_alone(tmp_path: Path) -> None:
    path = write_client_file(tmp_path, LOCAL)

    assert path.stat().st_mode & 0o777 == 0o600
    assert read_client_file(tmp_path) == LOCAL


def test_a_stopped_stack_leaves_nothing(home: Path) -> None:
    remove_client_file(home)
    remove_client_file(home)

    assert read_client_file(home) is None


def test_the_home_is_where_the_variable_says_or_in_the_users_own_folder() -> None:
    assert Invocation({"SOMA_HOME": "/srv/soma"}).home == Path("/srv/soma")
    assert Invocation({}).home == Path.home() / ".soma"


def test_downloads_lie_in_the_users_cache_unless_a_variable_says_otherwise() -> None:
    assert Invocation({"SOMA_CACHE": "/srv/cache"}).cache == Path("/srv/cache")
    assert Invocation({"XDG_CACHE_HOME": "/srv/xdg"}).cache == Path("/srv/xdg/somafractalmemory")
    assert Invocation({}).cache == Path.home() / ".cache" / "somafractalmemory"
