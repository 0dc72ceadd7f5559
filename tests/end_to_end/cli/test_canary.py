"""A marked memory goes into every place that holds content; after its erasure all bytes are searched."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from builders import linked, stored
from dead_letter_makers import Raw, RawLog, handover_settings
from disk_search import files_with
from soma_cli.settings import KNOWN, OperatorSettings
from soma_client.client_file import read_client_file
from soma_command import Ran, Soma
from soma_schemas.configuration import load
from soma_schemas.settings import PublishingSettings
from soma_schemas.topic_admin import open_admin
from soma_up import Up, soma_up
from waiting import eventually_now

# Brokers look for old segments every five minutes.
pytestmark = pytest.mark.long

MARK = "canary-7f3a9c51"
# Where a file lies, as the receipt calls it.
PLACES = {
    "kafka/1/data/memory.events-": "memory.events",
    "kafka/1/data/memory.events.dlq-": "memory.events.dlq",
    "kafka/1/data/memory.expired-": "memory.expired",
    "kafka/1/data/memory.expiring-": "memory.expiring",
    "kafka/1/data/memory.erasures-": "memory.erasures",
    "kafka/1/data/memory.keys-": "memory.keys",
    "exported.jsonl": "backups and exports",
    "postgres/": "files of PostgreSQL and of the vector index",
    "vectors/": "files of PostgreSQL and of the vector index",
}


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """A stack of its own, whose disk is searched."""
    with soma_up(tmp_path / "home") as running:
        yield running


@pytest.fixture
def soma(up: Up, capfd: pytest.CaptureFixture[str]) -> Soma:
    """`soma` as somebody types it beside the stack."""
    return Soma(up.home, capfd)


def place_of(path: Path) -> str:
    """What the receipt calls the place of a file; the path itself where it knows none."""
    return next((name for prefix, name in PLACES.items() if str(path).startswith(prefix)), str(path))


def found(home: Path, word: str | bytes = MARK) -> set[str]:
    return {place_of(path) for path in files_with(home, word)}


def wrapped_key(up: Up) -> bytes:
    """What the log and the tables have of the subject's data key."""
    local = read_client_file(up.home)
    assert local is not None
    settings = load(OperatorSettings, environment=local.environment, known=KNOWN).settings
    with psycopg.connect(settings.postgres.conninfo()) as connection:
        [(wrapped,)] = connection.execute("SELECT wrapped FROM data_keys WHERE subject = %s", [MARK])
    return bytes(wrapped)


def done(ran: Ran) -> Ran:
    assert ran.code == 0, ran
    return ran


def marked(soma: Soma, *more: str) -> str:
    stored = done(
        soma("store", f"Said by {MARK}.", "-n", "birds", "--subject", MARK, "--tag", MARK, "--json", *more)
    )
    return str(json.loads(stored.out)["memory_id"])


def publishing(up: Up) -> PublishingSettings:
    local = read_client_file(up.home)
    assert local is not None
    return handover_settings(local.environment)


def test_what_remains_is_what_the_receipt_lists_and_goes_when_its_time_has_come(
    up: Up, soma: Soma, tmp_path: Path
) -> None:
    memory, ended = marked(soma, "--key", "a"), marked(soma, "--key", "b")
    done(soma("delete", ended))
    assert "memory.events" not in found(up.home)  # what is about a subject is encrypted there
    done(soma("retention", "set", "1s", "-n", "ends", "--archive", "--yes"))
    marked(soma, "-n", "ends", "--key", "c")
    log, at_a = RawLog(publishing(up)), stored(tenant="local", namespace="birds", memory_id=UUID(memory))
    other = json.loads(done(soma("store", "Another.", "-n", "birds", "--json")).out)["memory_id"]
    log.send([log.an_event(linked(at_a, UUID(other), MARK))])
    done(soma("export", "-o", str(up.home / "exported.jsonl"), "-n", "birds"))
    key = wrapped_key(up)
    eventually_now(lambda: found(up.home), lambda places: "memory.expired" in places, seconds=60)
    value = json.dumps({"namespace": "birds", "subject": MARK, "text": MARK}).encode()
    log.send([Raw(f"local/{memory}".encode(), value)])
    eventually_now(lambda: soma("dlq", "list", "--json").out, lambda out: memory in out, seconds=60)
    before, keys_before = found(up.home), found(up.home, key)
    assert "memory.keys" in keys_before
    assert "memory.keys" not in before  # nor does it say whose they are

    done(soma("erase", "subject", MARK, "--yes", "--receipt", str(tmp_path / "receipt.json")))

    receipt = json.loads((tmp_path / "receipt.json").read_text())
    assert soma("dlq", "list", "--json").out.count(memory) == 0
    after = found(up.home)
    listed = {each["where"] for each in receipt["remaining_copies"]}
    assert after <= listed, after - listed
    assert MARK not in (tmp_path / "receipt.json").read_text()

    assert found(up.home, key) <= listed
    topics = [*(name for name in sorted(after) if name.startswith("memory.")), "memory.keys"]
    admin = open_admin(publishing(up).kafka)
    short = dict.fromkeys(
        ("retention.ms", "segment.ms", "file.delete.delay.ms", "max.compaction.lag.ms"), "1000"
    )
    resources = [
        ConfigResource(
            ResourceType.TOPIC,
            topic,
            incremental_configs=[
                ConfigEntry(name, to, incremental_operation=AlterConfigOpType.SET)
                for name, to in short.items()
            ],
        )
        for topic in topics
        if topic != "memory.erasures"
    ]
    for change in admin.incremental_alter_configs(resources).values():
        change.result(30)
    late = eventually_now(
        lambda: found(up.home),
        lambda places: (
            not any(place.startswith("memory.e") and place != "memory.erasures" for place in places)
        ),
        seconds=480,
    )

    keys_late = eventually_now(
        lambda: found(up.home, key), lambda places: "memory.keys" not in places, seconds=240
    )

    sys.stderr.write("\n| place | before | after | when its time has come |\n|-|-|-|-|\n")
    for place in sorted(before | after | listed):
        seen = (before | keys_before, after | (keys_before & {"memory.keys"}), late | keys_late)
        row = (place, *("found" if place in each else "" for each in seen))
        sys.stderr.write("| " + " | ".join(row) + " |\n")
