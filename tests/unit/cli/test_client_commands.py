"""The commands that ask the API: what they send, what they show, and how they fail."""

import json
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from canned_api import MEMORY_ID, WRITTEN, CannedApi, a_hit, a_memory, a_search_answer
from soma_command import Soma

WHOLE = {"complete": True, "filled": 1.0}


@pytest.fixture
def at(api: CannedApi) -> dict[str, str]:
    """The environment that leads to the API."""
    return {"SOMA_URL": api.url, "SOMA_API_KEY": "soma_a_secret"}


def test_store_sends_what_was_said_and_nothing_else(soma: Soma, api: CannedApi, at: dict[str, str]) -> None:
    api.answers(WRITTEN, 201)

    ran = soma("store", "Tea at four.", "-n", "team/notes", environment=at)

    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"{MEMORY_ID}  done; reads and searches see it  (3:1042)\n"
    (asked,) = api.asked
    assert (asked.method, asked.path) == ("POST", "/v1/memories")
    assert asked.body == {
        "namespace": "team/notes",
        "text": "Tea at four.",
        "kind": "EPISODIC",
        "tags": [],
        "importance": 0.5,
        "payload": {},
    }
    assert asked.headers["authorization"] == "Bearer soma_a_secret"
    assert asked.headers["prefer"] == "wait=5"
    assert UUID(asked.headers["idempotency-key"]).version == 7


def test_store_sends_every_field(soma: Soma, api: CannedApi, at: dict[str, str]) -> None:
    api.answers(WRITTEN | {"outcome": None}, 202)

    ran = soma(
        "store", "x", "--namespace", "a", "--coordinate", "1,-2.5", "--kind", "semantic",
        "--payload", '{"cups": 3}', "-t", "one", "-t", "two", "--importance", "0.9", "--subject", "mira",
        "--source", "a file", "--occurred-at", "2026-03-02T09:15:00+01:00",
        "--expires-at", "2027-01-01T00:00:00Z", "--expected-version", "0",
        "--event-id", MEMORY_ID, "--wait", "0", environment=at,
    )  # fmt: skip

    assert ran.code == 0
    (asked,) = api.asked
    assert asked.body == {
        "namespace": "a",
        "text": "x",
        "kind": "SEMANTIC",
        "tags": ["one", "two"],
        "importance": 0.9,
        "coordinate": [1.0, -2.5],
        "payload": {"cups": 3},
        "subject": "mira",
        "source": "a file",
        "occurred_at": "2026-03-02T08:15:00+00:00",
        "expires_at": "2027-01-01T00:00:00+00:00",
        "expected_version": 0,
    }
    assert "prefer" not in asked.headers
    assert asked.headers["idempotency-key"] == MEMORY_ID


def test_a_result_as_json_has_all_that_the_api_said(soma: Soma, api: CannedApi, at: dict[str, str]) -> None:
    api.answers(WRITTEN, 201)

    ran = soma("store", "x", "--json", environment=at)

    assert json.loads(ran.out) == WRITTEN
    assert ran.err == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("store", "x", "--key", "k", "--coordinate", "1"),
        ("store", "x", "--coordinate", "one"),
        ("store", "x", "--payload", "[1]"),
        ("store", "x", "--payload", "{"),
        ("store", "x", "--occurred-at", "yesterday"),
        ("store", "x", "--occurred-at", "20260302"),
        ("store", "x", "--expires-at", "2026-03-02"),
        ("search", "x", "--occurred-from", "2026-03-02T09:15:00"),
        ("store", "x", "--importance", "2"),
        ("store", "x", "--kind", "loud"),
        ("store",),
        ("get",),
        ("get", "seven"),
        ("get", MEMORY_ID, "--key", "k"),
        ("get", "--key", "k"),
        ("delete",),
        ("list", "--namespace", "a", "--prefix", "b"),
        ("export", "--json"),
        ("export", "--json", "-o", "-"),
    ],
)
def test_misuse_is_said_before_anything_is_asked(
    soma: Soma, api: CannedApi, at: dict[str, str], arguments: tuple[str, ...]
) -> None:
    ran = soma(*arguments, environment=at)

    assert ran.code == 2
    assert ran.out == ""
    assert re.match(r"error: .+\n(\nhint: .+\n)?$", ran.err)
    assert api.asked == []


