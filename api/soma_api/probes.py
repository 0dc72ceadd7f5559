"""Readiness probes of the backends of the API."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import httpx
import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from soma_api.freshness import LogEnds
from soma_schemas.clock import Clock
from soma_schemas.errors import SomaError, told
from soma_schemas.http_clients import client_options, usable_environment
from soma_schemas.settings import RegistrySettings

_ANSWER_SECONDS = 2.0
# Less, so that the pool says why it has no connection before the probe is ended.
_CONNECTION_SECONDS = 1.8

log = structlog.get_logger(__name__)


class BackingPart(StrEnum):
    """What the API stands on."""

    POSTGRES = "postgres"  # keys and records: nothing works without it
    READ_REPLICAS = "read_replicas"  # what they cannot answer, the primary does
    VECTORS = "vectors"  # search
    KAFKA = "kafka"  # writes
    REGISTRY = "registry"  # the first write of each kind


# Returns when the part answers, and raises when it does not.
Probe = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class PartHealth:
    """How one part answered.

    Attributes:
        milliseconds: How long it took.
        error: The code of what it raised, or None.
    """

    ready: bool
    milliseconds: float
    error: str | None


def postgres_probe(pool: AsyncConnectionPool) -> Probe:
    """Return a probe that asks PostgreSQL a trivial question."""

    async def probe() -> None:
        async with pool.connection(timeout=_CONNECTION_SECONDS) as connection:
            await connection.execute("SELECT 1")

    return probe


def kafka_probe(ends: LogEnds) -> Probe:
    """Return a probe that asks the brokers where the log ends."""
    return ends.ends


def registry_probe(settings: RegistrySettings) -> Probe:
    """Return a probe that asks the registry for its global rule."""
    options = client_options(settings.url, settings.ca_file)

    async def probe() -> None:
        with usable_environment(httpx.InvalidURL):
            client = httpx.AsyncClient(timeout=_ANSWER_SECONDS, **options)
        # Asked for at each probe: a secret may be replaced meanwhile.
        authorization = settings.authorization()
        headers = {} if authorization is None else {"Authorization": authorization}
        async with client:
            answer = await client.get(settings.url.rstrip("/") + "/config", headers=headers)
            answer.raise_for_status()

    return probe


async def check(probes: Mapping[BackingPart, Probe], clock: Clock) -> dict[BackingPart, PartHealth]:
    """Ask every part at once, and return how each answered."""
    healths = await asyncio.gather(*(_check(part, probe, clock) for part, probe in probes.items()))
    return dict(zip(probes, healths, strict=True))


async def _check(part: BackingPart, probe: Probe, clock: Clock) -> PartHealth:
    started = clock.monotonic()
    error = None
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            await probe()
    except Exception as failure:  # noqa: BLE001  # whatever a part raises, it is not ready
        error = _code_of(failure)
        log.warning("part_not_ready", part=part, error=error, reason=told(failure))
    return PartHealth(error is None, round((clock.monotonic() - started) * 1000, 2), error)


def _code_of(failure: Exception) -> str:
    """Return what tells a refusal from an outage, and nothing that only an operator may know."""
    match failure:
        case SomaError():
            return failure.code
        case httpx.HTTPStatusError():
            return f"http_{failure.response.status_code}"
        case psycopg.Error(sqlstate=str() as state):
            return f"sqlstate_{state}"
        case _:
            return type(failure).__name__
