"""Each runbook, walked while a stack is in the state that it is about."""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import psutil
import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from conftest import Counting
from dead_letter_makers import Raw, RawLog, handover_settings
from lost_rows import lose_a_row
from pages import Step, shows, steps
from soma_client.client_file import read_client_file
from soma_command import Ran, Soma
from soma_schemas.encryption.master_keys import new_master_key
from soma_schemas.settings import PublishingSettings
from soma_schemas.topic_admin import open_admin
from soma_schemas.topics import MEMORY_EXPIRED
from soma_up import Up, soma_up
from waiting import eventually_now

# Ten pages of commands, several of which wait for a part that hangs: minutes.
pytestmark = pytest.mark.long

RUNBOOKS = Path(__file__).parents[3] / "docs/runbooks"
# The rules say STALL after so long instead of after a minute.
QUICK = {
    "SOMA_LAG__INTERVAL": "1",
    "SOMA_LAG__WINDOW": "6",
    # A worker that stands still stays a member for as long as a page is walked.
    "SOMA_DELIVERY__SESSION_TIMEOUT": "600",
}

LOST = "If it is lost for good"

Typing = Callable[[str], Ran]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """One stack for all pages."""
    with soma_up(tmp_path_factory.mktemp("runbooks") / "home", QUICK) as running:
        yield running


@pytest.fixture
def soma(up: Up, capfd: pytest.CaptureFixture[str]) -> Soma:
    """`soma` as somebody types it beside the stack."""
    return Soma(up.home, capfd)


@pytest.fixture
def typed(up: Up, soma: Soma, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counting: Counting) -> Typing:
    """What a command left behind, in a folder of its own; each page has a test, which asks for it."""
    monkeypatch.chdir(tmp_path)
    counting("runbooks walked on a stack", 1)

    def run(command: str) -> Ran:
        words = shlex.split(command)
        if words[0] == "soma":
            return soma(*words[1:])
        ran = subprocess.run(
            ["bash", "-e", "-c", command],
            env=os.environ | {"SOMA_HOME": str(up.home)},
            capture_output=True,
            text=True,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    return run


@pytest.fixture
def publishing(up: Up) -> PublishingSettings:
    """Where the stack's log is."""
    local = read_client_file(up.home)
    assert local is not None
    return handover_settings(local.environment)


def section(page: str, heading: str) -> list[Step]:
    """What is typed below a heading."""
    text = (RUNBOOKS / f"{page}.md").read_text(encoding="utf-8")
    return steps(re.split(r"\n##+ ", text.partition(f"## {heading}\n")[2])[0])


def sections(page: str) -> tuple[list[Step], list[Step]]:
    """What is typed while it lasts, and what shows that it is over."""
    return section(page, "What to do"), section(page, "It is over when")


def missing(step: Step, ran: Ran) -> list[str]:
    return [line for line in step.seen if not shows(line, ran.out.splitlines())]


def walk(blocks: Sequence[Step], typed: Typing, *, all_is_well: bool) -> None:
    """Type each block until it shows what the page says, and, where all is well again, ends with 0."""
    assert blocks
    for step in blocks:
        command = step.text
        if step.code is not None:
            listed = typed(f"soma dlq list --code {step.code} --limit 1")
            command = command.replace("ID", listed.out.splitlines()[1].split()[0])
        ran = eventually_now(
            lambda command=command: typed(command),  # type: ignore[misc]  # mypy infers no default
            lambda ran, step=step: not missing(step, ran) and (ran.code == 0 or not all_is_well),  # type: ignore[misc]
            seconds=60,
        )
        assert ran.code in {0, 1}, (command, ran)


@contextmanager
def frozen(up: Up, part: str) -> Iterator[None]:
    """Let a part hang, with all its processes, until the block ends."""
    pid = up.pid(part)
    assert pid is not None
    process = psutil.Process(pid)
    processes = [process, *process.children(recursive=True)]
    for each in processes:
        each.suspend()
    try:
        yield
    finally:
        for each in processes:
            each.resume()


def written(soma: Soma, count: int) -> None:
    for number in range(count):
        ran = soma("store", f"note {number}", "-n", f"runbooks/{uuid4().hex}")
        assert ran.code == 0, ran.err


def walked(page: str, typed: Typing) -> None:
    during, after = sections(page)
    walk(during, typed, all_is_well=False)
    walk(after, typed, all_is_well=True)


@pytest.mark.parametrize(
    ("page", "part"),
    [
        ("database-failover", "postgres"),
        ("broker-outage", "kafka"),
        ("registry-away", "registry"),
    ],
)
def test_a_part_that_does_not_answer(page: str, part: str, up: Up, typed: Typing) -> None:
    during, after = sections(page)

    with frozen(up, part):
        walk(during, typed, all_is_well=False)
    walk(after, typed, all_is_well=True)


@pytest.mark.parametrize("page", ["consumer-stuck", "lag-growing"])
def test_a_worker_that_stands_still(page: str, up: Up, soma: Soma, typed: Typing) -> None:
    during, after = sections(page)

    with frozen(up, "worker"):
        written(soma, 10)
        walk(during, typed, all_is_well=False)
    walk(after, typed, all_is_well=True)


def test_a_sweeper_that_stands_still(up: Up, typed: Typing) -> None:
    during, after = sections("sweeper-behind")

    with frozen(up, "retention"):
        walk(during, typed, all_is_well=False)
    walk(after, typed, all_is_well=True)


def test_a_burst_of_dead_letters(typed: Typing, publishing: PublishingSettings) -> None:
    RawLog(publishing).send([Raw(b"local/nobody", b"plain text") for _ in range(40)])

    walked("dead-letter-flood", typed)


def test_an_index_that_is_made_anew(soma: Soma, typed: Typing) -> None:
    written(soma, 3)

    walked("qdrant-rebuild", typed)


def test_an_api_that_is_busy(typed: Typing, up: Up) -> None:
    busy = subprocess.Popen(
        ["bash", "-c", "while curl --silent --output /dev/null $0/readyz; do :; done", up.printed["url"]]
    )
    try:
        during, after = sections("high-latency")
        walk(during, typed, all_is_well=False)
    finally:
        busy.kill()
        busy.wait()
    walk(after, typed, all_is_well=True)


def test_a_disk_that_is_looked_at(typed: Typing) -> None:
    walked("disk-full", typed)


def test_a_row_that_is_lost(soma: Soma, typed: Typing, up: Up) -> None:
    stored = soma("store", "A row to lose.", "-n", "runbooks/lost", "--wait", "30")
    assert stored.code == 0, stored.err
    lose_a_row(up.home, "runbooks/lost")

    walked("drift-found", typed)


def test_another_version_that_is_to_be_run(typed: Typing, publishing: PublishingSettings) -> None:
    name = MEMORY_EXPIRED.full_name(publishing.topics)
    entry = ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET)
    admin = open_admin(publishing.kafka)
    for change in admin.incremental_alter_configs(
        [ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])]
    ).values():
        change.result(30)
    assert typed("soma topics check").code == 1

    walked("upgrade-and-rollback", typed)

    assert typed("soma topics check").code == 0


