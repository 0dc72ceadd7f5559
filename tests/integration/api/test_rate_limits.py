"""Rate limits through the gateway: who is counted, who is not, and what a refusal looks like."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from api_gateway import Gateway, body_of, open_gateway
from builders import an_id
from soma_api.roles import Role
from soma_api.settings import GatewaySettings
from soma_schemas.settings import PostgresSettings

ORIGIN = "https://app.example.com"


@pytest.fixture
async def limited(api_postgres: PostgresSettings, worker_dsn: str, owner_dsn: str) -> AsyncIterator[Gateway]:
    """The API with three requests a minute for a principal, and five for a tenant."""
    settings = GatewaySettings(
        api_key_cache_ttl=timedelta(0),
        rate_limit_per_principal=3,
        rate_limit_per_tenant=5,
        cors_origins=[ORIGIN],
        metrics_on_loopback=False,
    )
    async with open_gateway(
        api_postgres, worker_dsn=worker_dsn, owner_dsn=owner_dsn, gateway=settings
    ) as gateway:
        yield gateway


async def statuses(gateway: Gateway, path: str, requests: int) -> list[int]:
    return [(await gateway.client.get(path)).status_code for _ in range(requests)]


async def test_a_request_above_the_limit_is_a_problem_that_says_when_to_come_again(limited: Gateway) -> None:
    assert await statuses(limited, "/v1/memories", 3) == [200, 200, 200]
    limited.clock.advance(15)

    refused = await limited.client.post("/v1/memories", json={"namespace": "a", "text": "x"})

    problem = body_of(refused)
    assert (refused.status_code, problem["code"], problem["retryable"]) == (429, "rate_limited", True)
    assert "45 s" in problem["detail"]
    assert refused.headers["Retry-After"] == "45"
    assert refused.headers.get_list("RateLimit") == ['"principal";r=0;t=45']
    assert refused.headers.get_list("RateLimit-Policy") == ['"principal";q=3;w=60, "tenant";q=5;w=60']
    assert limited.published == []

    limited.clock.advance(45)
    assert await statuses(limited, "/v1/memories", 1) == [200]


async def test_every_answer_to_a_counted_request_tells_what_is_left(limited: Gateway) -> None:
    found = await limited.client.get("/v1/memories", headers={"Origin": ORIGIN})
    missing = await limited.client.get(f"/v1/memories/{an_id()}")
    head = await limited.client.head("/v1/memories")

    assert (found.status_code, missing.status_code, head.status_code) == (200, 404, 200)
    assert [each.headers["RateLimit"] for each in (found, missing, head)] == [
        '"principal";r=2;t=60',
        '"principal";r=1;t=60',
        '"principal";r=0;t=60',
    ]
    assert {"RateLimit", "RateLimit-Policy"} <= set(
        found.headers["Access-Control-Expose-Headers"].split(", ")
    )


async def test_a_route_that_asks_for_two_roles_counts_a_request_once(limited: Gateway) -> None:
    answer = await limited.client.post(f"/v1/memories/{an_id()}:revert", json={"version": 7})

    assert answer.status_code == 404
    assert answer.headers.get_list("RateLimit") == ['"principal";r=2;t=60']


async def test_a_tenant_is_limited_over_all_its_keys_and_others_are_not(limited: Gateway) -> None:
    assert await statuses(limited, "/v1/memories", 3) == [200] * 3
    limited.use(limited.a_key())
    assert await statuses(limited, "/v1/memories", 3) == [200, 200, 429]
    limited.use(limited.a_key(tenant="other"))
    assert await statuses(limited, "/v1/memories", 1) == [200]


async def test_unknown_credentials_use_up_nobodys_requests(limited: Gateway) -> None:
    good = limited.client.headers["Authorization"]
    for bad in ("", good[:-3] + "aaa", "Bearer soma_made_up"):
        limited.client.headers["Authorization"] = bad
        assert await statuses(limited, "/v1/memories", 4) == [401] * 4

    limited.client.headers["Authorization"] = good
    assert await statuses(limited, "/v1/memories", 4) == [200, 200, 200, 429]


async def test_a_request_that_its_role_does_not_allow_is_counted(limited: Gateway) -> None:
    limited.use(limited.a_key(Role.READER))

    assert await statuses(limited, "/v1/audit", 4) == [403, 403, 403, 429]


async def test_probes_and_metrics_are_not_counted(limited: Gateway) -> None:
    limited.use(limited.a_key(Role.OPERATOR))
    for path in ("/healthz", "/readyz", "/metrics"):
        assert await statuses(limited, path, 10) == [200] * 10

    answer = await limited.client.get("/metrics")
    assert "RateLimit" not in answer.headers
    assert await statuses(limited, "/v1/memories", 1) == [200]