@pytest.mark.parametrize("command", ["get", "delete"])
def test_a_key_in_the_place_of_an_id_is_told_how_to_be_one(
    soma: Soma, api: CannedApi, at: dict[str, str], command: str
) -> None:
    ran = soma(command, "tea time", environment=at)

    assert (ran.code, api.asked) == (2, [])
    assert ran.err == (
        "error: `tea time` is not the id of a memory\n"
        "\nhint: if it is a key, write `--namespace NAMESPACE --key 'tea time'`\n"
    )


def test_a_refusal_shows_what_is_wrong_and_what_to_do(soma: Soma, api: CannedApi, at: dict[str, str]) -> None:
    api.refuses(
        422,
        "invalid_input",
        "the request breaks the contract",
        remedy="Correct the fields named and send it again.",
        errors=[
            {
                "source": "body",
                "path": "/namespace",
                "code": "invalid_namespace",
                "message": "segment 1 is empty",
            }
        ],
    )

    ran = soma("store", "x", "-n", "/a", environment=at)

    assert ran.code == 1
    assert ran.err == (
        "error: the request breaks the contract\n"
        "  /namespace: segment 1 is empty\n"
        "\n"
        "hint: correct the fields named and send it again.\n"
    )


def test_an_address_where_nobody_answers_is_said(soma: Soma) -> None:
    # Port 9 is never ours; nothing listens there.
    ran = soma("status", environment={"SOMA_URL": "http://127.0.0.1:9", "SOMA_API_KEY": "k"})

    assert ran.code == 1
    assert ran.err.startswith("error: http://127.0.0.1:9 cannot be reached")
    assert "hint: start it with `soma up`" in ran.err


def test_something_else_that_answers_there_is_said(soma: Soma, api: CannedApi, at: dict[str, str]) -> None:
    api.answers(b"<html>", media_type="text/html")
    api.answers(b"<html>", 404, media_type="text/html")

    assert "does not answer as this version" in soma("get", MEMORY_ID, environment=at).err
    assert "the API answered HTTP 404" in soma("get", MEMORY_ID, environment=at).err


def test_a_memory_is_shown_with_all_that_it_says(soma: Soma, api: CannedApi, at: dict[str, str]) -> None:
    api.answers(a_memory())

    ran = soma("get", MEMORY_ID, environment=at)

    assert api.asked[0].path == f"/v1/memories/{MEMORY_ID}"
    for fact in (
        MEMORY_ID,
        "team/notes",
        "SEMANTIC",
        "0.7",
        '{"cups": 3}',
        "2026-03-02 07:48:00 UTC by mira",
    ):
        assert fact in ran.out
    assert ran.out.endswith("\nTea at four.\n")


def test_a_memory_is_found_by_its_key_or_its_coordinate(
    soma: Soma, api: CannedApi, at: dict[str, str]
) -> None:
    api.answers({"memories": [a_memory()], "next_cursor": None})
    api.answers({"memories": [a_memory()], "next_cursor": None})

    soma("get", "-n", "team/notes", "--key", "tea", environment=at)
    soma("get", "-n", "team/notes", "--coordinate", "1,2.5", environment=at)

    assert api.asked[0].query == {"namespace": ["team/notes"], "key": ["tea"]}
    assert api.asked[1].query == {"namespace": ["team/notes"], "coordinate": ["1.0,2.5"]}


def test_a_key_without_a_memory_is_a_failure(soma: Soma, api: CannedApi, at: dict[str, str]) -> None:
    api.answers({"memories": [], "next_cursor": None})

    ran = soma("get", "-n", "a", "--key", "tea", environment=at)

    assert (ran.code, ran.out) == (1, "")
    assert ran.err == "error: there is no such memory in a\n\nhint: see `soma list --namespace a`\n"


def test_a_memory_named_by_key_is_deleted_by_its_id(soma: Soma, api: CannedApi, at: dict[str, str]) -> None:
    api.answers({"memories": [a_memory()], "next_cursor": None})
    api.answers(WRITTEN)

    ran = soma("delete", "-n", "team/notes", "--key", "tea", "--expected-version", "7", environment=at)

    assert ran.code == 0
    assert (api.asked[1].method, api.asked[1].path) == ("DELETE", f"/v1/memories/{MEMORY_ID}")
    assert api.asked[1].query == {"namespace": ["team/notes"]}
    assert api.asked[1].headers["if-match"] == '"7"'


