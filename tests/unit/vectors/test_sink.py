"""The vector sink: what is embedded, in which order things happen, and whose fault an error is."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from collections.abc import Collection as Group
from typing import Any
from uuid import UUID

import pytest

from builders import a_log, deleted, linked, logged, patched, stored
from contract.vectors.engines import Engine, StoredPoint, server_engine
from soma_schemas.clock import yield_now
from soma_schemas.errors import MismatchError
from soma_schemas.outcomes import Outcome, SupersededReason
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.index_errors import (
    EmbedderUnavailableError,
    EmbeddingRefusedError,
    IndexRefusedError,
    IndexUnavailableError,
)
from soma_schemas.vectors.points import Point
from soma_schemas.vectors.points import StoredPoint as KeptPoint
from soma_streams.delivery.failures import FailureClass, classify
from soma_streams.delivery.fold import fold
from soma_streams.delivery.state import (
    LoggedEvent,
    MemoryName,
    MemoryState,
    Settlement,
    Watermark,
)
from soma_streams.sinks.vectors.points import PointMaker
from soma_streams.sinks.vectors.standing import Standing, held_by
from soma_streams.sinks.vectors.states import id_of, state_of
from soma_streams.sinks.vectors.vector_sink import VectorSink
from soma_streams.sinks.vectors.vector_sink_errors import (
    EmbeddingDimensionsError,
    IndexLostError,
    UnembeddableError,
    UnindexableError,
)
from soma_streams.sinks.vectors.writer import PointWriter
from standings import a_standing

_COLLECTION = Collection("memories", "counting", 4)
_WATERMARK = Watermark("soma-vectors", "memory.events", 0, 1, 7)


class CountingEmbedder:
    """An embedder that turns every text into one direction and remembers what it was asked."""

    name = "counting"
    dimensions = 4
    in_process = True

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.failure: Exception | None = None
        self.answer = [0.0, 1.0, 0.0, 0.0]

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Answer all alike."""
        if self.failure is not None:
            raise self.failure
        self.asked += texts
        return [list(self.answer) for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        """Answer alike."""
        return self.embed_documents([text])[0]

    def close(self) -> None:
        """Nothing to close."""


class FaultyWriter:
    """A writer whose calls are noted, and fail when a test says so."""

    def __init__(self, writer: PointWriter) -> None:
        self._writer = writer
        self.calls: list[str] = []
        self.failures: dict[str, Exception] = {}
        self.before_the_write: Callable[[], Awaitable[None]] | None = None

    async def prepare(self) -> None:
        """Pass on."""
        await self._writer.prepare()

    async def check(self) -> None:
        """Pass on."""
        await self._writer.check()

    async def read(self, ids: Group[UUID]) -> Mapping[UUID, Mapping[str, Any]]:
        """Pass on."""
        self._note("read")
        return await self._writer.read(ids)

    async def look(self, ids: Group[UUID]) -> Mapping[UUID, KeptPoint]:
        """Pass on."""
        return await self._writer.look(ids)

    async def page(self, start: UUID, most: int) -> Sequence[KeptPoint]:
        """Pass on."""
        return await self._writer.page(start, most)

    async def write(self, points: Sequence[Point], *, mends: bool = False) -> frozenset[UUID]:
        """Pass on."""
        self._note("write")
        if self.before_the_write is not None:
            await self.before_the_write()
        return await self._writer.write(points, mends=mends)

    async def flush(self) -> None:
        """Pass on."""
        self._note("flush")
        await self._writer.flush()

    async def is_empty(self) -> bool:
        """Pass on."""
        return await self._writer.is_empty()

    async def count(self) -> int:
        """Pass on."""
        return await self._writer.count()

    async def renew(self, *, keep_former: bool) -> None:
        """Pass on."""
        await self._writer.renew(keep_former=keep_former)

    def _note(self, call: str) -> None:
        self.calls.append(call)
        if call in self.failures:
            raise self.failures[call]


class Rig:
    """A sink with everything around it."""

    def __init__(self, engine: Engine, standing: Standing) -> None:
        self.engine = engine
        self.standing = standing
        self.embedder = CountingEmbedder()
        self.writer = FaultyWriter(engine.writer)
        self.sink = VectorSink(
            writer=self.writer,
            maker=PointMaker(self.embedder, Bm25Encoder(), _COLLECTION),
            standing=standing,
            group="soma-vectors",
            offer_watermark=lambda watermark: self.writer.calls.append(f"offer {watermark.next_offset}"),
        )

    async def memories(self) -> dict[UUID, StoredPoint]:
        """What the engine has of memories."""
        return {
            place: point for place, point in (await self.engine.stored()).items() if "tenant" in point.payload
        }

    async def apply(self, events: Sequence[LoggedEvent]) -> Sequence[Settlement]:
        """Write events, with the watermark behind them."""
        return await self.sink.write(events, [], _WATERMARK)

    async def states(self) -> dict[MemoryName, MemoryState]:
        """What the engine has of memories, as states."""
        found = [state_of(point.payload) for point in (await self.memories()).values()]
        return {state.name: state for state in found}


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    """A sink over an empty collection."""
    async with server_engine(_COLLECTION) as engine:
        yield Rig(engine, await a_standing(engine.writer))


async def test_states_are_read_back_as_they_were_folded(rig: Rig) -> None:
    tea, coffee = stored(text="tea", payload='{"a": 1.50}', tags=["x"]), stored(text="coffee")
    log = a_log([tea, coffee, deleted(coffee)])

    await rig.apply(log)

    current = await rig.states()
    assert current == {state.name: state for state in fold(log, {}).states}
    assert [current[each.name].content is None for each in log] == [False, True, True]


async def test_a_patch_of_the_text_embeds_it_anew_with_all_the_rest_kept(rig: Rig) -> None:
    memory = stored(text="tea", tags=["habits"], key="tea-time")
    await rig.apply([logged(memory, 0)])

    await rig.apply([logged(patched(memory, text="coffee"), 1)])

    assert rig.embedder.asked == [
        "2 March 2026: tea time habits: tea",
        "2 March 2026: tea time habits: coffee",
    ]


async def test_an_embedding_of_the_collections_model_is_taken_as_it_is(rig: Rig) -> None:
    memory = stored(embedding=[3.0, 0.0, 0.0, 4.0], embedding_model="counting")

    await rig.apply([logged(memory, 0)])

    [point] = (await rig.memories()).values()
    assert point.dense == pytest.approx([0.6, 0.0, 0.0, 0.8])
    assert point.words != frozenset()
    assert rig.embedder.asked == []


async def test_an_embedding_of_another_model_is_kept_but_the_text_is_embedded(rig: Rig) -> None:
    memory = stored(text="tea", embedding=[3.0, 4.0], embedding_model="another")

    await rig.apply([logged(memory, 0)])

    [point] = (await rig.memories()).values()
    assert point.dense == pytest.approx([0.0, 1.0, 0.0, 0.0])
    [state] = (await rig.states()).values()
    assert (state,) == fold([logged(memory, 0)], {}).states
    assert state.content is not None
    assert state.content.embedding == (3.0, 4.0)


async def test_own_and_made_vectors_keep_their_places_in_one_batch(rig: Rig) -> None:
    own = {"embedding": [1.0, 0.0, 0.0, 0.0], "embedding_model": "counting"}
    log = a_log([stored(**(own if number % 3 == 0 else {})) for number in range(150)])

    await rig.apply(log)

    points = await rig.memories()
    made = [points[id_of(each.name)].dense for each in log]
    assert made == [
        pytest.approx([1.0, 0.0, 0.0, 0.0] if number % 3 == 0 else [0.0, 1.0, 0.0, 0.0])
        for number in range(150)
    ]
    assert len(rig.embedder.asked) == 100


async def test_an_embedding_that_has_not_the_size_of_its_model_is_poison_before_anything_is_written(
    rig: Rig,
) -> None:
    wrong = stored(embedding=[1.0, 2.0], embedding_model="counting")
    log = a_log([*(stored() for _ in range(100)), wrong])

    with pytest.raises(EmbeddingDimensionsError) as raised:
        await rig.apply(log)

    assert classify(raised.value) is FailureClass.POISON
    assert rig.writer.calls == ["read"]
    assert await rig.memories() == {}


@pytest.mark.parametrize("mended_by", ["patch", "deletion"])
async def test_an_embedding_of_a_wrong_size_is_poison_also_when_its_batch_goes_on_to_mend_it(
    rig: Rig, mended_by: str
) -> None:
    wrong = stored(embedding=[1.0, 2.0], embedding_model="counting")
    mended = patched(wrong, text="another") if mended_by == "patch" else deleted(wrong)

    with pytest.raises(EmbeddingDimensionsError) as raised:
        await rig.apply(a_log([stored(), wrong, mended]))

    assert raised.value.memory == MemoryName(wrong.tenant, wrong.memory_id)
    assert rig.writer.calls == ["read"]


async def test_a_text_that_the_embedder_refuses_is_poison(rig: Rig) -> None:
    rig.embedder.failure = EmbeddingRefusedError("refused", status_code=413)

    with pytest.raises(UnembeddableError) as raised:
        await rig.apply(a_log([stored()]))

    assert classify(raised.value) is FailureClass.POISON
    assert rig.writer.calls == ["read"]


async def test_a_point_that_the_engine_refuses_is_poison(rig: Rig) -> None:
    rig.writer.failures["write"] = IndexRefusedError("refused")

    with pytest.raises(UnindexableError) as raised:
        await rig.apply(a_log([stored()]))

    assert classify(raised.value) is FailureClass.POISON


async def test_a_vector_that_is_not_finite_never_reaches_the_engine(rig: Rig) -> None:
    rig.embedder.answer = [float("nan"), 0.0, 0.0, 1.0]

    with pytest.raises(UnindexableError):
        await rig.apply(a_log([stored()]))

    assert rig.writer.calls == ["read"]


async def test_a_text_that_says_nothing_to_the_model_is_kept_without_a_direction(rig: Rig) -> None:
    rig.embedder.answer = [0.0] * 4

    await rig.apply(a_log([stored(text="tea")]))

    [point] = (await rig.memories()).values()
    assert point.dense is None
    assert point.words != frozenset()


@pytest.mark.parametrize(
    "break_down",
    [
        lambda rig: setattr(rig.embedder, "failure", EmbedderUnavailableError("away")),
        lambda rig: rig.writer.failures.update(write=IndexUnavailableError("away")),
        lambda rig: rig.writer.failures.update(flush=IndexUnavailableError("away")),
    ],
)
async def test_an_outage_passes_as_it_is_and_no_watermark_is_told(
    rig: Rig, break_down: Callable[[Rig], None]
) -> None:
    break_down(rig)

    with pytest.raises(ConnectionError) as raised:
        await rig.apply(a_log([stored()]))

    assert classify(raised.value) is FailureClass.TRANSIENT
    assert "offer 7" not in rig.writer.calls


async def test_a_batch_that_an_outage_has_written_again_is_embedded_once(rig: Rig) -> None:
    log = a_log([stored(text="tea")])
    rig.writer.failures["write"] = IndexUnavailableError("away")
    for _ in range(3):
        with pytest.raises(IndexUnavailableError):
            await rig.apply(log)
    del rig.writer.failures["write"]

    settled = await rig.apply(log)
    await rig.apply(a_log([stored(text="coffee")]))

    assert [each.outcome for each in settled] == [Outcome.APPLIED]
    assert rig.embedder.asked == ["2 March 2026: tea", "2 March 2026: coffee"]
    assert len(await rig.memories()) == 2


async def test_the_watermark_is_told_after_everything_is_durable(rig: Rig) -> None:
    await rig.apply(a_log([stored()]))

    assert rig.writer.calls == ["read", "write", "flush", "offer 7"]


async def test_how_far_it_has_come_is_in_the_index_before_anybody_is_told(rig: Rig) -> None:
    assert await rig.apply([]) == ()

    assert rig.writer.calls == ["read", "write", "flush", "offer 7"]
    held = await held_by(rig.engine.writer, [0, 1])
    assert held is not None
    assert held.progress == {0: 7}


async def test_what_is_read_again_takes_no_progress_back(rig: Rig) -> None:
    await rig.apply([])

    await rig.sink.write([], [], Watermark("soma-vectors", "memory.events", 0, 1, 3))

    held = await held_by(rig.engine.writer, [0])
    assert held is not None
    assert held.progress == {0: 7}


async def test_an_index_that_was_made_anew_is_not_written_to(rig: Rig) -> None:
    await rig.engine.writer.renew(keep_former=False)

    with pytest.raises(IndexLostError) as raised:
        await rig.apply(a_log([stored()]))

    assert classify(raised.value) is FailureClass.SYSTEMIC


async def test_what_a_worker_writes_that_missed_the_new_index_says_nothing_about_it(rig: Rig) -> None:
    async def made_anew() -> None:
        await rig.engine.writer.renew(keep_former=False)
        await a_standing(rig.engine.writer, instance=2)

    rig.writer.before_the_write = made_anew

    await rig.apply([])

    held = await held_by(rig.engine.writer, [0])
    assert held is not None
    assert held.progress == {}


async def test_writing_a_batch_again_changes_nothing(rig: Rig) -> None:
    log = a_log([stored(), stored()])
    await rig.apply(log)
    before = await rig.memories()

    settled = await rig.apply(log)

    assert [each.reason for each in settled] == [SupersededReason.DUPLICATE] * 2
    assert await rig.memories() == before


async def test_what_a_successor_has_written_since_the_read_is_superseded(rig: Rig) -> None:
    contested, free = stored(), stored()
    successor = Rig(rig.engine, rig.standing)

    async def overtake() -> None:
        await successor.apply([logged(contested, 9)])

    rig.writer.before_the_write = overtake

    settled = await rig.apply(
        [logged(contested, 3), logged(free, 4), logged(linked(contested, free.memory_id), 5)]
    )

    # A refused memory says nothing about its links.
    assert [each.reason for each in settled] == [SupersededReason.OLDER, None, None]
    assert (await rig.states())[logged(contested, 3).name].version == logged(contested, 9).version


async def test_a_tombstone_tells_when_the_log_received_the_end(rig: Rig) -> None:
    memory = stored()
    end = logged(deleted(memory), 5)

    await rig.apply([logged(memory, 0), end, logged(patched(memory, text="too late"), 6)])

    [point] = (await rig.memories()).values()
    assert point.payload["deleted_at"] == int(end.logged_at.timestamp() * 1_000_000)


async def test_embedding_a_large_batch_leaves_the_event_loop_to_others(rig: Rig) -> None:
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await yield_now()

    task = asyncio.create_task(other())
    await rig.apply(a_log([stored() for _ in range(640)]))
    task.cancel()

    assert turns >= 10


def test_an_embedder_of_another_model_is_refused_at_the_start() -> None:
    with pytest.raises(MismatchError, match="counting") as raised:
        PointMaker(CountingEmbedder(), Bm25Encoder(), Collection("memories", "wordllama-256", 256))

    assert "soma reindex" in str(raised.value.remedy)
