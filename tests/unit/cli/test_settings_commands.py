"""`soma config` and the pages of the reference: every setting and every command, as they are."""

import json
from pathlib import Path

import pytest

from soma_api.problems import ProblemCode
from soma_cli.http_reference import http_page
from soma_cli.reference import command_page, metrics_page, problems_page, roles_page, settings_page
from soma_cli.settings import PROCESSES, EmbeddedApiSettings, Process
from soma_command import Soma
from soma_schemas.configuration import describe
from soma_schemas.violations import ViolationCode
from soma_streams.settings import VectorWorkerSettings

_REFERENCE = Path(__file__).parents[3] / "docs" / "reference"


def test_show_tells_each_value_and_where_it_comes_from(soma: Soma) -> None:
    ran = soma(
        "config", "show", "api", "--json",
        environment={"SOMA_API__PORT": "8500", "SOMA_POSTGRES__PASSWORD": "hush"},
    )  # fmt: skip

    assert ran.code == 0
    settings = {each["name"]: each for each in json.loads(ran.out)["settings"]}
    assert (settings["SOMA_API__PORT"]["value"], settings["SOMA_API__PORT"]["origin"]) == (
        8500,
        "environment",
    )
    assert settings["SOMA_API__HOST"]["origin"] == "default"
    assert "hush" not in ran.out


def test_check_names_the_process_and_the_variable(soma: Soma) -> None:
    ran = soma("config", "check", "--json", environment={"SOMA_API__PORT": "many"})

    assert ran.code == 1
    errors = {each["process"]: each["error"] for each in json.loads(ran.out)["processes"]}
    assert errors["postgres-worker"] is None
    assert "SOMA_API__PORT" in errors["api"]
    assert ran.err.startswith("error: the settings of api, embedded-api are wrong\n")


def test_check_passes_what_is_right(soma: Soma) -> None:
    ran = soma(
        "config", "check", "api", "operator", environment={"SOMA_KAFKA__BOOTSTRAP_SERVERS": "kafka:9092"}
    )

    assert (ran.code, ran.out.split(), ran.err) == (0, ["api", "ok", "operator", "ok"], "")


_URLS = ("SOMA_VECTORS__URL", "SOMA_REGISTRY__URL", "SOMA_EMBEDDER__URL")
_TIMEOUTS = (
    "SOMA_VECTORS__TIMEOUT",
    "SOMA_REGISTRY__TIMEOUT",
    "SOMA_EMBEDDER__TIMEOUT",
    "SOMA_POSTGRES__CONNECT_TIMEOUT",
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, value)
            for name in _URLS
            for value in (
                "qdrant:6333",
                "",
                "http://",
                "ftp://host",
                "http://host:0",
                "http://host:70000",
                "http://host:port",
                "http://user:hush@host",
                "http://host/?a=b",
                "http://ho st",
            )
        ),
        *((name, value) for name in _TIMEOUTS for value in ("0", "-1", "PT0S")),
        ("SOMA_VECTORS__URL", "http://host:6334/path"),
        *(
            ("SOMA_KAFKA__BOOTSTRAP_SERVERS", value)
            for value in ("", "kafka", "kafka:", ":9092", "kafka:many", "http://kafka:9092", "kafka:9092,")
        ),
    ],
)
def test_an_address_or_a_wait_that_could_never_work_is_refused(soma: Soma, name: str, value: str) -> None:
    ran = soma("config", "check", "api", environment={name: value})

    assert ran.code == 1
    assert name in ran.out
    assert "hush" not in ran.out + ran.err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SOMA_VECTORS__URL", "https://qdrant.example"),
        ("SOMA_VECTORS__URL", "http://[::1]:6334"),
        ("SOMA_REGISTRY__URL", "http://registry:8080/apis/ccompat/v7"),
        ("SOMA_VECTORS__TIMEOUT", "0.5"),
        ("SOMA_KAFKA__BOOTSTRAP_SERVERS", "a:9092, b:9093,[::1]:9094"),
    ],
)
def test_an_address_or_a_wait_that_works_passes(soma: Soma, name: str, value: str) -> None:
    assert soma("config", "check", "api", environment={name: value}).code == 0


def test_an_unknown_variable_is_named(soma: Soma) -> None:
    ran = soma("config", "show", "api", environment={"SOMA_KAFKAA__BOOTSTRAP_SERVERS": "kafka:9092"})

    assert ran.code == 1
    assert "SOMA_KAFKAA__BOOTSTRAP_SERVERS" in ran.err
    assert "hint: " in ran.err


def test_the_page_of_settings_holds_every_setting_of_every_process() -> None:
    page = settings_page()

    missing = {
        setting.name
        for process in PROCESSES.values()
        for setting in describe(process)
        if f"| `{setting.name}` |" not in page or setting.description not in page
    }
    assert missing == set()


def test_a_default_that_differs_between_processes_is_told_for_each() -> None:
    assert "`soma_worker` for `postgres-worker`" in settings_page()
    assert "`soma_api` for `api`" in settings_page()


@pytest.mark.parametrize(
    ("file", "command", "page"),
    [
        ("settings.md", "soma config docs", settings_page),
        ("cli.md", "soma config docs commands", command_page),
        ("problems.md", "soma config docs problems", problems_page),
        ("metrics.md", "soma config docs metrics", metrics_page),
        ("roles.md", "soma config docs roles", roles_page),
        ("http-api.md", "soma config docs http", http_page),
    ],
)
def test_the_generated_pages_are_current(file: str, command: str, page: object) -> None:
    assert callable(page)
    assert (_REFERENCE / file).read_text(encoding="utf-8") == page(), (
        f"run `{command} > docs/reference/{file}`"
    )


def test_docs_prints_the_pages(soma: Soma) -> None:
    assert soma("config", "docs").out == settings_page()
    assert soma("config", "docs", "commands").out == command_page()
    assert soma("config", "docs", "problems").out == problems_page()
    assert soma("config", "docs", "metrics").out == metrics_page()
    assert soma("config", "docs", "roles").out == roles_page()
    assert soma("config", "docs", "http").out == http_page()


def test_the_page_of_problems_holds_every_code() -> None:
    page = problems_page()

    assert [code for code in (*ProblemCode, *ViolationCode) if f"| `{code}` |" not in page] == []


def test_the_vector_worker_within_the_api_has_a_login_of_its_own() -> None:
    settings = EmbeddedApiSettings()

    worker = settings.vector_worker()

    assert (settings.postgres.user, worker.postgres.user) == ("soma_api", "soma_worker")
    assert worker == VectorWorkerSettings()


def test_every_process_says_how_it_is_started() -> None:
    assert all(f"| `{process}` | `soma" in settings_page() for process in Process)
