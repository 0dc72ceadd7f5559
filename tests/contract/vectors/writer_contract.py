"""What every engine promises to the vector sink; subclass once per engine."""

import struct
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.vectors.build import AN_AXIS, a_memory_id, a_point, a_tombstone
from contract.vectors.engines import Engine
from soma_schemas.fields import Kind
from soma_schemas.memories import Content
from soma_schemas.vectors.index_errors import UnfitVectorError
from soma_schemas.vectors.progress import Fill, Header, Held, LogIdentity
from soma_schemas.versions import VERSION_LIMIT
from soma_streams.delivery.state import MemoryName, MemoryState
from soma_streams.sinks.vectors.standing import held_by
from soma_streams.sinks.vectors.states import id_of, living_point, state_of

_finite = st.floats(allow_nan=False, allow_infinity=False)
_characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
_text = st.text(_characters, min_size=1, max_size=40)
_moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001  # bounds are naive
_contents = st.builds(
    Content,
    namespace=st.sampled_from(["a", "team/notes", "100%25/åäö"]),
    key=st.none() | _text,
    coordinate=st.none() | st.lists(_finite, min_size=1, max_size=16).map(tuple),
    kind=st.sampled_from(Kind),
    text=_text,
    payload=st.sampled_from(['{"a": 1.10, "b": [1, {"c": null}]}', '{"n": 123456789012345678901234567890}'])
    | st.just("{}"),
    tags=st.lists(_text, max_size=4).map(tuple),
    importance=st.floats(0, 1),
    embedding=st.none() | st.lists(_finite, min_size=1, max_size=8).map(tuple),
    embedding_model=st.none() | _text,
    subject=st.none() | _text,
    source=st.none() | _text,
    expires_at=st.none() | _moments,
    occurred_at=_moments,
    actor=_text,
    created_at=_moments,
    updated_at=_moments,
    access_count=st.integers(0, 2**40),
    last_accessed_at=st.none() | _moments,
)


