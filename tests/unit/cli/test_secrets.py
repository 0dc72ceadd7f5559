"""No run of `soma` tells a secret, however it was mistyped and whatever it meets."""

from collections.abc import Iterator

import pytest
from pydantic import BaseModel

from canned_api import CannedApi
from soma_cli.settings import KNOWN, PROCESSES, Process
from soma_command import Soma
from soma_schemas.configuration import as_environment, load, variable_name

CANARY = "a-canary-of-more-than-thirty-two-characters"
# Which settings secrets need beside them.
BY_PASSWORD = {"SOMA_KAFKA__SASL_USERNAME": "somebody", "SOMA_KAFKA__SASL_PASSWORD": CANARY}
BY_TOKEN = {
    "SOMA_KAFKA__OAUTH_TOKEN_URL": "https://127.0.0.1:1/token",
    "SOMA_KAFKA__OAUTH_CLIENT_ID": "somebody",
}
BESIDE = {
    "SOMA_KAFKA__SECURITY_PROTOCOL": "SASL_SSL",
    # Ports on which nobody listens.
    "SOMA_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "SOMA_REGISTRY__URL": "http://127.0.0.1:1",
    "SOMA_POSTGRES__PORT": "1",
}

USER_OF_THE_REGISTRY = {"SOMA_REGISTRY__USERNAME": "somebody"}


def beside(name: str) -> dict[str, str]:
    """Return what a secret's setting needs beside it."""
    kafka = BY_TOKEN if name == "SOMA_KAFKA__OAUTH_CLIENT_SECRET" else BY_PASSWORD
    return BESIDE | kafka | (USER_OF_THE_REGISTRY if name == "SOMA_REGISTRY__PASSWORD" else {})


def secrets_of(part: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the variables of all secrets in a class of settings."""
    for name, field in part.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from secrets_of(field.annotation, (*path, name))
        elif "SecretStr" in f"{field.annotation}":
            yield variable_name((*path, name))


SECRETS = [(process, name) for process in Process for name in secrets_of(PROCESSES[process])]
EVERY_SECRET = sorted({name for _, name in SECRETS})


def holding(name: str) -> str:
    """Return a value of a secret's setting with the canary in it."""
    match name:
        case "SOMA_TRACING__HEADERS":
            return f"api-key={CANARY}"
        case "SOMA_API__RATE_LIMIT_STORE":
            return f"valkey://:{CANARY}@127.0.0.1:1"
        case _:
            return CANARY


BROKEN = [f"{CANARY}\r\n{CANARY}", f"{CANARY}\udcff", f"{CANARY}\x1b[0m"]


def test_every_kind_of_secret_is_tried() -> None:
    assert EVERY_SECRET == [
        "SOMA_API__CURSOR_SECRET",
        "SOMA_API__RATE_LIMIT_STORE",
        "SOMA_EMBEDDER__API_KEY",
        "SOMA_KAFKA__OAUTH_CLIENT_SECRET",
        "SOMA_KAFKA__SASL_PASSWORD",
        "SOMA_NEXT_EMBEDDER__API_KEY",
        "SOMA_POSTGRES__PASSWORD",
        "SOMA_REGISTRY__PASSWORD",
        "SOMA_REGISTRY__TOKEN",
        "SOMA_TRACING__HEADERS",
        "SOMA_VECTORS__API_KEY",
        "SOMA_WATERMARKS__PASSWORD",
    ]


@pytest.mark.parametrize(("process", "name"), SECRETS)
def test_white_space_around_a_secret_is_no_part_of_it(process: Process, name: str) -> None:
    loaded = load(
        PROCESSES[process], environment={**beside(name), name: f" \t{holding(name)} \r\n"}, known=KNOWN
    )

    assert as_environment(loaded.settings)[name] == holding(name)


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize(("process", "name"), SECRETS)
def test_a_secret_that_cannot_be_one_is_told_by_its_name(
    process: Process, name: str, broken: str, soma: Soma
) -> None:
    for command in ("show", "check"):
        ran = soma("--traceback", "config", command, process, environment={**beside(name), name: broken})

        assert ran.code == 1
        assert name in ran.out + ran.err
        assert CANARY not in ran.out + ran.err


@pytest.mark.parametrize("name", ["SOMA_EMBEDDER__API_KEY", "SOMA_VECTORS__API_KEY"])
@pytest.mark.parametrize("broken", ["", f"{CANARY} {CANARY}", f"{CANARY}\u00e4"])
def test_a_key_that_no_header_takes_is_told_by_its_name(name: str, broken: str, soma: Soma) -> None:
    ran = soma("config", "check", "api", environment={name: broken})

    assert ran.code == 1
    assert name in ran.out
    assert CANARY not in ran.out + ran.err


@pytest.mark.parametrize("around", [f" {CANARY}", f"{CANARY}\r", f"{CANARY}\r\n"])
def test_the_key_of_the_api_may_come_with_white_space(around: str, soma: Soma, api: CannedApi) -> None:
    api.answers({"memories": [], "next_cursor": None})

    ran = soma("list", environment={"SOMA_URL": f" {api.url}\r", "SOMA_API_KEY": around})

    assert ran.code == 0
    assert api.asked[0].headers["authorization"] == f"Bearer {CANARY}"


@pytest.mark.parametrize("broken", [*BROKEN, f"{CANARY} {CANARY}", f"{CANARY}\u00e4"])
def test_a_key_of_the_api_that_cannot_be_one_is_told_by_its_name(broken: str, soma: Soma) -> None:
    by_variable = {"SOMA_URL": "http://127.0.0.1:1", "SOMA_API_KEY": broken}
    for ran in (
        soma("--traceback", "list", environment=by_variable),
        soma("--traceback", "list", "--url", "http://127.0.0.1:1", "--api-key", broken),
    ):
        assert ran.code == 2
        assert "--api-key" in ran.err
        assert CANARY not in ran.out + ran.err


@pytest.mark.parametrize(
    "url", [f"http://somebody:{CANARY}@127.0.0.1:1", f"http://127.0.0.1:1/?key={CANARY}"]
)
def test_an_address_with_a_secret_in_it_is_refused_without_telling_it(url: str, soma: Soma) -> None:
    ran = soma("--traceback", "list", environment={"SOMA_URL": url, "SOMA_API_KEY": "key"})

    assert ran.code == 2
    assert CANARY not in ran.out + ran.err


@pytest.mark.parametrize(
    "command",
    [
        ["list"],
        ["store", "tea"],
        ["schemas", "check"],
        ["migrate"],
        ["keys", "list"],
        ["dlq", "list"],
        ["verify"],
        *(["config", "show", process] for process in Process),
    ],
    ids=" ".join,
)
def test_what_meets_nobody_tells_no_secret(command: list[str], soma: Soma) -> None:
    environment = {
        **BESIDE,
        **BY_PASSWORD,
        # A registry is logged in to in one way.
        **USER_OF_THE_REGISTRY,
        **{name: holding(name) for name in EVERY_SECRET if name != "SOMA_REGISTRY__TOKEN"},
        "SOMA_URL": "http://127.0.0.1:1",
        "SOMA_API_KEY": CANARY,
    }

    ran = soma("--traceback", *command, environment=environment)

    assert ran.out + ran.err
    assert CANARY not in ran.out + ran.err
