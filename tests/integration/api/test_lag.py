"""Lag over HTTP: an operator's, as the collector told it."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from api_gateway import Gateway, body_of, open_gateway
from canned_api import CannedApi
from own_processes import a_free_port
from soma_api.roles import Role
from soma_schemas.lag import CollectorPlace
from soma_schemas.settings import PostgresSettings

REPORT: dict[str, Any] = {
    "at": "2026-03-02T12:00:00Z",
    "age_seconds": 1.5,
    "failure": None,
    "groups": [
        {
            "group": "soma-postgres",
            "state": "Stable",
            "status": "STALL",
            "reason": "memory.events/3 does not move",
            "lag_records": 7,
            "lag_seconds": 75.5,
            "headroom_records": 100,
            "headroom_seconds": None,
            "catch_up_seconds": None,
            "members": [],
            "partitions": [],
            "history": [],
        }
    ],
}


@pytest.fixture
def collector() -> Any:
    with CannedApi() as opened:
        yield opened


@pytest.fixture
async def asking(
    api_postgres: PostgresSettings, worker_dsn: str, owner_dsn: str, collector: CannedApi
) -> AsyncIterator[Gateway]:
    place = CollectorPlace(url=collector.url)
    async with open_gateway(
        api_postgres, worker_dsn=worker_dsn, owner_dsn=owner_dsn, collector=place
    ) as served:
        served.use(served.a_key(Role.OPERATOR))
        yield served


async def test_an_operator_is_told_what_the_collector_told(asking: Gateway, collector: CannedApi) -> None:
    collector.answers(REPORT)

    answer = await asking.client.get("/v1/lag")

    assert answer.status_code == 200
    assert body_of(answer) == REPORT


async def test_others_are_not(asking: Gateway, collector: CannedApi) -> None:
    asking.use(asking.a_key(Role.WRITER))

    answer = await asking.client.get("/v1/lag")

    assert (answer.status_code, body_of(answer)["code"]) == (403, "role_too_low")
    assert collector.asked == []


async def test_what_is_no_report_is_not_passed_on(asking: Gateway, collector: CannedApi) -> None:
    collector.answers({"groups": "many"})

    answer = await asking.client.get("/v1/lag")

    assert (answer.status_code, body_of(answer)["code"]) == (503, "lag_unavailable")


async def test_without_a_collector_nothing_is_made_up(gateway: Gateway) -> None:
    gateway.use(gateway.a_key(Role.OPERATOR))

    answer = await gateway.client.get("/v1/lag")

    assert (answer.status_code, body_of(answer)["code"]) == (503, "lag_unavailable")
    assert body_of(answer)["retryable"] is True


async def test_a_collector_that_is_away_is_told_as_that(
    api_postgres: PostgresSettings, worker_dsn: str, owner_dsn: str
) -> None:
    place = CollectorPlace(url=f"http://127.0.0.1:{a_free_port()}")
    async with open_gateway(
        api_postgres, worker_dsn=worker_dsn, owner_dsn=owner_dsn, collector=place
    ) as served:
        served.use(served.a_key(Role.OPERATOR))

        answer = await served.client.get("/v1/lag")

    assert (answer.status_code, body_of(answer)["code"]) == (503, "lag_unavailable")
