"""Every route with every role: the walk takes the routes from the application, so none can be forgotten."""

import re

import pytest

from api_gateway import Gateway, body_of
from soma_api.application import api_document, route_permissions
from soma_api.roles import Role
from soma_api.route_permissions import RoutePermission

ROUTES = route_permissions()
GUARDED = [each for each in ROUTES if each.role is not None]
AN_ID = "00000000-0000-7000-8000-000000000001"
# A client that came through a proxy is not on this machine.
ELSEWHERE = {"X-Forwarded-For": "192.0.2.7"}


def named(route: RoutePermission) -> str:
    return f"{route.method} {route.path}"


def path_of(route: RoutePermission) -> str:
    """Return a path of the route; nothing is there, and nothing but the role is to be found out."""
    return re.sub(r"\{[a-z_]+\}", AN_ID, route.path)


async def refusal(gateway: Gateway, route: RoutePermission) -> tuple[int, str | None]:
    """Return the status of a call without query and body, and the code of its problem."""
    answer = await gateway.client.request(route.method, path_of(route), headers=ELSEWHERE)
    is_problem = answer.headers.get("Content-Type") == "application/problem+json"
    return answer.status_code, body_of(answer)["code"] if is_problem else None


@pytest.mark.parametrize("route", GUARDED, ids=named)
async def test_a_route_opens_from_its_least_role_on_and_to_nobody_without_a_credential(
    gateway: Gateway, route: RoutePermission
) -> None:
    assert route.role is not None
    for role in Role:
        gateway.use(gateway.a_key(role))
        status, code = await refusal(gateway, route)
        assert ((status, code) == (403, "role_too_low")) is not role.covers(route.role), (role, status, code)
        assert status not in {401, 500}, (role, code)
    del gateway.client.headers["Authorization"]
    assert await refusal(gateway, route) == (401, "unauthenticated")
    assert gateway.published == []


@pytest.mark.parametrize("route", [each for each in GUARDED if each.whole_tenant], ids=named)
async def test_a_route_of_the_whole_tenant_refuses_a_key_of_namespaces(
    gateway: Gateway, route: RoutePermission
) -> None:
    gateway.use(gateway.a_key(Role.ADMIN, namespaces=["team/a"]))

    assert await refusal(gateway, route) == (403, "namespace_forbidden")


async def test_only_probes_are_open() -> None:
    assert {named(each) for each in ROUTES if each.role is None} == {"GET /healthz", "GET /readyz"}
    assert [named(each) for each in ROUTES if each.open_on_this_machine] == ["GET /metrics"]


def test_the_openapi_document_names_the_role_of_each_operation() -> None:
    described = {
        (method.upper(), path): operation.get("security")
        for path, operations in api_document()["paths"].items()
        for method, operation in operations.items()
    }

    assert described.keys() == {(each.method, each.path) for each in ROUTES}
    for each in GUARDED:
        roles = [{"bearer": [each.role]}, {"apiKey": [each.role]}]
        assert described[each.method, each.path] == ([{}, *roles] if each.open_on_this_machine else roles)
