"""The services of an application, made once and injected into the routes."""

from collections.abc import Mapping
from dataclasses import dataclass

from soma_api.accesses import Accesses
from soma_api.admission import Admission
from soma_api.change_feed import ChangeFeed
from soma_api.cursors import Cursors
from soma_api.erasure_requests import ErasureRequesting
from soma_api.followed_index import Searcher
from soma_api.freshness import LogEnds
from soma_api.metrics import ApiMetrics
from soma_api.open_erasures import OpenErasures
from soma_api.policies_in_force import PoliciesInForce
from soma_api.policy_changes import PolicyChanges
from soma_api.principals import Authenticator
from soma_api.probes import BackingPart, Probe
from soma_api.publishing import EventLog
from soma_api.queries.api_key_queries import ApiKeyQueries
from soma_api.queries.audit_log_queries import AuditLogQueries
from soma_api.queries.change_queries import ChangeQueries
from soma_api.queries.database import Database
from soma_api.queries.dead_letter_queries import DeadLetterQueries
from soma_api.queries.deadlines import Deadlines
from soma_api.queries.erasure_queries import ErasureQueries
from soma_api.queries.history_queries import HistoryQueries
from soma_api.queries.link_queries import LinkQueries
from soma_api.queries.memory_queries import MemoryQueries
from soma_api.queries.overview_queries import OverviewQueries
from soma_api.queries.policy_queries import PolicyQueries
from soma_api.queries.write_queries import WriteQueries
from soma_api.rate_limits import RateLimits
from soma_api.read_replicas import ReadReplicas
from soma_api.resources import Resources
from soma_api.settings import ApiSettings
from soma_api.shared_windows import SharedWindows
from soma_api.visibility import Visibility
from soma_schemas.clock import Clock


@dataclass(frozen=True, kw_only=True)
class Services:
    """The services of one application. `soma_api.dependencies` injects each of them by its type."""

    settings: ApiSettings
    clock: Clock
    metrics: ApiMetrics
    accesses: Accesses
    admission: Admission
    rate_limits: RateLimits
    log: EventLog
    ends: LogEnds
    visibility: Visibility
    replicas: ReadReplicas
    changes: ChangeFeed
    memories: MemoryQueries
    links: LinkQueries
    histories: HistoryQueries
    policies: PoliciesInForce
    policy_queries: PolicyQueries
    policy_changes: PolicyChanges
    writes: WriteQueries
    overview: OverviewQueries
    dead_letters: DeadLetterQueries
    audit_log: AuditLogQueries
    erasures: ErasureQueries
    open_erasures: OpenErasures
    erasure_requests: ErasureRequesting
    search: Searcher
    cursors: Cursors
    probes: Mapping[BackingPart, Probe]


def make_services(resources: Resources) -> Services:
    """Return the services over what was opened for them; `log` and `rate_limits` are to be closed."""
    gateway = resources.settings.api
    database = Database(resources.pool)
    records = Database(resources.pool, by_replicas=True)
    policy_queries = PolicyQueries(database)
    deadlines = Deadlines(resources.policies, resources.clock)
    topics = resources.settings.topics
    log = EventLog(resources.publisher, timeout=gateway.publish_timeout.total_seconds())
    erasures = ErasureQueries(database)
    audit_log = AuditLogQueries(database)
    store = gateway.rate_limit_store
    return Services(
        settings=resources.settings,
        clock=resources.clock,
        metrics=resources.metrics,
        admission=Admission(
            Authenticator(
                ApiKeyQueries(database).find,
                resources.clock,
                gateway.api_key_cache_ttl.total_seconds(),
                resources.key_uses,
                None if resources.tokens is None else resources.tokens.authenticate,
            ),
            gateway.failed_authentications_per_address,
            resources.clock,
            resources.metrics,
        ),
        accesses=resources.accesses,
        rate_limits=RateLimits(
            gateway.rate_limit_per_principal,
            gateway.rate_limit_per_tenant,
            resources.clock,
            resources.metrics,
            None if store is None else SharedWindows(store.get_secret_value()),
        ),
        log=log,
        ends=resources.ends,
        visibility=Visibility(
            waiter=resources.waiter,
            index=resources.index,
            freshness=resources.freshness,
            metrics=resources.metrics,
            clock=resources.clock,
        ),
        replicas=resources.replicas,
        changes=ChangeFeed(ChangeQueries(database, topics), resources.waiter, gateway.max_change_streams),
        memories=MemoryQueries(records, deadlines),
        links=LinkQueries(records, deadlines),
        histories=HistoryQueries(records),
        policies=resources.policies,
        policy_queries=policy_queries,
        policy_changes=PolicyChanges(
            log=log,
            audit_log=audit_log,
            queries=policy_queries,
            policies=resources.policies,
            clock=resources.clock,
            topics=topics,
        ),
        writes=WriteQueries(database, topics),
        overview=OverviewQueries(records, deadlines),
        dead_letters=DeadLetterQueries(database),
        audit_log=audit_log,
        erasures=erasures,
        open_erasures=OpenErasures(erasures.open),
        erasure_requests=ErasureRequesting(
            log,
            erasures,
            resources.clock,
            resources.settings.limits,
            gateway.publish_timeout.total_seconds(),
            resources.replicas.hides_after,
        ),
        search=resources.search,
        cursors=Cursors(resources.cursor_secret),
        probes=resources.probes,
    )
