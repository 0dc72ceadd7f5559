"""Filters and cursors that nobody should send: each is answered or refused, and tells nothing of others."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api_gateway import Gateway, body_of
from builders import A_TENANT
from conftest import Counting
from contract.vectors.build import A_COLLECTION, AN_AXIS, a_memory_id, a_point
from integration.api.test_filter_agreement import a_memory, an_expression
from soma_api.queries.vectors.conditions import conditions_of, of_tenant
from soma_api.queries.vectors.reader import Question
from soma_cli.local.embedded_index import EmbeddedIndex
from soma_schemas.vectors.index_errors import SearchTooCostlyError

SHORT, LONG = 400, 20_000
OTHER_TENANT = "acme-2"

_MEMORIES = 30
_SIGNATURE_BYTES = 16
_LONGEST_CURSOR = 1024  # as the document of the API says
_SORTS = ("-updated_at", "created_at", "importance")
_WORDS = ["and", "or", "not", "eq", "in", "gt", "gte", "lt", "lte", "between", "exists", "contains"]
_WORDS += ["kind", "key", "subject", "source", "tags", "importance", "occurred_at", "created_at"]
_WORDS += ["updated_at", "expires_at", "coordinate", "dimensions", "axes", "payload", "tenant"]
_WORDS += ["namespace", "text"]
_ODD = [10**400, -(2**63), 2**64, 1e308, 5e-324, float("nan"), float("inf"), "", "\0", "\ud800", "%", "'; --"]
_ODD += ["2026-03-02T09:00:00Z", "9999-12-31T23:59:59.999999+14:00", "0", "-0", "1e999", "a" * 2000]
_ODD += [[], {}, [[]], "acme-2", "EPISODIC"]

_scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(_ODD)
)
_names = (
    st.sampled_from(_WORDS) | st.text(max_size=12) | st.sampled_from(["0", "a.b", "." * 9, "\0", "\ud800"])
)
_json = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_names, inner, max_size=4),
    max_leaves=16,
)
_right = st.integers(0, 2**32).map(lambda seed: an_expression(Random(seed)))


@st.composite
def _edited(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    """A text of which a few places are cut out, repeated or written over."""
    text = draw(texts)
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.integers(0, len(text)))
        end = draw(st.integers(begin, min(len(text), begin + 6)))
        put = draw(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.just(text[begin:end] * 2)
        )
        text = text[:begin] + put + text[end:]
    return text


@st.composite
def _changed(draw: st.DrawFn) -> str:
    """A right filter in which one value or name has become another."""
    expression: Any = draw(_right)
    holder, place = expression, draw(st.sampled_from(sorted(expression)))
    while isinstance(holder[place], dict | list) and holder[place] and draw(st.booleans()):
        holder = holder[place]
        place = draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
    if isinstance(holder, dict) and draw(st.booleans()):
        holder[draw(_names)] = holder.pop(place)
    else:
        holder[place] = draw(_json)
    return json.dumps(expression)


_filters = st.one_of(
    _json.map(json.dumps), _changed(), _right.map(json.dumps), _edited(_right.map(json.dumps))
)


@dataclass(frozen=True)
class World:
    """The API and an index, with memories of two tenants that differ in nothing else.

    Attributes:
        ours: The memories of the tenant that asks.
        points: Those of them in the index.
        cursors: That go on after the first memory, by tenant and order.
    """

    gateway: Gateway
    index: EmbeddedIndex
    ours: frozenset[UUID]
    points: frozenset[UUID]
    cursors: Mapping[str, Mapping[str, str]]


@pytest.fixture
async def world(gateway: Gateway, tmp_path: Path) -> AsyncIterator[World]:
    random = Random(7)
    memories = [a_memory(random) for _ in range(_MEMORIES)]
    ours, points = [], []
    for tenant in (A_TENANT, OTHER_TENANT):
        for memory in memories:
            fields = memory | {"tenant": tenant, "memory_id": a_memory_id()}
            gateway.given_memory(**fields | {"kind": memory["kind"].value})
            lists = {"tags": tuple(memory["tags"]), "coordinate": None}
            if memory["coordinate"] is not None:
                lists["coordinate"] = tuple(memory["coordinate"])
            points.append(a_point(**fields | lists))
            if tenant == A_TENANT:
                ours.append(fields["memory_id"])
    cursors: dict[str, dict[str, str]] = {}
    for tenant in (OTHER_TENANT, A_TENANT):
        gateway.use(gateway.a_key(tenant=tenant))
        cursors[tenant] = {sort: await _first_page(gateway, sort) for sort in _SORTS}
    with closing(EmbeddedIndex.open(tmp_path / "index", A_COLLECTION)) as index:
        await index.write(points)
        own = frozenset(point.id for point in points[:_MEMORIES])
        yield World(gateway, index, frozenset(ours), own, cursors)


async def _first_page(gateway: Gateway, sort: str) -> str:
    answer = await gateway.client.get("/v1/memories", params={"limit": 1, "sort": sort})
    cursor: str = body_of(answer)["next_cursor"]
    return cursor


async def _ask_with_filter(world: World, text: str, counting: Counting) -> None:
    client = world.gateway.client
    listed = await client.get("/v1/memories", params={"filter": text, "limit": 1000})
    body = f'{{"query": "tea", "filter": {{"where": {text}}}}}'
    headers = {"Content-Type": "application/json"}
    searched = await client.post("/v1/search", content=body.encode(), headers=headers)

    for answer in (listed, searched):
        assert answer.status_code == 200 or 400 <= answer.status_code < 500, (text, answer.text)
        counting(f"filters that were {'answered' if answer.status_code == 200 else 'refused'}", 1)
    if listed.status_code == 200:
        assert {UUID(each["memory_id"]) for each in body_of(listed)["memories"]} <= world.ours, text
    if searched.status_code == 200:
        asked = world.gateway.search.asked.pop()
        assert asked.tenant == A_TENANT
        conditions = conditions_of(asked.tenant, asked.filter)
        if conditions is not None:
            question = Question(conditions, of_tenant(asked.tenant), AN_AXIS, None, 1000)
            try:
                found = (await world.index.candidates(question)).dense
            except SearchTooCostlyError:
                return
            assert {hit.id for hit in found} <= world.points, text


@settings(max_examples=SHORT, suppress_health_check=list(HealthCheck))
@given(text=_filters)
async def test_whatever_the_filter_is_it_is_answered_or_refused(
    world: World, text: str, counting: Counting
) -> None:
    await _ask_with_filter(world, text, counting)


@pytest.mark.long
@settings(max_examples=LONG, suppress_health_check=list(HealthCheck))
@given(text=_filters)
async def test_whatever_the_filter_is_it_is_answered_or_refused_for_long(
    world: World, text: str, counting: Counting
) -> None:
    await _ask_with_filter(world, text, counting)


def _joined(signature: bytes, body: bytes) -> str:
    return urlsafe_b64encode(signature + body).decode().rstrip("=")


def _parted(cursor: str) -> tuple[bytes, bytes]:
    raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    return raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]


async def _ask_with_cursor(world: World, data: st.DataObject, counting: Counting) -> None:
    genuine = st.sampled_from(
        [cursor for of_tenant in world.cursors.values() for cursor in of_tenant.values()]
    )
    spliced = st.builds(lambda one, other: _joined(_parted(one)[0], _parted(other)[1]), genuine, genuine)
    forged = st.builds(
        lambda one, body: _joined(_parted(one)[0], json.dumps(body).encode()),
        genuine,
        st.lists(_json, max_size=3),
    )
    sort = data.draw(st.sampled_from(_SORTS))
    cursor = data.draw(st.one_of(genuine, spliced, forged, _edited(genuine), st.text(max_size=40)))

    asked = {"cursor": cursor, "sort": sort, "limit": "1000"}
    answer = await world.gateway.client.get("/v1/memories", params=asked)

    said = body_of(answer)
    if cursor == world.cursors[A_TENANT][sort]:
        assert answer.status_code == 200
        assert {UUID(each["memory_id"]) for each in said["memories"]} < world.ours
        counting("cursors that were followed", 1)
    else:
        refused = (422, "invalid_input") if len(cursor) > _LONGEST_CURSOR else (400, "invalid_cursor")
        assert (answer.status_code, said["code"]) == refused, (cursor, said)
        counting("cursors that were refused", 1)


@settings(max_examples=SHORT, suppress_health_check=list(HealthCheck))
@given(data=st.data())
async def test_no_cursor_is_followed_but_the_callers_own(
    world: World, data: st.DataObject, counting: Counting
) -> None:
    await _ask_with_cursor(world, data, counting)


@pytest.mark.long
@settings(max_examples=LONG, suppress_health_check=list(HealthCheck))
@given(data=st.data())
async def test_no_cursor_is_followed_but_the_callers_own_for_long(
    world: World, data: st.DataObject, counting: Counting
) -> None:
    await _ask_with_cursor(world, data, counting)
