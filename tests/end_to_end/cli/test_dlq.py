"""`soma dlq` beside a stack that `soma up` started, and what it says when something is wrong."""

import json
import signal
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest

from builders import stored
from dead_letter_makers import Raw, RawLog, handover_settings
from disk_search import files_with
from soma_cli.settings import KNOWN, OperatorSettings
from soma_client.client_file import read_client_file
from soma_command import Ran, Soma
from soma_schemas.configuration import load
from soma_schemas.encryption.data_keys import open_data_keys
from soma_schemas.encryption.sealing import EventName, KeyOwner, seal
from soma_schemas.events import MemoryStored
from soma_schemas.versions import Position
from soma_up import Up
from waiting import eventually_now

TENANT = "local"


@pytest.fixture
def log(stack: Up) -> RawLog:
    """The stack's log, written byte by byte."""
    client_file = read_client_file(stack.home)
    assert client_file is not None
    return RawLog(handover_settings(client_file.environment))


def dead_letters(ran: Ran) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ran.out)["dead_letters"]
    return found


def listed(at_home: Soma, record: Raw, count: int) -> list[dict[str, Any]]:
    """The open dead letters about a record's memory, once there are so many."""
    assert record.key is not None
    memory = record.key.decode()
    ran = eventually_now(
        lambda: at_home("dlq", "list", "--memory", memory, "--json"),
        lambda ran: len(dead_letters(ran)) == count,
        seconds=60,
    )
    return dead_letters(ran)


def test_a_dead_letter_is_found_shown_replayed_and_discarded_without_any_configuration(
    at_home: Soma, log: RawLog
) -> None:
    record = log.poison("out_of_range", 1, TENANT)
    log.send([record])
    first = listed(at_home, record, 2)
    ids = [dead_letter["id"] for dead_letter in first]

    shown = json.loads(at_home("dlq", "show", ids[0][:10], "--json").out)
    planned = at_home("dlq", "replay", ids[0], "--json")
    replayed = at_home("dlq", "replay", ids[0], "--yes", "--json")
    again = listed(at_home, record, 2)
    at_once = at_home("dlq", "replay", ids[0], "--yes")
    discarded = at_home("dlq", "discard", *(dead_letter["id"] for dead_letter in again), "--yes", "--json")
    audit = json.loads(at_home("dlq", "audit", ids[0], "--json").out)["deeds"]

    assert shown["event"]["text"] == "poison out_of_range 1"
    assert (shown["record"], shown["dead_letter"]["code"]) == ("MemoryStored", "out_of_range")
    assert f"soma dlq replay {ids[0][:8]} --edit" in shown["remedy"]
    # The other sink's dead letter is about the same event, which is published once, for both.
    plan = json.loads(planned.out)
    assert (plan["done"], plan["events"], plan["dead_letters"]) == (False, 1, 2)
    done = json.loads(replayed.out)
    assert (replayed.code, done["published"], done["dead_letters"]) == (1, 1, 2)
    assert (done["dead_lettered_again"], done["events"][0]["records"]) == (1, "dead_lettered")
    assert "1 event failed again, with a new dead letter each" in replayed.err
    assert {dead_letter["id"] for dead_letter in again}.isdisjoint(ids)
    assert at_once.code == 2
    assert "is replayed already" in at_once.err
    assert json.loads(discarded.out)["dead_letters"] == 2
    assert listed(at_home, record, 0) == []
    assert [deed["action"] for deed in audit] == ["dead_letter.replay", "dead_letter.show"]


def test_an_export_holds_every_byte_of_the_original(at_home: Soma, log: RawLog, tmp_path: Path) -> None:
    poison = log.poison("avro", 1, TENANT)
    record = Raw(poison.key, poison.value, [("traceparent", b"00-1"), ("empty", None)])
    log.send([record])
    found = listed(at_home, record, 2)
    file = tmp_path / "letters.jsonl"

    ran = at_home("dlq", "export", found[0]["id"], "--output", str(file), "--json")

    (line,) = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    assert json.loads(ran.out)["dead_letters"] == 1
    assert file.stat().st_mode & 0o777 == 0o600
    assert (line["dead_letter"]["id"], line["missing"]) == (found[0]["id"], None)
    assert [line["key"], line["value"]] == [encoded(record.key), encoded(record.value)]
    assert line["headers"] == [["traceparent", encoded(b"00-1")], ["empty", None]]


