"""Erasures that are requested over HTTP, with no worker but the test."""

import asyncio
from typing import Any

import psycopg

from api_gateway import Gateway
from builders import A_MOMENT
from soma_schemas.clock import yield_now
from soma_schemas.erasure_receipts import selector_digest
from soma_schemas.events import ErasureRequested
from soma_schemas.topics import MEMORY_ERASURES


def requested(gateway: Gateway) -> list[ErasureRequested]:
    """Return what the log has of requests."""
    sent = gateway.publisher.sent.get(MEMORY_ERASURES.name, [])
    return [each for each in sent if isinstance(each, ErasureRequested)]


def accept(gateway: Gateway, request: ErasureRequested, **fields: Any) -> None:
    """What the retention worker makes of a request."""
    row = {
        "tenant": request.tenant,
        "request_id": request.request_id,
        "scope": request.scope.value,
        "selector": request.selector,
        "selector_sha256": selector_digest(request.request_id, request.selector),
        "actor": request.actor,
        "requested_at": request.occurred_at,
        "accepted_at": A_MOMENT,
        "before_versions": [1],
        "state": "accepted",
    } | fields
    with psycopg.connect(gateway.worker_dsn) as connection:
        names, places = ", ".join(row), ", ".join(["%s"] * len(row))
        connection.execute(
            f"INSERT INTO erasures ({names}) VALUES ({places})".encode(),  # noqa: S608  # names of our own
            list(row.values()),
        )


async def ask(gateway: Gateway, body: dict[str, Any], headers: dict[str, str]) -> Any:
    """Send a request, and have it accepted as soon as the log has it."""
    asking = asyncio.create_task(gateway.client.post("/v1/erasures", json=body, headers=headers))
    before = len(requested(gateway))
    while not asking.done():
        await yield_now()
        if len(requested(gateway)) > before:
            accept(gateway, requested(gateway)[-1])
            break
    return await asking
