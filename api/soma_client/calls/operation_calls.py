"""Calls of operators and admins: counts, health, lag, dead letters, retention, erasures, the audit log."""

from collections.abc import Sequence
from http import HTTPStatus
from uuid import UUID

from soma_client.call import Call, MemoryId, Moment, asked, said, segment, write_headers
from soma_client.request_types import Cap, Rule, StageName, StatusName
from soma_schemas.lag import LagReport
from soma_schemas.responses.audit_responses import AuditLogPage
from soma_schemas.responses.dead_letter_responses import DeadLetterPage, DeadLetterView
from soma_schemas.responses.erasure_responses import ErasurePage, ErasureView
from soma_schemas.responses.health_responses import Alive, Readiness
from soma_schemas.responses.overview_responses import NamespaceTree, StatsView
from soma_schemas.responses.retention_responses import PlanView, PoliciesView, PolicyChangeView


def list_namespaces(
    *, prefix: str | None = None, suffix: str | None = None, depth: int | None = None
) -> Call[NamespaceTree]:
    """List the tree of namespaces, with how many memories each holds with all below it.

    Args:
        prefix: This namespace and all below it.
        suffix: Only namespaces that end in these segments.
        depth: Levels below the prefix; what lies deeper is counted there.
    """
    return Call(
        "GET",
        "/v1/namespaces",
        NamespaceTree,
        query=asked(prefix=prefix, suffix=suffix, depth=depth),
        sees_writes=True,
        bounds_staleness=True,
    )


def read_stats() -> Call[StatsView]:
    """Read how much there is, and how far behind the log the stores may be."""
    return Call("GET", "/v1/stats", StatsView, sees_writes=True, bounds_staleness=True)


def read_lag() -> Call[LagReport]:
    """Read how far every consumer group of the brokers is behind."""
    return Call("GET", "/v1/lag", LagReport)


