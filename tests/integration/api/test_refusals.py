"""Whatever is wrong with a write: a problem that says what, and nothing published."""

import gzip
import json
from typing import Any

import pytest

from api_gateway import Gateway, body_of
from builders import A_TENANT, an_id
from soma_api.roles import Role
from soma_schemas.identity import memory_id_for_coordinate, memory_id_for_key

GOOD: dict[str, Any] = {"namespace": "team/notes", "text": "tea at four"}


def field_errors_of(answer: Any) -> list[tuple[str, str, str]]:
    return [(each["source"], each["path"], each["code"]) for each in answer["errors"]]


async def refusal(gateway: Gateway, body: bytes | dict[str, Any], path: str = "/v1/memories") -> Any:
    """Send a body, expect a problem and an untouched log, and return the problem."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await gateway.client.post(path, content=content, headers={"Content-Type": "application/json"})
    problem = body_of(answer)
    assert gateway.published == []
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == answer.status_code
    assert problem["request_id"] == answer.headers["X-Request-Id"]
    return problem


async def test_a_body_that_is_no_json(gateway: Gateway) -> None:
    problem = await refusal(gateway, b'{"namespace": "team", "text": ')

    assert (problem["status"], problem["code"], problem["retryable"]) == (400, "not_json", False)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"namespace": "team/a", "text": "tea", "text": "coffee"}', 422),
        (b'{"namespace": "team/a", "text": "tea", "payload": {"a": {"b": 1, "b": 2}}}', 422),
        (b'{"namespace": "team/a", "text": "tea", "payload": {"a": 1, "\\u0061": 2}}', 422),
        (b'{"namespace": "team/a", "text": "t\xff\xfe"}', 400),
        (b'{"namespace": "team/a", "text": "\xed\xa0\x80"}', 400),
        (b"[" * 200_000, 400),
        (b'{"a":' * 200_000, 400),
        (b'{"namespace": "team/a", "text": "tea", "payload": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001, 400),
        (b'{"namespace": "team/a", "text": "tea", "importance": 1' + b"0" * 100_000 + b"}", 422),
        (b'{"namespace": "team/a", "text": "tea", "payload": {"a": ' + b"9" * 5000 + b"}}", 422),
        (b'{"namespace": "team/a", "text": "tea", "payload": {"a": 1e-999}}', 422),
    ],
)
async def test_a_body_that_is_made_to_be_read_in_two_ways_or_not_at_all(
    gateway: Gateway, body: bytes, status: int
) -> None:
    answer = await gateway.client.post(
        "/v1/memories", content=body, headers={"Content-Type": "application/json"}
    )

    assert (answer.status_code, body_of(answer)["retryable"]) == (status, False), answer.text[:500]
    assert len(answer.content) < 2000
    assert gateway.published == []


async def test_a_body_of_another_media_type(gateway: Gateway) -> None:
    answer = await gateway.client.post("/v1/memories", content=b"a=b", headers={"Content-Type": "text/plain"})

    assert (answer.status_code, body_of(answer)["code"]) == (415, "unsupported_media_type")
    assert gateway.published == []


@pytest.mark.parametrize("coding", ["gzip", "zstd", "gzip, identity"])
async def test_a_body_that_is_compressed(gateway: Gateway, coding: str) -> None:
    answer = await gateway.client.post(
        "/v1/memories", content=gzip.compress(json.dumps(GOOD).encode()), headers={"Content-Encoding": coding}
    )

    problem = body_of(answer)
    assert (answer.status_code, problem["code"]) == (415, "unsupported_media_type")
    assert "compressed" in problem["detail"]
    assert "Content-Encoding" in problem["remedy"]
    assert answer.headers["Accept-Encoding"] == "identity"
    assert gateway.published == []


async def test_a_body_that_says_it_is_not_compressed(gateway: Gateway) -> None:
    answer = await gateway.client.post(
        "/v1/memories", content=json.dumps(GOOD).encode(), headers={"Content-Encoding": "identity"}
    )

    assert answer.status_code == 202


async def test_a_body_above_the_size_limit(gateway: Gateway) -> None:
    problem = await refusal(gateway, b'{"text": "' + b"a" * gateway.settings.api.max_body_bytes + b'"}')

    assert (problem["status"], problem["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("fields", "path", "code"),
    [
        ({"text": 7}, "/text", "wrong_type"),
        ({"tags": "tea"}, "/tags", "wrong_type"),
        ({"text": "a" * (64 * 1024 + 1)}, "/text", "too_long"),
        ({"payload": {"a": "b" * (256 * 1024)}}, "/payload", "too_long"),
        ({"coordinate": [0.0] * 17}, "/coordinate", "too_many"),
        ({"colour": "green"}, "/colour", "unknown_field"),
        ({"namespace": "team//notes"}, "/namespace", "invalid_namespace"),
        ({"namespace": "/team"}, "/namespace", "invalid_namespace"),
        ({"key": "tea", "coordinate": [1.0]}, "", "key_and_coordinate"),
        ({"embedding": [1.0, 2.0]}, "", "missing_field"),
    ],
)
async def test_a_body_that_breaks_the_contract(
    gateway: Gateway, fields: dict[str, Any], path: str, code: str
) -> None:
    problem = await refusal(gateway, GOOD | fields)

    assert (problem["status"], problem["code"]) == (422, "invalid_input")
    assert field_errors_of(problem) == [("body", path, code)]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("importance", "{}", "/importance"),
        ("coordinate", "[0.0, {}]", "/coordinate/1"),
        ("embedding", "[{}]", "/embedding/0"),
        ("payload", '{{"deep": [{}]}}', "/payload/deep/0"),
    ],
)
async def test_a_number_that_is_not_finite(
    gateway: Gateway, number: str, field: str, value: str, path: str
) -> None:
    body = f'{{"namespace": "team", "text": "tea", "{field}": {value.format(number)}}}'

    problem = await refusal(gateway, body.encode())

    assert field_errors_of(problem) == [("body", path, "not_finite")]


async def test_a_tenant_that_is_not_the_keys(gateway: Gateway) -> None:
    problem = await refusal(gateway, GOOD | {"tenant": "globex"})

    assert (problem["status"], problem["code"]) == (403, "tenant_mismatch")
    assert field_errors_of(problem) == [("body", "/tenant", "invalid_tenant")]


@pytest.mark.parametrize(
    "fields",
    [
        {"key": "tea", "memory_id": str(memory_id_for_key(A_TENANT, "team/notes", "coffee"))},
        {"coordinate": [1.0, 2.0], "memory_id": str(memory_id_for_coordinate(A_TENANT, "team/notes", [2.0]))},
        {"key": "tea", "memory_id": "00000000-0000-7000-8000-00000000000a"},
    ],
)
async def test_an_id_that_disagrees_with_its_key_or_coordinate(
    gateway: Gateway, fields: dict[str, Any]
) -> None:
    problem = await refusal(gateway, GOOD | fields)

    assert [code for _, _, code in field_errors_of(problem)] == ["identity_mismatch"]


async def test_an_empty_batch(gateway: Gateway) -> None:
    problem = await refusal(gateway, {"memories": []}, "/v1/memories:batch")

    assert field_errors_of(problem) == [("body", "/memories", "empty")]


async def test_a_batch_above_the_limit(gateway: Gateway) -> None:
    too_many = gateway.settings.limits.batch_items + 1

    problem = await refusal(gateway, {"memories": [GOOD] * too_many}, "/v1/memories:batch")

    assert field_errors_of(problem) == [("body", "/memories", "too_many")]


@pytest.mark.parametrize(
    ("bad", "path", "code"),
    [
        ({"tags": [7]}, "/memories/1/tags/0", "wrong_type"),
        ({"key": "tea", "coordinate": [1.0]}, "/memories/1", "key_and_coordinate"),
    ],
)
async def test_a_batch_with_one_bad_item_is_refused_as_a_whole(
    gateway: Gateway, bad: dict[str, Any], path: str, code: str
) -> None:
    problem = await refusal(gateway, {"memories": [GOOD, GOOD | bad, GOOD]}, "/v1/memories:batch")

    assert field_errors_of(problem) == [("body", path, code)]


async def test_a_batch_with_one_item_of_another_tenant(gateway: Gateway) -> None:
    problem = await refusal(gateway, {"memories": [GOOD, GOOD | {"tenant": "globex"}]}, "/v1/memories:batch")

    assert problem["code"] == "tenant_mismatch"
    assert field_errors_of(problem) == [("body", "/memories/1/tenant", "invalid_tenant")]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Idempotency-Key", "order 66"),
        ("If-Match", "*"),
        ("If-Match", 'W/"5"'),
        ("If-None-Match", '"5"'),
    ],
)
async def test_a_header_that_cannot_be_understood(gateway: Gateway, header: str, value: str) -> None:
    answer = await gateway.client.post("/v1/memories", json=GOOD, headers={header: value})

    assert (answer.status_code, body_of(answer)["code"]) == (400, "invalid_header")
    assert [each["path"] for each in body_of(answer)["errors"]] == [f"/{header}"]
    assert gateway.published == []


async def test_a_namespace_that_the_key_does_not_cover(gateway: Gateway) -> None:
    gateway.use(gateway.a_key(namespaces=["team/not"]))

    problem = await refusal(gateway, GOOD)

    assert (problem["status"], problem["code"]) == (403, "namespace_forbidden")


async def test_an_item_in_a_namespace_that_the_key_does_not_cover(gateway: Gateway) -> None:
    gateway.use(gateway.a_key(namespaces=["team/notes"]))

    problem = await refusal(
        gateway, {"memories": [GOOD, GOOD | {"namespace": "team/notes2"}]}, "/v1/memories:batch"
    )

    assert problem["code"] == "namespace_forbidden"


async def test_an_id_of_a_memory_that_the_key_does_not_cover(gateway: Gateway) -> None:
    elsewhere = gateway.given_memory(namespace="board/minutes")
    gateway.use(gateway.a_key(namespaces=["team"]))

    problem = await refusal(gateway, GOOD | {"memory_id": str(elsewhere)})

    assert problem["code"] == "namespace_forbidden"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
async def test_an_id_in_the_path_that_is_none(gateway: Gateway, method: str) -> None:
    answer = await gateway.client.request(method, "/v1/memories/seven", json=GOOD)

    problem = body_of(answer)
    assert (answer.status_code, problem["code"]) == (422, "invalid_input")
    assert ("path", "/memory_id", "wrong_type") in field_errors_of(problem)
    assert gateway.published == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_patch"),
        ({"text": None}, "invalid_patch"),
        ({"importance": 0.5, "key": "other"}, "unknown_field"),
        ({"importance": "high"}, "wrong_type"),
    ],
)
async def test_a_patch_that_breaks_the_contract(gateway: Gateway, body: dict[str, Any], code: str) -> None:
    memory = gateway.given_memory()

    answer = await gateway.client.patch(f"/v1/memories/{memory}", json=body)

    assert answer.status_code == 422
    assert code in [each for _, _, each in field_errors_of(body_of(answer))]
    assert gateway.published == []


async def test_a_reader_cannot_write(gateway: Gateway) -> None:
    gateway.use(gateway.a_key(Role.READER))

    problem = await refusal(gateway, GOOD)

    assert (problem["status"], problem["code"]) == (403, "role_too_low")


async def test_nobody_writes_without_a_key_however_good_the_body(gateway: Gateway) -> None:
    del gateway.client.headers["Authorization"]

    problem = await refusal(gateway, GOOD)

    assert (problem["status"], problem["code"]) == (401, "unauthenticated")


async def test_without_a_key_nothing_is_told_about_the_body(gateway: Gateway) -> None:
    del gateway.client.headers["Authorization"]

    problem = await refusal(gateway, b"{")

    assert problem["code"] == "unauthenticated"


async def test_a_wrong_method_is_told_those_of_the_path_that_is_meant(gateway: Gateway) -> None:
    answer = await gateway.client.request("TRACE", f"/v1/memories/{an_id()}:revert")

    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert (await gateway.client.post("/docs")).status_code == 405


async def test_an_unknown_path_and_a_wrong_method_are_problems_too(gateway: Gateway) -> None:
    nowhere = await gateway.client.get("/v2/memories")
    wrong = await gateway.client.patch("/v1/memories", json=GOOD)

    assert (nowhere.status_code, body_of(nowhere)["code"]) == (404, "route_not_found")
    assert (wrong.status_code, body_of(wrong)["code"]) == (405, "method_not_allowed")
    assert wrong.headers["Allow"] == "GET, HEAD, POST, PUT"
    assert nowhere.headers["content-type"] == wrong.headers["content-type"] == "application/problem+json"


async def test_a_method_of_another_route_is_none_behind_a_colon(gateway: Gateway) -> None:
    path = f"/v1/memories/{an_id()}:revert"

    for method in ("GET", "PUT", "PATCH", "DELETE"):
        wrong = await gateway.client.request(method, path)
        assert (wrong.status_code, body_of(wrong)["code"]) == (405, "method_not_allowed")
        assert wrong.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    "query", ["occurred_from=2026-03-02T09:15:00+01:00", "coordinate=1e+2", "importance_min=1e+0"]
)
async def test_a_plus_that_did_not_arrive_is_hinted_at(gateway: Gateway, query: str) -> None:
    name = query.partition("=")[0]

    as_written = body_of(await gateway.client.get(f"/v1/memories?namespace=team&{query}"))
    encoded = await gateway.client.get(f"/v1/memories?namespace=team&{query.replace('+', '%2B')}")

    ((source, path, _),) = field_errors_of(as_written)
    assert (source, path) == ("query", f"/{name}")
    assert "`%2B`" in as_written["errors"][0]["message"]
    assert encoded.status_code == 200


async def test_a_key_in_the_place_of_an_id_is_told_where_keys_go(gateway: Gateway) -> None:
    problem = body_of(await gateway.client.get("/v1/memories/preferences"))

    assert field_errors_of(problem) == [("path", "/memory_id", "wrong_type")]
    assert "key=" in problem["errors"][0]["message"]


async def test_the_id_of_another_memory_in_body_and_path(gateway: Gateway) -> None:
    answer = await gateway.client.put(f"/v1/memories/{an_id()}", json=GOOD | {"memory_id": str(an_id())})

    assert field_errors_of(body_of(answer)) == [("body", "/memory_id", "identity_mismatch")]
    assert gateway.published == []


@pytest.mark.parametrize(("header", "value"), [("If-Match", '"5"'), ("If-None-Match", "*")])
async def test_a_condition_on_a_write_that_takes_none(gateway: Gateway, header: str, value: str) -> None:
    link = f"/v1/memories/{gateway.given_memory()}/links/{an_id()}"
    conditional = {header: value}

    answers = [
        await gateway.client.post("/v1/memories:batch", json={"memories": [GOOD]}, headers=conditional),
        await gateway.client.put(link, json={"type": "about"}, headers=conditional),
        await gateway.client.delete(link, params={"type": "about"}, headers=conditional),
    ]

    assert [(each.status_code, body_of(each)["code"]) for each in answers] == [
        (400, "condition_unsupported")
    ] * 3
    assert gateway.published == []
