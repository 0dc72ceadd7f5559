"""Asks the lag collector for what it has found."""

import httpx
from pydantic import ValidationError

from soma_schemas.errors import SomaError
from soma_schemas.http_clients import client_options
from soma_schemas.lag import REPORT_PATH, LagReport

_TIMEOUT_SECONDS = 10.0


class CollectorAwayError(SomaError):
    """The lag collector does not respond."""

    code = "collector_away"
    remedy = "Start it with `soma lag collect`; without SOMA_COLLECTOR__URL the brokers are asked directly."


async def ask_collector(url: str) -> LagReport:
    """Return what the collector has found.

    Args:
        url: Its base URL.

    Raises:
        CollectorAwayError: It does not respond, or somebody else does.
        ConfigurationError: A file of authorities cannot be read.
    """
    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, **client_options(url)) as client:
            answer = await client.get(f"{url.rstrip('/')}{REPORT_PATH}")
        answer.raise_for_status()
        return LagReport.model_validate_json(answer.content)
    except (httpx.HTTPError, ValidationError) as error:
        reason = "somebody else responds" if isinstance(error, ValidationError) else str(error)
        raise CollectorAwayError(
            f"the lag collector at {url} does not respond: {reason or type(error).__name__}"
        ) from error
