"""What the API measures, declared once.

Labels are route templates, methods, statuses and enums: never a tenant, a key, an id or a path as sent.
"""

from enum import StrEnum

from soma_schemas.metrics import Catalogue, MetricSet, observe

UNMATCHED_ROUTE = "unmatched"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_ROUTES = "templates of the API's routes, and `unmatched`"
_METHOD = "HTTP methods, and `other`"
_STALENESS_BUCKETS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 600)


def known_method(method: str) -> str:
    """Return a method of HTTP as it is, and `other` for any other word: clients may send what they like."""
    return method if method in _METHODS else "other"


class WaitFor(StrEnum):
    """What a request waited for."""

    WRITE = "write"  # `Prefer: wait` on a write
    READ = "read"  # `Soma-Position` on a read


class WaitResult(StrEnum):
    """How a wait ended."""

    VISIBLE = "visible"
    TIMED_OUT = "timed_out"


class ReadChoice(StrEnum):
    """Who was asked about records, where there are read replicas, and why; a later one is nearer to it."""

    REPLICA_AWAY = "primary_replica_away"
    REPLICA_BEHIND = "primary_replica_behind"  # too far for any request
    POSITION = "primary_position"  # that the request named is not replayed
    STALENESS = "primary_staleness"  # less was accepted than a replica has
    REPLICA_FAILED = "primary_replica_failed"  # counted beside the choice of the replica
    REPLICA = "replica"


class RateLimitScope(StrEnum):
    """Whose requests a rate limit counts."""

    PRINCIPAL = "principal"
    TENANT = "tenant"
    ADDRESS = "address"  # failed authentications


API_METRICS = Catalogue()
REQUESTS = API_METRICS.counter(
    "soma_api_requests_total",
    "Requests answered. A rise in 5xx says that a store, the log or this process is in trouble.",
    unit="requests",
    labels={"route": _ROUTES, "method": _METHOD, "status": "HTTP statuses"},
)
REQUEST_SECONDS = API_METRICS.histogram(
    "soma_api_request_seconds",
    "Time from a request's first byte to its answer's last one, waits included; of a stream to its first.",
    labels={"route": _ROUTES, "method": _METHOD},
)
IN_FLIGHT = API_METRICS.gauge(
    "soma_api_requests_in_flight",
    "Requests being served now; at SOMA_API__MAX_CONCURRENT_REQUESTS new ones are refused.",
    unit="requests",
)
WAITS = API_METRICS.counter(
    "soma_api_waits_total",
    "Waits for a position. A rise in timed_out says that a sink is behind.",
    unit="waits",
    labels={"wait_for": WaitFor, "result": WaitResult},
)
WAIT_SECONDS = API_METRICS.histogram(
    "soma_api_wait_seconds", "How long requests waited for a position.", labels={"wait_for": WaitFor}
)
STALENESS = API_METRICS.histogram(
    "soma_api_staleness_seconds",
    "How old answers could have been at most. A rise says that a sink is behind.",
    buckets=_STALENESS_BUCKETS,
)

READS = API_METRICS.counter(
    "soma_api_record_reads_total",
    "Reads of records by who was asked, the replica or the primary and why; counted with read replicas "
    "alone. A rise of primary_replica_behind or primary_replica_away says that replication is in trouble.",
    unit="reads",
    labels={"choice": ReadChoice},
)
REPLICA_LAG = API_METRICS.gauge(
    "soma_api_replica_lag_seconds",
    "By how much a read replica is behind the primary at most; none while it does not answer. Above "
    "SOMA_READ_REPLICAS__MAX_LAG the primary is asked.",
    unit="seconds",
    labels={"replica": "the addresses of SOMA_READ_REPLICAS__HOSTS"},
)

RATE_LIMITED = API_METRICS.counter(
    "soma_api_rate_limited_total",
    "Requests refused with 429. A rise: a client sends more than it may, or a limit is too low; `address`: "
    "somebody sends credentials that nobody knows.",
    unit="requests",
    labels={"scope": RateLimitScope},
)
RATE_LIMIT_STORE_FAILURES = API_METRICS.counter(
    "soma_api_rate_limit_store_failures_total",
    "Times that the store of rate limits did not answer. Meanwhile each API process counts by itself.",
    unit="requests",
)

ACCESSES_DROPPED = API_METRICS.counter(
    "soma_api_accesses_dropped_total",
    "Accesses of memories that were not counted, because 10,000 memories waited to be published. A rise: the "
    "log does not take them, or keys that have accesses counted read too much.",
    unit="accesses",
)


class ApiMetrics:
    """The API's metrics.

    Args:
        metrics: Of the process; shared with whatever else runs in it.
    """

    def __init__(self, metrics: MetricSet) -> None:
        self.of_process = metrics
        self._requests = metrics.counter(REQUESTS)
        self._request_seconds = metrics.histogram(REQUEST_SECONDS)
        self._in_flight = metrics.gauge(IN_FLIGHT)
        self._waits = metrics.counter(WAITS)
        self._wait_seconds = metrics.histogram(WAIT_SECONDS)
        self._staleness = metrics.histogram(STALENESS)
        self._reads = metrics.counter(READS)
        self._rate_limited = metrics.counter(RATE_LIMITED)
        self._accesses_dropped = metrics.counter(ACCESSES_DROPPED)
        self._rate_limit_store_failures = metrics.counter(RATE_LIMIT_STORE_FAILURES)

    def request_started(self) -> None:
        """Count a request in."""
        self._in_flight.inc()

    def request_done(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request out; the method is one that `known_method` returns."""
        self._in_flight.dec()
        self._requests.labels(route, method, status).inc()
        observe(self._request_seconds.labels(route, method), seconds)

    def waited(self, wait_for: WaitFor, result: WaitResult, seconds: float) -> None:
        """Count a wait for a position."""
        self._waits.labels(wait_for, result).inc()
        observe(self._wait_seconds.labels(wait_for), seconds)

    def read_from(self, choice: ReadChoice) -> None:
        """Count who was asked about records."""
        self._reads.labels(choice).inc()

    def rate_limited(self, scope: RateLimitScope) -> None:
        """Count a request that was one too many."""
        self._rate_limited.labels(scope).inc()

    def accesses_dropped(self, number: int) -> None:
        """Count accesses that were not counted."""
        self._accesses_dropped.inc(number)

    def rate_limit_store_failed(self) -> None:
        """Count that the store of rate limits did not answer."""
        self._rate_limit_store_failures.inc()

    def served_stale(self, seconds: float) -> None:
        """Record how old an answer could be at most."""
        self._staleness.observe(seconds)
