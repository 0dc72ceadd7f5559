"""Every event of a batch reaches its one outcome, whatever fails."""

from collections.abc import Sequence
from random import Random
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import WRITER_SCHEMAS, a_batch, a_decoder, a_record, deleted, nothing_sealed, patched, stored
from fakes import FakeClock, MemorySink, RecordedDeadLetters
from soma_schemas.dead_letters import Stage
from soma_schemas.errors import MismatchError
from soma_schemas.events import MemoryEvent
from soma_schemas.metrics import MetricSet
from soma_schemas.outcomes import Outcome
from soma_streams.delivery.flood import FloodGuard
from soma_streams.delivery.retry import Retry, StoreAvailability
from soma_streams.delivery.settle import Settled, Settler
from soma_streams.delivery.state import MemoryName, MemoryState, Settlement
from soma_streams.delivery.writer_schemas import WriterSchema
from soma_streams.errors import DeadLetterFloodError
from soma_streams.metrics import BatchPath, SinkName, WorkerMetrics
from soma_streams.settings import DeliverySettings, RetrySettings
from soma_streams.transport.records import Record

GENEROUS = DeliverySettings.model_validate(
    {"max_consecutive_dead_letters": 1000, "max_dead_letter_ratio": 1.0}
)


class Availability:
    def __init__(self) -> None:
        self.changes: list[StoreAvailability] = []

    def availability_changed(self, state: StoreAvailability) -> None:
        self.changes.append(state)


class KnownSchemas:
    def __init__(self) -> None:
        self.outages: list[Exception] = []

    async def fetch(self, ids: set[int]) -> dict[int, WriterSchema]:
        if self.outages:
            raise self.outages.pop(0)
        return {number: WRITER_SCHEMAS[number] for number in ids if number in WRITER_SCHEMAS}


class Setting:
    """A settler and everything around it."""

    def __init__(self, sink: MemorySink, delivery: DeliverySettings | None = None) -> None:
        self.sink = sink
        self.letters = RecordedDeadLetters()
        self.schemas = KnownSchemas()
        self.availability = Availability()
        self.clock = FakeClock()
        self.metrics = MetricSet()
        self.settler = Settler(
            sink=sink,
            decoder=a_decoder(),
            sealed=nothing_sealed(),
            schemas=self.schemas,
            dead_letters=self.letters,
            retry=Retry(
                RetrySettings.model_validate({}),
                self.clock,
                Random(7),
                self.availability,
                WorkerMetrics(self.metrics).of(SinkName.POSTGRES),
            ),
            clock=self.clock,
            flood=FloodGuard(delivery or DeliverySettings.model_validate({})),
            epoch=1,
        )

    async def settle(self, values: Sequence[bytes | MemoryEvent | None]) -> Settled:
        records: list[Record] = [
            a_record(value, offset, key=None if isinstance(value, MemoryEvent) else b"acme/unreadable")
            for offset, value in enumerate(values)
        ]
        return await self.settler.settle(a_batch(records, next_offset=len(records)))


def refuses_bad_text(state: MemoryState) -> bool:
    return state.content is not None and state.content.text.startswith("bad")


def outage() -> Exception:
    return psycopg.OperationalError("connection refused")


async def test_a_batch_is_written_once_and_its_watermark_is_its_end() -> None:
    setting = Setting(MemorySink())

    settled = await setting.settle([stored(key="a"), stored(key="b")])

    assert settled.outcomes == {Outcome.APPLIED: 2, Outcome.SUPERSEDED: 0, Outcome.DEAD_LETTERED: 0}
    assert settled.next_offset == 2
    assert (setting.sink.writes, setting.sink.watermarks) == (1, [2])


async def test_a_batch_without_records_moves_the_watermark() -> None:
    setting = Setting(MemorySink())

    settled = await setting.settler.settle(a_batch([], next_offset=9))

    assert (settled.next_offset, sum(settled.outcomes.values())) == (9, 0)
    assert setting.sink.watermarks == [9]


