"""Our processes under load, scraped by a Prometheus: what alerts and dashboards are shown with."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import httpx
from pydantic import BaseModel

from background import repeated
from conftest import LocalParts
from own_processes import (
    SomaProcess,
    a_free_port,
    api_with_vectors,
    postgres_worker,
    retention_worker,
)
from prometheus_server import PrometheusServer
from soma_cli.local.local_api_key import local_api_key
from soma_cli.local.postgres import Login
from soma_schemas.clock import SystemClock
from soma_schemas.configuration import as_environment
from soma_schemas.settings import KafkaSettings, PublishingSettings

_TENANT = "acme"
_AUDITED = {"SOMA_AUDIT__INTERVAL": "PT5S"}


class _Brokers(BaseModel):
    kafka: KafkaSettings


@dataclass(frozen=True)
class Monitored:
    """What runs.

    Attributes:
        worker: `soma work postgres`.
        prometheus: Scrapes the workers, the API with the vector worker, and the lag collector.
    """

    worker: SomaProcess
    prometheus: PrometheusServer


@contextmanager
def monitored(local_parts: LocalParts, settings: PublishingSettings, folder: Path) -> Iterator[Monitored]:
    """Run everything, with requests of every kind going on, until the block ends."""
    key = local_api_key(
        folder / "key", local_parts.parts.postgres.dsn(Login.OWNER), _TENANT, SystemClock().now()
    )
    with ExitStack() as running:
        worker = running.enter_context(postgres_worker(local_parts, settings, folder))
        api = running.enter_context(api_with_vectors(local_parts, settings, folder, _AUDITED))
        retention = running.enter_context(retention_worker(local_parts, settings, folder))
        collector = running.enter_context(_lag_collector(settings, folder))
        jobs = {
            "soma-worker-postgres": worker.url,
            "soma-worker-retention": retention.url,
            "soma-api": api.url,
            "soma-lag": collector.url,
        }
        prometheus = running.enter_context(PrometheusServer(folder / "prometheus", jobs))
        running.enter_context(_load(api.url, key))
        yield Monitored(worker, prometheus)


def _lag_collector(settings: PublishingSettings, folder: Path) -> SomaProcess:
    port = a_free_port()
    environment = {
        **as_environment(_Brokers(kafka=settings.kafka)),
        "SOMA_LAG__PORT": str(port),
        "SOMA_LAG__GROUPS": f"{settings.topics.prefix}*",
        "SOMA_LAG__INTERVAL": "PT1S",
        "SOMA_LAG__WINDOW": "PT5S",
    }
    return SomaProcess(["lag", "collect"], environment, port, folder / "lag.log")


@contextmanager
def _load(url: str, key: str) -> Iterator[None]:
    numbers = count(1)
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as client:

        def ask() -> None:
            # A store that is away refuses some of them: that is part of the load.
            client.post(
                "/v1/memories",
                json={"namespace": "load", "text": f"number {next(numbers)} of the load"},
                headers={"Prefer": "wait=0.2"},
            )
            client.get("/v1/memories", params={"namespace": "load", "limit": 5})
            client.post("/v1/search", json={"query": "load", "filter": {"namespace": "load"}})
            client.get("/v1/memories/00000000-0000-0000-0000-000000000000")

        with repeated(ask, 0.05):
            yield
