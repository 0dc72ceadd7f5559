"""What browsers and caches are told, and which pages may ask: the guide's table, held to live answers."""

import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import pytest
from pydantic import ValidationError

from api_gateway import Gateway, body_of, open_gateway
from soma_api.settings import GatewaySettings
from soma_schemas.settings import PostgresSettings

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "access.md"
OURS = "https://app.example.com"

# Path, headers, and the status: a success, each way to be refused, and no route at all.
ANSWERS = {
    "success": ("GET", "/v1/memories", {}, 200),
    "no key": ("GET", "/v1/memories", {"Authorization": ""}, 401),
    "bad input": ("GET", "/v1/memories?limit=no", {}, 422),
    "no route": ("GET", "/v2", {}, 404),
    "no method": ("TRACE", "/v1/memories", {}, 405),
    "too large": ("POST", "/v1/memories", {"Content-Length": "999999999"}, 413),
    "probe": ("GET", "/healthz", {}, 200),
    "description": ("GET", "/openapi.json", {}, 200),
}


class Opener(Protocol):
    def __call__(self, settings: GatewaySettings) -> AbstractAsyncContextManager[Gateway]: ...


@pytest.fixture
def opened(api_postgres: PostgresSettings, worker_dsn: str, owner_dsn: str) -> Opener:
    def opener(settings: GatewaySettings) -> AbstractAsyncContextManager[Gateway]:
        return open_gateway(api_postgres, worker_dsn=worker_dsn, owner_dsn=owner_dsn, gateway=settings)

    return opener


@pytest.fixture
async def for_pages(opened: Opener) -> AsyncIterator[Gateway]:
    async with opened(GatewaySettings(cors_origins=[OURS])) as gateway:
        yield gateway


def documented() -> dict[str, str]:
    """Return what the guide's table says of every answer."""
    text = GUIDE.read_text(encoding="utf-8").partition("## What browsers are told")[2]
    found = dict(re.findall(r"^\| `([A-Za-z-]+): ([^`]+)` \| every answer", text, re.MULTILINE))
    assert len(found) == 5
    return found


@pytest.mark.parametrize("case", ANSWERS)
async def test_every_answer_has_the_headers_that_the_guide_says(gateway: Gateway, case: str) -> None:
    method, path, headers, status = ANSWERS[case]

    answer = await gateway.client.request(method, path, headers=headers)

    assert answer.status_code == status
    assert {name: answer.headers.get_list(name) for name in documented()} == {
        name: [value] for name, value in documented().items()
    }
    assert "Strict-Transport-Security" not in answer.headers
    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_an_error_that_nobody_foresaw_has_them_too(gateway: Gateway) -> None:
    gateway.search.raises = ValueError("unforeseen")

    answer = await gateway.client.post("/v1/search", json={"query": "tea"})

    assert answer.status_code == 500
    assert documented().items() <= {name: answer.headers[name] for name in documented()}.items()


async def test_the_documentation_runs_its_own_script_and_files_of_this_host_alone(gateway: Gateway) -> None:
    page = await gateway.client.get("/docs")

    policy = dict(each.strip().split(" ", 1) for each in page.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert re.fullmatch(r"'self' 'sha256-[A-Za-z0-9+/]{43}='", policy["script-src"])
    asset = await gateway.client.get("/docs/assets/swagger-ui-bundle.js")
    assert (asset.status_code, asset.headers["X-Content-Type-Options"]) == (200, "nosniff")


async def test_tls_alone_is_asked_for_where_the_setting_says_so(opened: Opener) -> None:
    async with opened(GatewaySettings(hsts_max_age=timedelta(days=365))) as gateway:
        answer = await gateway.client.get("/v1/memories")

    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


async def test_no_page_of_another_origin_may_ask_by_default(gateway: Gateway) -> None:
    asked = {"Origin": OURS, "Access-Control-Request-Method": "GET"}

    before = await gateway.client.options("/v1/memories", headers=asked)
    answer = await gateway.client.get("/v1/memories", headers=asked)

    assert (before.status_code, body_of(before)["code"]) == (405, "method_not_allowed")
    assert not [name for name in (*before.headers, *answer.headers) if name.startswith("access-control")]


async def test_a_page_of_an_allowed_origin_asks_and_reads_what_the_api_says(for_pages: Gateway) -> None:
    asked = {
        "Origin": OURS,
        "Access-Control-Request-Method": "PATCH",
        "Access-Control-Request-Headers": "authorization, if-match, prefer",
    }
    before = await for_pages.client.options("/v1/memories", headers=asked)
    answer = await for_pages.client.get("/v1/memories", headers={"Origin": OURS})

    assert before.status_code == 200
    assert before.headers["Access-Control-Allow-Origin"] == OURS
    assert "PATCH" in before.headers["Access-Control-Allow-Methods"]
    assert "If-Match" in before.headers["Access-Control-Allow-Headers"]
    assert before.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Access-Control-Allow-Origin"] == OURS
    assert "Soma-Staleness" in answer.headers["Access-Control-Expose-Headers"]
    assert "Access-Control-Allow-Credentials" not in answer.headers
    assert answer.headers["Vary"] == "Origin"


@pytest.mark.parametrize("case", ["no key", "too large"])
async def test_a_page_of_an_allowed_origin_can_read_refusals(for_pages: Gateway, case: str) -> None:
    method, path, headers, status = ANSWERS[case]

    answer = await for_pages.client.request(method, path, headers=headers | {"Origin": OURS})

    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (status, OURS)


@pytest.mark.parametrize("origin", ["https://app.example.com.evil.example", "http://app.example.com", "null"])
async def test_a_page_of_another_origin_may_not(for_pages: Gateway, origin: str) -> None:
    asked = {"Origin": origin, "Access-Control-Request-Method": "GET"}

    before = await for_pages.client.options("/v1/memories", headers=asked)
    answer = await for_pages.client.get("/v1/memories", headers=asked)

    assert before.status_code == 400
    for each in (before, answer):
        assert "Access-Control-Allow-Origin" not in each.headers


@pytest.mark.parametrize(
    "origin", ["*", "null", "app.example.com", "https://app.example.com/", "https://*.example.com"]
)
def test_what_no_browser_sends_as_an_origin_is_a_wrong_setting(origin: str) -> None:
    with pytest.raises(ValidationError, match="cors_origins"):
        GatewaySettings(cors_origins=[origin])
