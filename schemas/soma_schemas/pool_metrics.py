"""The metrics of pools of PostgreSQL connections."""

from collections.abc import Callable
from enum import StrEnum

from soma_schemas.metrics import Catalogue, CounterMetric, GaugeMetric, MetricSet
from soma_schemas.postgres_pool import PostgresPool

_MILLISECONDS = 1000


class PoolName(StrEnum):
    """Whose pool it is; one process may have both."""

    WORKER = "worker"
    API = "api"


class ConnectionState(StrEnum):
    """What a connection of a pool does."""

    IN_USE = "in_use"
    IDLE = "idle"


POOL_METRICS = Catalogue()
CONNECTIONS = POOL_METRICS.gauge(
    "soma_postgres_pool_connections",
    "Connections to PostgreSQL, in use or idle.",
    unit="connections",
    labels={"pool": PoolName, "state": ConnectionState},
)
MAX_CONNECTIONS = POOL_METRICS.gauge(
    "soma_postgres_pool_max_connections",
    "Most connections that there may be, as SOMA_POSTGRES__POOL_SIZE says.",
    unit="connections",
    labels={"pool": PoolName},
)
WAITING = POOL_METRICS.gauge(
    "soma_postgres_pool_waiting",
    "Requests that wait for a connection now. Above 0 for long: the pool is exhausted.",
    unit="requests",
    labels={"pool": PoolName},
)
WAIT_SECONDS = POOL_METRICS.counter(
    "soma_postgres_pool_wait_seconds_total",
    "Time for which requests have waited for a connection.",
    unit="seconds",
    labels={"pool": PoolName},
)
TIMEOUTS = POOL_METRICS.counter(
    "soma_postgres_pool_timeouts_total",
    "Requests that were not given a connection in time.",
    unit="requests",
    labels={"pool": PoolName},
)


def expose_pool(pool: PostgresPool, name: PoolName, metrics: MetricSet) -> None:
    """Have read at each scrape how a pool is, also after it is closed."""

    def connections() -> list[tuple[tuple[str, ...], float]]:
        stats = pool.get_stats()
        idle = stats["pool_available"]
        in_use = stats["pool_size"] - idle
        return [((name, ConnectionState.IN_USE), in_use), ((name, ConnectionState.IDLE), idle)]

    def read(metric: CounterMetric | GaugeMetric, value: Callable[[dict[str, int]], float]) -> None:
        metrics.read(metric, lambda: [((name,), value(pool.get_stats()))])

    metrics.read(CONNECTIONS, connections)
    read(MAX_CONNECTIONS, lambda stats: stats["pool_max"])
    read(WAITING, lambda stats: stats.get("requests_waiting", 0))
    read(WAIT_SECONDS, lambda stats: stats.get("requests_wait_ms", 0) / _MILLISECONDS)
    read(TIMEOUTS, lambda stats: stats.get("requests_errors", 0))
