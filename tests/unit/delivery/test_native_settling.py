"""What the native extension called sound and a store refuses is read again by the reference."""

from collections.abc import Sequence
from random import Random

from structlog.testing import capture_logs

from builders import WRITER_SCHEMAS, a_batch, a_decoder, a_record, deleted, nothing_sealed, stored
from fakes import FakeClock, MemorySink, RecordedDeadLetters
from soma_schemas.dead_letters import Stage
from soma_schemas.events import SINK_EVENTS
from soma_schemas.limits import DEFAULT_LIMITS, Limits
from soma_schemas.outcomes import Outcome
from soma_streams.checks import Waiting
from soma_streams.delivery.decode import Decoder
from soma_streams.delivery.flood import FloodGuard
from soma_streams.delivery.native import NativeEvent, NativeReader
from soma_streams.delivery.retry import Retry
from soma_streams.delivery.settle import Settler
from soma_streams.delivery.state import (
    DecodedBy,
    LoggedEvent,
    MemoryState,
    Settlement,
    Unapplied,
    Watermark,
)
from soma_streams.delivery.writer_schemas import WriterSchema
from soma_streams.errors import PoisonError
from soma_streams.settings import DeliverySettings, RetrySettings

TINY = Limits(text_bytes=20)


class KnownSchemas:
    async def fetch(self, ids: set[int]) -> dict[int, WriterSchema]:
        return {number: WRITER_SCHEMAS[number] for number in ids}


class RefusesNative(MemorySink):
    """A sink that refuses every event which was not read by the reference."""

    async def write(
        self, events: Sequence[LoggedEvent], unapplied: Sequence[Unapplied], watermark: Watermark
    ) -> Sequence[Settlement]:
        if any(isinstance(each, NativeEvent) for each in events):
            raise PoisonError("refused")
        return await super().write(events, unapplied, watermark)


def a_settler(sink: MemorySink, letters: RecordedDeadLetters, decoder: Decoder) -> Settler:
    clock = FakeClock()
    return Settler(
        sink=sink,
        decoder=decoder,
        sealed=nothing_sealed(),
        schemas=KnownSchemas(),
        dead_letters=letters,
        retry=Retry(RetrySettings.model_validate({}), clock, Random(7), Waiting()),
        clock=clock,
        flood=FloodGuard(DeliverySettings.model_validate({})),
        epoch=1,
    )


async def test_events_are_counted_by_what_read_them() -> None:
    memory = stored(key="a")
    batch = a_batch([a_record(memory), a_record(deleted(memory), 1), a_record(b"nothing", 2, key=b"x")])

    settled = await a_settler(MemorySink(), RecordedDeadLetters(), a_decoder()).settle(batch)

    assert settled.decoded == {DecodedBy.NATIVE: 1, DecodedBy.REFERENCE: 2}


async def test_what_a_store_refuses_is_read_again_and_goes_on() -> None:
    sink, letters = RefusesNative(), RecordedDeadLetters()
    memory = stored(key="a")
    batch = a_batch([a_record(memory), a_record(stored(key="b"), 1), a_record(deleted(memory), 2)])

    with capture_logs() as logs:
        settled = await a_settler(sink, letters, a_decoder()).settle(batch)

    assert settled.outcomes == {Outcome.APPLIED: 3, Outcome.SUPERSEDED: 0, Outcome.DEAD_LETTERED: 0}
    assert letters.letters == []
    assert [(each["event"], each["events"]) for each in logs] == [("native_events_refused", 2)]


async def test_the_reference_says_what_is_poison_of_that() -> None:
    # As if the extension had a fault: it takes what the reference refuses.
    decoder = Decoder(SINK_EVENTS, TINY, epoch=1, native=NativeReader(DEFAULT_LIMITS))
    sink, letters = RefusesNative(), RecordedDeadLetters()
    batch = a_batch([a_record(stored(text="short")), a_record(stored(text="x" * 21), 1)])

    settled = await a_settler(sink, letters, decoder).settle(batch)

    assert settled.outcomes == {Outcome.APPLIED: 1, Outcome.SUPERSEDED: 0, Outcome.DEAD_LETTERED: 1}
    assert [(each.record.offset, each.stage) for each in letters.letters] == [(1, Stage.VALIDATE)]
    assert sink.watermarks == [2]


async def test_what_is_poison_to_the_store_is_still_found() -> None:
    def refuses(state: MemoryState) -> bool:
        return state.content is not None and state.content.text == "bad"

    sink, letters = MemorySink(refuses), RecordedDeadLetters()
    events = [stored(text="bad" if number == 7 else "good") for number in range(20)]
    batch = a_batch([a_record(event, offset) for offset, event in enumerate(events)], next_offset=20)

    settled = await a_settler(sink, letters, a_decoder()).settle(batch)

    assert settled.outcomes == {Outcome.APPLIED: 19, Outcome.SUPERSEDED: 0, Outcome.DEAD_LETTERED: 1}
    assert [(each.record.offset, each.stage) for each in letters.letters] == [(7, Stage.WRITE)]
