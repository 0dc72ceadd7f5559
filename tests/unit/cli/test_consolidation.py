"""Which memories become one, what the kept one says then, and what is left alone."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canned_api import WRITTEN, CannedApi, a_hit, a_memory, a_search_answer
from soma_cli.consolidation import moved, stands_for
from soma_cli.near_duplicates import Group, Likeness, groups
from soma_command import Soma
from soma_schemas.memories import MemoryView
from soma_schemas.responses.link_responses import LinkView

CHANGED = datetime(2026, 3, 2, tzinfo=UTC)


def memory(number: int, **fields: Any) -> MemoryView:
    said: dict[str, Any] = {"memory_id": UUID(int=number), "key": None, "payload": {}, "tags": []}
    return MemoryView.model_validate(a_memory(**(said | fields)))


def alike(*pairs: tuple[int, int]) -> Likeness:
    return {frozenset((UUID(int=one), UUID(int=other))): 0.99 for one, other in pairs}


def shown(found: Sequence[Group]) -> list[tuple[int, list[int]]]:
    return [(each.kept.memory_id.int, [other.memory_id.int for other, _ in each.merged]) for each in found]


ALL_ALIKE = alike((1, 2), (1, 3), (2, 3))


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ([{}, {}, {}], [(1, [2, 3])]),
        ([{}, {"importance": 0.9}, {}], [(2, [1, 3])]),
        ([{}, {}, {"updated_at": CHANGED + timedelta(days=9)}], [(3, [1, 2])]),
        # What has a name goes before what is important, and two that have names stay.
        ([{}, {"importance": 0.9}, {"key": "tea"}], [(3, [1, 2])]),
        ([{"coordinate": [1.0]}, {"key": "tea"}, {}], [(1, [3])]),
        ([{"key": "a"}, {"key": "b"}, {"key": "c"}], []),
        ([{}, {"kind": "EPISODIC"}, {}], [(1, [3])]),
        ([{}, {"subject": "mira"}, {"subject": "mira"}], [(2, [3])]),
        ([{}, {"expires_at": "2026-05-01T00:00:00Z"}, {}], [(1, [3])]),
        ([{}, {"payload": {"consolidated_from": "mine"}}, {}], [(1, [3])]),
    ],
)
def test_one_of_those_that_are_alike_is_kept(
    fields: list[dict[str, Any]], found: list[tuple[int, list[int]]]
) -> None:
    memories = [memory(number, **each) for number, each in enumerate(fields, 1)]

    assert shown(groups(memories, ALL_ALIKE)) == found


def test_what_is_like_one_that_goes_but_not_like_the_kept_one_stays() -> None:
    memories = [memory(1, importance=0.9), memory(2), memory(3)]

    assert shown(groups(memories, alike((1, 2), (2, 3)))) == [(1, [2])]


PAIRS = st.sets(st.sampled_from(list(combinations(range(1, 8), 2))))
MEMORIES = st.tuples(
    *(
        st.builds(
            memory,
            st.just(number),
            importance=st.sampled_from([0.1, 0.5]),
            key=st.sampled_from([None, None, f"key-{number}"]),
            kind=st.sampled_from(["SEMANTIC", "EPISODIC"]),
        )
        for number in range(1, 8)
    )
)


@given(MEMORIES, PAIRS)
def test_a_second_look_finds_nothing_new(memories: Sequence[MemoryView], pairs: set[tuple[int, int]]) -> None:
    likeness = alike(*pairs)
    found = groups(memories, likeness)
    gone = {other.memory_id for each in found for other, _ in each.merged}
    merged = {
        each.kept.memory_id: each.kept.model_copy(
            update=stands_for(each.kept, [other for other, _ in each.merged])
        )
        for each in found
    }
    assert gone.isdisjoint(merged)

    left = [merged.get(each.memory_id, each) for each in memories if each.memory_id not in gone]

    assert groups(left, likeness) == []


def test_the_kept_one_says_what_all_said_and_for_whom_it_stands() -> None:
    kept = memory(1, tags=["tea"], importance=0.2, payload={"cups": 3, "consolidated_from": ["x"]})
    other = memory(2, tags=["four", "tea"], importance=0.7, payload={"consolidated_from": ["y", "x"]})

    assert stands_for(kept, [other]) == {
        "tags": ["tea", "four"],
        "importance": 0.7,
        "payload": {"consolidated_from": ["x", str(UUID(int=2)), "y"]},
    }


def test_links_move_but_not_onto_the_kept_one_itself_and_not_over_its_own() -> None:
    def link(start: int, end: int, kind: str = "about", weight: float = 1.0) -> LinkView:
        return LinkView(from_memory_id=UUID(int=start), to_memory_id=UUID(int=end), type=kind, weight=weight)

    theirs = [link(2, 5), link(6, 2, "cites", 0.5), link(2, 1), link(1, 2), link(2, 7)]

    assert moved(theirs, [link(1, 7, weight=0.1)], UUID(int=2), UUID(int=1)) == [
        link(1, 5),
        link(6, 1, "cites", 0.5),
    ]


@pytest.fixture
def at(api: CannedApi) -> dict[str, str]:
    """The environment that leads to the API."""
    return {"SOMA_URL": api.url, "SOMA_API_KEY": "soma_a_secret"}


KEPT, OTHER = (str(UUID(int=number)) for number in (1, 2))
CHANGED_MEANWHILE = {
    "title": "Precondition failed",
    "code": "precondition_failed",
    "detail": "it has changed",
}


def give_two_alike(api: CannedApi) -> None:
    two = [
        a_memory(memory_id=each, key=None, importance=weight, version=version)
        for each, weight, version in ((KEPT, 0.9, 11), (OTHER, 0.1, 12))
    ]
    api.answers({"memories": two, "next_cursor": None}, 200)
    for one in two:
        # What is near, and of that what says the same.
        for hits in (two, [each for each in two if each is not one]):
            near = [a_hit(0.99, weak=False, memory=each) for each in hits]
            api.answers(a_search_answer(*near), 200)


def give_one(api: CannedApi) -> None:
    one = a_memory(memory_id=KEPT, key=None)
    api.answers({"memories": [one], "next_cursor": None}, 200)
    api.answers(a_search_answer(a_hit(0.99, weak=False, memory=one)), 200)


def test_without_a_word_it_only_shows_what_it_found(soma: Soma, api: CannedApi, at: dict[str, str]) -> None:
    give_two_alike(api)

    ran = soma("consolidate", "team/notes", environment=at)

    assert ran.code == 0
    assert [line.split()[0] for line in ran.out.splitlines()] == ["like", "kept", "0.990"]
    assert {each.method for each in api.asked} == {"GET", "POST"}


def test_the_versions_that_were_seen_are_named(soma: Soma, api: CannedApi, at: dict[str, str]) -> None:
    give_two_alike(api)
    api.answers(WRITTEN | {"version": 20}, 200)
    api.answers({"links": [], "next_cursor": None}, 200)
    api.answers({"links": [], "next_cursor": None}, 200)
    api.answers(WRITTEN, 200)
    give_one(api)

    ran = soma("consolidate", "team/notes", "--yes", environment=at)

    assert "no near-duplicates among 1 memories\nmerged 1 memories" in ran.out
    (changed,) = (each for each in api.asked if each.method == "PATCH")
    (deleted,) = (each for each in api.asked if each.method == "DELETE")
    assert (changed.method, changed.path, changed.headers["if-match"]) == (
        "PATCH",
        f"/v1/memories/{KEPT}",
        '"11"',
    )
    assert (deleted.method, deleted.path, deleted.headers["if-match"]) == (
        "DELETE",
        f"/v1/memories/{OTHER}",
        '"12"',
    )


def test_a_kept_memory_that_has_changed_is_left_alone_with_all_others(
    soma: Soma, api: CannedApi, at: dict[str, str]
) -> None:
    give_two_alike(api)
    api.answers(CHANGED_MEANWHILE, 412)

    ran = soma("consolidate", "team/notes", "--yes", environment=at)

    assert "merged 0 memories" in ran.out
    assert f"left alone: {OTHER}: {KEPT} was left alone: it has changed meanwhile" in ran.out
    assert api.asked[-1].method == "PATCH"


def test_a_memory_that_has_changed_stays_and_the_kept_one_does_not_stand_for_it(
    soma: Soma, api: CannedApi, at: dict[str, str]
) -> None:
    give_two_alike(api)
    api.answers(WRITTEN | {"version": 20}, 200)
    api.answers({"links": [], "next_cursor": None}, 200)
    api.answers({"links": [], "next_cursor": None}, 200)
    api.answers(CHANGED_MEANWHILE, 412)
    api.answers(WRITTEN, 200)

    ran = soma("consolidate", "team/notes", "--yes", environment=at)

    assert f"left alone: {OTHER}: it has changed meanwhile" in ran.out
    again = api.asked[-1]
    assert (again.method, again.headers["if-match"]) == ("PATCH", '"20"')
    assert again.body["payload"] == {"consolidated_from": None}
