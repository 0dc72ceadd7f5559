"""The search itself: what it asks the engine, and what it makes of the answers."""

import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import pytest

from builders import NO_POLICIES
from contract.vectors.build import AN_AXIS, a_point
from fakes import FakeClock
from soma_api.queries.filter_shorthand import selection
from soma_api.queries.filter_terms import NumberRange
from soma_api.queries.vectors.conditions import Condition, OneOf, conditions_of
from soma_api.queries.vectors.fusion import Candidate, Explanation
from soma_api.queries.vectors.hybrid_search import Search, SearchHit, SearchMode, SearchRequest
from soma_api.queries.vectors.reader import Candidates, Question, Unscored
from soma_api.queries.vectors.reranking import Boost, Context, Threshold
from soma_api.queries.vectors.wording import Match
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.index_errors import UnfitVectorError
from soma_schemas.vectors.payload import prefix_label, tenant_label
from soma_schemas.vectors.points import Point


class Embedder:
    """Answers one axis, and remembers in which thread it was asked."""

    name = "test-model"
    dimensions = 4

    def __init__(self, *, in_process: bool = True) -> None:
        self.in_process = in_process
        self.threads: list[int] = []

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Not asked by a search."""
        raise NotImplementedError

    def embed_query(self, text: str) -> list[float]:
        """Answer, or say that there is nothing to the text."""
        self.threads.append(threading.get_ident())
        return [0.0] * 4 if text == "the" else list(AN_AXIS)

    def close(self) -> None:
        """Nothing to close."""


class ScriptedReader:
    """An engine that answers what a test has written down."""

    def __init__(
        self, found: Candidates, points: Sequence[Point] = (), more: Candidates | None = None
    ) -> None:
        self._found = found
        self._more = more or Candidates()
        self.unscored: list[Unscored] = []
        self._dense = {point.id: point.dense for point in points}
        self.vectors_asked: list[tuple[Sequence[UUID], Sequence[Condition]]] = []
        self._points = {point.id: point.payload for point in points}
        self.questions: list[Question] = []
        self.latest_asked: list[tuple[Sequence[Condition], int]] = []

    async def candidates(self, question: Question) -> Candidates:
        """Answer."""
        self.questions.append(question)
        return self._found

    async def latest(self, conditions: Sequence[Condition], limit: int) -> Sequence[UUID]:
        """Answer in the order of the points."""
        self.latest_asked.append((conditions, limit))
        return list(self._points)[:limit]

    async def scores(self, question: Question, unscored: Unscored) -> Candidates:
        """Answer what was written down for these."""
        del question
        self.unscored.append(unscored)
        return Candidates(
            [each for each in self._more.dense if each.id in unscored.dense],
            [each for each in self._more.sparse if each.id in unscored.sparse],
        )

    async def vectors(
        self, ids: Sequence[UUID], conditions: Sequence[Condition]
    ) -> Mapping[UUID, Sequence[float]]:
        """Answer."""
        self.vectors_asked.append((ids, conditions))
        return {each: dense for each in ids if (dense := self._dense.get(each)) is not None}

    async def payloads(
        self, ids: Sequence[UUID], conditions: Sequence[Condition], fields: Sequence[str]
    ) -> Mapping[UUID, Mapping[str, Any]]:
        """Answer."""
        del conditions
        return {
            each: {field: self._points[each][field] for field in fields}
            for each in ids
            if each in self._points
        }


def asked(**request: Any) -> SearchRequest:
    """A question in a tenant without policies."""
    return SearchRequest(tenant="acme", policies=NO_POLICIES, **request)


def _search(
    reader: ScriptedReader, embedder: Embedder | None = None
) -> Callable[[SearchRequest], Awaitable[list[SearchHit]]]:
    search = Search(reader, embedder or Embedder(), Bm25Encoder(), FakeClock())

    async def hits(request: SearchRequest) -> list[SearchHit]:
        return (await search(request)).hits

    return hits


async def test_a_hit_carries_the_memory_its_score_and_the_parts_of_the_score() -> None:
    tea, coffee = a_point(key="tea", text="tea", version=5), a_point(key="coffee")
    found = Candidates([Candidate(tea.id, 0.75)], [Candidate(tea.id, 9.0), Candidate(coffee.id, 2.0)])
    more = Candidates([Candidate(coffee.id, 0.25)])

    hits = await _search(ScriptedReader(found, [tea, coffee], more))(asked(text="tea"))

    assert [(hit.memory.content.key, hit.score, hit.explanation) for hit in hits] == [
        ("tea", 1.0, Explanation(0.75, 9.0, 1.0, 1.0)),
        ("coffee", -1.0, Explanation(0.25, 2.0, -1.0, -1.0)),
    ]
    assert (hits[0].memory.content.text, hits[0].memory.version) == ("tea", 5)


async def test_every_candidate_of_a_hybrid_search_is_scored_on_both() -> None:
    near, both, matching = (a_point(key=key) for key in ("near", "both", "matching"))
    found = Candidates(
        [Candidate(near.id, 0.5), Candidate(both.id, 0.4)],
        [Candidate(both.id, 3.0), Candidate(matching.id, 2.0)],
    )
    more = Candidates([Candidate(matching.id, 0.3)], [Candidate(near.id, 1.0)])
    reader = ScriptedReader(found, [near, both, matching], more)

    hits = await _search(reader)(asked(text="tea"))

    assert reader.unscored == [Unscored([matching.id], [near.id])]
    assert {hit.memory.content.key: (hit.explanation.dense, hit.explanation.bm25) for hit in hits} == {
        "near": (0.5, 1.0),
        "both": (0.4, 3.0),
        "matching": (0.3, 2.0),
    }


@pytest.mark.parametrize(
    ("mode", "text"), [(SearchMode.VECTOR, "tea"), (SearchMode.KEYWORD, "tea"), (SearchMode.HYBRID, "the")]
)
async def test_what_was_not_asked_for_is_not_scored(mode: SearchMode, text: str) -> None:
    tea = a_point(key="tea")
    reader = ScriptedReader(Candidates([Candidate(tea.id, 0.5)], [Candidate(tea.id, 2.0)]), [tea])

    await _search(reader)(asked(text=text, mode=mode))

    assert reader.unscored == []


async def test_a_boost_chooses_among_more_candidates_than_are_returned() -> None:
    near, important = a_point(key="near", importance=0.1), a_point(key="important", importance=0.9)
    found = Candidates([Candidate(near.id, 0.9), Candidate(important.id, 0.8)])
    reader = ScriptedReader(found, [near, important])

    hits = await _search(reader)(
        asked(text="tea", mode=SearchMode.VECTOR, top_k=1, boost=Boost(importance=1.0))
    )

    assert [question.limit for question in reader.questions] == [100]
    assert [(hit.memory.content.key, hit.explanation.importance_boost) for hit in hits] == [
        ("important", 0.9)
    ]


async def test_diversity_puts_what_is_new_before_what_is_alike() -> None:
    first, alike = a_point(key="first"), a_point(key="alike")
    new = a_point(key="new", dense=(0.0, 1.0, 0.0, 0.0))
    found = Candidates([Candidate(first.id, 0.9), Candidate(alike.id, 0.8), Candidate(new.id, 0.5)])
    reader = ScriptedReader(found, [first, alike, new])

    async def keys(diversity: float) -> list[str | None]:
        hits = await _search(reader)(asked(text="tea", mode=SearchMode.VECTOR, top_k=2, diversity=diversity))
        return [hit.memory.content.key for hit in hits]

    assert await keys(0.0) == ["first", "alike"]
    assert await keys(0.7) == ["first", "new"]


async def test_a_context_of_text_moves_the_vector_and_leaves_the_words() -> None:
    reader = ScriptedReader(Candidates())

    await _search(reader)(asked(text="tea", context=Context(text="the", weight=0.5)))
    await _search(reader)(
        asked(
            text="tea",
            mode=SearchMode.VECTOR,
            vector=(0.0, 1.0, 0.0, 0.0),
            context=Context(text="tea", weight=0.5),
        )
    )

    unmoved, moved = reader.questions
    assert unmoved.dense == list(AN_AXIS)  # the text says nothing
    assert moved.dense == pytest.approx([0.5**0.5, 0.5**0.5, 0.0, 0.0])


async def test_a_threshold_leaves_out_candidates_before_the_best_are_chosen() -> None:
    near, matching = a_point(key="near"), a_point(key="matching")
    found = Candidates([Candidate(near.id, 0.9), Candidate(matching.id, 0.2)], [Candidate(matching.id, 9.0)])
    reader = ScriptedReader(found, [near, matching])

    hits = await _search(reader)(asked(text="tea", top_k=1, threshold=Threshold(dense=0.5)))

    assert [hit.memory.content.key for hit in hits] == ["near"]


async def test_a_memory_that_has_gone_since_it_was_a_candidate_is_left_out() -> None:
    tea, gone = a_point(key="tea"), a_point(key="gone")
    found = Candidates([Candidate(gone.id, 0.9), Candidate(tea.id, 0.5)])

    hits = await _search(ScriptedReader(found, [tea]))(asked(text="tea"))

    assert [hit.memory.content.key for hit in hits] == ["tea"]


async def test_an_answer_of_another_tenant_ends_the_search() -> None:
    theirs = a_point(tenant="globex")
    reader = ScriptedReader(Candidates([Candidate(theirs.id, 0.9)]), [theirs])

    with pytest.raises(RuntimeError, match="must not see"):
        await _search(reader)(asked(text="tea"))


@pytest.mark.parametrize(
    ("mode", "top_k", "dense", "sparse", "limit"),
    [
        (SearchMode.HYBRID, 10, True, True, 100),
        (SearchMode.HYBRID, 500, True, True, 500),
        (SearchMode.VECTOR, 10, True, False, 10),
        (SearchMode.KEYWORD, 10, False, True, 10),
    ],
)
async def test_each_mode_asks_for_its_kinds_of_candidates(
    *, mode: SearchMode, top_k: int, dense: bool, sparse: bool, limit: int
) -> None:
    reader = ScriptedReader(Candidates())

    await _search(reader)(asked(text="tea", mode=mode, top_k=top_k))

    [question] = reader.questions
    assert (question.dense is not None, question.sparse is not None) == (dense, sparse)
    assert question.limit == limit
    assert question.corpus == OneOf([tenant_label("acme")])
    assert question.conditions[0] == OneOf([tenant_label("acme")])


async def test_a_substring_asks_for_no_kind_of_candidates_but_for_what_happened_last() -> None:
    points = [
        a_point(key="1", text="A teakettle."),
        a_point(key="2", text="Tea."),
        a_point(key="3", text="kettles"),
    ]
    reader = ScriptedReader(Candidates(), points)

    hits = await _search(reader)(asked(text="KETTLE", mode=SearchMode.KEYWORD, match=Match.SUBSTRING))

    assert reader.questions == []
    [(conditions, limit)] = reader.latest_asked
    assert (conditions[0], limit) == (OneOf([tenant_label("acme")]), 100)
    assert [hit.memory.content.key for hit in hits] == ["1", "3"]
    assert {(hit.score, hit.explanation) for hit in hits} == {(1.0, Explanation(None, None))}


async def test_equal_hits_stay_in_their_order_after_boosts() -> None:
    points = [
        a_point(key=key, importance=importance) for key, importance in [("1", 0.1), ("2", 0.9), ("3", 0.1)]
    ]
    request = asked(
        text="tea", mode=SearchMode.KEYWORD, match=Match.SUBSTRING, boost=Boost(importance=1.0), top_k=2
    )

    hits = await _search(ScriptedReader(Candidates(), points[::-1]))(request)

    assert [hit.memory.content.key for hit in hits] == ["2", "3"]


async def test_no_more_hits_than_asked_for() -> None:
    points = [a_point(key=str(number)) for number in range(9)]
    found = Candidates([Candidate(point.id, 0.9 - number / 10) for number, point in enumerate(points)])

    hits = await _search(ScriptedReader(found, points))(asked(text="tea", top_k=3))

    assert [hit.memory.content.key for hit in hits] == ["0", "1", "2"]


async def test_a_vector_of_ones_own_is_compared_instead_of_the_text() -> None:
    reader, embedder = ScriptedReader(Candidates()), Embedder()

    await _search(reader, embedder)(
        SearchRequest(
            tenant="acme", policies=NO_POLICIES, vector=[0.0, 3.0, 4.0, 0.0], mode=SearchMode.VECTOR
        )
    )

    assert reader.questions[0].dense == pytest.approx([0.0, 0.6, 0.8, 0.0])
    assert embedder.threads == []


@pytest.mark.parametrize("vector", [[1.0], [float("nan"), 0.0, 0.0, 0.0]])
async def test_an_unfit_vector_is_the_callers_mistake(vector: list[float]) -> None:
    search = _search(ScriptedReader(Candidates()))

    with pytest.raises(UnfitVectorError):
        await search(asked(vector=vector, mode=SearchMode.VECTOR))


async def test_a_text_that_says_nothing_to_the_model_is_still_looked_up_by_its_words() -> None:
    reader = ScriptedReader(Candidates())

    await _search(reader)(asked(text="the"))

    assert reader.questions[0].dense is None


async def test_an_embedder_that_takes_its_time_is_asked_from_a_thread() -> None:
    near, far = Embedder(), Embedder(in_process=False)
    request = asked(text="tea")

    await _search(ScriptedReader(Candidates()), near)(request)
    await _search(ScriptedReader(Candidates()), far)(request)

    assert near.threads == [threading.get_ident()]
    assert far.threads != [threading.get_ident()]


async def test_what_cannot_be_met_is_not_asked() -> None:
    reader = ScriptedReader(Candidates())

    hits = await _search(reader)(
        SearchRequest(
            tenant="acme", policies=NO_POLICIES, text="tea", filter=selection(allowed=[], namespace="team")
        )
    )

    assert hits == []
    assert reader.questions == []


@pytest.mark.parametrize(
    "request_fields",
    [
        {},
        {"mode": SearchMode.VECTOR},
        {"mode": SearchMode.HYBRID, "vector": AN_AXIS},
        {"mode": SearchMode.KEYWORD, "text": "tea", "vector": AN_AXIS},
        {"text": "tea", "top_k": 0},
        {"mode": SearchMode.KEYWORD, "text": "tea", "context": Context(text="cake")},
        {"text": "tea", "match": Match.SUBSTRING},
        {"mode": SearchMode.KEYWORD, "text": "tea", "match": Match.SUBSTRING, "term_boosts": {"tea": 2.0}},
        {
            "mode": SearchMode.KEYWORD,
            "text": "tea",
            "match": Match.SUBSTRING,
            "threshold": Threshold(bm25=1.0),
        },
    ],
)
def test_a_request_that_makes_no_sense_cannot_be_made(request_fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"search|substring"):
        asked(**request_fields)


@pytest.mark.parametrize(
    ("coordinate_min", "coordinate_max"), [((1.0,), None), (None, (1.0,)), ((1.0,), (1.0, 2.0))]
)
def test_a_box_without_two_fitting_corners_cannot_be_made(
    coordinate_min: tuple[float, ...] | None, coordinate_max: tuple[float, ...] | None
) -> None:
    with pytest.raises(ValueError, match=r"box|corners"):
        selection(coordinate_min=coordinate_min, coordinate_max=coordinate_max)


def test_every_filter_adds_its_conditions_to_that_of_the_tenant() -> None:
    conditions = conditions_of(
        "acme",
        selection(
            namespace_prefix="team/a",
            tags=["red", "round"],
            payload={"state": "open"},
            payload_ranges={"size.mm": NumberRange(above=1)},
        ),
    )

    assert conditions is not None
    assert conditions[0] == OneOf([prefix_label("acme", "team/a")])
    assert len(conditions) == 5


async def test_the_words_of_a_term_count_as_much_as_it_says() -> None:
    reader = ScriptedReader(Candidates())
    kettle, teapot, blue = (Bm25Encoder().query(word) for word in ("kettle", "teapot", "blue"))
    assert kettle is not None
    assert teapot is not None
    assert blue is not None

    await _search(reader)(
        asked(text="the blue kettles", term_boosts={"Kettle": 2.0, "teapot kettle": 0.5, "the": 9.0})
    )
    await _search(reader)(asked(text="the", term_boosts={"the": 9.0}, mode=SearchMode.KEYWORD))

    boosted, nothing = (question.sparse for question in reader.questions)
    assert boosted is not None
    assert dict(zip(boosted.indices, boosted.values, strict=True)) == {
        blue.indices[0]: 1.0,
        kettle.indices[0]: 2.0,
        teapot.indices[0]: 0.5,
    }
    assert nothing is None
