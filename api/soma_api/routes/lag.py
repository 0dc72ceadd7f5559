"""Lag over HTTP: how far consumer groups are behind, as the lag collector sees it."""

from fastapi import APIRouter
from starlette.responses import Response

from soma_api.dependencies import Operator, Settings
from soma_api.models.responses import json_response
from soma_api.openapi import answers
from soma_api.problems import LagUnavailableError
from soma_schemas.lag import REPORT_PATH, LagReport
from soma_schemas.lag_client import CollectorAwayError, ask_collector

router = APIRouter(tags=["operation"])


@router.get(
    REPORT_PATH,
    operation_id="read_lag",
    response_model=LagReport,
    responses=answers(LagReport, {}, LagUnavailableError),
)
async def read_lag(*, principal: Operator, settings: Settings) -> Response:
    """Return how far every consumer group of the brokers is behind, and whether it gets on."""
    del principal  # lag is the brokers' own, and no tenant's
    url = settings.collector.url
    if url is None:
        raise LagUnavailableError("this API knows of no lag collector: SOMA_COLLECTOR__URL is not set")
    try:
        report = await ask_collector(url)
    except CollectorAwayError as error:
        raise LagUnavailableError("the lag collector does not respond") from error
    return json_response(report.model_dump(mode="json"))
