"""The worker's own door, asked over HTTP."""

import httpx
import pytest

from soma_schemas.metrics import MetricSet
from soma_streams.probe_server import open_probe_server
from soma_streams.settings import WorkerSettings


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_head_is_answered_as_get_without_the_body(path: str) -> None:
    async with (
        open_probe_server(WorkerSettings(port=0), MetricSet(), []) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        whole, head = await client.get(path), await client.head(path)

    assert (whole.status_code, head.status_code) == (200, 200)
    assert head.headers["Content-Type"] == whole.headers["Content-Type"]
    assert head.content == b""
