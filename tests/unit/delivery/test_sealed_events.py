"""Sealed events are settled as what they hold: applied, a dead letter that keeps its seal, or erased."""

from collections.abc import Collection, Mapping, Sequence
from random import Random
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from builders import WRITER_SCHEMAS, a_batch, a_decoder, a_record, an_id, deleted, encoded, patched, stored
from fakes import FakeClock, MemorySink, RecordedDeadLetters
from soma_schemas.dead_letters import (
    REPLAY_EPOCH_HEADER,
    REPLAY_OFFSET_HEADER,
    REPLAY_TIMESTAMP_HEADER,
)
from soma_schemas.encryption.encryption_errors import MasterKeyError
from soma_schemas.encryption.sealing import DataKey, EventName, seal
from soma_schemas.events import MemoryEvent, SealedEvent
from soma_schemas.limits import DEFAULT_LIMITS
from soma_schemas.outcomes import Outcome
from soma_schemas.versions import pack_version
from soma_streams.checks import Waiting
from soma_streams.delivery.flood import FloodGuard
from soma_streams.delivery.retry import Retry
from soma_streams.delivery.sealed_events import KnownKey, SealedEvents
from soma_streams.delivery.settle import Settler
from soma_streams.delivery.state import DecodedBy, MemoryName, MemoryState
from soma_streams.delivery.writer_schemas import WriterSchema
from soma_streams.settings import DeliverySettings, RetrySettings
from soma_streams.transport.records import Record

KEY = DataKey(an_id(), AESGCM(bytes(32)))
OTHER = DataKey(an_id(), AESGCM(bytes(range(32))))


class KnownSchemas:
    """A registry that is always there."""

    async def fetch(self, ids: set[int]) -> Mapping[int, WriterSchema]:
        """Return those that exist."""
        return {each: WRITER_SCHEMAS[each] for each in ids if each in WRITER_SCHEMAS}


class Keys:
    """A table of keys."""

    def __init__(self) -> None:
        self.known = {KEY.key_id: KnownKey("acme", KEY)}
        self.asked: list[set[UUID]] = []

    async def read(self, key_ids: Collection[UUID]) -> Mapping[UUID, KnownKey]:
        """Return those that are there."""
        self.asked.append(set(key_ids))
        return {each: self.known[each] for each in key_ids if each in self.known}


class NoMaster(Keys):
    """A table that nothing unwraps."""

    async def read(self, key_ids: Collection[UUID]) -> Mapping[UUID, KnownKey]:
        """Say so."""
        del key_ids
        raise MasterKeyError("there is no master key")


class Setting:
    """A settler that opens sealed events."""

    def __init__(self, keys: Keys | None = None) -> None:
        self.keys = keys or Keys()
        self.sink, self.letters, clock = MemorySink(_is_refused), RecordedDeadLetters(), FakeClock()
        self.settler = Settler(
            sink=self.sink,
            decoder=a_decoder(),
            sealed=SealedEvents(self.keys, DEFAULT_LIMITS, epoch=1),
            schemas=KnownSchemas(),
            dead_letters=self.letters,
            retry=Retry(RetrySettings.model_validate({}), clock, Random(7), Waiting()),
            clock=clock,
            flood=FloodGuard(DeliverySettings.model_validate({})),
            epoch=1,
        )

    async def settle(self, records: Sequence[Record]) -> Mapping[Outcome, int]:
        """Settle one batch, and return how many of its events became what."""
        settled = await self.settler.settle(a_batch(records))
        return {outcome: count for outcome, count in settled.outcomes.items() if count}

    @property
    def codes(self) -> list[str]:
        """The codes of the dead letters."""
        return [letter.code for letter in self.letters.letters]


def _is_refused(state: MemoryState) -> bool:
    return state.content is not None and state.content.text == "refused"


def sealed(event: MemoryEvent, key: DataKey = KEY) -> SealedEvent:
    return seal(encoded(event), key, EventName(event.tenant, event.memory_id, event.event_id))


def sealed_record(event: MemoryEvent | SealedEvent, offset: int = 0, **more: Any) -> Record:
    hidden = sealed(event) if isinstance(event, MemoryEvent) else event
    return a_record(encoded(hidden), offset, key=hidden.log_key(), **more)


async def test_a_sealed_event_is_applied_as_what_it_holds() -> None:
    memory = stored(key="a", text="čaj", subject="ada")
    change = patched(memory, text="káva")
    setting = Setting()

    outcomes = await setting.settle([sealed_record(memory), sealed_record(change, 1)])

    content = setting.sink.states[MemoryName("acme", memory.memory_id)].content
    assert outcomes == {Outcome.APPLIED: 2}
    assert content is not None
    assert (content.text, content.subject) == ("káva", "ada")
    assert setting.keys.asked == [{KEY.key_id}]


