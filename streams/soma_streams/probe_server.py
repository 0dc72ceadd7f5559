"""The probe server of a process of the write side: liveness, readiness and metrics over HTTP."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from soma_streams.consumer_group import ConsumerGroup
from soma_streams.delivery.retry import StoreAvailability
from soma_streams.settings import WorkerSettings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def is_stalled(group: ConsumerGroup, after: timedelta) -> bool:
    """Say whether nothing gets on although the store answers and there is work: only a restart helps then."""
    health = group.health()
    longest = max(health.oldest_unsettled_seconds, health.still_seconds)
    return health.availability is StoreAvailability.AVAILABLE and longest > after.total_seconds()


@asynccontextmanager
async def open_probe_server(
    settings: WorkerSettings, registry: CollectorRegistry, groups: Sequence[ConsumerGroup]
) -> AsyncIterator[int]:
    """Answer /healthz, /readyz and /metrics until the block ends; yields the port."""

    async def healthz(request: web.Request) -> web.Response:
        del request
        stalled = any(is_stalled(group, settings.stalled_after) for group in groups)
        return web.json_response({"status": "stalled" if stalled else "ok"}, status=503 if stalled else 200)

    async def readyz(request: web.Request) -> web.Response:
        del request
        ready = all(group.health().ready for group in groups)
        return web.json_response({"status": "ready" if ready else "not ready"}, status=200 if ready else 503)

    async def metrics(request: web.Request) -> web.Response:
        del request
        for group in groups:
            group.health()  # sets the gauge of the oldest batch
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    answers = {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics}
    async with open_http_server(settings.host, settings.port, answers) as port:
        yield port


@asynccontextmanager
async def open_http_server(host: str, port: int, answers: Mapping[str, Handler]) -> AsyncIterator[int]:
    """Answer GET requests for some paths until the block ends; yields the port.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        answers: What answers each path.
    """
    application = web.Application()
    application.add_routes([web.get(path, handler) for path, handler in answers.items()])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        bound = int(runner.addresses[0][1])
        structlog.get_logger("soma_streams.probe_server").info("probe_server_started", host=host, port=bound)
        yield bound
    finally:
        await runner.cleanup()
