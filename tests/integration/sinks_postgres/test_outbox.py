"""The last state of a memory that ends goes into the outbox with the end, once."""

from datetime import UTC, datetime
from typing import Any

import pytest

from builders import A_MOMENT, a_log, logged, patched, stored
from postgres_tables import accessed, deliver, expired, rows
from soma_schemas.events import ExpiredMemory
from soma_schemas.outcomes import Outcome
from soma_streams.sinks.postgres import PostgresSink

A_DEADLINE = datetime(2026, 5, 1, tzinfo=UTC)


def outbox(dsn: str) -> list[dict[str, Any]]:
    return rows(dsn, "SELECT tenant, memory_id, event_id, content FROM outbox ORDER BY id")


@pytest.mark.parametrize("batches", [1, 2, 4])
async def test_it_is_the_state_just_before_the_end_however_the_log_is_cut(
    sink: PostgresSink, owner_dsn: str, batches: int
) -> None:
    memory = stored(
        key="a", payload='{"big": 1e300, "n": 1}', tags=["x"], source="a file", expires_at=A_DEADLINE
    )
    changed = patched(memory, text="tea at five", importance=0.75)
    ended = expired(memory, A_DEADLINE, archive=True)
    log = a_log([memory, changed, accessed(memory), ended])
    size = len(log) // batches

    for start in range(0, len(log), size):
        await deliver(sink, log[start : start + size])

    (row,) = outbox(owner_dsn)
    assert (row["tenant"], row["memory_id"], row["event_id"]) == ("acme", memory.memory_id, ended.event_id)
    said = ExpiredMemory.validated(row["content"])
    assert said.model_dump() == {
        "event_id": ended.event_id,
        "tenant": "acme",
        "namespace": memory.namespace,
        "memory_id": memory.memory_id,
        "occurred_at": ended.occurred_at,
        "actor": ended.actor,
        "key": "a",
        "coordinate": None,
        "kind": memory.kind,
        "text": "tea at five",
        "payload": '{"n": 1, "big": 1e+300}' if batches > 1 else '{"big": 1e+300, "n": 1}',
        "tags": ["x"],
        "importance": 0.75,
        "subject": None,
        "source": "a file",
        "version": log[2].version,
        "created_at": log[0].logged_at,
        "updated_at": log[1].logged_at,
        "expires_at": A_DEADLINE,
    }


async def test_an_expiry_that_comes_again_queues_nothing_more(sink: PostgresSink, owner_dsn: str) -> None:
    memory = stored(key="a", expires_at=A_DEADLINE)
    first, ended = a_log([memory, expired(memory, A_DEADLINE, archive=True)])
    again = logged(ended.event, 2)
    await deliver(sink, [first, ended])

    for batch in ([first, ended], [ended], [again], [ended, again]):
        settled = await deliver(sink, batch)
        assert {each.outcome for each in settled} == {Outcome.SUPERSEDED}

    assert len(outbox(owner_dsn)) == 1


async def test_each_life_of_a_memory_has_its_last_state(sink: PostgresSink, owner_dsn: str) -> None:
    lives = [stored(key="a", text=text, expires_at=A_DEADLINE) for text in ("first", "second")]
    log = [each for memory in lives for each in (memory, expired(memory, A_DEADLINE, archive=True))]

    await deliver(sink, a_log(log))

    assert [row["content"]["text"] for row in outbox(owner_dsn)] == ["first", "second"]


@pytest.mark.parametrize("said", [{"archive": False}, {"archive": True, "updated_at": A_MOMENT}])
async def test_an_end_without_an_archive_and_one_that_is_void_queue_nothing(
    sink: PostgresSink, owner_dsn: str, said: dict[str, object]
) -> None:
    memory = stored(key="a", expires_at=A_DEADLINE)

    await deliver(sink, a_log([memory, expired(memory, A_DEADLINE, **said)]))

    assert outbox(owner_dsn) == []