async def test_poison_is_buried_untouched_and_the_rest_goes_on() -> None:
    setting = Setting(MemorySink())

    settled = await setting.settle([stored(key="a"), b"garbage", None, stored(key="b")])

    assert settled.outcomes == {Outcome.APPLIED: 2, Outcome.SUPERSEDED: 0, Outcome.DEAD_LETTERED: 2}
    assert [letter.record.value for letter in setting.letters.letters] == [b"garbage", None]
    assert [dead.code for dead in setting.sink.dead] == ["not_wire_format", "null_value"]
    assert len(setting.sink.states) == 2


async def test_what_the_store_refuses_is_found_by_halving_and_buried() -> None:
    setting = Setting(MemorySink(refuses=refuses_bad_text))
    events = [stored(key=f"{n}", text="bad" if n in {17, 18, 900} else "good") for n in range(1000)]

    settled = await setting.settle(events)

    assert settled.outcomes == {Outcome.APPLIED: 997, Outcome.SUPERSEDED: 0, Outcome.DEAD_LETTERED: 3}
    assert [letter.record.offset for letter in setting.letters.letters] == [17, 18, 900]
    assert {letter.stage for letter in setting.letters.letters} == {Stage.WRITE}
    assert len(setting.sink.states) == 997
    assert setting.sink.watermarks[-1] == 1000
    assert setting.sink.watermarks == sorted(setting.sink.watermarks)
    assert setting.sink.writes <= 60


async def test_a_culprit_that_is_known_by_its_memory_is_not_searched_for() -> None:
    setting = Setting(MemorySink())
    whole = [stored(key=f"{n}", payload='{"large": "' + "x" * 200_000 + '"}') for n in range(3)]
    outgrown = [patched(memory, payload='{"more": "' + "y" * 200_000 + '"}') for memory in whole]
    after = [patched(memory, tags=["x"]) for memory in whole]
    others = [stored(key=f"other {n}") for n in range(500)]

    settled = await setting.settle([*whole, *others[:250], *outgrown, *others[250:], *after])

    assert settled.outcomes == {Outcome.APPLIED: 506, Outcome.SUPERSEDED: 0, Outcome.DEAD_LETTERED: 3}
    assert [letter.record.offset for letter in setting.letters.letters] == [255, 254, 253]
    states = [setting.sink.states[MemoryName(each.tenant, each.memory_id)] for each in whole]
    assert [state.content and state.content.tags for state in states] == [("x",)] * 3
    assert setting.sink.watermarks == sorted(setting.sink.watermarks)
    assert setting.sink.watermarks[0] == 0
    assert setting.sink.watermarks[-1] == 509
    # One for all the others, then for each memory: what was stored, the dead letter, what came after.
    assert setting.sink.writes == 1 + 3 * 3


async def test_many_culprits_that_are_known_by_their_memories_are_still_found() -> None:
    setting = Setting(
        MemorySink(),
        GENEROUS,
    )
    whole = [stored(key=f"{n}", payload='{"large": "' + "x" * 200_000 + '"}') for n in range(40)]
    outgrown = [patched(memory, payload='{"more": "' + "y" * 200_000 + '"}') for memory in whole]

    settled = await setting.settle([*whole, *outgrown])

    assert settled.outcomes == {Outcome.APPLIED: 40, Outcome.SUPERSEDED: 0, Outcome.DEAD_LETTERED: 40}
    assert setting.sink.watermarks == sorted(setting.sink.watermarks)


async def test_events_after_a_culprit_on_the_same_memory_still_apply_in_order() -> None:
    setting = Setting(MemorySink(refuses=refuses_bad_text))
    first = stored(key="a", text="one")

    settled = await setting.settle([first, stored(key="a", text="bad"), patched(first, tags=["x"])])

    (state,) = setting.sink.states.values()
    assert state.content is not None
    assert (state.content.text, state.content.tags) == ("one", ("x",))
    assert settled.outcomes[Outcome.DEAD_LETTERED] == 1


async def test_an_outage_is_waited_out_and_dead_letters_nothing() -> None:
    setting = Setting(MemorySink())
    setting.sink.outages = [outage() for _ in range(500)]

    settled = await setting.settle([stored(key="a")])

    assert settled.outcomes[Outcome.APPLIED] == 1
    assert setting.letters.letters == []
    assert setting.availability.changes == [StoreAvailability.UNAVAILABLE, StoreAvailability.AVAILABLE]
    errors = {"sink": "postgres", "class": "transient"}
    assert setting.metrics.registry.get_sample_value("soma_sink_errors_total", errors) == 500
    assert len(setting.clock.slept) == 500
    assert max(setting.clock.slept) <= 30