def test_a_list_asks_for_what_the_options_say(soma: Soma, api: CannedApi, at: dict[str, str]) -> None:
    api.answers({"memories": [a_memory(text="Tea\nat \x1b[31mfour.")], "next_cursor": "abc"})

    ran = soma(
        "list", "-p", "team", "--kind", "SEMANTIC", "-t", "a", "-t", "b", "--subject", "mira",
        "--source", "a file", "--sort", "-importance", "--limit", "1", environment=at,
    )  # fmt: skip

    assert api.asked[0].query == {
        "namespace_prefix": ["team"],
        "kind": ["SEMANTIC"],
        "tags": ["a", "b"],
        "subject": ["mira"],
        "source": ["a file"],
        "sort": ["-importance"],
        "limit": ["1"],
    }
    assert "Tea at �[31mfour." in ran.out
    assert ran.err == "\nthere are more: --cursor abc\n"


def test_an_export_is_every_page_as_lines_that_an_import_reads(
    soma: Soma, api: CannedApi, at: dict[str, str]
) -> None:
    api.answers({"memories": [a_memory()], "next_cursor": "abc"})
    api.answers({"memories": [a_memory(key=None, tags=[], payload={})], "next_cursor": None})

    ran = soma("export", "-p", "team", environment=at)

    assert [json.loads(line) for line in ran.out.splitlines()] == [
        {
            "namespace": "team/notes",
            "key": "tea",
            "kind": "SEMANTIC",
            "text": "Tea at four.",
            "payload": {"cups": 3},
            "tags": ["tea"],
            "importance": 0.7,
            "occurred_at": "2026-03-02T07:48:00Z",
            "actor": "mira",
        },
        {
            "namespace": "team/notes",
            "memory_id": MEMORY_ID,
            "kind": "SEMANTIC",
            "text": "Tea at four.",
            "importance": 0.7,
            "occurred_at": "2026-03-02T07:48:00Z",
            "actor": "mira",
        },
    ]
    assert ran.err == ""
    assert [asked.query.get("cursor") for asked in api.asked] == [None, ["abc"]]


def test_an_export_to_a_file_appears_whole_or_not_at_all(
    soma: Soma, api: CannedApi, at: dict[str, str], tmp_path: Any
) -> None:
    file = tmp_path / "memories.jsonl"
    api.answers({"memories": [a_memory()], "next_cursor": "abc"})
    api.refuses(503, "store_unavailable", "the database does not answer")

    assert soma("export", "-o", str(file), environment=at).code == 1
    assert list(tmp_path.glob("*memories*")) == []

    api.answers({"memories": [a_memory()], "next_cursor": None})
    ran = soma("export", "-o", str(file), "--json", environment=at)

    assert json.loads(ran.out) == {"memories": 1, "links": 0, "without_embedding": 0, "file": str(file)}
    assert len(file.read_text().splitlines()) == 1


def test_an_export_says_which_embeddings_it_leaves_out(
    soma: Soma, api: CannedApi, at: dict[str, str]
) -> None:
    api.answers({"memories": [a_memory(embedding_model="own-model")], "next_cursor": None})

    ran = soma("export", environment=at)

    assert "embedding_model" not in ran.out
    assert ran.err.startswith("note: 1 memories have embeddings of their own, which are not exported")


def test_status_shows_every_part_and_how_much_there_is(
    soma: Soma, api: CannedApi, at: dict[str, str]
) -> None:
    parts = {"postgres": {"ready": True, "milliseconds": 1.25, "error": None}}
    api.answers({"status": "ready", "parts": parts, "index": WHOLE})
    api.answers(
        {
            "memories": 1234,
            "memories_by_kind": {"EPISODIC": 1234},
            "namespaces": 27,
            "links": None,
            "dead_letters": 0,
            "staleness_seconds": {"soma-postgres": 0.25, "soma-vectors": None},
        }
    )

    ran = soma("status", environment=at)

    assert ran.code == 0
    for fact in (
        "ready",
        "postgres",
        "1.2 ms",
        "1,234 in 27 namespaces",
        "at most 0.3 s old",
        "nobody knows",
    ):
        assert fact in ran.out


def test_status_fails_when_a_part_does(soma: Soma, api: CannedApi, at: dict[str, str]) -> None:
    parts = {"postgres": {"ready": False, "milliseconds": 2000.0, "error": "PoolTimeout"}}
    answer = {"status": "not_ready", "parts": parts, "index": None}
    api.answers(answer, 503)

    ran = soma("status", "--json", environment=at)

    assert ran.code == 1
    assert json.loads(ran.out) == answer | {"url": api.url, "stats": None}
    assert ran.err == "error: the API is not ready: postgres fails\n"