def test_what_a_dead_letter_could_not_keep_is_read_from_the_log_while_the_log_has_it(
    at_home: Soma, log: RawLog, tmp_path: Path
) -> None:
    event = stored(tenant=TENANT, key="too large for a dead letter", text="x")
    record = Raw(event.log_key(), bytes(9 * 1024 * 1024), [("traceparent", b"00-1")])
    # Nine megabytes are more than a worker reads; in the log they are a kilobyte.
    large = {"compression.type": "zstd", "message.max.bytes": 100_000_000}
    (position,) = log.send([record], config=large)
    found = listed(at_home, record, 2)
    ids = [each["id"] for each in found]

    def exported(dead_letter: str) -> dict[str, Any]:
        file = tmp_path / "letters.jsonl"
        at_home("dlq", "export", dead_letter, "--output", str(file))
        line: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return line

    shown = json.loads(at_home("dlq", "show", ids[0], "--json").out)
    kept = exported(ids[0])
    replayed = at_home("dlq", "replay", ids[0], "--yes", "--json")
    again = listed(at_home, record, 2)
    dead_letter = again[0]["id"]
    log.forget(Position(position.partition, again[0]["log_offset"]))
    gone = json.loads(at_home("dlq", "show", dead_letter, "--json").out)
    gone_in_words = at_home("dlq", "show", dead_letter).out
    gone_line = exported(dead_letter)
    refused = at_home("dlq", "replay", dead_letter, "--yes", "--json")
    not_edited = at_home("dlq", "replay", dead_letter, "--edit")

    assert {each["code"] for each in found} == {"unreadable_record"}
    assert all("in the log, while it is kept there" in each["message"] for each in found)
    assert (shown["missing"], shown["key"]) == (None, event.log_key().decode())
    assert shown["value"] == kept["value"] == encoded(record.value)
    assert kept["headers"] == [["traceparent", encoded(b"00-1")]]
    # It was published whole: the sinks, which do not read so much, gave it up once more.
    done = json.loads(replayed.out)
    assert (done["published"], done["dead_letters"], done["dead_lettered_again"]) == (1, 2, 1)
    assert {each["id"] for each in again}.isdisjoint(ids)
    assert (gone["missing"], gone_line["missing"]) == ("not_in_log", "not_in_log")
    assert (gone["value"], gone_line["value"]) == (None, None)
    assert "the dead letter could not keep it, and the log no longer has it" in gone_in_words
    assert (refused.code, json.loads(refused.out)["unpublished"]) == (1, {"not_in_log": 1})
    assert not_edited.code == 1
    assert "the log no longer has it" in not_edited.err
    assert len(listed(at_home, record, 2)) == 2


def encoded(value: bytes | None) -> str | None:

    return None if value is None else b64encode(value).decode()


def edit(at_home: Soma, tmp_path: Path, dead_letter: str, change: Callable[[dict[str, Any]], None]) -> Ran:
    """Edit a dead letter's event with an editor that saves what a change makes of it."""
    draft, saved = tmp_path / "draft.json", tmp_path / "saved.json"
    at_home("dlq", "replay", dead_letter, "--edit", environment={"EDITOR": f"cp -t {tmp_path}"})
    (tmp_path / "event.json").rename(draft)
    fields = json.loads(draft.read_text(encoding="utf-8"))
    change(fields)
    saved.write_text(json.dumps(fields), encoding="utf-8")
    editor = f"{sys.executable} -c 'import shutil,sys; shutil.copy(sys.argv[1], sys.argv[2])' {saved}"
    return at_home("dlq", "replay", dead_letter, "--edit", "--yes", "--json", environment={"EDITOR": editor})


def test_an_event_that_was_mended_in_the_editor_is_stored_as_a_new_one(
    at_home: Soma, log: RawLog, tmp_path: Path
) -> None:
    event = stored(tenant=TENANT, key="mended in the editor", text="too important")
    record = Raw(event.log_key(), log.encoded(event, importance=7.0))
    log.send([record])
    (dead_letter, _) = listed(at_home, record, 2)

    ran = edit(at_home, tmp_path, dead_letter["id"], lambda fields: fields.update(importance=0.7))
    shown = json.loads(at_home("get", str(event.memory_id), "--json").out)

    done = json.loads(ran.out)
    assert (ran.code, done["done"], done["records"], done["vectors"]) == (0, True, "applied", "settled")
    assert UUID(done["event_id"]) != event.event_id
    assert (shown["importance"], shown["text"]) == (0.7, "too important")
    assert listed(at_home, record, 0) == []


def sealed(stack: Up, log: RawLog, event: MemoryStored, **wrong: Any) -> Raw:
    """An event that is encrypted with the key of its subject, as the log has it."""
    client_file = read_client_file(stack.home)
    assert client_file is not None
    settings = load(OperatorSettings, environment=client_file.environment, known=KNOWN).settings
    owner = KeyOwner(event.subject, None)
    with open_data_keys(settings.postgres, settings.encryption) as keys:
        key = keys.of(event.tenant, [owner], lambda _: None)[owner]
    name = EventName(event.tenant, event.memory_id, event.event_id)
    return Raw(event.log_key(), log.encoded(seal(log.encoded(event, **wrong), key, name)))


