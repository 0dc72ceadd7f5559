"""Looks at our own processes: the API, the index as it tells of it, and the consumer groups."""

from collections.abc import Sequence
from email.utils import parsedate_to_datetime

import httpx

from soma_cli.diagnosis import judgements
from soma_cli.diagnosis.findings import Health, Verdict, ok
from soma_cli.drawing import index_words
from soma_cli.lag_sources import open_lag_source
from soma_cli.settings import OperatorSettings
from soma_client import Retrying, SomaClient, UnreachableError
from soma_client.connection import Connection
from soma_schemas.clock import Clock
from soma_schemas.groups import SinkGroup
from soma_schemas.http_clients import client_options
from soma_schemas.vectors.index_errors import IndexIncompleteError
from soma_streams.lag.lag_settings import LagSettings

_RUNBOOKS = {
    "postgres": "database-failover.md",
    "kafka": "broker-outage.md",
    "registry": "registry-away.md",
    "vectors": "qdrant-rebuild.md",
}
_RESOLUTION_SECONDS = 1.0  # of a date in HTTP


def api(connection: Connection) -> Sequence[Verdict]:
    """Say how the API finds the parts behind it, and whether it takes our key.

    Raises:
        UnreachableError: It does not answer.
        RefusedError: It refuses the key.
    """
    with _once(connection) as client:
        found = client.readyz()
        failing = {name: part for name, part in found.parts.items() if not part.ready}
        # Without PostgreSQL no key can be checked.
        if "postgres" not in failing:
            client.read_stats()
    if not failing:
        return [ok(f"{found.status}, in front of {', '.join(found.parts)}; our key is good")]
    return [
        Verdict(
            Health.WARNING if part.error == IndexIncompleteError.code else Health.FAILED,
            f"{found.status.replace('_', ' ')}: part {name} fails with {part.error}",
            f"docs/runbooks/{_RUNBOOKS[name]} says what to do"
            if name in _RUNBOOKS
            else "look at the log of the API",
        )
        for name, part in failing.items()
    ]


def index(connection: Connection) -> Sequence[Verdict]:
    """Say how complete the vector index is, as the API tells.

    Raises:
        UnreachableError: It does not answer.
    """
    with _once(connection) as client:
        found = client.readyz()
    if found.index is None:
        remedy = "look at the log of the API, and at docs/runbooks/qdrant-rebuild.md"
        return [Verdict(Health.FAILED, "the index does not answer the API", remedy)]
    said = index_words(found.index)
    if found.index.complete:
        return [ok(said)]
    return [Verdict(Health.WARNING, said, "wait until it is filled; `soma status` tells how far")]


def clock_of_api(connection: Connection, clock: Clock) -> Sequence[Verdict]:
    """Say whether the API's clock is as ours.

    Raises:
        UnreachableError: It does not answer.
    """
    before = clock.now()
    try:
        answer = httpx.get(f"{connection.url}/healthz", **client_options(connection.url, connection.ca_file))
        there = parsedate_to_datetime(answer.headers["date"])
    except (httpx.HTTPError, KeyError, ValueError) as error:
        raise UnreachableError(
            f"{connection.url} does not tell its time",
            remedy="start it with `soma up`, or correct SOMA_URL",
            sent=True,
        ) from error
    uncertain = (clock.now() - before).total_seconds() / 2 + _RESOLUTION_SECONDS / 2
    ahead = (there - before).total_seconds() + _RESOLUTION_SECONDS / 2
    return [judgements.clock("the API", ahead, uncertain)]


async def groups(settings: OperatorSettings, about: str) -> Sequence[Verdict]:
    """Say how the consumer groups of the sinks get on.

    Raises:
        SomaError: Nobody could be asked.
    """
    expected = [group.on_brokers(settings.topics) for group in SinkGroup]
    async with open_lag_source(settings, LagSettings()) as look:
        seen = await look()
    return list(judgements.groups(seen.report, expected, about))


def _once(connection: Connection) -> SomaClient:
    once = Retrying(total_seconds=0.0)
    return SomaClient(connection.url, connection.api_key, ca_file=connection.ca_file, retrying=once)
