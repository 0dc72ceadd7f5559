"""What every route takes of whoever calls it, read from the routes themselves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fastapi import APIRouter
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from soma_api.dependencies import Requires, RequiresElsewhere
from soma_api.roles import Role

DependencyT = TypeVar("DependencyT")


@dataclass(frozen=True, slots=True)
class RoutePermission:
    """What one method of a route takes.

    Attributes:
        summary: What the route does, in a sentence.
        role: The least role that suffices; None: nobody is asked for a credential.
        whole_tenant: Whether a credential that is limited to namespaces is refused.
        open_on_this_machine: Whether clients on the API's own machine need no credential by default.
    """

    method: str
    path: str
    summary: str
    role: Role | None
    whole_tenant: bool
    open_on_this_machine: bool


def routes_of(routers: Sequence[APIRouter]) -> Iterator[tuple[str, APIRoute]]:
    """Yield each method with its route, in order."""
    for route in (route for router in routers for route in router.routes):
        if isinstance(route, APIRoute):
            for method in sorted(route.methods or ()):
                yield method, route


def dependencies_of(route: APIRoute, kind: type[DependencyT]) -> Iterator[DependencyT]:
    """Yield what a route depends on of one kind."""
    for call in _calls(route.dependant):
        if isinstance(call, kind):
            yield call


def permissions(routers: Sequence[APIRouter]) -> Iterator[RoutePermission]:
    """Yield what each route takes: all that its dependencies do."""
    for method, route in routes_of(routers):
        elsewhere = list(dependencies_of(route, RequiresElsewhere))
        wanted = [*dependencies_of(route, Requires), *(each.requires for each in elsewhere)]
        yield RoutePermission(
            method=method,
            path=route.path_format,
            summary=(route.description or "").partition(".")[0],
            role=max((each.role for each in wanted), key=tuple(Role).index, default=None),
            whole_tenant=any(each.whole_tenant is not None for each in wanted),
            open_on_this_machine=bool(elsewhere),
        )


def _calls(dependant: Dependant) -> Iterator[object]:
    for dependency in dependant.dependencies:
        yield dependency.call
        yield from _calls(dependency)
