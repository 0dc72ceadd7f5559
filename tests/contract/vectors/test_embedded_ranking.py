"""The embedded engine finds the best points that meet conditions, also where it checks the nearest alone."""

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from uuid import UUID

import pytest
import qdrant_edge as edge

from contract.vectors.build import a_point
from soma_api.queries.filter_shorthand import selection
from soma_api.queries.filter_terms import NumberRange, Selection
from soma_api.queries.vectors.conditions import Condition, conditions_of, of_tenant
from soma_api.queries.vectors.reader import Question
from soma_cli.local.embedded_filters import Asked, Nearest, filter_of, search_filter
from soma_cli.local.embedded_index import EmbeddedIndex
from soma_cli.local.embedded_ranking import Ranking, best_points
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.index_errors import SearchTooCostlyError
from soma_schemas.vectors.points import DENSE, SPARSE, Point, unit_vector

_LIMIT, _POINTS, _DIMENSIONS = 10, 2_000, 16
_NEAR = [1.0] + [0.0] * (_DIMENSIONS - 1)
_WORDS = Bm25Encoder().query("tea")


@dataclass(frozen=True)
class _Made:
    """A point, and what of it the conditions are about."""

    point: Point
    namespace: str
    importance: float
    number: int

    @property
    def nearness(self) -> float:
        return sum(a * b for a, b in zip(self.point.dense or (), _NEAR, strict=True))


def _made() -> Iterator[_Made]:
    """Half of team/any is important, wherever it lies; what is important in team/far lies far from _NEAR."""
    random = Random(3)
    for number in range(_POINTS):
        importance = random.random()
        direction = [random.gauss(0, 1) for _ in range(_DIMENSIONS)]
        namespace = "team/far" if number % 2 else "team/any"
        if namespace == "team/far":
            direction[0] = -2.0 if importance >= 0.5 else 2.0
        point = a_point(
            memory_id=UUID(int=number + 1),
            dense=tuple(unit_vector(direction) or ()),
            text="tea at four" if number % 3 else "a walk",
            namespace=namespace,
            importance=importance,
            tags=[f"tag-{number % 5}"],
            payload=json.dumps({"number": number}),
        )
        yield _Made(point, namespace, importance, number)


@pytest.fixture(scope="module")
def made() -> Sequence[_Made]:
    return list(_made())


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, made: Sequence[_Made]) -> Iterator[EmbeddedIndex]:
    folder = tmp_path_factory.mktemp("ranking") / "vectors"
    opened = EmbeddedIndex.open(folder, Collection("memories", "random", _DIMENSIONS))
    asyncio.run(opened.write([each.point for each in made]))
    yield opened
    opened.close()


def _conditions(wanted: Selection) -> list[Condition]:
    conditions = conditions_of("acme", wanted)
    assert conditions is not None
    return conditions


def _asked(index: EmbeddedIndex, wanted: Selection) -> Asked:
    return search_filter(_conditions(wanted), _LIMIT, index._estimated, index._some)


_KINDS: dict[str, tuple[Selection, Callable[[_Made], bool], bool]] = {
    "a range": (selection(importance_min=0.5), lambda each: each.importance >= 0.5, True),
    "ranges of payload and importance": (
        selection(importance_max=0.5, payload_ranges={"number": NumberRange(at_least=1_000)}),
        lambda each: each.importance <= 0.5 and each.number >= 1_000,
        True,
    ),
    "one of many tags": (
        selection(tags_any=[f"tag-{number}" for number in range(3, 30)]),
        lambda each: each.number % 5 >= 3,
        False,
    ),
    "a range of few": (
        selection(payload_ranges={"number": NumberRange(at_least=1_980)}),
        lambda each: each.number >= 1_980,
        False,
    ),
    "one of two tags": (
        selection(namespace="team/any", tags_any=["tag-3", "tag-4"]),
        lambda each: each.number % 5 >= 3 and each.namespace == "team/any",
        False,
    ),
    "important and far": (
        selection(namespace="team/far", importance_min=0.5),
        lambda each: each.namespace == "team/far" and each.importance >= 0.5,
        True,
    ),
}


@pytest.mark.parametrize("kind", _KINDS)
async def test_the_best_are_found_that_meet_all_conditions(
    index: EmbeddedIndex, made: Sequence[_Made], kind: str
) -> None:
    wanted, meets, among_nearest = _KINDS[kind]
    assert (_asked(index, wanted).nearest is not None) is among_nearest

    found = await index.candidates(Question(_conditions(wanted), of_tenant("acme"), _NEAR, _WORDS, _LIMIT))

    best = sorted((each.nearness for each in made if meets(each)), reverse=True)[:_LIMIT]
    assert [each.score for each in found.dense] == pytest.approx(best, abs=1e-5)
    allowed = {each.point.id for each in made if meets(each)}
    assert {each.id for each in found.dense} <= allowed
    says_tea = {each.point.id for each in made if each.number % 3}
    assert len(found.sparse) == min(_LIMIT, len(allowed & says_tea))
    assert {each.id for each in found.sparse} <= allowed & says_tea


class TestWhereTheFilterIsTooCostly:
    """A filter that would take too long is not asked, also where the nearest do not suffice."""

    @staticmethod
    def _asked(most: int) -> Asked:
        important = edge.Filter(must_not=[filter_of(_conditions(selection(importance_min=0.5)))])
        far = filter_of(_conditions(selection(namespace="team/far")))
        return Asked(far, frozenset(), Nearest(far, important, most), SearchTooCostlyError("too many"))

    def test_the_nearest_answer_where_enough_of_them_meet_the_conditions(self, index: EmbeddedIndex) -> None:
        ranking = Ranking(edge.Query.Nearest([-1.0, *_NEAR[1:]], using=DENSE), None, None, checks_all=True)

        found = best_points({DENSE: ranking}, self._asked(2 * _LIMIT), _LIMIT, index._asked)

        assert len(found[DENSE]) == _LIMIT

    def test_a_search_is_refused_where_too_few_of_the_nearest_do(self, index: EmbeddedIndex) -> None:
        ranking = Ranking(edge.Query.Nearest(_NEAR, using=DENSE), None, None, checks_all=True)

        with pytest.raises(SearchTooCostlyError, match="too many"):
            best_points({DENSE: ranking}, self._asked(2 * _LIMIT), _LIMIT, index._asked)

    def test_words_that_few_points_have_are_answered_by_as_few(
        self, index: EmbeddedIndex, made: Sequence[_Made]
    ) -> None:
        few = len(
            [
                each
                for each in made
                if each.namespace == "team/far" and each.importance >= 0.5 and each.number % 3
            ]
        )
        assert _WORDS is not None
        ranking = Ranking(edge.Query.Nearest(_WORDS, using=SPARSE), None, None, checks_all=False)

        found = best_points({SPARSE: ranking}, self._asked(_POINTS), _POINTS, index._asked)

        assert len(found[SPARSE]) == few
