"""The one place where a request finds the services of the application that serves it."""

from typing import Annotated

from fastapi import Depends, Request

from soma_api.services import Services


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


InjectedServices = Annotated[Services, Depends(_services)]
