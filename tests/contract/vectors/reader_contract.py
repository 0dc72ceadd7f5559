"""What every engine promises to the search; subclass once per engine."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from qdrant_edge import SparseVector

from builders import NO_POLICIES
from contract.vectors.build import A_COLLECTION, A_MOMENT, AN_AXIS, a_memory_id, a_point, a_tombstone
from contract.vectors.engines import Engine
from fakes import FakeClock
from soma_api.queries.erasure_selection import ErasureSelection
from soma_api.queries.filter_shorthand import selection
from soma_api.queries.filter_terms import NumberRange
from soma_api.queries.history_queries import PastVersion
from soma_api.queries.vectors.conditions import (
    AnyOf,
    Condition,
    InRange,
    Not,
    OneOf,
    conditions_of,
    of_tenant,
)
from soma_api.queries.vectors.hybrid_search import (
    AsOf,
    Search,
    SearchAnswer,
    SearchHit,
    SearchMode,
    SearchRequest,
)
from soma_api.queries.vectors.reader import Candidates, PointReader, Question, Unscored
from soma_api.queries.vectors.reranking import Context
from soma_api.queries.vectors.wording import Match
from soma_schemas.clock import Clock
from soma_schemas.erasure_receipts import selector_digest
from soma_schemas.events import Decay, ErasureScope, RetentionRule
from soma_schemas.fields import Kind
from soma_schemas.languages import Language
from soma_schemas.retention import TenantPolicies
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.payload import DIMENSIONS, IMPORTANCE, memory_of, tag_label
from soma_schemas.vectors.points import Point, point_id, unit_vector
from soma_schemas.vectors.progress import Header, LogIdentity

_BM25 = Bm25Encoder()
_HAS_RED = OneOf([tag_label("red")])
_SOME_ID = UUID(int=0x7000_8000_0000_0000_0000)


class _OneDirection:
    """An embedder that answers every text with the same vector."""

    name = A_COLLECTION.model
    dimensions = A_COLLECTION.dimensions
    in_process = True

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        return [list(AN_AXIS) for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        del text
        return list(AN_AXIS)

    def close(self) -> None:
        pass


class _Slow:
    """A reader whose candidates take a second."""

    def __init__(self, reader: PointReader, clock: FakeClock) -> None:
        self._clock = clock
        self._reader = reader
        self.payloads = reader.payloads
        self.latest = reader.latest
        self.scores = reader.scores
        self.vectors = reader.vectors

    async def candidates(self, question: Question) -> Candidates:
        found = await self._reader.candidates(question)
        self._clock.advance(1)
        return found


def _kept_for(seconds: int, kind: Kind | None = None) -> RetentionRule:
    return RetentionRule(kind=kind, ttl_seconds=seconds, notice_seconds=0, archive=False)


async def search(
    engine: Engine,
    text: str = "tea",
    *,
    reader: PointReader | None = None,
    clock: Clock | None = None,
    **request: Any,
) -> list[SearchHit]:
    """Search as the API does."""
    return (await answered(engine, text, reader=reader, clock=clock, **request)).hits


async def answered(
    engine: Engine,
    text: str = "tea",
    *,
    reader: PointReader | None = None,
    clock: Clock | None = None,
    bm25: Bm25Encoder = _BM25,
    **request: Any,
) -> SearchAnswer:
    """The same, with what the answer says of itself."""
    ask = Search(reader or engine.reader, _OneDirection(), bm25, clock or FakeClock())
    asked: dict[str, Any] = {"tenant": "acme", "policies": NO_POLICIES, "text": text}
    return await ask(SearchRequest(**asked | request))


async def found(engine: Engine, **wanted: Any) -> set[str | None]:
    """The keys of the memories that a filter lets through, by a search to which everything is near."""
    hits = await search(engine, mode=SearchMode.VECTOR, filter=selection(**wanted), top_k=1000)
    return {hit.memory.content.key for hit in hits}


async def candidates(
    engine: Engine,
    *,
    dense: Sequence[float] | None = None,
    sparse: SparseVector | None = None,
    limit: int = 1000,
    tenant: str = "acme",
) -> Candidates:
    """What the reader itself finds."""
    conditions = conditions_of(tenant, selection())
    assert conditions is not None
    return await engine.reader.candidates(Question(conditions, of_tenant(tenant), dense, sparse, limit))


class PointReaderContract:
    """Every test is one promise of `PointReader`, or of the filters that it is asked with."""

    @pytest.mark.parametrize("mode", SearchMode)
    async def test_no_search_reaches_another_tenant(self, engine: Engine, mode: SearchMode) -> None:
        await engine.writer.write([a_point(key="ours"), a_point(key="theirs", tenant="acme-2")])

        hits = await search(engine, mode=mode)

        assert [hit.memory.content.key for hit in hits] == ["ours"]

    async def test_a_phrase_is_found_behind_whatever_matches_its_words_better(self, engine: Engine) -> None:
        better = [a_point(key=f"other {n}", text="kettle blue") for n in range(500)]
        long = " ".join(["wood"] * 40)
        texts = {
            "first": f"A Blue Kettle, {long}",
            "second": f"blue: kettle {long} {long}",
            "stemmed": f"blue kettles {long}",
            "foreign": f"blue kettle {long}",
        }
        points = [
            a_point(key=key, text=text, namespace="away" if key == "foreign" else "home")
            for key, text in texts.items()
        ]
        await engine.writer.write([*better, *points])
        wanted: dict[str, Any] = {"mode": SearchMode.KEYWORD, "match": Match.PHRASE}

        found, exhaustive, _ = await answered(
            engine, "blue kettle", filter=selection(namespace="home"), **wanted
        )
        everywhere, _, _ = await answered(engine, "blue kettle", **wanted)
        one, enough, _ = await answered(engine, "blue kettle", top_k=1, **wanted)
        sensitive, _, _ = await answered(engine, "Blue Kettle", case_sensitive=True, **wanted)

        assert [hit.memory.content.key for hit in found] == ["first", "second"]
        assert (exhaustive, enough) == (True, True)
        assert {hit.memory.content.key for hit in everywhere} == {"first", "second", "foreign"}
        assert len(one) == 1
        assert [hit.memory.content.key for hit in sensitive] == ["first"]

    async def test_an_exact_text_is_found_alone(self, engine: Engine) -> None:
        texts = {"same": "Tea at four.", "longer": "Tea at four. Or five.", "other": "tea at five"}
        await engine.writer.write([a_point(key=key, text=text) for key, text in texts.items()])

        found, exhaustive, _ = await answered(
            engine, "tea AT four.", mode=SearchMode.KEYWORD, match=Match.EXACT
        )

        assert [hit.memory.content.key for hit in found] == ["same"]
        assert exhaustive is True

    async def test_a_substring_is_found_within_words_what_happened_last_first(self, engine: Engine) -> None:
        texts = {
            "word": "Two Teakettles.",
            "unspaced": "\u6771\u4eac\u90fd\u306bkettle",
            "other": "A blue teapot.",
            "apart": "ket tle",
            "away": "kettle",
            "theirs": "kettle",
        }
        await engine.writer.write(
            [
                a_point(
                    key=key,
                    text=text,
                    tenant="globex" if key == "theirs" else "acme",
                    namespace="away" if key == "away" else "home",
                    occurred_at=A_MOMENT + timedelta(microseconds=number),
                )
                for number, (key, text) in enumerate(texts.items())
            ]
        )
        wanted: dict[str, Any] = {"mode": SearchMode.KEYWORD, "match": Match.SUBSTRING}

        everywhere = await answered(engine, "kettl", **wanted)
        at_home = await answered(engine, "kettl", filter=selection(namespace="home"), **wanted)
        latest = await answered(engine, "kettl", top_k=1, **wanted)
        sensitive = await answered(engine, "Teakettle", case_sensitive=True, **wanted)
        nothing = await answered(engine, "kettle blue", **wanted)

        assert [hit.memory.content.key for hit in everywhere.hits] == ["away", "unspaced", "word"]
        assert [hit.memory.content.key for hit in at_home.hits] == ["unspaced", "word"]
        assert [hit.memory.content.key for hit in latest.hits] == ["away"]
        assert [hit.memory.content.key for hit in sensitive.hits] == ["word"]
        assert nothing.hits == []
        answers = [everywhere, at_home, latest, sensitive, nothing]
        assert [each.exhaustive for each in answers] == [True] * 5

    async def test_a_substring_is_looked_for_in_no_more_memories_than_it_says(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("soma_api.queries.vectors.hybrid_search._MOST_CANDIDATES", 400)
        await engine.writer.write(
            [
                a_point(
                    key=str(number),
                    namespace=f"team/{number % 2}",
                    text="teakettle" if number in {150, 390, 450, 900} else "teapot",
                    occurred_at=A_MOMENT - timedelta(seconds=number),
                )
                for number in range(1000)
            ]
        )
        wanted: dict[str, Any] = {"mode": SearchMode.KEYWORD, "match": Match.SUBSTRING}

        found = await answered(engine, "kettle", **wanted)
        enough = await answered(engine, "kettle", top_k=2, **wanted)
        narrower = await answered(engine, "kettle", filter=selection(namespace="team/0"), **wanted)
        few = await answered(
            engine, "kettle", filter=selection(occurred_before=A_MOMENT - timedelta(seconds=700)), **wanted
        )

        assert [hit.memory.content.key for hit in found.hits] == ["150", "390"]
        assert [hit.memory.content.key for hit in enough.hits] == ["150", "390"]
        assert [hit.memory.content.key for hit in narrower.hits] == ["150", "390", "450"]
        assert [hit.memory.content.key for hit in few.hits] == ["900"]
        assert (found.exhaustive, enough.exhaustive) == (False, True)
        assert (narrower.exhaustive, few.exhaustive) == (False, True)

    async def test_what_happened_last_comes_first_and_what_is_left_out_takes_no_place(
        self, engine: Engine
    ) -> None:
        points = [
            a_point(
                tags=("red",) if number % 3 == 0 else (), occurred_at=A_MOMENT - timedelta(seconds=number)
            )
            for number in range(12)
        ]
        gone = points[1]
        memory_id, _, _ = memory_of(gone.payload)
        await engine.writer.write(points)
        await engine.writer.write([a_tombstone(memory_id=memory_id, version=101)])
        conditions: list[Condition] = [of_tenant("acme"), Not([_HAS_RED])]

        found = await engine.reader.latest(conditions, 4)
        every = await engine.reader.latest(conditions, 100)

        living = [point.id for number, point in enumerate(points) if number % 3 and point is not gone]
        assert list(found) == living[:4]
        assert list(every) == living

    async def test_a_phrase_that_cannot_be_looked_for_says_that_there_may_be_more(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("soma_api.queries.vectors.hybrid_search._MOST_CANDIDATES", 100)
        await engine.writer.write(
            [
                a_point(key="not to be", text="to be or not to be wood " + "stone " * 300),
                *(a_point(key=f"other {n}", text="wood") for n in range(101)),
            ]
        )
        wanted: dict[str, Any] = {"mode": SearchMode.KEYWORD, "match": Match.PHRASE}

        stop_words = await answered(engine, "to be or not to be", **wanted)
        common = await answered(engine, "be wood", **wanted)
        unknown = await answered(engine, "teapot", **wanted)
        words = await answered(engine, "be wood", mode=SearchMode.KEYWORD)

        assert stop_words[:2] == ([], False)
        assert common[:2] == ([], False)
        assert unknown[:2] == ([], True)
        assert words.exhaustive is None

    async def test_words_are_found_in_the_forms_of_the_language(self, engine: Engine) -> None:
        german = Bm25Encoder(Language.GERMAN)
        texts = {
            "houses": "Für die Häuser am Fluss",
            "apart": "Die Ha\u0308user am See",
            "other": "Für den Garten",
        }
        await engine.writer.write([a_point(key=key, text=text, bm25=german) for key, text in texts.items()])
        wanted: dict[str, Any] = {"mode": SearchMode.KEYWORD, "bm25": german}

        forms = await answered(engine, "für das Haus", **wanted)
        phrase = await answered(engine, "die häuser am", match=Match.PHRASE, **wanted)

        assert {hit.memory.content.key for hit in forms.hits} == {"houses", "apart"}
        assert {hit.memory.content.key for hit in phrase.hits} == {"houses", "apart"}
        assert phrase.exhaustive is True

    async def test_a_term_counts_what_it_is_given(self, engine: Engine) -> None:
        points = [a_point(key=key, text=f"{key} wood") for key in ("blue", "kettle", "teapot")]
        await engine.writer.write(points)

        async def order(**boosts: float) -> list[str | None]:
            hits = await search(engine, "blue kettle", mode=SearchMode.KEYWORD, term_boosts=boosts)
            return [hit.memory.content.key for hit in hits]

        assert await order(blue=2.0) == ["blue", "kettle"]
        assert await order(blue=0.5) == ["kettle", "blue"]
        assert await order(kettle=2.0, teapot=3.0) == ["teapot", "kettle", "blue"]

    @pytest.mark.parametrize("mode", SearchMode)
    async def test_a_deleted_memory_is_never_found(self, engine: Engine, mode: SearchMode) -> None:
        gone = a_memory_id()
        await engine.writer.write([a_point(memory_id=gone, version=1), a_point(key="kept")])
        await engine.writer.write([a_tombstone(memory_id=gone, version=2)])

        hits = await search(engine, mode=mode)

        assert [hit.memory.content.key for hit in hits] == ["kept"]

    @pytest.mark.parametrize("mode", SearchMode)
    async def test_a_memory_is_found_until_its_own_deadline(self, engine: Engine, mode: SearchMode) -> None:
        clock = FakeClock()
        now, far = clock.now(), datetime(9999, 12, 31, tzinfo=UTC)
        deadlines = {
            "past": now - timedelta(days=400),
            "ancient": datetime(1, 1, 1, tzinfo=UTC),
            "now": now,
            "next": now + timedelta(microseconds=1),
            "far": far,
            "none": None,
        }
        await engine.writer.write([a_point(key=key, expires_at=each) for key, each in deadlines.items()])

        hits = await search(engine, mode=mode, clock=clock)

        assert {hit.memory.content.key for hit in hits} == {"next", "far", "none"}

    @pytest.mark.parametrize("mode", SearchMode)
    async def test_a_memory_without_a_deadline_is_found_as_long_as_the_nearest_policy_says(
        self, engine: Engine, mode: SearchMode
    ) -> None:
        clock = FakeClock()
        now = clock.now()
        policies = TenantPolicies(
            {
                None: [_kept_for(100)],
                "team": [_kept_for(10, Kind.EPISODIC), _kept_for(50, Kind.SEMANTIC)],
                "team/a": [_kept_for(50)],
                "team/b": [_kept_for(50)],
            }
        )
        points = [
            a_point(
                key=f"{namespace} {kind.value.lower()} {age}",
                namespace=namespace,
                kind=kind,
                updated_at=now - timedelta(seconds=age),
            )
            for namespace in ("other", "team", "team/a/notes", "team/b", "team/c")
            for kind in Kind
            for age in (9, 10, 49, 50, 99, 100)
        ]
        kept = a_point(key="later", updated_at=now - timedelta(days=1), expires_at=now + timedelta(days=1))
        await engine.writer.write([*points, kept])

        hits = await search(engine, mode=mode, clock=clock, policies=policies, top_k=100)

        seconds = {"other": (100, 100), "team": (10, 50), "team/a/notes": (50, 50)}
        seconds |= {"team/b": (50, 50), "team/c": (10, 50)}
        assert {hit.memory.content.key for hit in hits} == {"later"} | {
            f"{namespace} {kind.value.lower()} {age}"
            for namespace, ttls in seconds.items()
            for kind, ttl in zip((Kind.EPISODIC, Kind.SEMANTIC), ttls, strict=True)
            for age in (9, 10, 49, 50, 99, 100)
            if age < ttl
        }

    @pytest.mark.parametrize("mode", SearchMode)
    async def test_what_has_faded_is_not_found_and_takes_no_place_among_the_hits(
        self, engine: Engine, mode: SearchMode
    ) -> None:
        clock = FakeClock()
        rule = RetentionRule(
            kind=None,
            ttl_seconds=10**6,
            notice_seconds=0,
            archive=False,
            decay=Decay(half_life_seconds=100, floor=0.125),
        )

        def aged(seconds: int, importance: float, **fields: Any) -> Point:
            updated_at = clock.now() - timedelta(seconds=seconds)
            return a_point(updated_at=updated_at, importance=importance, **fields)

        faded = [aged(200, 0.5, text="tea tea") for _ in range(150)]
        living = [
            aged(199, 0.5, key="almost", text="tea and more of it"),
            aged(299, 1.0, key="matters", text="tea and more of it"),
            aged(9999, 0.1, key="own", text="tea and more of it", expires_at=clock.now() + timedelta(1)),
        ]
        await engine.writer.write([*faded, aged(300, 1.0, text="tea tea"), *living])

        hits = await search(
            engine, mode=mode, clock=clock, policies=TenantPolicies({"team": [rule]}), top_k=3
        )

        assert {hit.memory.content.key for hit in hits} == {"almost", "matters", "own"}

    @pytest.mark.parametrize("mode", SearchMode)
    async def test_a_search_at_a_time_finds_what_was_there_and_takes_no_place_for_what_was_not(
        self, engine: Engine, mode: SearchMode, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = FakeClock()
        at = clock.now() - timedelta(days=2)

        def made(days_ago: int, **fields: Any) -> Point:
            return a_point(created_at=clock.now() - timedelta(days=days_ago), **fields)

        new = [made(1, text="tea tea") for _ in range(150)]
        again_id, moved_id, aside = UUID(int=2), UUID(int=3), (0.6, 0.8, 0.0, 0.0)
        old, again, moved = (
            made(3, key="old", dense=aside, text="tea and more of it"),
            made(
                1, key="again", memory_id=again_id, dense=aside, text="tea and more of it", namespace="team/a"
            ),
            made(
                1, key="moved", memory_id=moved_id, dense=aside, text="tea and more of it", namespace="team/b"
            ),
        )
        await engine.writer.write([*new, old, again, moved])

        async def told(memory_ids: Collection[UUID]) -> dict[UUID, PastVersion]:
            known = {again_id: 5, moved_id: 6}
            return {each: PastVersion("team/a", known[each]) for each in memory_ids if each in known}

        wanted: dict[str, Any] = {"mode": mode, "clock": clock, "top_k": 2, "as_of": AsOf(at, told)}
        found = await answered(engine, **wanted)
        erasing = await answered(
            engine, **wanted, erasures=[ErasureSelection(UUID(int=1), ErasureScope.SUBJECT, "mira", None)]
        )
        monkeypatch.setattr("soma_api.queries.vectors.hybrid_search._MOST_CANDIDATES", 100)
        cut_off = await answered(engine, **wanted)

        assert {hit.memory.content.key: hit.version_at for hit in found.hits} == {"old": None, "again": 5}
        assert found.exhaustive is True
        assert [hit.memory.content.key for hit in erasing.hits] == ["old"]
        assert cut_off.exhaustive is False

    @pytest.mark.parametrize("mode", SearchMode)
    async def test_what_was_erased_by_a_digest_alone_is_not_found_and_takes_no_place_among_the_hits(
        self, engine: Engine, mode: SearchMode
    ) -> None:
        request_id = UUID(int=1)
        erasures = [
            ErasureSelection(request_id, scope, None, selector_digest(request_id, selector))
            for scope, selector in ((ErasureScope.SUBJECT, "mira"), (ErasureScope.NAMESPACE, "team/gone"))
        ]
        erased = [a_point(subject="mira", text="tea tea") for _ in range(150)]
        below = [a_point(namespace="team/gone/notes", subject="zoe", text="tea tea") for _ in range(50)]
        living = [a_point(key=each, subject=each, text="tea and more of it") for each in ("zoe", "ada")]
        await engine.writer.write([*erased, *below, *living, a_point(key="none", text="tea and more of it")])

        hits = await search(engine, mode=mode, erasures=erasures, top_k=3)

        assert {hit.memory.content.key for hit in hits} == {"zoe", "ada", "none"}

    async def test_what_has_ended_takes_no_place_among_the_hits(self, engine: Engine) -> None:
        clock = FakeClock()
        ended = [
            a_point(text="tea tea", expires_at=clock.now() - timedelta(seconds=each)) for each in range(150)
        ]
        await engine.writer.write([*ended, *(a_point(text="tea and more of it") for _ in range(5))])

        assert len(await search(engine, clock=clock, top_k=5)) == 5

    async def test_a_deadline_that_passes_while_a_search_runs_counts(self, engine: Engine) -> None:
        clock = FakeClock()
        await engine.writer.write(
            [a_point(key="gone", expires_at=clock.now() + timedelta(seconds=1)), a_point(key="kept")]
        )

        hits = await search(engine, reader=_Slow(engine.reader, clock), clock=clock)

        assert [hit.memory.content.key for hit in hits] == ["kept"]

    @pytest.mark.parametrize("mode", SearchMode)
    async def test_what_an_index_says_of_itself_is_never_found(
        self, engine: Engine, mode: SearchMode
    ) -> None:
        header = Header(UUID(int=1), LogIdentity("a-topic", 1), from_records=False)
        await engine.writer.write([header.point(), header.progress_point(0, 7), a_point(key="ours")])

        hits = await search(engine, mode=mode)

        assert [hit.memory.content.key for hit in hits] == ["ours"]

    @pytest.mark.parametrize("mode", SearchMode)
    async def test_searching_nothing_finds_nothing(self, engine: Engine, mode: SearchMode) -> None:
        assert await search(engine, mode=mode) == []

    async def test_a_prefix_covers_the_namespace_and_all_below_but_no_longer_sibling(
        self, engine: Engine
    ) -> None:
        await _at(engine, "team/a", "team/a/notes", "team/a/notes/old", "team/ab", "team", "team/b/team/a")

        keys = await found(engine, namespace_prefix="team/a")

        assert keys == {"team/a", "team/a/notes", "team/a/notes/old"}

    async def test_a_namespace_covers_itself_alone(self, engine: Engine) -> None:
        await _at(engine, "team", "team/a", "team/a/notes", "team/ab")

        assert await found(engine, namespace="team/a") == {"team/a"}

    async def test_a_tenant_named_like_the_start_of_a_namespace_is_not_taken_for_it(
        self, engine: Engine
    ) -> None:
        await engine.writer.write(
            [
                a_point(tenant="acme", namespace="team/notes", key="ours"),
                a_point(tenant="team", namespace="notes", key="theirs"),
            ]
        )

        assert await found(engine, namespace_prefix="team") == {"ours"}
        assert await found(engine, namespace_prefix="notes") == set()

    async def test_points_that_are_named_score_as_they_do_as_candidates(self, engine: Engine) -> None:
        points = [
            a_point(dense=(0.6, 0.8, 0.0, 0.0), text="tea and cake"),
            a_point(dense=(0.0, 1.0, 0.0, 0.0), text="tea"),
            a_point(dense=AN_AXIS, text="coffee"),
        ]
        await engine.writer.write([*points, a_point(tenant="globex", text="tea")])
        conditions = conditions_of("acme", selection())
        assert conditions is not None
        question = Question(conditions, of_tenant("acme"), AN_AXIS, _BM25.query("tea cake"), 10)
        found = await engine.reader.candidates(question)

        ids = [point.id for point in points]
        scored = await engine.reader.scores(question, Unscored(ids[1:], ids))

        assert dict(scored.dense) == pytest.approx(
            {each: score for each, score in found.dense if each in ids[1:]}, abs=1e-6
        )
        assert dict(scored.sparse) == pytest.approx(dict(found.sparse), abs=1e-6)
        assert len(scored.sparse) == 2

    async def test_points_that_do_not_meet_the_conditions_have_no_score(self, engine: Engine) -> None:
        theirs, elsewhere = a_point(tenant="globex"), a_point(namespace="other")
        await engine.writer.write([theirs, elsewhere])
        conditions = conditions_of("acme", selection(namespace="team/notes"))
        assert conditions is not None
        question = Question(conditions, of_tenant("acme"), AN_AXIS, _BM25.query("tea"), 10)
        named = [theirs.id, elsewhere.id]

        assert await engine.reader.scores(question, Unscored(named, named)) == Candidates([], [])

    async def test_vectors_are_told_of_points_that_meet_the_conditions_and_of_no_others(
        self, engine: Engine
    ) -> None:
        own, other = a_point(dense=(0.6, 0.8, 0.0, 0.0)), a_point(dense=AN_AXIS)
        theirs, elsewhere = a_point(tenant="globex"), a_point(namespace="other")
        gone = a_tombstone()
        await engine.writer.write([own, other, theirs, elsewhere, gone])
        conditions = conditions_of("acme", selection(namespace="team/notes"))
        assert conditions is not None

        told = await engine.reader.vectors([own.id, theirs.id, elsewhere.id, gone.id], conditions)

        assert told.keys() == {own.id}
        assert list(told[own.id]) == pytest.approx([0.6, 0.8, 0.0, 0.0], abs=1e-6)
        assert await engine.reader.vectors([], conditions) == {}

    async def test_the_context_of_a_question_is_what_its_reader_may_see(self, engine: Engine) -> None:
        near, far = a_point(key="near", dense=AN_AXIS), a_point(key="far", dense=(0.0, 1.0, 0.0, 0.0))
        hints = [
            a_point(memory_id=a_memory_id(), namespace=namespace, tenant=tenant, dense=(0.0, 1.0, 0.0, 0.0))
            for namespace, tenant in (("team/notes", "acme"), ("hidden", "acme"), ("team/notes", "globex"))
        ]
        await engine.writer.write([near, far, *hints])
        ids = [memory_of(hint.payload).memory_id for hint in hints]

        async def first(*memory_ids: UUID) -> str | None:
            hits = await search(
                engine,
                mode=SearchMode.VECTOR,
                filter=selection(allowed=["team"], equal={"kind": "EPISODIC"}),
                context=Context(memory_ids=memory_ids, weight=0.9),
                top_k=10,
            )
            return next(hit.memory.content.key for hit in hits if hit.memory.content.key is not None)

        assert await first() == "near"
        assert await first(ids[0]) == "far"
        assert await first(*ids[1:]) == "near"

    async def test_no_points_are_scored_without_asking(self, engine: Engine) -> None:
        question = Question([of_tenant("acme")], of_tenant("acme"), AN_AXIS, _BM25.query("tea"), 10)

        assert await engine.reader.scores(question, Unscored([], [])) == Candidates()

    @pytest.mark.parametrize(
        ("wanted", "keys"),
        [
            ({"allowed": ["team/a"]}, {"team/a", "team/a/notes"}),
            ({"allowed": ["team/a/notes", "other"]}, {"team/a/notes", "other"}),
            ({"allowed": ["team/a"], "namespace_prefix": "team"}, {"team/a", "team/a/notes"}),
            ({"allowed": ["team"], "namespace_prefix": "team/a/notes"}, {"team/a/notes"}),
            ({"allowed": ["team/a"], "namespace": "other"}, set()),
            ({"allowed": ["team/a"], "namespace_prefix": "other"}, set()),
            ({"allowed": []}, set()),
            ({"namespace_prefix": "team", "namespace": "other"}, set()),
        ],
    )
    async def test_what_the_reader_may_not_see_is_not_found(
        self, engine: Engine, wanted: dict[str, Any], keys: set[str]
    ) -> None:
        await _at(engine, "team", "team/a", "team/a/notes", "team/ab", "other")

        assert await found(engine, **wanted) == keys

    @pytest.mark.parametrize(
        ("wanted", "keys"),
        [
            ({"equal": {"key": "one"}}, {"one"}),
            ({"equal": {"kind": "SEMANTIC"}}, {"two"}),
            ({"equal": {"subject": "mira"}}, {"one"}),
            ({"equal": {"source": "file:///a b"}}, {"two"}),
            ({"equal": {"source": "file:///a"}}, set()),
            ({"memory_ids": [_SOME_ID]}, {"three"}),
            ({"memory_ids": []}, set()),
            ({"tags": ["red"]}, {"one", "two"}),
            ({"tags": ["red", "round"]}, {"two"}),
            ({"tags_any": ["round", "blue"]}, {"two", "three"}),
            ({"tags_any": []}, set()),
            ({"importance_min": 0.3}, {"two", "three"}),
            ({"importance_max": 0.3}, {"one", "two"}),
            ({"importance_min": 0.3, "importance_max": 0.3}, {"two"}),
            ({"occurred_from": A_MOMENT + timedelta(microseconds=1)}, {"two", "three"}),
            ({"occurred_before": A_MOMENT + timedelta(microseconds=1)}, {"one"}),
            (
                {
                    "occurred_from": A_MOMENT + timedelta(microseconds=1),
                    "occurred_before": A_MOMENT + timedelta(microseconds=2),
                },
                {"two"},
            ),
            ({"created_from": A_MOMENT + timedelta(hours=2)}, {"two", "three"}),
            ({"created_before": A_MOMENT + timedelta(hours=2)}, {"one"}),
            ({"updated_from": A_MOMENT + timedelta(days=300)}, {"three"}),
            ({"updated_before": A_MOMENT + timedelta(days=300)}, {"one", "two"}),
            ({"tags": ["red"], "importance_min": 0.3, "equal": {"kind": "SEMANTIC"}}, {"two"}),
            ({"tags": ["red"], "equal": {"key": "three"}}, set()),
        ],
    )
    async def test_a_filter_lets_through_what_meets_it(
        self, engine: Engine, wanted: dict[str, Any], keys: set[str]
    ) -> None:
        await engine.writer.write(
            [
                a_point(
                    key="one",
                    subject="mira",
                    tags=("red",),
                    importance=0.1,
                    occurred_at=A_MOMENT,
                    created_at=A_MOMENT + timedelta(hours=1),
                    updated_at=A_MOMENT + timedelta(days=100),
                ),
                a_point(
                    key="two",
                    kind=Kind.SEMANTIC,
                    source="file:///a b",
                    tags=("red", "round"),
                    importance=0.3,
                    occurred_at=A_MOMENT + timedelta(microseconds=1),
                    created_at=A_MOMENT + timedelta(hours=2),
                    updated_at=A_MOMENT + timedelta(days=200),
                ),
                a_point(
                    key="three",
                    memory_id=_SOME_ID,
                    subject="mirabelle",
                    tags=("blue",),
                    importance=0.9,
                    occurred_at=A_MOMENT + timedelta(microseconds=2),
                    created_at=A_MOMENT + timedelta(hours=3),
                    updated_at=A_MOMENT + timedelta(days=300),
                ),
            ]
        )

        assert await found(engine, **wanted) == keys

    @pytest.mark.parametrize(
        ("wanted", "keys"),
        [
            ({"state": "open"}, {"open"}),
            ({"count": 3}, {"open", "closed"}),
            ({"count": 3.0}, {"open", "closed"}),
            ({"flag": True}, {"open"}),
            ({"flag": 1}, {"closed"}),
            ({"nothing": None}, {"open"}),
            ({"ticket.id": "SRV-1"}, {"open"}),
            ({"labels": "b"}, {"open"}),
            ({"serial": 1234567890123456789}, {"open"}),
            ({'a.b[0]."c" ü': "odd"}, {"open"}),
            ({"long": "x" * 5000}, {"open"}),
            ({"state": "open", "count": 4}, set()),
            ({"missing": None}, set()),
            ({"ticket": "SRV-1"}, set()),
        ],
    )
    async def test_a_payload_filter_lets_through_what_has_the_value(
        self, engine: Engine, wanted: dict[str, Any], keys: set[str]
    ) -> None:
        await engine.writer.write(
            [
                a_point(
                    key="open",
                    payload='{"state": "open", "count": 3, "flag": true, "nothing": null, '
                    '"ticket": {"id": "SRV-1"}, "labels": ["a", "b", 7], "serial": 1234567890123456789, '
                    '"a.b[0].\\"c\\" ü": "odd", "long": "' + "x" * 5000 + '"}',
                ),
                a_point(
                    key="closed",
                    payload='{"state": "closed", "count": 3.0, "flag": 1, "serial": 1234567890123456788}',
                ),
                a_point(key="plain"),
            ]
        )

        assert await found(engine, payload=wanted) == keys

    @pytest.mark.parametrize(
        ("wanted", "keys"),
        [
            ({"count": NumberRange(at_least=2)}, {"two", "three"}),
            ({"count": NumberRange(above=2)}, {"three"}),
            ({"count": NumberRange(at_most=2)}, {"one", "two"}),
            ({"count": NumberRange(below=2)}, {"one"}),
            ({"count": NumberRange(at_least=1.5, below=3)}, {"two"}),
            ({"size.width_mm": NumberRange(above=10)}, {"three"}),
            ({'a.b[0]."c" ü': NumberRange(at_least=7)}, {"three"}),
            ({"1": NumberRange(at_least=0)}, {"one"}),
            ({"flag": NumberRange(at_least=0)}, set()),
        ],
    )
    async def test_a_payload_range_lets_through_the_numbers_within(
        self, engine: Engine, wanted: dict[str, Any], keys: set[str]
    ) -> None:
        await engine.writer.write(
            [
                a_point(key="one", payload='{"count": 1, "1": 0, "flag": true}'),
                a_point(key="two", payload='{"count": 2.0, "size": {"width_mm": 10}}'),
                a_point(
                    key="three",
                    payload='{"count": 3, "size": {"width_mm": 10.5}, "a.b[0].\\"c\\" ü": 7}',
                ),
                a_point(key="text", payload='{"count": "2"}'),
            ]
        )

        assert await found(engine, payload_ranges=wanted) == keys

    @pytest.mark.parametrize("seed", range(4))
    async def test_a_payload_range_holds_exactly_the_numbers_that_compare_so(
        self, engine: Engine, seed: int
    ) -> None:
        random = Random(seed)
        numbers = [each for _ in range(25) for each in _close_numbers(random)]
        stored = {str(key): {"price": number, "other": -number} for key, number in enumerate(numbers)}
        await engine.writer.write(
            [a_point(key=key, payload=json.dumps(payload)) for key, payload in stored.items()]
        )
        for _ in range(25):
            bounds = [random.choice([None, *numbers]) for _ in range(4)]
            wanted = NumberRange(*bounds)

            keys = await found(engine, payload_ranges={"price": wanted})

            assert keys == {key for key, payload in stored.items() if _lies_in(payload["price"], wanted)}

    @pytest.mark.parametrize(
        ("coordinate_min", "coordinate_max", "coordinates"),
        [
            ((0.0, 0.0), (2.0, 2.0), {(0.0, 0.0), (1.0, 2.0)}),
            ((1.0, 2.0), (1.0, 2.0), {(1.0, 2.0)}),
            ((0.1 + 0.2, -5.0), (0.1 + 0.2, 5.0), {(0.1 + 0.2, -1.5)}),
            ((-10.0,), (10.0,), {(1.0,)}),
            ((5.0, 5.0), (6.0, 6.0), set()),
            ((0.0,) * 6, (1.0,) * 6, {(0.0, 1.0, 0.5, 0.5, 0.5, 1.0)}),
            ((0.0,) * 5 + (1.5,), (1.0,) * 5 + (2.0,), {(0.0, 1.0, 0.5, 0.5, 0.5, 1.5)}),
        ],
    )
    async def test_a_box_holds_the_coordinates_within_and_on_its_border(
        self,
        engine: Engine,
        coordinate_min: tuple[float, ...],
        coordinate_max: tuple[float, ...],
        coordinates: set[tuple[float, ...]],
    ) -> None:
        places = [(0.0, 0.0), (1.0, 2.0), (1.0, 2.5), (0.1 + 0.2, -1.5), (1.0,), (1.0, 1.0, 1.0)]
        places += [(0.0, 1.0, 0.5, 0.5, 0.5, last) for last in (1.0, 1.5)]
        await engine.writer.write([a_point(coordinate=place) for place in places])

        hits = await search(
            engine,
            mode=SearchMode.VECTOR,
            filter=selection(coordinate_min=coordinate_min, coordinate_max=coordinate_max),
            top_k=100,
        )

        assert {tuple(hit.memory.content.coordinate or ()) for hit in hits} == coordinates

    @pytest.mark.parametrize(
        ("excluded", "keys"),
        [
            ([_HAS_RED], {"unmarked"}),
            ([_HAS_RED, InRange(IMPORTANCE, at_most=0.3)], {"red", "unmarked"}),
            # A field that a point lacks is in no range, so what asks for one excludes no such point.
            ([InRange(DIMENSIONS, at_least=0.0)], {"red", "faint"}),
            ([Not([InRange(DIMENSIONS, at_least=0.0)])], {"unmarked"}),
            ([_HAS_RED, Not([InRange(IMPORTANCE, at_most=0.3)])], {"faint", "unmarked"}),
            ([AnyOf([[InRange(DIMENSIONS, at_least=0.0)], [InRange(IMPORTANCE, at_most=0.3)]])], {"red"}),
            ([OneOf([tag_label("green"), tag_label("blue")])], {"red", "faint", "unmarked"}),
        ],
    )
    async def test_what_meets_all_conditions_of_a_negation_is_left_out_and_nothing_else(
        self, engine: Engine, excluded: list[Condition], keys: set[str]
    ) -> None:
        points = {
            "red": a_point(tags=("red",), importance=0.9),
            "faint": a_point(tags=("red",), importance=0.1),
            "unmarked": a_point(importance=0.1, coordinate=(1.0,)),
        }
        await engine.writer.write(list(points.values()))
        conditions: list[Condition] = [of_tenant("acme"), Not(excluded)]
        ids = [point.id for point in points.values()]

        found = await engine.reader.candidates(Question(conditions, of_tenant("acme"), AN_AXIS, None, 10))
        payloads = await engine.reader.payloads(ids, conditions, ["tenant"])

        wanted = {points[key].id for key in keys}
        assert {each.id for each in found.dense} == wanted
        assert set(payloads) == wanted

    async def test_the_nearest_come_first_with_their_cosine(self, engine: Engine) -> None:
        directions = {
            "same": (2.0, 0.0, 0.0, 0.0),
            "near": (1.0, 1.0, 0.0, 0.0),
            "away": (-1.0, 0.0, 0.0, 0.0),
        }
        points = {name: a_point(key=name, dense=_unit(direction)) for name, direction in directions.items()}
        await engine.writer.write(list(points.values()))

        answer = await candidates(engine, dense=AN_AXIS)

        assert [each.id for each in answer.dense] == [points[name].id for name in ("same", "near", "away")]
        assert [each.score for each in answer.dense] == pytest.approx([1.0, math.sqrt(0.5), -1.0], abs=1e-6)
        assert list(answer.sparse) == []

    async def test_words_score_by_bm25_with_the_rarity_that_they_have_in_the_tenant(
        self, engine: Engine
    ) -> None:
        texts = ["green tea", "tea and tea", "coffee", "black coffee at noon"]
        points = [a_point(text=text) for text in texts]
        elsewhere = [a_point(tenant="globex", text="tea tea tea") for _ in range(20)]
        await engine.writer.write([*points, *elsewhere])
        question = _BM25.query("green tea")

        answer = await candidates(engine, sparse=question)

        assert {each.id: each.score for each in answer.sparse} == pytest.approx(
            _bm25_by_hand(question, points), abs=1e-5
        )
        assert list(answer.dense) == []

    async def test_a_replaced_memory_is_found_as_it_is_now_and_no_longer_as_it_was(
        self, engine: Engine
    ) -> None:
        memory = a_memory_id()
        await engine.writer.write([a_point(memory_id=memory, version=1, text="green tea")])
        await engine.writer.write(
            [a_point(memory_id=memory, version=2, text="black coffee", dense=(0.0, 1.0, 0.0, 0.0))]
        )
        now = point_id("acme", memory)

        old_words = await candidates(engine, sparse=_BM25.query("tea"))
        new_words = await candidates(engine, sparse=_BM25.query("coffee"))
        nearness = await candidates(engine, dense=AN_AXIS)

        assert list(old_words.sparse) == []
        assert [each.id for each in new_words.sparse] == [now]
        assert [(each.id, round(each.score, 6)) for each in nearness.dense] == [(now, 0.0)]

    async def test_a_memory_without_a_vector_is_found_by_its_words_alone(self, engine: Engine) -> None:
        point = a_point(dense=None, text="green tea")
        await engine.writer.write([point])

        answer = await candidates(engine, dense=AN_AXIS, sparse=_BM25.query("tea"))

        assert list(answer.dense) == []
        assert [each.id for each in answer.sparse] == [point.id]

    async def test_no_more_candidates_than_asked_for_and_those_the_best(self, engine: Engine) -> None:
        points = [
            a_point(dense=_unit((1.0, number / 10, 0.0, 0.0)), text="tea " + "word " * number)
            for number in range(40)
        ]
        await engine.writer.write(points)

        answer = await candidates(engine, dense=AN_AXIS, sparse=_BM25.query("tea"), limit=5)

        best = [point.id for point in points[:5]]
        assert [each.id for each in answer.dense] == best
        assert {each.id for each in answer.sparse} == set(best)

    async def test_asking_for_neither_kind_finds_nothing(self, engine: Engine) -> None:
        await engine.writer.write([a_point()])

        answer = await candidates(engine)

        assert (list(answer.dense), list(answer.sparse)) == ([], [])

    async def test_payloads_hold_the_fields_asked_for_of_points_that_still_meet_the_conditions(
        self, engine: Engine
    ) -> None:
        kept, moved = a_point(namespace="team/a", version=3), a_point(namespace="team/b")
        await engine.writer.write([kept, moved])
        conditions = conditions_of("acme", selection(namespace_prefix="team/a"))
        assert conditions is not None

        payloads = await engine.reader.payloads(
            [kept.id, moved.id, UUID(int=1)], conditions, ["tenant", "version"]
        )

        assert payloads == {kept.id: {"tenant": "acme", "version": 3}}

    async def test_payloads_of_no_points_are_none(self, engine: Engine) -> None:
        assert await engine.reader.payloads([], [of_tenant("acme")], ["tenant"]) == {}

    async def test_more_hits_than_any_page_come_at_once(self, engine: Engine) -> None:
        await engine.writer.write([a_point(key=str(number)) for number in range(500)])

        hits = await search(engine, top_k=10_000)

        assert len({hit.memory.content.key for hit in hits}) == 500


async def _at(engine: Engine, *namespaces: str) -> None:
    """Store one memory in each namespace, under the namespace as its key."""
    await engine.writer.write([a_point(namespace=each, key=each) for each in namespaces])


def _close_numbers(random: Random) -> list[float]:
    """A number of any size, and others next to it and far from it."""
    number = random.choice([-1, 1]) * random.choice(
        [0, random.random(), random.random() * 10.0 ** random.randint(-30, 30)]
    )
    return [
        number,
        math.nextafter(number, math.inf),
        math.nextafter(number, -math.inf),
        float(round(number)),
        -number,
    ]


def _lies_in(number: float, bounds: NumberRange) -> bool:
    return (
        (bounds.at_least is None or number >= bounds.at_least)
        and (bounds.above is None or number > bounds.above)
        and (bounds.at_most is None or number <= bounds.at_most)
        and (bounds.below is None or number < bounds.below)
    )


def _unit(numbers: Sequence[float]) -> tuple[float, ...]:
    return tuple(unit_vector(numbers) or ())


def _bm25_by_hand(question: SparseVector | None, points: Sequence[Point]) -> Mapping[UUID, float]:
    """The textbook: weight of the word in the document, times how rare it is among these documents."""
    assert question is not None
    weights = {
        point.id: dict(zip(point.sparse.indices, point.sparse.values, strict=True))
        for point in points
        if point.sparse is not None
    }
    scores: dict[UUID, float] = {}
    for word in question.indices:
        holders = [each for each, words in weights.items() if word in words]
        rarity = math.log(1 + (len(points) - len(holders) + 0.5) / (len(holders) + 0.5))
        for each in holders:
            scores[each] = scores.get(each, 0.0) + rarity * weights[each][word]
    return scores