def test_an_erasure_that_waits(up: Up, soma: Soma, typed: Typing) -> None:
    during, after = sections("erasure-overdue")

    with frozen(up, "worker"):
        written(soma, 1)
        assert soma("erase", "subject", "somebody", "--yes", "--wait", "0").code == 0
        walk(during, typed, all_is_well=False)
    walk(after, typed, all_is_well=True)


def test_a_master_key_that_did_not_come_to_every_host(up: Up, soma: Soma, typed: Typing) -> None:
    assert soma("store", "Ada drinks tea.", "-n", "runbooks/sealed", "--subject", "ada").code == 0
    file = up.home / "secrets" / "master-key"
    file.write_text(new_master_key() + file.read_text(encoding="ascii"), encoding="ascii")

    walked("master-key", typed)


def test_a_master_key_that_is_lost_for_good(up: Up, soma: Soma, typed: Typing) -> None:
    storing = ("store", "Bob drinks milk.", "-n", "runbooks/sealed", "--subject", "bob", "--wait", "60")
    assert soma(*storing).code == 0
    (up.home / "secrets" / "master-key").write_text(new_master_key(), encoding="ascii")
    status = json.loads(soma("encryption", "status", "--json").out)
    (lost,) = [each["master_key_id"] for each in status["master_keys"] if not each["in_file"]]

    during = [
        replace(step, text=step.text.replace(" ID ", f" {lost} ")) for step in section("master-key", LOST)
    ]
    walk(during, typed, all_is_well=True)
    walk(section("master-key", "It is over when"), typed, all_is_well=True)

    assert soma(*storing).code == 0
    left = json.loads(soma("encryption", "status", "--json").out)
    assert [(each["in_file"], each["data_keys"]) for each in left["master_keys"]] == [(True, 1)]
    assert soma("encryption", "retire-master-key", lost, "--yes").code == 2


def test_a_backup_that_is_old(typed: Typing) -> None:
    walked("backup-old", typed)


def test_certificates_that_are_in_order(typed: Typing) -> None:
    walked("certificates-and-secrets", typed)


def test_every_page_is_walked() -> None:
    walked_pages = {
        "database-failover", "broker-outage", "registry-away", "consumer-stuck", "lag-growing",
        "dead-letter-flood", "qdrant-rebuild", "high-latency", "disk-full", "drift-found",
        "upgrade-and-rollback", "erasure-overdue", "sweeper-behind", "backup-old", "master-key",
        "certificates-and-secrets",
        "restore",  # in test_lost_tables.py, with a stack of its own
    }  # fmt: skip

    assert {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"} == walked_pages
