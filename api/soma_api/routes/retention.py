"""Retention policies over HTTP: which are in force, what one would end, set and lift."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import Response

from soma_api import headers
from soma_api.dependencies import (
    ChangesOfPolicies,
    Now,
    Operator,
    PoliciesAsked,
    Settings,
)
from soma_api.json_body import JsonBody
from soma_api.middleware import request_id_of
from soma_api.models.responses import json_response
from soma_api.models.retention_models import PlanBody, PolicyBody
from soma_api.openapi import answers
from soma_api.policy_changes import PolicyChanges
from soma_api.principals import Principal
from soma_api.problems import (
    BodyTooLargeError,
    InvalidHeaderError,
    InvalidInputError,
    LogUnavailableError,
    NamespaceForbiddenError,
    NotJsonError,
    StoreUnavailableError,
    UnsupportedMediaTypeError,
)
from soma_api.queries.policy_queries import SaidOfPolicy
from soma_schemas.fields import Namespace
from soma_schemas.identity import new_id
from soma_schemas.namespaces import contains
from soma_schemas.responses.retention_responses import PlanView, PoliciesView, PolicyChangeView

router = APIRouter(tags=["retention"])

_Policy = Annotated[PolicyBody, Depends(JsonBody(PolicyBody))]
_Plan = Annotated[PlanBody, Depends(JsonBody(PlanBody))]
_OfPolicy = Annotated[
    Namespace | None,
    Query(description="Namespace of the policy, with all below it. Without it: the whole tenant."),
]

_BODY = (NotJsonError, UnsupportedMediaTypeError, BodyTooLargeError, InvalidInputError)
_CHANGE = (InvalidHeaderError, NamespaceForbiddenError, LogUnavailableError, StoreUnavailableError)
_IN_FORCE = {200: "In force; only with `Prefer: wait`."}


@router.get(
    "/v1/retention-policies",
    operation_id="list_retention_policies",
    response_model=PoliciesView,
    responses=answers(PoliciesView, {}, StoreUnavailableError),
)
async def list_retention_policies(*, principal: Operator, asked: PoliciesAsked) -> Response:
    """List the policies in force that reach what the key covers.

    A memory's own `expires_at` goes before every policy. Then the policy of its namespace decides, or of the
    nearest one above that has a rule for its kind, and at last that of the tenant. The cap of the nearest
    policy that has one says how many memories each namespace may have by itself.
    """
    found = [
        {
            "namespace": each.namespace,
            "rules": [rule.model_dump() for rule in each.rules],
            "cap": None if each.cap is None else each.cap.model_dump(),
            "actor": each.actor,
            "set_at": each.set_at,
        }
        for each in await asked.listed(principal.tenant)
        if _concerns(principal, each.namespace)
    ]
    return json_response({"policies": found})


@router.put(
    "/v1/retention-policies",
    operation_id="set_retention_policy",
    status_code=202,
    response_model=PolicyChangeView,
    responses=answers(PolicyChangeView, _IN_FORCE, *_BODY, *_CHANGE),
)
async def set_retention_policy(
    *,
    request: Request,
    principal: Operator,
    changes: ChangesOfPolicies,
    settings: Settings,
    now: Now,
    policy: _Policy,
    namespace: _OfPolicy = None,
    idempotency_key: headers.IdempotencyKey = None,
    prefer: headers.PreferOfWrite = None,
) -> Response:
    """Set the policy of a namespace, or of the tenant, in place of the one that was.

    It counts for memories that were stored before, too. A rule ends nothing before its notice period has
    passed since it was set. Without a notice those whose time it ends are gone from reads and searches at
    once, and those above its cap as soon as the worker of retention has come to them.
    `POST /v1/retention-policies:plan` says which before.
    """
    seconds = headers.preferred_wait(prefer, settings.api.max_wait.total_seconds())
    change = _Change(
        principal, idempotency_key or new_id(now), namespace, _said(policy), now, request_id_of(request.scope)
    )
    return await _publish(change, changes, seconds)


@router.delete(
    "/v1/retention-policies",
    operation_id="lift_retention_policy",
    status_code=202,
    response_model=PolicyChangeView,
    responses=answers(PolicyChangeView, _IN_FORCE, InvalidInputError, *_CHANGE),
)
async def lift_retention_policy(
    *,
    request: Request,
    principal: Operator,
    changes: ChangesOfPolicies,
    settings: Settings,
    now: Now,
    namespace: _OfPolicy = None,
    idempotency_key: headers.IdempotencyKey = None,
    prefer: headers.PreferOfWrite = None,
) -> Response:
    """Lift the policy of a namespace, or of the tenant. The next one above decides from then on."""
    seconds = headers.preferred_wait(prefer, settings.api.max_wait.total_seconds())
    change = _Change(
        principal,
        idempotency_key or new_id(now),
        namespace,
        SaidOfPolicy(),
        now,
        request_id_of(request.scope),
    )
    return await _publish(change, changes, seconds)


@router.post(
    "/v1/retention-policies:plan",
    operation_id="plan_retention_policy",
    response_model=PlanView,
    responses=answers(PlanView, {}, *_BODY, NamespaceForbiddenError, StoreUnavailableError),
)
async def plan_retention_policy(
    *, principal: Operator, asked: PoliciesAsked, now: Now, plan: _Plan, namespace: _OfPolicy = None
) -> Response:
    """Say what a policy would end if it were set: how many memories, when, and some of them. Sets nothing."""
    _require(principal, namespace)
    found = await asked.plan(principal.tenant, namespace, _said(plan), now)
    within = ("due_now", "due_within_1_day", "due_within_7_days", "due_within_30_days")
    return json_response(
        dict(zip(within, found.due, strict=True))
        | {"samples": found.samples, "above_cap": found.above_cap, "above_cap_samples": found.least}
    )


@dataclass(frozen=True, slots=True)
class _Change:
    principal: Principal
    event_id: UUID
    namespace: str | None
    said: SaidOfPolicy
    now: datetime
    request_id: str


async def _publish(change: _Change, changes: PolicyChanges, wait_seconds: float | None) -> Response:
    _require(change.principal, change.namespace)
    position = await changes.publish(
        change.principal,
        change.event_id,
        change.namespace,
        change.said,
        change.now,
        request_id=change.request_id,
    )
    in_force = None
    answered = {}
    if wait_seconds is not None:
        in_force = await changes.in_force(change.principal.tenant, position, wait_seconds)
        answered = headers.applied_wait(wait_seconds)
    view = {
        "event_id": change.event_id,
        "namespace": change.namespace,
        "position": str(position),
        "in_force": in_force,
    }
    return json_response(view, 200 if in_force else 202, answered)


def _said(body: PolicyBody | PlanBody) -> SaidOfPolicy:
    return SaidOfPolicy([each.rule() for each in body.rules], body.cap)


def _require(principal: Principal, namespace: str | None) -> None:
    if namespace is not None:
        principal.require_access(namespace)
    elif principal.namespaces is not None:
        raise NamespaceForbiddenError("the policy of the tenant takes a key that covers every namespace")


def _concerns(principal: Principal, namespace: str | None) -> bool:
    return (
        namespace is None
        or principal.may_access(namespace)
        or any(contains(namespace, own) for own in principal.namespaces or ())
    )
