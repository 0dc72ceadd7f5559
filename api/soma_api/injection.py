"""The one place where a dependency finds the services of the application that serves a request."""

from typing import Annotated

from fastapi import Depends, Request

from soma_api.services import Services


def services_of(request: Request) -> Services:
    """Return the services. For dependencies only: routes declare what they need by its type."""
    services: Services = request.app.state.services
    return services


async def _all_services(request: Request) -> Services:
    return services_of(request)


AllServices = Annotated[Services, Depends(_all_services)]
