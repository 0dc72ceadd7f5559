"""The law of the sink: however a log is cut or delivered again, the tables hold what folding gives."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import deleted, linked, logged, patched, stored
from postgres_tables import (
    Ledger,
    a_dead_letter,
    accessed,
    as_stored,
    deliver,
    expired,
    history,
    living_links,
    memories,
    unlinked,
)
from soma_schemas.events import MemoryEvent, MemoryStored
from soma_schemas.outcomes import Outcome
from soma_schemas.versions import Position
from soma_streams.delivery.state import LoggedEvent
from soma_streams.sinks.postgres import PostgresSink

# Each example has a tenant and an epoch of its own, so that the rows of the others do not concern it.
_examples = count(1)
a_database = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

A_DEADLINE = datetime(2026, 5, 1, tzinfo=UTC)
ANOTHER_DEADLINE = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Log:
    """The events of one example."""

    tenant: str
    events: list[LoggedEvent]


@st.composite
def logs(draw: st.DrawFn) -> Log:
    example = next(_examples)
    tenant = f"t{example}"
    memories_of = {
        "key": stored(tenant=tenant, key="a"),
        "coordinate": stored(tenant=tenant, coordinate=[1.0, 2.0]),
        "nothing": stored(tenant=tenant),
    }
    events: list[MemoryEvent] = []
    for number in range(draw(st.integers(1, 14))):
        memory = memories_of[draw(st.sampled_from(sorted(memories_of)))]
        other = memories_of[draw(st.sampled_from(sorted(memories_of)))]
        versions = [(example << 40) + offset for offset in range(number)]
        event = draw(_events_of(memory, other, versions, events))
        named = isinstance(event, MemoryStored) and (event.key is not None or event.coordinate is not None)
        if not named and draw(st.integers(0, 4)) == 0:
            event = event.model_copy(update={"namespace": "elsewhere"})
        events.append(event)
    return Log(tenant, [logged(event, offset, epoch=example) for offset, event in enumerate(events)])


# Storing alone, which is offered without a read, comes most often.
_KINDS = [
    "store", "store", "store", "misplace", "patch", "cas", "delete", "expire", "access", "link", "repeat",
]  # fmt: skip


@st.composite
def _events_of(
    draw: st.DrawFn,
    memory: MemoryStored,
    other: MemoryStored,
    versions: Sequence[int],
    earlier: Sequence[MemoryEvent],
) -> MemoryEvent:
    number = len(versions)
    match draw(st.sampled_from(_KINDS)):
        case "patch":
            return patched(memory, payload=json.dumps({f"n{number}": number}), tags=[f"n{number}"])
        case "cas":
            expected = draw(st.sampled_from([0, *versions]))
            return patched(memory, text=f"cas {number}", expected_version=expected)
        case "delete":
            return deleted(memory)
        case "expire":
            if draw(st.booleans()):
                return expired(memory, draw(st.sampled_from([A_DEADLINE, ANOTHER_DEADLINE])))
            seen = logged(memory, draw(st.integers(0, number))).logged_at
            return expired(memory, ANOTHER_DEADLINE, updated_at=seen, archive=draw(st.booleans()))
        case "access":
            return accessed(memory, number + 1)
        case "link":
            if draw(st.booleans()):
                return linked(memory, other.memory_id, weight=float(number))
            return unlinked(memory, other.memory_id)
        case "misplace":
            # Whoever guesses the id of a key or a coordinate first keeps its owner not out.
            return stored(tenant=memory.tenant, namespace="elsewhere", memory_id=memory.memory_id)
        case "repeat" if earlier:
            return draw(st.sampled_from(earlier))
        case _:
            return MemoryStored.validated(
                memory.model_dump()
                | {
                    "event_id": stored().event_id,
                    "text": f"text {number}",
                    "expires_at": draw(st.sampled_from([A_DEADLINE, None])),
                }
            )


def holds(owner_dsn: str, tenant: str, ledger: Ledger) -> None:
    """Assert that the tables hold what the model does."""
    expected = {name: as_stored(state) for name, state in ledger.states.items()}
    assert memories(owner_dsn, tenant) == expected
    assert living_links(owner_dsn, tenant) == ledger.living_links()
    assert history(owner_dsn, tenant) == ledger.history


@a_database
@given(log=logs(), data=st.data())
async def test_any_batching_and_any_redelivery_give_the_rows_of_one_fold(
    sink: PostgresSink, owner_dsn: str, log: Log, data: st.DataObject
) -> None:
    ledger = Ledger()
    ledger.apply(log.events)

    done, rewinds = 0, 0
    while done < len(log.events):
        end = data.draw(st.integers(done + 1, len(log.events)), label="batch ends at")
        await deliver(sink, log.events[done:end])
        done = end
        if rewinds < 3 and data.draw(st.booleans(), label="rewind"):
            rewinds += 1
            done = data.draw(st.integers(0, done), label="to")

    holds(owner_dsn, log.tenant, ledger)


@a_database
@given(log=logs(), data=st.data())
async def test_dead_letters_that_are_replayed_late_give_the_rows_of_their_order_of_arrival(
    sink: PostgresSink, owner_dsn: str, log: Log, data: st.DataObject
) -> None:
    dead = [each for each in log.events if data.draw(st.booleans(), label="dead at first")]
    alive = [each for each in log.events if each not in dead]
    again = data.draw(st.permutations(dead + dead[:1]), label="replayed")
    replays = [
        replace(each, position=Position(0, len(log.events) + place)) for place, each in enumerate(again)
    ]
    ledger = Ledger(
        history={(0, each.version): (Outcome.DEAD_LETTERED, None) for each in dead},
    )
    ledger.apply([*alive, *replays])

    await deliver(sink, [], [a_dead_letter(each) for each in dead])
    for arrived in (alive, replays):
        cut = data.draw(st.integers(0, len(arrived)), label="cut")
        for batch in (arrived[:cut], arrived[cut:]):
            await deliver(sink, batch)

    holds(owner_dsn, log.tenant, ledger)


async def test_a_link_that_was_refused_before_its_memory_changed_hands_stays_refused_when_it_comes_again(
    sink: PostgresSink, owner_dsn: str
) -> None:
    memory = stored(tenant="handed-over", key="a")
    squatter = stored(tenant=memory.tenant, namespace="elsewhere", memory_id=memory.memory_id)
    link = linked(memory, stored(tenant=memory.tenant).memory_id, weight=1.0)
    events = [logged(event, offset) for offset, event in enumerate([squatter, link, memory])]
    ledger = Ledger()
    ledger.apply(events)

    await deliver(sink, events)
    await deliver(sink, events[1:])

    holds(owner_dsn, memory.tenant, ledger)
