"""The probe server of a process of the write side: liveness, readiness and metrics over HTTP."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from aiohttp import web

from soma_schemas.metrics import MetricSet
from soma_streams.consumer_group import ConsumerGroup
from soma_streams.delivery.retry import StoreAvailability
from soma_streams.http_server import metrics_response, open_http_server, probe_response
from soma_streams.settings import WorkerSettings


def is_stalled(group: ConsumerGroup, after: timedelta) -> bool:
    """Say whether nothing gets on although the store answers and there is work: only a restart helps then."""
    health = group.health()
    longest = max(health.oldest_unsettled_seconds, health.still_seconds)
    return health.availability is StoreAvailability.AVAILABLE and longest > after.total_seconds()


@asynccontextmanager
async def open_probe_server(
    settings: WorkerSettings, metrics: MetricSet, groups: Sequence[ConsumerGroup]
) -> AsyncIterator[int]:
    """Answer /healthz, /readyz and /metrics until the block ends; yields the port."""

    async def healthz(request: web.Request) -> web.Response:
        del request
        stalled = any(is_stalled(group, settings.stalled_after) for group in groups)
        return probe_response("stalled" if stalled else "ok", well=not stalled)

    async def readyz(request: web.Request) -> web.Response:
        del request
        ready = all(group.health().ready for group in groups)
        return probe_response("ready" if ready else "not ready", well=ready)

    async def written(request: web.Request) -> web.Response:
        return metrics_response(metrics.exposition(request.headers.get("Accept", "")))

    answers = {"/healthz": healthz, "/readyz": readyz, "/metrics": written}
    async with open_http_server(settings.host, settings.port, answers) as port:
        yield port
