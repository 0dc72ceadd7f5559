"""Searching over HTTP."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from soma_api.dependencies import (
    ErasuresInProgress,
    Policies,
    Reader,
    ReadsIndex,
    SearchIndex,
    Settings,
    StoreVisibility,
)
from soma_api.json_body import JsonBody
from soma_api.models.responses import json_response
from soma_api.models.search_models import HitsView, SearchBody, hit_view
from soma_api.openapi import answers
from soma_api.problems import (
    ApiError,
    BodyTooLargeError,
    FieldError,
    IndexUnavailableError,
    InvalidHeaderError,
    InvalidInputError,
    NamespaceForbiddenError,
    NotJsonError,
    NotYetVisibleError,
    SearchTooCostlyError,
    Source,
    StoreUnavailableError,
    TooStaleError,
    UnsupportedMediaTypeError,
)
from soma_schemas.errors import SomaError
from soma_schemas.vectors import index_errors
from soma_schemas.vectors.index_errors import EmbeddingRefusedError, UnfitVectorError
from soma_schemas.violations import ViolationCode

router = APIRouter(tags=["search"])

_Body = Annotated[SearchBody, Depends(JsonBody(SearchBody))]

# What the index and the embedder raise. Anything else is a mistake of ours, and says so.
_FAILURES = (SomaError, ConnectionError, TimeoutError)


@router.post(
    "/v1/search",
    operation_id="search",
    response_model=HitsView,
    responses=answers(
        HitsView,
        {},
        NotJsonError,
        UnsupportedMediaTypeError,
        BodyTooLargeError,
        InvalidInputError,
        InvalidHeaderError,
        NamespaceForbiddenError,
        SearchTooCostlyError,
        NotYetVisibleError,
        TooStaleError,
        IndexUnavailableError,
        StoreUnavailableError,
    ),
)
async def search(
    *,
    principal: Reader,
    consistency: ReadsIndex,
    visibility: StoreVisibility,
    search_index: SearchIndex,
    erasures: ErasuresInProgress,
    settings: Settings,
    policies: Policies,
    body: _Body,
) -> Response:
    """Search memories by meaning, by words, or by both. Each hit has the parts of its score."""
    asked = replace(
        body.request(principal, await policies.of(principal.tenant)),
        erasures=await erasures.of(principal.tenant),
    )
    answered = await consistency.ensure()
    try:
        # Asked first: an index that is complete now has everything that the search then looks through.
        index = await visibility.index_state()
        hits = await search_index(asked)
    except _FAILURES as error:
        raise translated(error) from error
    found = [hit_view(hit, settings.weak_below) for hit in hits]
    return json_response({"hits": found, "index": index}, 200, answered)


def translated(error: Exception) -> ApiError:
    """Return what a failure of the index or the embedder means to the caller."""
    match error:
        case UnfitVectorError():
            return _refused("/vector", str(error))
        case EmbeddingRefusedError():
            return _refused("/query", "the embedder does not take this text")
        case index_errors.SearchTooCostlyError():
            return SearchTooCostlyError(str(error))
        case _:
            return IndexUnavailableError("the vector index or the embedder does not answer")


def _refused(path: str, message: str) -> InvalidInputError:
    error = FieldError(source=Source.BODY, path=path, code=ViolationCode.INVALID_VALUE, message=message)
    return InvalidInputError("the body breaks the contract", errors=[error])