def list_dead_letters(
    *,
    status: StatusName | None = None,
    consumer_group: str | None = None,
    stage: StageName | None = None,
    code: str | None = None,
    memory_id: MemoryId | None = None,
    failed_from: Moment | None = None,
    failed_before: Moment | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[DeadLetterPage]:
    """List dead letters, newest first: one page; `iter_dead_letters` goes through all.

    Args:
        status: Open ones unless given.
        consumer_group: Of this consumer group.
        stage: Failed at this stage.
        code: Failed with this code.
        memory_id: About this memory.
        failed_from: First failed at this time or later.
        failed_before: First failed before this time.
        limit: Dead letters on a page, 1 to 1000; 50 unless given.
        cursor: `next_cursor` of the page before, with the same filters.
    """
    query = asked(
        status=status,
        consumer_group=consumer_group,
        stage=stage,
        code=code,
        memory_id=memory_id,
        failed_from=failed_from,
        failed_before=failed_before,
        limit=limit,
        cursor=cursor,
    )
    return Call("GET", "/v1/dead-letters", DeadLetterPage, query=query)


def read_dead_letter(dead_letter_id: UUID | str) -> Call[DeadLetterView]:
    """Read one dead letter, without its content.

    Args:
        dead_letter_id: Which.
    """
    return Call("GET", f"/v1/dead-letters/{segment(dead_letter_id)}", DeadLetterView)


def list_retention_policies() -> Call[PoliciesView]:
    """List the retention policies in force."""
    return Call("GET", "/v1/retention-policies", PoliciesView)


def set_retention_policy(
    *,
    namespace: str | None = None,
    rules: Sequence[Rule] = (),
    cap: Cap | None = None,
    event_id: UUID | None = None,
    wait_seconds: int = 0,
) -> Call[PolicyChangeView]:
    """Set the whole retention policy of a namespace or, with None, of the tenant.

    Args:
        namespace: With all below it.
        rules: How long memories are kept.
        cap: How many; None: the next policy above decides.
        event_id: Names the change. None makes an id.
        wait_seconds: How long to wait until it is in force; 0 does not.
    """
    return Call(
        "PUT",
        "/v1/retention-policies",
        PolicyChangeView,
        query=asked(namespace=namespace),
        body={"rules": [dict(each) for each in rules], "cap": cap},
        headers=write_headers(event_id, wait_seconds),
        keyed=True,
        wait_seconds=wait_seconds,
    )


def lift_retention_policy(
    *, namespace: str | None = None, event_id: UUID | None = None, wait_seconds: int = 0
) -> Call[PolicyChangeView]:
    """Lift the retention policy of a namespace or, with None, of the tenant.

    Args:
        namespace: Of which.
        event_id: Names the change. None makes an id.
        wait_seconds: How long to wait until it is lifted; 0 does not.
    """
    return Call(
        "DELETE",
        "/v1/retention-policies",
        PolicyChangeView,
        query=asked(namespace=namespace),
        headers=write_headers(event_id, wait_seconds),
        keyed=True,
        wait_seconds=wait_seconds,
    )


def plan_retention_policy(
    *, namespace: str | None = None, rules: Sequence[Rule] = (), cap: Cap | None = None
) -> Call[PlanView]:
    """Say what a retention policy would end if it were set now; one that says nothing, if it were lifted.

    Args:
        namespace: With all below it; None is the tenant.
        rules: How long memories would be kept.
        cap: How many.
    """
    return Call(
        "POST",
        "/v1/retention-policies:plan",
        PlanView,
        query=asked(namespace=namespace),
        body={"rules": [dict(each) for each in rules], "cap": cap},
        reads=True,
    )


def request_erasure(
    *,
    subject: str | None = None,
    memory_id: MemoryId | None = None,
    namespace: str | None = None,
    tenant: str | None = None,
    event_id: UUID | None = None,
) -> Call[ErasureView]:
    """Have everything about exactly one of these erased; once this returns, reads have stopped.

    Args:
        subject: All memories about this person.
        memory_id: One memory with its history.
        namespace: This namespace and all below it.
        tenant: Everything: the name of the key's own tenant.
        event_id: Names the request; asking again with the same one changes nothing. None makes one.
    """
    return Call(
        "POST",
        "/v1/erasures",
        ErasureView,
        body=said(subject=subject, memory_id=memory_id, namespace=namespace, tenant=tenant),
        headers=write_headers(event_id, 0),
        keyed=True,
    )


def list_erasures(*, limit: int | None = None, cursor: str | None = None) -> Call[ErasurePage]:
    """List erasures, newest first: one page; `iter_erasures` goes through all.

    Args:
        limit: Erasures on a page, 1 to 1000; 50 unless given.
        cursor: `next_cursor` of the page before.
    """
    return Call("GET", "/v1/erasures", ErasurePage, query=asked(limit=limit, cursor=cursor))


def read_erasure(request_id: UUID | str) -> Call[ErasureView]:
    """Read how far an erasure is, and its receipt once it is complete.

    Args:
        request_id: Which.
    """
    return Call("GET", f"/v1/erasures/{segment(request_id)}", ErasureView)


def list_audit_log(
    *,
    action: str | None = None,
    subject: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[AuditLogPage]:
    """List administrative acts on the key's tenant, newest first: one page; `iter_audit_log` has all.

    Args:
        action: Of this kind.
        subject: On this.
        limit: Acts on a page, 1 to 1000; 50 unless given.
        cursor: `next_cursor` of the page before.
    """
    return Call(
        "GET",
        "/v1/audit",
        AuditLogPage,
        query=asked(action=action, subject=subject, limit=limit, cursor=cursor),
    )


def healthz() -> Call[Alive]:
    """Ask whether the process serves."""
    return Call("GET", "/healthz", Alive)


def readyz() -> Call[Readiness]:
    """Ask how the API and the parts behind it are."""
    return Call("GET", "/readyz", Readiness, answering=frozenset({HTTPStatus.SERVICE_UNAVAILABLE.value}))


def metrics() -> Call[str]:
    """Read the metrics of the API's process, for Prometheus."""
    return Call("GET", "/metrics", str)