def test_an_encrypted_dead_letter_is_shown_and_mended_and_stays_encrypted(
    at_home: Soma, log: RawLog, stack: Up, tmp_path: Path
) -> None:
    event = stored(tenant=TENANT, key="encrypted", text="what grace said", subject="grace-of-dlq")
    record = sealed(stack, log, event, importance=7.0)
    log.send([record])
    (dead_letter, _) = listed(at_home, record, 2)

    shown = json.loads(at_home("dlq", "show", dead_letter["id"], "--json").out)
    ran = edit(at_home, tmp_path, dead_letter["id"], lambda fields: fields.update(importance=0.7))
    memory = json.loads(at_home("get", str(event.memory_id), "--json").out)

    assert shown["event"]["text"] == "what grace said"
    assert shown["value"] == encoded(record.value)
    assert (ran.code, json.loads(ran.out)["records"]) == (0, "applied"), ran
    assert (memory["importance"], memory["text"]) == (0.7, "what grace said")
    in_the_log = [str(path) for path in files_with(stack.home, "what grace said") if "kafka" in str(path)]
    assert in_the_log == []


def test_an_event_that_is_still_wrong_is_not_published(at_home: Soma, log: RawLog, tmp_path: Path) -> None:
    record = log.poison("out_of_range", 2, TENANT)
    log.send([record])
    (dead_letter, _) = listed(at_home, record, 2)

    ran = edit(at_home, tmp_path, dead_letter["id"], lambda fields: fields.update(importance=9, text=""))

    assert (ran.code, ran.out) == (1, "")
    assert "error: 2 things are wrong with the input" in ran.err
    assert "/importance" in ran.err
    listed(at_home, record, 2)


def test_a_replay_that_was_interrupted_says_so_and_goes_on(at_home: Soma, log: RawLog, stack: Up) -> None:
    event = stored(tenant=TENANT, key="interrupted", text="x")
    record = Raw(event.log_key(), b"no event")
    log.send([record] * 5)
    listed(at_home, record, 10)
    memory = event.log_key().decode()
    command = ["dlq", "replay", "--memory", memory, "--yes", "--rate", "0.05", "--wait", "0"]

    with subprocess.Popen(
        [sys.executable, "-m", "soma_cli.main", *command],
        env={"SOMA_HOME": str(stack.home), "PATH": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        eventually_now(
            lambda: dead_letters(
                at_home("dlq", "list", "--memory", memory, "--status", "replayed", "--json")
            ),
            lambda seen: len(seen) >= 2,
            seconds=60,
        )
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)

    assert running.returncode == 130
    assert "the same command goes on with the rest" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("replay", "--yes"), "no dead letters are selected"),
        (("discard", "--yes"), "no dead letters are selected"),
        (("replay", "--edit"), "--edit takes one dead letter"),
        (("show", "nonsense"), "`nonsense` is not an id"),
        (("list", "--memory", "nonsense"), "`nonsense` names no memory"),
        (("list", "--memory", f"acme/{UUID(int=1)}", "--tenant", "other"), "names another tenant"),
        (("list", "--tenant", "Not A Tenant"), "a tenant is 1 to 63"),
        (("list", "--since", "soon"), "--since is not a time"),
        (("export", "--json"), "the lines go to standard output"),
    ],
)
def test_a_command_that_makes_no_sense_is_misuse(
    soma: Soma, operator: dict[str, str], arguments: tuple[str, ...], message: str
) -> None:
    ran = soma("dlq", *arguments, environment=operator)

    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


def test_a_dead_letter_that_is_not_there_is_said_in_words(soma: Soma, operator: dict[str, str]) -> None:
    ran = soma("dlq", "show", "0123", environment=operator)

    assert (ran.code, ran.out) == (1, "")
    assert "there is no dead letter whose id begins with 0123" in ran.err


def test_two_dead_letters_whose_ids_begin_alike_want_more_of_the_id(
    soma: Soma, operator: dict[str, str], owner_dsn: str
) -> None:
    with psycopg.connect(owner_dsn) as owner:
        for last in (1, 2):
            owner.execute(
                "INSERT INTO dead_letters (id, dlq_partition, dlq_offset, code, message)"
                " VALUES (%s, 0, 0, 'avro', '')",
                [UUID(int=0xABCD << 112 | last)],
            )

    ran = soma("dlq", "show", "abcd", environment=operator)

    assert ran.code == 2
    assert "several ids begin with abcd" in ran.err


def test_without_dead_letters_there_is_nothing_to_do(soma: Soma, operator: dict[str, str]) -> None:
    assert soma("dlq", "list", environment=operator).out == "no dead letters\n"
    assert soma("dlq", "discard", environment=operator).out == "no dead letters: there is nothing to do\n"
    assert soma("dlq", "audit", environment=operator).out == "nothing was done yet\n"


def test_a_database_that_is_away_is_said_in_words(soma: Soma, operator: dict[str, str]) -> None:
    ran = soma("dlq", "list", environment=operator | {"SOMA_POSTGRES__PORT": "1"})

    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("error: cannot log in to PostgreSQL")


def test_brokers_that_are_away_are_said_in_one_sentence(soma: Soma, operator: dict[str, str]) -> None:
    ran = soma("dlq", "replay", environment=operator | {"SOMA_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"})

    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("error: the brokers do not answer")
    assert len(ran.err.splitlines()) == 3
