"""An HTTP server for probes and metrics: GET requests for some paths, and nothing else."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import structlog
from aiohttp import web

from soma_schemas.metrics import Exposition

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


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


def probe_response(status: str, *, well: bool) -> web.Response:
    """Return what a probe is told: 200 when all is well, else 503."""
    return web.json_response({"status": status}, status=200 if well else 503)


def metrics_response(exposition: Exposition) -> web.Response:
    """Return metrics as they were written."""
    return web.Response(body=exposition.body, headers={"Content-Type": exposition.content_type})
