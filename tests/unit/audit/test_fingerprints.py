"""Sums of digests tell the buckets in which two stores differ, and what means the same has one digest."""

from dataclasses import replace
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.vectors.build import a_point, a_tombstone
from soma_streams.audit.fingerprints import Buckets, bucket_of, canonical, digest, first_of

_places = st.builds(
    lambda high, low: UUID(int=high << 112 | low), st.integers(0, 2**16 - 1), st.integers(0, 3)
)
_points = st.dictionaries(_places, st.integers(1, 3))


@given(rows=_points, points=_points)
def test_exactly_the_buckets_in_which_a_point_is_missing_extra_or_other_differ(
    rows: dict[UUID, int], points: dict[UUID, int]
) -> None:
    buckets = Buckets()
    for store in (rows, points):
        for place, version in store.items():
            buckets.toggle(place, digest(place, {"version": version}, ()))

    others = {place for place in rows.keys() | points.keys() if rows.get(place) != points.get(place)}
    assert buckets.differing() == {bucket_of(place) for place in others}


@given(place=st.uuids())
def test_a_bucket_begins_with_its_first_id(place: UUID) -> None:
    first = first_of(bucket_of(place))

    assert bucket_of(first) == bucket_of(place)
    assert first <= place


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a": 1, "b": [1.50, {"c": null}]}', '{"b":[1.5,{"c":null}],"a":1.0}'),
        ('{"n": 1e2}', '{"n": 100}'),
        ('{"n": -0.0}', '{"n": 0}'),
        (f'{{"n": 1{"0" * 300}}}', '{"n": 1e300}'),
    ],
)
def test_a_payload_that_another_store_spells_otherwise_says_the_same(one: str, other: str) -> None:
    point = a_point(payload=one)
    again = a_point(payload=other)
    document = orjson.loads(again.payload["document"]) | {
        "memory_id": orjson.loads(point.payload["document"])["memory_id"]
    }

    respelt = replace(again, payload=dict(again.payload) | {"document": orjson.dumps(document).decode()})

    assert canonical(point.payload) == canonical(respelt.payload)


def changed(**fields: Any) -> dict[str, Any]:
    """A payload, changed."""
    return dict(a_point(text="tea", tags=("a", "b"), payload='{"n": 1}').payload) | fields


@pytest.mark.parametrize(
    "fields",
    [{"version": 7}, {"labels": "other"}, {"importance": 0.25}, {"tenant": "globex"}, {"number_lows": [1]}],
)
def test_whatever_differs_in_meaning_has_another_digest(fields: dict[str, Any]) -> None:
    whole = changed()
    altered = whole | fields
    place = UUID(int=1)

    assert digest(place, canonical(whole), ("dense",)) != digest(place, canonical(altered), ("dense",))


def test_a_vector_that_is_missing_shows() -> None:
    said = canonical(changed())

    assert digest(UUID(int=1), said, ("bm25", "dense")) != digest(UUID(int=1), said, ("bm25",))
    assert digest(UUID(int=1), said, ("bm25", "dense")) == digest(UUID(int=1), said, ("dense", "bm25"))


@pytest.mark.parametrize(
    "payload",
    [{}, {"document": 7}, {"document": "{"}, {"document": "{}"}, changed(labels=7), changed(embedding="?")],
)
def test_what_is_no_payload_of_ours_says_nothing(payload: dict[str, Any]) -> None:
    assert canonical(payload) is None


def test_a_tombstone_says_when_it_was_deleted() -> None:
    ended = a_tombstone()

    said, later = (canonical(dict(ended.payload) | fields) for fields in ({}, {"deleted_at": 1}))

    assert said is not None
    assert said != later