async def test_plain_and_sealed_events_keep_their_order() -> None:
    memory = stored(key="a")
    setting = Setting()

    await setting.settle(
        [a_record(memory), sealed_record(deleted(memory), 1), a_record(b"none", 2, key=b"x")]
    )

    assert setting.sink.states[MemoryName("acme", memory.memory_id)].content is None
    assert setting.codes == ["not_wire_format"]


async def test_a_sealed_memory_is_read_by_the_extension_where_that_is_installed() -> None:
    setting = Setting()

    settled = await setting.settler.settle(
        a_batch([sealed_record(stored(key="a")), a_record(stored(key="b"), 1)])
    )

    assert sum(settled.decoded.values()) == 2
    assert settled.decoded[DecodedBy.NATIVE] in {0, 2}


async def test_an_event_whose_key_was_destroyed_is_superseded_and_no_dead_letter() -> None:
    memory = stored(key="a")
    setting = Setting()
    setting.keys.known[KEY.key_id] = KnownKey("acme", None)

    outcomes = await setting.settle([sealed_record(memory), a_record(stored(key="b"), 1)])

    (erased,) = setting.sink.erased
    assert outcomes == {Outcome.SUPERSEDED: 1, Outcome.APPLIED: 1}
    assert setting.codes == []
    assert (erased.memory_id, erased.event_id) == (memory.memory_id, memory.event_id)
    assert erased.version == pack_version(1, 0)
    assert not erased.is_replayed


async def test_a_replay_whose_key_was_destroyed_is_told_of_at_its_first_place() -> None:
    setting = Setting()
    setting.keys.known[KEY.key_id] = KnownKey("acme", None)
    place = {REPLAY_OFFSET_HEADER: b"3", REPLAY_EPOCH_HEADER: b"1", REPLAY_TIMESTAMP_HEADER: b"1772442000000"}

    settled = await setting.settler.settle(
        a_batch([sealed_record(stored(key="a"), 9, headers=tuple(place.items()))])
    )

    (erased,) = setting.sink.erased
    assert (erased.version, erased.is_replayed) == (pack_version(1, 3), True)
    assert settled.replayed == {Outcome.SUPERSEDED: 1}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"sealed": bytes(40)}, "sealed_value"),
        ({"event_id": an_id()}, "sealed_value"),
        ({"key_id": OTHER.key_id}, "data_key_unknown"),
        ({"tenant": "other"}, "data_key_unknown"),
    ],
)
async def test_what_cannot_be_opened_is_a_dead_letter_that_keeps_its_seal(
    change: dict[str, object], code: str
) -> None:
    setting = Setting()
    record = sealed_record(sealed(stored(key="a")).model_copy(update=change))

    outcomes = await setting.settle([record])

    assert outcomes == {Outcome.DEAD_LETTERED: 1}
    assert setting.codes == [code]
    assert setting.letters.letters[0].record == record


async def test_a_sealed_event_under_the_key_of_another_memory_is_a_dead_letter() -> None:
    setting = Setting()

    await setting.settle([sealed_record(stored(key="a"))._replace(key=stored(key="b").log_key())])

    assert setting.codes == ["key_mismatch"]


async def test_what_was_sealed_is_checked_as_everything_else_and_its_dead_letter_keeps_the_seal() -> None:
    memory = stored(key="a")
    hidden = seal(b"nothing", KEY, EventName(memory.tenant, memory.memory_id, memory.event_id))
    twice = sealed(memory)
    nested = seal(encoded(twice), KEY, EventName(memory.tenant, memory.memory_id, memory.event_id))
    records = [sealed_record(hidden), sealed_record(nested, 1)]
    setting = Setting()

    await setting.settle(records)

    assert setting.codes == ["not_wire_format", "unexpected_record"]
    assert [letter.record for letter in setting.letters.letters] == records


async def test_an_event_of_another_memory_inside_of_a_seal_is_a_dead_letter() -> None:
    memory, other = stored(key="a"), stored(key="b")
    hidden = seal(encoded(other), KEY, EventName(memory.tenant, memory.memory_id, memory.event_id))
    setting = Setting()

    await setting.settle([sealed_record(hidden)])

    assert setting.codes == ["key_mismatch"]


async def test_without_a_master_key_the_worker_stops_and_nothing_is_a_dead_letter() -> None:
    setting = Setting(NoMaster())

    with pytest.raises(MasterKeyError):
        await setting.settle([sealed_record(stored(key="a"))])

    assert setting.letters.letters == []
    assert setting.sink.watermarks == []


async def test_what_a_store_refuses_of_sealed_events_is_found_and_keeps_its_seal() -> None:
    good, bad = stored(key="a"), stored(key="b", text="refused")
    setting = Setting()
    records = [sealed_record(good), sealed_record(bad, 1)]

    outcomes = await setting.settle(records)

    assert outcomes == {Outcome.APPLIED: 1, Outcome.DEAD_LETTERED: 1}
    assert setting.letters.letters[0].record == records[1]