async def test_a_dead_letter_that_cannot_be_written_holds_the_batch_back() -> None:
    setting = Setting(MemorySink())
    setting.letters.outages = [outage(), outage()]

    await setting.settle([b"garbage"])

    assert len(setting.letters.letters) == 1
    assert len(setting.clock.slept) == 2


async def test_a_registry_that_is_away_dead_letters_nothing() -> None:
    setting = Setting(MemorySink())
    setting.schemas.outages = [ConnectionError("refused")] * 3

    settled = await setting.settle([stored(key="a")])

    assert settled.outcomes[Outcome.APPLIED] == 1
    assert setting.letters.letters == []


@pytest.mark.parametrize(
    "error", [psycopg.errors.UndefinedTable("no table"), RuntimeError("nobody foresaw this"), KeyError("x")]
)
async def test_what_is_systemic_or_unforeseen_is_raised_and_dead_letters_nothing(error: Exception) -> None:
    setting = Setting(MemorySink())
    setting.sink.outages = [error]

    with pytest.raises(type(error)):
        await setting.settle([stored(key="a")])

    assert setting.letters.letters == []
    assert setting.sink.watermarks == []


async def test_superseded_events_are_counted_and_not_errors() -> None:
    setting = Setting(MemorySink())
    first = stored(key="a")

    settled = await setting.settle([first, first, deleted(first), patched(first, text="late")])

    assert settled.outcomes == {Outcome.APPLIED: 2, Outcome.SUPERSEDED: 2, Outcome.DEAD_LETTERED: 0}


async def test_a_flood_of_dead_letters_stops_the_worker_before_it_is_written() -> None:
    delivery = DeliverySettings.model_validate({"max_consecutive_dead_letters": 50})
    setting = Setting(MemorySink(), delivery)

    with pytest.raises(DeadLetterFloodError):
        await setting.settle([b"garbage"] * 50)

    assert setting.letters.letters == []
    assert setting.sink.watermarks == []


async def test_a_large_share_of_dead_letters_is_a_flood_too() -> None:
    delivery = DeliverySettings.model_validate({"max_dead_letter_ratio": 0.4, "dead_letter_window": 20})
    setting = Setting(MemorySink(), delivery)

    await setting.settle([stored(), stored(), b"x"] * 6)
    with pytest.raises(DeadLetterFloodError):
        await setting.settle([stored(), b"x"] * 10)


async def test_how_near_a_flood_is_can_be_told_before_it_stops_the_worker() -> None:
    delivery = DeliverySettings.model_validate(
        {"max_consecutive_dead_letters": 50, "max_dead_letter_ratio": 0.4, "dead_letter_window": 20}
    )
    guard = FloodGuard(delivery)

    def level_after(*dead_lettered: bool) -> float:
        for each in dead_lettered:
            guard.observe(dead_lettered=each)
        return guard.level

    assert guard.level == 0
    assert level_after(*[True] * 4) == pytest.approx(4 / 20 / 0.4)
    assert level_after(*[False] * 16) == pytest.approx(4 / 20 / 0.4)
    assert level_after(*[False] * 4) == 0
    assert FloodGuard(delivery).level == 0
    run = FloodGuard(DeliverySettings.model_validate({"max_consecutive_dead_letters": 10}))
    run.observe(dead_lettered=True)
    assert run.level == pytest.approx(1 / 10)


