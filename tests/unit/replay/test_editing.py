"""From what could be read of a dead letter to a new, valid event."""

import json
from typing import Any

import pytest

from builders import A_MOMENT, A_TENANT, WRITER_SCHEMAS, deleted, encoded, stored
from dead_letters import a_dead_letter
from soma_schemas.events import MemoryDeleted, MemoryEvent, MemoryStored
from soma_schemas.identity import memory_id_for_key
from soma_schemas.limits import Limits
from soma_schemas.violations import ContractError, ViolationCode
from soma_streams.replay.editing import DraftError, draft_of, event_of
from soma_streams.replay.rendering import Content, content_of

TEA = stored(key="tea", text="Tea at four.", payload='{"cups": 2}')
DEAD_LETTER = a_dead_letter(7, memory_id=TEA.memory_id)


def edited(value: bytes, **changes: Any) -> MemoryEvent:
    content = content_of(value, WRITER_SCHEMAS)
    draft = json.loads(draft_of(DEAD_LETTER, content)) | changes
    return event_of(json.dumps(draft), DEAD_LETTER, content, A_MOMENT, Limits())


def test_a_mended_event_is_what_it_was_but_for_the_change_and_its_id() -> None:
    event = edited(encoded(TEA.model_copy(update={"importance": 7.0})), importance=0.7)

    assert isinstance(event, MemoryStored)
    assert event.event_id != TEA.event_id
    assert event.model_copy(update={"event_id": TEA.event_id}) == TEA.model_copy(update={"importance": 0.7})


def test_the_id_of_the_event_is_not_in_the_draft() -> None:
    assert "event_id" not in draft_of(DEAD_LETTER, content_of(encoded(TEA), WRITER_SCHEMAS))


def test_a_key_that_was_changed_names_another_memory() -> None:
    event = edited(encoded(TEA), key="coffee")

    assert event.memory_id == memory_id_for_key(A_TENANT, TEA.namespace, "coffee")
    assert event.log_key() == f"{A_TENANT}/{event.memory_id}".encode()


def test_an_id_that_does_not_belong_to_the_key_is_mended() -> None:
    broken = TEA.model_copy(update={"memory_id": deleted(TEA).event_id})

    assert edited(encoded(broken), text="as it is").memory_id == TEA.memory_id


def test_every_kind_of_event_can_be_edited() -> None:
    event = edited(encoded(deleted(TEA)), actor="somebody else")

    assert isinstance(event, MemoryDeleted)
    assert event.actor == "somebody else"


def test_of_garbage_one_begins_with_the_memory_that_the_key_names() -> None:
    draft = json.loads(draft_of(DEAD_LETTER, content_of(b"garbage", {})))

    assert (draft["record"], draft["tenant"]) == ("MemoryStored", A_TENANT)
    assert draft["memory_id"] == str(TEA.memory_id)


def test_of_json_one_begins_with_what_it_says() -> None:
    value = json.dumps({"namespace": TEA.namespace, "key": "tea", "text": "Tea at four."}).encode()

    event = edited(value)

    assert isinstance(event, MemoryStored)
    assert (event.memory_id, event.text) == (TEA.memory_id, "Tea at four.")


def test_a_name_that_has_no_utf_8_is_refused_with_its_field() -> None:
    with pytest.raises(ContractError) as refused:
        edited(encoded(TEA), key="\ud800")

    assert [(each.path, each.code) for each in refused.value.violations] == [
        ("/key", ViolationCode.INVALID_CHARACTER)
    ]


def test_an_event_that_still_breaks_the_contract_is_refused_with_every_fault() -> None:
    with pytest.raises(ContractError) as refusal:
        edited(encoded(TEA), importance=7, text="")

    assert {each.code for each in refusal.value.violations} == {
        ViolationCode.OUT_OF_RANGE,
        ViolationCode.EMPTY,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON: line 1"),
        ("[]", "no JSON object"),
        ('{"tenant": "acme"}', "`record` is none of MemoryStored"),
        ('{"record": "ExpiredMemory", "tenant": "acme"}', "`record` is none of"),
        ('{"record": "MemoryDeleted", "tenant": "other"}', "belongs to tenant acme"),
        ('{"record": "MemoryDeleted"}', "belongs to tenant acme"),
    ],
)
def test_a_text_that_is_no_event_of_the_same_tenant_is_refused(text: str, message: str) -> None:
    with pytest.raises(DraftError, match=message):
        event_of(text, DEAD_LETTER, Content(), A_MOMENT, Limits())
