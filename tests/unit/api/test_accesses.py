"""How accesses of memories are counted and told to the log."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import pytest

from builders import A_MOMENT, A_TENANT
from fakes import FakeClock
from soma_api import accesses as module
from soma_api.accesses import Accesses
from soma_api.metrics import ApiMetrics
from soma_api.principals import Principal
from soma_api.problems import LogUnavailableError
from soma_api.queries.memory_queries import Memory
from soma_api.roles import Role
from soma_schemas.events import MemoryAccessed
from soma_schemas.fields import Kind
from soma_schemas.limits import DEFAULT_LIMITS
from soma_schemas.memories import Content
from soma_schemas.metrics import MetricSet

COUNTED = Principal(A_TENANT, Role.READER, None, "key:1", record_access=True)
NOT_COUNTED = Principal(A_TENANT, Role.READER, None, "key:2")


class Log:
    """Takes events, or refuses them."""

    def __init__(self) -> None:
        self.refuses = False
        self.events: list[MemoryAccessed] = []
        self.offered: list[UUID] = []

    async def publish(self, events: Sequence[MemoryAccessed], _: UUID) -> None:
        self.offered += [event.event_id for event in events]
        if self.refuses:
            raise LogUnavailableError("no broker")
        self.events += events


def a_memory(number: int) -> Memory:
    content = Content(
        namespace="team/notes",
        key=None,
        coordinate=None,
        kind=Kind.EPISODIC,
        text="tea",
        payload="{}",
        tags=(),
        importance=0.5,
        embedding=None,
        embedding_model=None,
        subject=None,
        source=None,
        expires_at=None,
        occurred_at=A_MOMENT,
        actor="tester",
        created_at=A_MOMENT,
        updated_at=A_MOMENT,
    )
    return Memory(UUID(int=number), 7, content)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def accesses(log: Log, clock: FakeClock) -> Accesses:
    return Accesses(log.publish, clock, DEFAULT_LIMITS, ApiMetrics(MetricSet()))


async def test_accesses_of_a_memory_become_one_event(accesses: Accesses, log: Log, clock: FakeClock) -> None:
    accesses.note(COUNTED, [a_memory(1), a_memory(2)])
    clock.advance(5)
    accesses.note(COUNTED, [a_memory(1)])
    assert log.offered == []

    await accesses.tell()
    await accesses.tell()

    first, second = log.events
    assert (first.memory_id, first.count, first.namespace) == (UUID(int=1), 2, "team/notes")
    assert first.last_accessed_at == clock.now()
    assert (first.tenant, first.actor) == (A_TENANT, "key:1")
    assert (second.memory_id, second.count) == (UUID(int=2), 1)
    assert second.last_accessed_at == clock.now() - timedelta(seconds=5)


async def test_a_key_that_does_not_ask_for_it_has_nothing_counted(accesses: Accesses, log: Log) -> None:
    accesses.note(NOT_COUNTED, [a_memory(1)])

    await accesses.tell()

    assert log.offered == []


async def test_what_the_log_does_not_take_is_published_again_as_the_same_event(
    accesses: Accesses, log: Log
) -> None:
    log.refuses = True
    accesses.note(COUNTED, [a_memory(1)])
    await accesses.tell()
    log.refuses = False
    accesses.note(COUNTED, [a_memory(1)])
    await accesses.tell()

    assert [event.count for event in log.events] == [1, 1]
    assert log.offered == [log.events[0].event_id, *(event.event_id for event in log.events)]


async def test_so_many_memories_are_counted_at_the_same_time_and_no_more(
    log: Log, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_MEMORIES", 2)
    metrics = MetricSet()
    accesses = Accesses(log.publish, clock, DEFAULT_LIMITS, ApiMetrics(metrics))

    accesses.note(COUNTED, map(a_memory, (1, 2, 3, 4, 1)))
    await accesses.tell()

    assert [(event.memory_id.int, event.count) for event in log.events] == [(1, 2), (2, 1)]
    assert dropped(metrics) == 2.0


def dropped(metrics: MetricSet) -> float | None:
    return metrics.registry.get_sample_value("soma_api_accesses_dropped_total")
