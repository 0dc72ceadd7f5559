"""The index that is searched: which one it is, and when another one takes its place."""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

import pytest

from fakes import FakeClock
from soma_api.followed_index import FollowedIndex, SearchedIndex
from soma_api.index_completeness import IndexState, PointsById
from soma_api.queries.vectors.hybrid_search import SearchAnswer, SearchRequest
from soma_schemas.errors import MismatchError
from soma_schemas.retention import TenantPolicies
from soma_schemas.vectors.index_errors import IndexUnavailableError

_QUESTION = SearchRequest(tenant="acme", policies=TenantPolicies({}), text="tea")


class AnIndex:
    """An index that counts what it is asked, until it is gone."""

    def __init__(self, name: str) -> None:
        self.searched = SearchedIndex(name, self, self)
        self.asked = 0
        self.gone = False
        self.complete = True

    async def __call__(self, request: SearchRequest) -> SearchAnswer:
        """Find nothing."""
        del request
        await self.read(())
        return SearchAnswer([], None, "tiny")

    async def read(self, ids: Collection[UUID]) -> Mapping[UUID, Mapping[str, Any]]:
        """Return nothing."""
        del ids
        if self.gone:
            raise IndexUnavailableError("gone")
        self.asked += 1
        return {}


class Installation:
    """Two indexes, one of which is in use."""

    def __init__(self) -> None:
        self.old, self.new = AnIndex("old"), AnIndex("new")
        self.in_use = self.old
        self.unknown_model = False
        self.followed = FollowedIndex(self.find, FakeClock())

    async def find(self, present: SearchedIndex | None) -> SearchedIndex:
        """Return the one in use."""
        if self.unknown_model and present is not None:
            raise MismatchError("of a model that is not known here")
        return self.in_use.searched

    async def judge(self, points: PointsById) -> IndexState:
        """Say what an index says."""
        assert isinstance(points, AnIndex)
        return IndexState(complete=points.complete, filled=None)


async def test_another_index_is_asked_once_it_has_everything() -> None:
    place = Installation()
    await place.followed(_QUESTION)
    place.in_use, place.new.complete = place.new, False

    await place.followed.look(place.judge)
    await place.followed(_QUESTION)
    place.new.complete = True
    await place.followed.look(place.judge)
    await place.followed(_QUESTION)

    assert (place.old.asked, place.new.asked) == (2, 1)


async def test_another_index_is_asked_where_neither_has_everything() -> None:
    place = Installation()
    await place.followed(_QUESTION)
    place.in_use = place.new
    place.old.complete = place.new.complete = False

    await place.followed.look(place.judge)
    await place.followed(_QUESTION)

    assert (place.old.asked, place.new.asked) == (1, 1)


async def test_a_question_to_an_index_that_is_gone_is_answered_by_the_one_in_its_place() -> None:
    place = Installation()
    await place.followed(_QUESTION)
    place.in_use, place.old.gone = place.new, True

    assert await place.followed(_QUESTION) == SearchAnswer([], None, "tiny")
    assert await place.followed.read(()) == {}

    assert place.new.asked == 2


async def test_an_index_that_is_away_and_in_use_says_why_itself() -> None:
    place = Installation()
    place.old.gone = True

    with pytest.raises(IndexUnavailableError, match="gone"):
        await place.followed(_QUESTION)
    with pytest.raises(IndexUnavailableError, match="gone"):
        await place.followed.read(())


async def test_an_index_of_a_model_that_is_not_known_is_not_gone_over_to() -> None:
    place = Installation()
    await place.followed(_QUESTION)
    place.in_use, place.unknown_model = place.new, True

    with pytest.raises(MismatchError):
        await place.followed.look(place.judge)
    await place.followed(_QUESTION)

    assert (place.old.asked, place.new.asked) == (2, 0)