def test_a_search_asks_for_what_the_options_say(soma: Soma, api: CannedApi, at: dict[str, str]) -> None:
    api.answers(a_search_answer())

    ran = soma(
        "search", "what does Ada drink?", "--mode", "keyword", "-k", "3", "-p", "assistant", "-t", "tea",
        "--kind", "SEMANTIC", "--importance-min", "0.2", "--occurred-from", "2026-03-01T00:00:00Z",
        "--payload", '{"channel": "chat"}', environment=at,
    )  # fmt: skip

    assert (ran.code, ran.out) == (0, "nothing found\n")
    assert (api.asked[0].method, api.asked[0].path) == ("POST", "/v1/search")
    assert api.asked[0].body == {
        "query": "what does Ada drink?",
        "mode": "keyword",
        "top_k": 3,
        "filter": {
            "namespace_prefix": "assistant",
            "kind": "SEMANTIC",
            "tags": ["tea"],
            "importance_min": 0.2,
            "occurred_from": "2026-03-01T00:00:00+00:00",
            "payload": {"channel": "chat"},
        },
    }


def test_a_hit_is_shown_with_its_rank_and_what_its_score_is_made_of(
    soma: Soma, api: CannedApi, at: dict[str, str]
) -> None:
    api.answers(a_search_answer(a_hit(0.5, weak=False), a_hit(0.125, weak=True)))

    ran = soma("search", "tea?", environment=at)

    assert ran.out == (
        "   1  team/notes  tea  2026-03-02  meaning 0.50, score 5.00\n      Tea at four.\n\n"
        "   2  team/notes  tea  2026-03-02  meaning 0.12, score 1.25, weak\n      Tea at four.\n\n"
    )


def test_hits_that_are_all_weak_are_said_to_be_the_nearest_only(
    soma: Soma, api: CannedApi, at: dict[str, str]
) -> None:
    api.answers(a_search_answer(a_hit(0.125, weak=True)))
    api.answers(a_search_answer(a_hit(0.125, weak=None)))

    weak, unknown = (soma("search", "tea?", environment=at).out for _ in range(2))

    assert weak.startswith("nothing fits well; the nearest are\n\n   1  team/notes")
    assert unknown.startswith("   1  team/notes")


def test_bounds_and_boosts_of_a_search_are_sent_as_the_options_say(
    soma: Soma, api: CannedApi, at: dict[str, str]
) -> None:
    api.answers(a_search_answer())

    ran = soma(
        "search", "tea", "--min-meaning", "0.3", "--boost-recency", "1.5", "--half-life", "12h",
        environment=at,
    )  # fmt: skip

    assert ran.code == 0, ran.err
    assert api.asked[0].body["threshold"] == {"dense": 0.3, "bm25": None}
    assert api.asked[0].body["boost"] == {"importance": 0.0, "recency": 1.5, "half_life_seconds": 43_200}


def test_how_words_are_compared_is_sent_as_the_options_say(
    soma: Soma, api: CannedApi, at: dict[str, str]
) -> None:
    api.answers(a_search_answer(exhaustive=False))
    for _ in range(2):
        api.answers(a_search_answer(exhaustive=True))

    common = soma(
        "search", "to be", "--phrase", "--case-sensitive", "--term-boost", "tea=2", "--term-boost", "a=b=0.5",
        environment=at,
    )  # fmt: skip
    whole = soma("search", "tea", "--exact", "--mode", "keyword", environment=at)
    part = soma("search", "tea", "--substring", environment=at)

    assert common.out.startswith("there may be more: ")
    assert (whole.out, part.out) == ("nothing found\n", "nothing found\n")
    wordings = [
        {name: asked.body.get(name) for name in ("mode", "match", "case_sensitive", "term_boosts")}
        for asked in api.asked
    ]
    assert wordings == [
        {
            "mode": "keyword",
            "match": "phrase",
            "case_sensitive": True,
            "term_boosts": {"tea": 2.0, "a=b": 0.5},
        },
        {"mode": "keyword", "match": "exact", "case_sensitive": False, "term_boosts": None},
        {"mode": "keyword", "match": "substring", "case_sensitive": False, "term_boosts": None},
    ]


