"""What a search asks of the index, and what its answers look like."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import ANY
from uuid import UUID

import pytest

from api_gateway import Gateway, body_of
from builders import A_MOMENT, A_TENANT, an_id
from soma_api.index_completeness import IndexState
from soma_api.problems import StoreUnavailableError
from soma_api.queries.filter_shorthand import selection
from soma_api.queries.filter_terms import NumberRange
from soma_api.queries.history_queries import PastVersion
from soma_api.queries.memory_queries import Memory
from soma_api.queries.vectors.fusion import Explanation
from soma_api.queries.vectors.hybrid_search import SearchHit, SearchMode, SearchRequest
from soma_api.queries.vectors.reranking import Boost, Context, Threshold
from soma_api.queries.vectors.wording import Match
from soma_api.watermark_waiter import SETTLED
from soma_schemas.fields import Kind
from soma_schemas.memories import Content
from soma_schemas.vectors.index_errors import (
    EmbedderUnavailableError,
    EmbeddingRefusedError,
    IndexUnavailableError,
    SearchTooCostlyError,
    UnfitVectorError,
)
from soma_schemas.versions import Position, pack_version

A_QUESTION: dict[str, Any] = {"query": "what does Ada drink?"}


def a_hit(score: float, dense: float = 0.5) -> SearchHit:
    content = Content(
        namespace="team/notes",
        key=None,
        coordinate=None,
        kind=Kind.EPISODIC,
        text="tea at four",
        payload='{"a": 1}',
        tags=("tea",),
        importance=0.5,
        embedding=None,
        embedding_model=None,
        subject=None,
        source=None,
        expires_at=None,
        occurred_at=A_MOMENT,
        actor="tester",
        created_at=A_MOMENT,
        updated_at=A_MOMENT,
    )
    memory = Memory(an_id(), 7, content)
    return SearchHit(memory, score, Explanation(dense, bm25=None))


async def test_an_index_that_is_being_filled_says_so_in_every_answer(gateway: Gateway) -> None:
    gateway.index.state = IndexState(complete=False, filled=0.25)
    gateway.search.hits = [a_hit(5.0)]

    answer = await gateway.client.post("/v1/search", json=A_QUESTION)

    assert answer.status_code == 200
    assert body_of(answer)["index"] == {"complete": False, "filled": 0.25}
    assert answer.headers["Soma-Staleness"] == "unknown"
    assert len(body_of(answer)["hits"]) == 1


async def test_whoever_accepts_no_stale_answer_gets_none_from_an_index_that_is_being_filled(
    gateway: Gateway,
) -> None:
    for group in SETTLED:
        for partition, end in gateway.ends.offsets.items():
            gateway.waiter.advance(group, partition, end)
    await gateway.freshness.sample()
    headers = {"Soma-Max-Staleness": "60"}
    fresh = await gateway.client.post("/v1/search", json=A_QUESTION, headers=headers)
    gateway.index.state = IndexState(complete=False, filled=0.99)

    answer = await gateway.client.post("/v1/search", json=A_QUESTION, headers=headers)
    list_answer = await gateway.client.get("/v1/memories", headers=headers)

    assert body_of(fresh)["index"] == {"complete": True, "filled": 1.0}
    assert (fresh.status_code, answer.status_code) == (200, 503)
    assert body_of(answer)["code"] == "too_stale"
    assert list_answer.status_code == 200


async def test_what_was_settled_into_an_index_that_is_being_filled_is_not_searchable_yet(
    gateway: Gateway,
) -> None:
    gateway.settle(Position(0, 7))
    gateway.index.state = IndexState(complete=False, filled=0.5)

    write = body_of(await gateway.client.get("/v1/writes/0:7"))
    stats = body_of(await gateway.client.get("/v1/stats"))
    search = await gateway.client.post("/v1/search", json=A_QUESTION, headers={"Soma-Position": "0:7"})

    assert (write["readable"], write["searchable"]) == (True, False)
    assert stats["staleness_seconds"]["soma-vectors"] is None
    assert body_of(search)["code"] == "not_yet_visible"


async def test_hits_come_best_first_with_what_their_scores_are_made_of(gateway: Gateway) -> None:
    gateway.search.hits = [a_hit(5.0), a_hit(1.0, dense=0.1)]

    answer = await gateway.client.post("/v1/search", json=A_QUESTION)

    hits = body_of(answer)["hits"]
    assert answer.status_code == 200
    assert [hit["score"] for hit in hits] == [5.0, 1.0]
    assert hits[0]["explanation"] == {
        "dense": 0.5,
        "bm25": None,
        "dense_z_score": None,
        "bm25_z_score": None,
        "importance_boost": None,
        "recency_boost": None,
    }
    assert [hit["weak"] for hit in hits] == [False, True]
    assert hits[0]["memory"]["payload"] == {"a": 1}
    assert "embedding" not in hits[0]["memory"]


async def test_a_question_alone_is_a_hybrid_search_for_ten(gateway: Gateway) -> None:
    await gateway.client.post("/v1/search", json=A_QUESTION)

    assert gateway.search.asked == [
        SearchRequest(
            tenant=A_TENANT, policies=ANY, text="what does Ada drink?", mode=SearchMode.HYBRID, top_k=10
        )
    ]


async def test_what_is_done_with_candidates_reaches_the_index(gateway: Gateway) -> None:
    memory = an_id()
    body = {
        "threshold": {"dense": 0.3, "bm25": 1},
        "boost": {"recency": 2, "half_life_seconds": 60},
        "diversity": 0.5,
        "context": {"text": "at four", "memory_ids": [str(memory)]},
    }
    await gateway.client.post("/v1/search", json=A_QUESTION | body)

    (asked,) = gateway.search.asked
    assert asked.threshold == Threshold(0.3, 1.0)
    assert asked.boost == Boost(0.0, 2.0, timedelta(seconds=60))
    assert asked.diversity == 0.5
    assert asked.context == Context("at four", (memory,), 0.3)


async def test_how_words_are_compared_reaches_the_index_and_the_answer_says_what_was_looked_at(
    gateway: Gateway,
) -> None:
    plain = await gateway.client.post("/v1/search", json=A_QUESTION)
    gateway.search.exhaustive = False
    body = {
        "mode": "keyword",
        "match": "phrase",
        "case_sensitive": True,
        "term_boosts": {"tea": 2, "coffee": 0.5},
    }

    answer = await gateway.client.post("/v1/search", json=A_QUESTION | body)
    batch = await gateway.client.post("/v1/search:batch", json={"searches": [A_QUESTION | body]})

    _, asked, _ = gateway.search.asked
    assert (asked.match, asked.case_sensitive) == (Match.PHRASE, True)
    assert asked.term_boosts == {"tea": 2.0, "coffee": 0.5}
    assert (body_of(plain)["exhaustive"], body_of(answer)["exhaustive"]) == (None, False)
    assert body_of(batch)["answers"] == [{"hits": [], "exhaustive": False, "at": None}]


async def test_a_substring_reaches_the_index_and_its_hits_have_a_score_without_parts(
    gateway: Gateway,
) -> None:
    found = a_hit(1.0)
    gateway.search.hits = [SearchHit(found.memory, found.score, Explanation(None, None))]
    gateway.search.exhaustive = True
    body = {"query": "ea at f", "mode": "keyword", "match": "substring", "case_sensitive": True}

    answer = await gateway.client.post("/v1/search", json=body)

    [asked] = gateway.search.asked
    assert (asked.text, asked.mode, asked.match) == ("ea at f", SearchMode.KEYWORD, Match.SUBSTRING)
    assert asked.case_sensitive
    [hit] = body_of(answer)["hits"]
    assert (hit["score"], hit["weak"], body_of(answer)["exhaustive"]) == (1.0, None, True)
    assert set(hit["explanation"].values()) == {None}


async def test_a_search_at_a_time_asks_the_history_and_says_so(gateway: Gateway) -> None:
    at = A_MOMENT + timedelta(days=2)
    stored = '{"text": "tea"}'

    def happened(memory: UUID, day: int, event_type: str, **fields: Any) -> None:
        offset = 10 * day + len(history)
        history.append((memory, event_type))
        row: dict[str, Any] = {"memory_id": memory, "event_type": event_type, "content": stored}
        logged_at = A_MOMENT + timedelta(days=day)
        gateway.given_outcome(Position(0, offset), logged_at=logged_at, **row | fields)

    history: list[tuple[UUID, str]] = []
    there, patched, later, gone, expired, erased, linked = (UUID(int=number) for number in range(1, 8))
    happened(there, 0, "MemoryStored", namespace="team/a")
    happened(patched, 0, "MemoryStored")
    happened(patched, 1, "MemoryPatched")
    happened(patched, 3, "MemoryPatched")
    happened(later, 3, "MemoryStored")
    happened(gone, 0, "MemoryStored")
    happened(gone, 1, "MemoryDeleted", content=None)
    happened(expired, 0, "MemoryStored")
    happened(expired, 3, "MemoryExpired", content=None)
    happened(erased, 0, "MemoryStored", namespace=None, content=None)
    happened(linked, 0, "MemoryLinked", content=None)
    gateway.search.hits = [replace(a_hit(5.0), version_at=7)]

    answer = body_of(await gateway.client.post("/v1/search", json=A_QUESTION | {"at": at.isoformat()}))
    now = body_of(await gateway.client.post("/v1/search", json=A_QUESTION))
    (asked, plain) = gateway.search.asked

    assert asked.as_of is not None
    assert asked.as_of.at == at
    assert await asked.as_of.told([memory for memory, _ in history]) == {
        there: PastVersion("team/a", pack_version(1, 0)),
        patched: PastVersion("team/notes", pack_version(1, 12)),
    }
    assert answer["at"] == "2026-03-04T09:00:00Z"
    assert answer["hits"][0]["version_at"] == 7
    assert (now["at"], plain.as_of) == (None, None)


async def test_hits_are_counted_where_the_key_asks_for_it(gateway: Gateway) -> None:
    gateway.search.hits = [a_hit(5.0), a_hit(1.0)]
    await gateway.client.post("/v1/search", json=A_QUESTION)
    gateway.use(gateway.a_key(record_access=True))

    await gateway.client.post("/v1/search", json=A_QUESTION)
    await gateway.client.post("/v1/search:batch", json={"searches": [A_QUESTION, A_QUESTION]})
    await gateway.accesses.tell()

    assert [(event.memory_id, getattr(event, "count", None)) for event in gateway.published] == [
        (hit.memory.memory_id, 3) for hit in gateway.search.hits
    ]


async def test_a_search_at_a_time_without_its_database_is_refused(gateway: Gateway) -> None:
    gateway.search.raises = StoreUnavailableError("the database does not answer")

    answer = await gateway.client.post("/v1/search", json=A_QUESTION | {"at": "2026-03-02T09:00:00Z"})

    assert (answer.status_code, body_of(answer)["code"]) == (503, "store_unavailable")


async def test_several_searches_are_answered_in_their_order(gateway: Gateway) -> None:
    gateway.search.hits = [a_hit(5.0)]

    answer = await gateway.client.post(
        "/v1/search:batch", json={"searches": [A_QUESTION, A_QUESTION | {"mode": "keyword"}]}
    )

    body = body_of(answer)
    assert answer.status_code == 200
    assert [[hit["score"] for hit in each["hits"]] for each in body["answers"]] == [[5.0], [5.0]]
    assert body["index"].keys() == {"complete", "filled"}
    assert [asked.mode for asked in gateway.search.asked] == [SearchMode.HYBRID, SearchMode.KEYWORD]
    assert {asked.tenant for asked in gateway.search.asked} == {A_TENANT}


@pytest.mark.parametrize(
    ("searches", "path", "code"),
    [
        ([], "/searches", "empty"),
        ([A_QUESTION] * 21, "/searches", "too_many"),
        ([A_QUESTION, A_QUESTION | {"top_k": 0}], "/searches/1/top_k", "out_of_range"),
        ([A_QUESTION | {"filter": {"where": {"kind": {}}}}], "/searches/0/filter/where/kind", "empty"),
    ],
)
async def test_a_batch_of_which_one_search_is_wrong_is_refused_and_nothing_is_asked(
    gateway: Gateway, searches: list[dict[str, Any]], path: str, code: str
) -> None:
    answer = await gateway.client.post("/v1/search:batch", json={"searches": searches})

    assert answer.status_code == 422
    assert [(each["path"], each["code"]) for each in body_of(answer)["errors"]] == [(path, code)]
    assert gateway.search.asked == []


async def test_a_search_of_a_batch_that_costs_too_much_is_named(gateway: Gateway) -> None:
    gateway.search.raises = SearchTooCostlyError("the search would check too much")

    answer = await gateway.client.post("/v1/search:batch", json={"searches": [A_QUESTION, A_QUESTION]})

    assert (answer.status_code, body_of(answer)["code"]) == (422, "search_too_costly")
    assert "in `/searches/0`" in body_of(answer)["detail"]


async def test_everything_that_is_asked_reaches_the_index(gateway: Gateway) -> None:
    memory = an_id()
    await gateway.client.post(
        "/v1/search",
        json={
            "vector": [1.0, 2.0],
            "mode": "vector",
            "top_k": 10_000,
            "filter": {
                "namespace_prefix": "team",
                "memory_ids": [str(memory)],
                "key": "tea",
                "kind": "SEMANTIC",
                "subject": "ada",
                "source": "a file",
                "tags": ["a"],
                "tags_any": ["b", "c"],
                "importance_min": 0.2,
                "importance_max": 1,
                "occurred_from": "2026-03-02T09:00:00Z",
                "payload": {"a": 1, "b": {"c": True, "d": None}},
                "payload_ranges": {"price": {"gte": 1, "lt": 5}},
                "coordinate_min": [0.0, 1],
                "coordinate_max": [2, 3],
            },
        },
    )

    assert gateway.search.asked == [
        SearchRequest(
            tenant=A_TENANT,
            policies=ANY,
            vector=[1.0, 2.0],
            mode=SearchMode.VECTOR,
            top_k=10_000,
            filter=selection(
                namespace_prefix="team",
                memory_ids=[memory],
                equal={"key": "tea", "kind": "SEMANTIC", "subject": "ada", "source": "a file"},
                tags=("a",),
                tags_any=["b", "c"],
                importance_min=0.2,
                importance_max=1.0,
                occurred_from=A_MOMENT,
                payload={"a": 1, "b.c": True, "b.d": None},
                payload_ranges={"price": NumberRange(at_least=1.0, below=5.0)},
                coordinate_min=[0.0, 1.0],
                coordinate_max=[2.0, 3.0],
            ),
        )
    ]


@pytest.mark.parametrize(
    ("body", "path", "code"),
    [
        (A_QUESTION | {"top_k": 0}, "/top_k", "out_of_range"),
        (A_QUESTION | {"top_k": 10_001}, "/top_k", "out_of_range"),
        (A_QUESTION | {"top_k": 1.5}, "/top_k", "wrong_type"),
        (A_QUESTION | {"filter": {"colour": "green"}}, "/filter/colour", "unknown_field"),
        (A_QUESTION | {"colour": "green"}, "/colour", "unknown_field"),
        (A_QUESTION | {"diversity": 0.5, "top_k": 101}, "", "out_of_range"),
        (A_QUESTION | {"mode": "keyword", "context": {"text": "a"}}, "", "invalid_value"),
        (A_QUESTION | {"context": {"weight": 2}}, "/context/weight", "out_of_range"),
        (A_QUESTION | {"mode": "psychic"}, "/mode", "invalid_value"),
        (A_QUESTION | {"match": "phrase"}, "", "invalid_value"),
        (A_QUESTION | {"mode": "keyword", "match": "regex"}, "/match", "invalid_value"),
        (A_QUESTION | {"match": "substring"}, "", "invalid_value"),
        (
            A_QUESTION | {"mode": "keyword", "match": "substring", "term_boosts": {"tea": 2}},
            "",
            "invalid_value",
        ),
        (
            A_QUESTION | {"mode": "keyword", "match": "substring", "threshold": {"bm25": 1}},
            "",
            "invalid_value",
        ),
        (A_QUESTION | {"mode": "keyword", "case_sensitive": True}, "", "invalid_value"),
        (A_QUESTION | {"mode": "vector", "term_boosts": {"tea": 2}}, "", "invalid_value"),
        (A_QUESTION | {"term_boosts": {"tea": 0}}, "/term_boosts/tea", "out_of_range"),
        (A_QUESTION | {"term_boosts": {str(n): 2 for n in range(65)}}, "/term_boosts", "too_many"),
        ({}, "", "missing_field"),
        ({"mode": "hybrid", "vector": [1.0]}, "", "missing_field"),
        (A_QUESTION | {"mode": "keyword", "vector": [1.0]}, "", "invalid_value"),
        ({"query": ""}, "/query", "empty"),
        ({"query": "a" * (64 * 1024 + 1)}, "/query", "too_long"),
        ({"mode": "vector", "vector": [0.0]}, "/vector", "invalid_value"),
        (A_QUESTION | {"filter": {"namespace": "a//b"}}, "/filter/namespace", "invalid_namespace"),
        (A_QUESTION | {"filter": {"namespace": "a", "namespace_prefix": "a"}}, "/filter", "invalid_value"),
        (A_QUESTION | {"filter": {"tags_any": []}}, "/filter/tags_any", "empty"),
        (A_QUESTION | {"filter": {"importance_min": 2}}, "/filter/importance_min", "out_of_range"),
        (A_QUESTION | {"filter": {"coordinate_min": [1.0]}}, "/filter", "missing_field"),
        (
            A_QUESTION | {"filter": {"coordinate_min": [1.0], "coordinate_max": [1.0, 2.0]}},
            "/filter",
            "invalid_value",
        ),
        (
            A_QUESTION | {"filter": {"coordinate_min": [0.0] * 17, "coordinate_max": [0.0] * 17}},
            "/filter/coordinate_min",
            "too_many",
        ),
        (A_QUESTION | {"filter": {"payload": {"a": [1]}}}, "/filter", "wrong_type"),
        (A_QUESTION | {"filter": {"payload": {"a": {}}}}, "/filter", "wrong_type"),
        (A_QUESTION | {"filter": {"payload": {"a.b": 1, "a": {"b": 1}}}}, "/filter", "invalid_value"),
        (A_QUESTION | {"filter": {"payload": {str(n): n for n in range(65)}}}, "/filter", "too_many"),
        (
            A_QUESTION | {"filter": {"payload_ranges": {"a": {"over": 1}}}},
            "/filter/payload_ranges/a/over",
            "unknown_field",
        ),
    ],
)
async def test_a_search_that_breaks_the_contract_does_not_reach_the_index(
    gateway: Gateway, body: dict[str, Any], path: str, code: str
) -> None:
    answer = await gateway.client.post("/v1/search", json=body)

    assert (answer.status_code, body_of(answer)["code"]) == (422, "invalid_input")
    assert (path, code) in [(each["path"], each["code"]) for each in body_of(answer)["errors"]]
    assert gateway.search.asked == []


async def test_a_vector_with_a_number_that_is_not_finite_is_refused(gateway: Gateway) -> None:
    answer = await gateway.client.post(
        "/v1/search",
        content=b'{"mode": "vector", "vector": [1.0, NaN]}',
        headers={"Content-Type": "application/json"},
    )

    assert [(each["path"], each["code"]) for each in body_of(answer)["errors"]] == [
        ("/vector/1", "not_finite")
    ]
    assert gateway.search.asked == []


async def test_the_tenant_and_the_namespaces_come_from_the_key(gateway: Gateway) -> None:
    gateway.use(gateway.a_key(tenant="globex", namespaces=["team/a", "board"]))

    await gateway.client.post("/v1/search", json=A_QUESTION)

    (asked,) = gateway.search.asked
    assert (asked.tenant, asked.filter.allowed) == ("globex", ["team/a", "board"])


@pytest.mark.parametrize("outside", [{"namespace": "team/ab"}, {"namespace_prefix": "board"}])
async def test_a_search_outside_of_what_the_key_covers_is_refused(
    gateway: Gateway, outside: dict[str, str]
) -> None:
    gateway.use(gateway.a_key(namespaces=["team/a"]))

    answer = await gateway.client.post("/v1/search", json=A_QUESTION | {"filter": outside})

    assert (answer.status_code, body_of(answer)["code"]) == (403, "namespace_forbidden")
    assert gateway.search.asked == []


@pytest.mark.parametrize(
    "failure",
    [
        IndexUnavailableError("away"),
        EmbedderUnavailableError("away"),
        TimeoutError(),
    ],
)
async def test_an_index_that_does_not_answer_is_worth_trying_again(
    gateway: Gateway, failure: Exception
) -> None:
    gateway.search.raises = failure

    answer = await gateway.client.post("/v1/search", json=A_QUESTION)

    assert (answer.status_code, body_of(answer)["code"]) == (503, "index_unavailable")
    assert answer.headers["Retry-After"] == "1"


async def test_a_question_that_would_hold_up_all_others_says_how_to_ask_instead(gateway: Gateway) -> None:
    gateway.search.raises = SearchTooCostlyError(
        "the search would check 16 conditions on each of 20000 memories"
    )

    answer = await gateway.client.post("/v1/search", json=A_QUESTION)

    assert answer.status_code == 422
    assert body_of(answer)["code"] == "search_too_costly"
    assert "namespace_prefix" in body_of(answer)["remedy"]
    assert not body_of(answer)["retryable"]


@pytest.mark.parametrize(
    ("failure", "path"),
    [
        (UnfitVectorError("the vector has 2 numbers, the index holds vectors of 256"), "/vector"),
        (EmbeddingRefusedError("too long", status_code=400), "/query"),
    ],
)
async def test_a_question_that_the_index_cannot_take_is_the_callers_to_mend(
    gateway: Gateway, failure: Exception, path: str
) -> None:
    gateway.search.raises = failure

    answer = await gateway.client.post("/v1/search", json=A_QUESTION)

    assert answer.status_code == 422
    assert [each["path"] for each in body_of(answer)["errors"]] == [path]


async def test_a_mistake_of_ours_is_not_passed_off_as_an_outage(gateway: Gateway) -> None:
    gateway.search.raises = RuntimeError("the index answered with a point that the tenant must not see")

    answer = await gateway.client.post("/v1/search", json=A_QUESTION)

    assert (answer.status_code, body_of(answer)["code"]) == (500, "internal")


async def test_a_search_waits_for_the_vector_index_and_tells_its_age(gateway: Gateway) -> None:
    gateway.waiter.advance("soma-postgres", 0, 6)
    asked = {"Soma-Position": "0:5", "Prefer": "wait=0"}
    early = await gateway.client.post("/v1/search", json=A_QUESTION, headers=asked)
    gateway.waiter.advance("soma-vectors", 0, 6)
    gateway.ends.offsets = {0: 6}
    await gateway.freshness.sample()
    late = await gateway.client.post("/v1/search", json=A_QUESTION, headers=asked)

    assert (early.status_code, body_of(early)["code"]) == (503, "not_yet_visible")
    assert (late.status_code, late.headers["Soma-Staleness"]) == (200, "0.000")