@given(st.lists(st.sampled_from(["good", "bad", "garbage", "repeat"]), min_size=1, max_size=40))
async def test_every_event_has_exactly_one_outcome(kinds: list[str]) -> None:
    setting = Setting(MemorySink(refuses=refuses_bad_text), GENEROUS)
    repeated = stored(key="repeated")
    values: list[bytes | MemoryEvent | None] = []
    for number, kind in enumerate(kinds):
        match kind:
            case "garbage":
                values.append(b"garbage")
            case "repeat":
                values.append(repeated)
            case text:
                values.append(stored(key=f"{number}", text=text))

    settled = await setting.settle(values)

    repeats = kinds.count("repeat")
    assert settled.outcomes == {
        Outcome.APPLIED: kinds.count("good") + min(repeats, 1),
        Outcome.SUPERSEDED: max(repeats - 1, 0),
        Outcome.DEAD_LETTERED: kinds.count("bad") + kinds.count("garbage"),
    }
    assert setting.sink.watermarks[-1] == len(kinds)
    assert len(setting.letters.letters) == settled.outcomes[Outcome.DEAD_LETTERED]


async def test_a_store_that_somebody_has_changed_is_not_blamed_on_events() -> None:
    sink = MemorySink(refuses=lambda _: True)
    sink.mismatch = MismatchError("a column is gone")
    setting = Setting(sink)

    with pytest.raises(MismatchError, match="a column is gone"):
        await setting.settle([stored(text="one"), stored(text="two"), stored(text="three")])

    assert setting.letters.letters == []
    assert sink.checks == 1


async def test_an_event_whose_store_was_mended_before_it_could_be_blamed_is_applied() -> None:
    refusals = [True, False]
    sink = MemorySink(refuses=lambda _: refusals.pop(0))
    setting = Setting(sink)

    settled = await setting.settle([stored()])

    assert settled.outcomes[Outcome.APPLIED] == 1
    assert setting.letters.letters == []


async def test_a_settled_batch_tells_what_became_of_the_dead_letters_that_were_published_again() -> None:
    setting = Setting(MemorySink(refuses=refuses_bad_text), GENEROUS)
    again = [("x-replay-offset", b"3"), ("x-replay-epoch", b"1"), ("x-replay-timestamp", b"1772445600000")]
    good = stored(key="good")
    records = [
        a_record(stored(key="new"), 10),
        a_record(good, 11, headers=again),
        a_record(good, 12, headers=again),
        a_record(stored(key="refused", text="bad"), 13, headers=again),
        a_record(b"no event", 14, key=b"acme/unreadable", headers=again),
    ]

    settled = await setting.settler.settle(a_batch(records, next_offset=15))
    metrics = WorkerMetrics(setting.metrics).of(SinkName.POSTGRES)
    metrics.batch_settled(settled, 5, 1.0, 1.0)

    assert {
        outcome: setting.metrics.registry.get_sample_value(
            "soma_events_replayed_total", {"sink": "postgres", "outcome": outcome.value}
        )
        for outcome in Outcome
    } == {Outcome.APPLIED: 1, Outcome.SUPERSEDED: 1, Outcome.DEAD_LETTERED: 2}


async def test_a_settled_batch_tells_where_its_dead_letters_failed_and_what_each_part_took() -> None:
    class Slow(MemorySink):
        async def write(self, *arguments: Any) -> Sequence[Settlement]:
            setting.clock.advance(3)
            return await super().write(*arguments)

    sink = Slow(refuses=refuses_bad_text)
    setting = Setting(sink, GENEROUS)

    settled = await setting.settle([b"no event", stored(key="a", text="bad"), stored(key="b")])
    metrics = WorkerMetrics(setting.metrics).of(SinkName.POSTGRES)
    metrics.batch_settled(settled, 3, 7.0, 0.5)

    def told(name: str, **labels: str) -> float | None:
        return setting.metrics.registry.get_sample_value(name, {"sink": "postgres", **labels})

    assert settled.dead_letters.keys() == {(Stage.DECODE, "not_wire_format"), (Stage.WRITE, "poison")}
    assert told("soma_dead_letters_total", stage="write", code="poison") == 1
    assert told("soma_dead_letters_total", stage="decode", code="not_wire_format") == 1
    assert sum(told("soma_batches_settled_total", path=path) or 0 for path in BatchPath) == 1
    assert told("soma_settle_seconds_sum") == 7
    assert told("soma_event_age_seconds_sum") == 0.5
    assert told("soma_batch_events_sum") == 3
    assert told("soma_write_seconds_sum") == settled.write_seconds
    assert settled.write_seconds % 3 == 0
    assert settled.write_seconds > 0