@pytest.mark.parametrize(
    "options",
    [
        ["--phrase", "--exact"],
        ["--exact", "--substring"],
        ["--substring", "--mode", "vector"],
        ["--phrase", "--mode", "vector"],
        ["--case-sensitive"],
        ["--term-boost", "tea"],
        ["--term-boost", "tea=much"],
    ],
)
def test_what_does_not_go_together_asks_nothing(
    soma: Soma, api: CannedApi, at: dict[str, str], options: list[str]
) -> None:
    ran = soma("search", "tea", *options, environment=at)

    assert ran.code == 2
    assert api.asked == []


def test_the_lines_of_a_file_are_searched_for_in_batches(
    soma: Soma, api: CannedApi, at: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "queries.txt"
    file.write_text("\n".join(["tea", "", *(f"query {number}" for number in range(24))]))
    complete = {"complete": True, "filled": 1.0}
    for count in (20, 5):
        api.answers({"answers": [{"hits": [], "exhaustive": None, "at": None}] * count, "index": complete})

    ran = soma("search", "--file", str(file), "-k", "3", "--json", environment=at)

    assert ran.code == 0, ran.err
    queries = json.loads(ran.out)["queries"]
    assert [each["query"] for each in queries[:2]] == ["tea", "query 0"]
    assert len(queries) == 25
    assert [(asked.path, len(asked.body["searches"])) for asked in api.asked] == [
        ("/v1/search:batch", 20),
        ("/v1/search:batch", 5),
    ]
    assert {search["top_k"] for asked in api.asked for search in asked.body["searches"]} == {3}


@pytest.mark.parametrize("arguments", [(), ("tea", "--file", __file__)])
def test_a_search_has_a_text_or_a_file(soma: Soma, at: dict[str, str], arguments: tuple[str, ...]) -> None:
    ran = soma("search", *arguments, environment=at)

    assert ran.code == 2
    assert "either a text or --file" in ran.err


@pytest.mark.parametrize(
    ("filled", "words"),
    [
        (0.999, "memories may be missing here: the index is being filled, 99 % are in it"),
        (None, "memories may be missing here: the index is not complete, and nobody knows yet what it lacks"),
    ],
)
def test_a_search_of_an_index_that_is_being_filled_says_so(
    soma: Soma, api: CannedApi, at: dict[str, str], filled: float | None, words: str
) -> None:
    api.answers(a_search_answer(complete=False, filled=filled))

    ran = soma("search", "tea?", environment=at)

    assert ran.out == f"nothing found\n{words}\n"


def test_status_tells_how_far_an_index_is_filled(soma: Soma, api: CannedApi, at: dict[str, str]) -> None:
    parts = {"vectors": {"ready": False, "milliseconds": 1.25, "error": "index_incomplete"}}
    api.answers({"status": "degraded", "parts": parts, "index": {"complete": False, "filled": 0.42}})
    api.answers(
        {
            "memories": 1,
            "memories_by_kind": {"EPISODIC": 1},
            "namespaces": 1,
            "links": None,
            "dead_letters": 0,
            "staleness_seconds": {"soma-vectors": None},
        }
    )

    ran = soma("status", environment=at)

    assert ran.code == 1
    assert "the index is being filled, 42 % are in it" in ran.out


def test_an_export_asks_for_embeddings_and_keeps_them(soma: Soma, api: CannedApi, at: dict[str, str]) -> None:
    memory = a_memory(embedding_model="own-model", embedding=[0.5, -0.25])
    api.answers({"memories": [memory], "next_cursor": None})

    ran = soma("export", environment=at)

    assert api.asked[0].query["embeddings"] == ["true"]
    line = json.loads(ran.out)
    assert (line["embedding_model"], line["embedding"]) == ("own-model", [0.5, -0.25])
    assert ran.err == ""


def test_a_write_that_the_log_cannot_take_now_is_sent_again_as_the_same_event(
    soma: Soma, api: CannedApi, at: dict[str, str]
) -> None:
    api.refuses(503, "log_unavailable", "the topic is being migrated", retryable=True)
    api.answers(WRITTEN, 201)

    ran = soma("store", "Tea at four.", environment=at)

    assert (ran.code, ran.err) == (0, "")
    first, second = api.asked
    assert first.headers["idempotency-key"] == second.headers["idempotency-key"]
    assert first.body == second.body