class PointWriterContract:
    """Every test is one promise of `PointWriter`."""

    async def test_a_point_that_is_not_there_is_inserted(self, engine: Engine) -> None:
        point = a_point(text="green tea", version=7)

        refused = await engine.writer.write([point])

        stored = (await engine.stored())[point.id]
        assert refused == frozenset()
        assert stored.payload == point.payload
        assert stored.dense == pytest.approx(AN_AXIS)
        assert point.sparse is not None
        assert stored.words == frozenset(point.sparse.indices)

    async def test_a_newer_version_replaces_an_older_one(self, engine: Engine) -> None:
        memory = a_memory_id()
        await engine.writer.write([a_point(memory_id=memory, version=7, text="old")])
        newer = a_point(memory_id=memory, version=8, text="new", dense=(0.0, 1.0, 0.0, 0.0))

        refused = await engine.writer.write([newer])

        assert refused == frozenset()
        stored = (await engine.stored())[newer.id]
        assert stored.payload == newer.payload
        assert stored.dense == pytest.approx((0.0, 1.0, 0.0, 0.0))

    async def test_an_older_version_never_overwrites_a_newer_one_and_is_reported(
        self, engine: Engine
    ) -> None:
        memory = a_memory_id()
        newer = a_point(memory_id=memory, version=8, text="new")
        await engine.writer.write([newer])

        refused = await engine.writer.write([a_point(memory_id=memory, version=7, text="old")])

        assert refused == {newer.id}
        assert (await engine.stored())[newer.id].payload == newer.payload

    async def test_an_equal_version_is_not_applied_again_and_counts_as_written(self, engine: Engine) -> None:
        memory = a_memory_id()
        first = a_point(memory_id=memory, version=8, text="first")
        await engine.writer.write([first])

        refused = await engine.writer.write([a_point(memory_id=memory, version=8, text="second")])

        assert refused == frozenset()
        assert (await engine.stored())[first.id].payload == first.payload

    @pytest.mark.parametrize("version", [2**40 + 1, 1_800_000_000_000_001, 2**52 + 1, VERSION_LIMIT - 1])
    async def test_neighbouring_versions_are_told_apart_up_to_the_largest(
        self, engine: Engine, version: int
    ) -> None:
        memory = a_memory_id()
        await engine.writer.write([a_point(memory_id=memory, version=version - 1, text="before")])

        newer = a_point(memory_id=memory, version=version, text="after")
        applied = await engine.writer.write([newer])
        refused = await engine.writer.write([a_point(memory_id=memory, version=version - 1, text="late")])

        assert applied == frozenset()
        assert refused == {newer.id}
        assert (await engine.stored())[newer.id].payload == newer.payload

    async def test_each_point_of_a_batch_has_its_own_guard(self, engine: Engine) -> None:
        stale, fresh = a_memory_id(), a_memory_id()
        await engine.writer.write([a_point(memory_id=stale, version=50), a_point(memory_id=fresh, version=5)])
        late = a_point(memory_id=stale, version=40, text="late")
        newer = a_point(memory_id=fresh, version=10, text="newer")
        absent = a_point(version=1, text="absent")

        refused = await engine.writer.write([late, newer, absent])

        stored = await engine.stored()
        assert refused == {late.id}
        assert {each: stored[each].payload["version"] for each in stored} == {
            late.id: 50,
            newer.id: 10,
            absent.id: 1,
        }

    async def test_a_batch_larger_than_any_slice_is_written_whole(self, engine: Engine) -> None:
        points = [a_point(version=number, text=f"memory {number}") for number in range(1, 301)]

        await engine.writer.write(points)

        stored = await engine.stored()
        assert {each: point.payload for each, point in stored.items()} == {
            point.id: point.payload for point in points
        }

    async def test_a_tombstone_keeps_neither_vectors_nor_content(self, engine: Engine) -> None:
        memory = a_memory_id()
        await engine.writer.write([a_point(memory_id=memory, version=7, text="secret")])
        ended = a_tombstone(memory_id=memory, version=8)

        await engine.writer.write([ended])

        stored = (await engine.stored())[ended.id]
        assert stored.dense is None
        assert stored.words == frozenset()
        assert stored.payload == ended.payload
        assert "secret" not in str(stored.payload)

    async def test_an_older_version_never_brings_a_deleted_memory_back(self, engine: Engine) -> None:
        memory = a_memory_id()
        ended = a_tombstone(memory_id=memory, version=8)
        await engine.writer.write([ended])

        refused = await engine.writer.write([a_point(memory_id=memory, version=7)])

        assert refused == {ended.id}
        assert (await engine.stored())[ended.id].payload == ended.payload

    async def test_a_newer_version_brings_a_deleted_memory_back(self, engine: Engine) -> None:
        memory = a_memory_id()
        await engine.writer.write([a_tombstone(memory_id=memory, version=8)])
        again = a_point(memory_id=memory, version=9)

        await engine.writer.write([again])

        stored = (await engine.stored())[again.id]
        assert stored.payload == again.payload
        assert stored.dense == pytest.approx(AN_AXIS)

    async def test_naming_the_memory_id_of_another_tenant_touches_nothing_of_theirs(
        self, engine: Engine
    ) -> None:
        memory = a_memory_id()
        theirs = a_point(tenant="acme", memory_id=memory, version=1, text="theirs")
        await engine.writer.write([theirs])

        await engine.writer.write([a_point(tenant="globex", memory_id=memory, version=9, text="ours")])

        stored = await engine.stored()
        assert len(stored) == 2
        assert stored[theirs.id].payload == theirs.payload

    async def test_a_vector_of_another_size_is_refused_before_anything_is_written(
        self, engine: Engine
    ) -> None:
        with pytest.raises(UnfitVectorError):
            await engine.writer.write([a_point(), a_point(dense=(1.0, 0.0))])

        assert await engine.stored() == {}

    async def test_two_points_of_one_memory_are_refused_before_anything_is_written(
        self, engine: Engine
    ) -> None:
        memory = a_memory_id()

        with pytest.raises(ValueError, match="at most one point per memory"):
            await engine.writer.write(
                [a_point(memory_id=memory, version=2), a_point(memory_id=memory, version=1)]
            )

        assert await engine.stored() == {}

    async def test_an_empty_batch_changes_nothing(self, engine: Engine) -> None:
        refused = await engine.writer.write([])
        await engine.writer.flush()

        assert refused == frozenset()
        assert await engine.stored() == {}

    async def test_a_point_without_words_or_direction_is_kept_for_its_state(self, engine: Engine) -> None:
        point = a_point(dense=None)

        await engine.writer.write([point])

        stored = (await engine.stored())[point.id]
        assert stored.dense is None
        assert stored.payload == point.payload

    async def test_reading_gives_what_is_there_and_leaves_out_what_is_not(self, engine: Engine) -> None:
        await engine.put(UUID(int=5), {"tenant": "acme", "version": 3}, AN_AXIS)

        found = await engine.writer.read([UUID(int=5), UUID(int=6)])

        assert found == {UUID(int=5): {"tenant": "acme", "version": 3}}

    async def test_reading_nothing_gives_nothing(self, engine: Engine) -> None:
        assert await engine.writer.read([]) == {}

    async def test_more_points_than_any_slice_are_read_whole(self, engine: Engine) -> None:
        points = [a_point(version=number) for number in range(1, 601)]
        await engine.writer.write(points)

        found = await engine.writer.read([point.id for point in points])

        assert found == {point.id: point.payload for point in points}

    async def test_mending_replaces_a_point_of_the_same_version_and_no_newer_one(
        self, engine: Engine
    ) -> None:
        damaged, newer = a_memory_id(), a_memory_id()
        await engine.writer.write(
            [
                a_point(memory_id=damaged, version=2**52 + 1, text="noise", dense=None),
                a_point(memory_id=newer, version=2**52 + 2, text="newer"),
            ]
        )
        whole = a_point(memory_id=damaged, version=2**52 + 1, text="tea at four")
        late = a_point(memory_id=newer, version=2**52 + 1, text="late")

        refused = await engine.writer.write([whole, late], mends=True)

        stored = await engine.stored()
        assert refused == {late.id}
        assert stored[whole.id].payload == whole.payload
        assert stored[whole.id].dense == pytest.approx(AN_AXIS)
        assert stored[late.id].payload["version"] == 2**52 + 2

    async def test_pages_come_in_the_order_of_ids_and_say_which_vectors_are_there(
        self, engine: Engine
    ) -> None:
        bare, ended = a_point(dense=None), a_tombstone()
        points = [*(a_point(version=number) for number in range(1, 151)), bare, ended]
        await engine.writer.write(points)
        wanted = sorted(points, key=lambda point: point.id.int)

        first = await engine.writer.page(UUID(int=0), 100)
        rest = await engine.writer.page(UUID(int=first[-1].id.int + 1), 100)

        assert [each.id for each in [*first, *rest]] == [point.id for point in wanted]
        assert {each.id: each.payload for each in [*first, *rest]} == {
            point.id: point.payload for point in points
        }
        named = {each.id: each.vectors for each in [*first, *rest]}
        assert named.pop(bare.id) == {"bm25"}
        assert named.pop(ended.id) == frozenset()
        assert set(named.values()) == {frozenset({"dense", "bm25"})}
        assert await engine.writer.page(UUID(int=2**128 - 1), 100) == []

    async def test_looking_tells_what_reading_does_and_which_vectors_are_there(self, engine: Engine) -> None:
        points = [a_point(), a_point(dense=None), a_tombstone()]
        await engine.writer.write(points)

        seen = await engine.writer.look([*(point.id for point in points), UUID(int=6)])

        assert {each: point.payload for each, point in seen.items()} == {
            point.id: point.payload for point in points
        }
        assert [seen[point.id].vectors for point in points] == [{"dense", "bm25"}, {"bm25"}, frozenset()]

    async def test_what_an_index_says_of_itself_is_written_along_and_read_back(self, engine: Engine) -> None:
        header = Header(UUID(int=1), LogIdentity("a-topic", 2), from_records=True)
        fill = Fill(3, 9, ("acme", UUID(int=3)), {0: 4, 1: 0})
        point = a_point()

        await engine.writer.write([header.point(), point])
        await engine.writer.write([a_tombstone(), fill.point(header), header.progress_point(1, 2**40 - 1)])

        assert await held_by(engine.writer, [0, 1]) == Held(header, {1: 2**40 - 1}, fill)
        assert await engine.writer.read([point.id]) == {point.id: point.payload}

    async def test_an_index_that_says_nothing_of_itself_holds_nothing_known(self, engine: Engine) -> None:
        await engine.writer.write([a_point()])

        assert await held_by(engine.writer, [0]) is None

    async def test_of_two_that_begin_an_index_the_first_one_has_begun_it(self, engine: Engine) -> None:
        first = Header(UUID(int=1), LogIdentity("a-topic", 1), from_records=False)
        await engine.writer.write([first.point()])

        await engine.writer.write([replace(first, instance=UUID(int=2)).point()])

        held = await held_by(engine.writer, [0])
        assert held is not None
        assert held.header == first

    @pytest.mark.parametrize("keep_former", [True, False])
    async def test_an_index_that_is_made_anew_is_empty_and_takes_what_is_written(
        self,
        engine: Engine,
        keep_former: bool,  # noqa: FBT001  # how pytest passes a parameter
    ) -> None:
        old, new = a_point(version=9), a_point(version=1)
        await engine.writer.write([old])
        assert (await engine.writer.is_empty(), await engine.writer.count()) == (False, 1)

        await engine.writer.renew(keep_former=keep_former)

        assert (await engine.writer.is_empty(), await engine.writer.count()) == (True, 0)
        await engine.writer.write([new])
        assert set(await engine.stored()) == {new.id}

    @settings(suppress_health_check=list(HealthCheck))
    @given(content=_contents, version=st.integers(1, VERSION_LIMIT - 1))
    async def test_any_state_is_read_back_exactly(
        self, engine: Engine, content: Content, version: int
    ) -> None:
        events = tuple(UUID(int=version + number) for number in range(version % 17))
        state = MemoryState(MemoryName("acme", a_memory_id()), version, content, events)

        await engine.writer.write([living_point(state, content, None, None)])

        read = state_of((await engine.writer.read([id_of(state.name)]))[id_of(state.name)])
        assert read == state
        assert _bits(read) == _bits(state)


def _bits(state: MemoryState) -> bytes:
    """The floating-point numbers as bits: minus zero equals zero otherwise."""
    assert state.content is not None
    numbers = (*(state.content.coordinate or ()), *(state.content.embedding or ()), state.content.importance)
    return struct.pack(f"{len(numbers)}d", *numbers)
