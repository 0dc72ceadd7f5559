"""What a probe tells of a part that is not ready: a refusal looks like no outage."""

import httpx
import psycopg
import pytest
from structlog.testing import capture_logs

from fakes import FakeClock
from soma_api.probes import BackingPart, check
from soma_schemas.vectors.index_errors import IndexServerError, IndexUnavailableError


@pytest.mark.parametrize(
    ("failure", "code", "reason"),
    [
        (
            IndexServerError("the vector index does not let us in"),
            "index_server",
            "index_server: the vector index does not let us in",
        ),
        (IndexUnavailableError("nobody is there"), "index_unavailable", "index_unavailable: nobody is there"),
        (
            httpx.HTTPStatusError(
                "secret", request=httpx.Request("GET", "http://secret"), response=httpx.Response(401)
            ),
            "http_401",
            None,
        ),
        (psycopg.errors.InsufficientPrivilege("secret"), "sqlstate_42501", None),
        (ConnectionRefusedError("secret"), "ConnectionRefusedError", None),
    ],
)
async def test_a_part_that_is_not_ready_is_told_by_its_code(
    failure: Exception, code: str, reason: str | None
) -> None:
    async def broken() -> None:
        raise failure

    with capture_logs() as logs:
        healths = await check({BackingPart.VECTORS: broken}, FakeClock())

    assert healths[BackingPart.VECTORS].error == code
    assert [(each["event"], each["error"], each["reason"]) for each in logs] == [
        ("part_not_ready", code, reason)
    ]
