"""Searching over HTTP."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import Response

from soma_api.dependencies import (
    AccessesCounted,
    ErasuresInProgress,
    Histories,
    Policies,
    Reader,
    ReadsIndex,
    SearchIndex,
    Settings,
    StoreVisibility,
)
from soma_api.index_completeness import IndexState
from soma_api.json_body import JsonBody
from soma_api.models.responses import json_response
from soma_api.models.search_models import SearchBatch, SearchBody, answer_view
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
from soma_api.queries.vectors.hybrid_search import AsOf, SearchAnswer, SearchRequest
from soma_schemas.errors import SomaError
from soma_schemas.responses.search_responses import AnswersView, HitsView
from soma_schemas.vectors import index_errors
from soma_schemas.vectors.index_errors import EmbeddingRefusedError, UnfitVectorError
from soma_schemas.violations import ViolationCode

router = APIRouter(tags=["search"])

_Body = Annotated[SearchBody, Depends(JsonBody(SearchBody))]
_Batch = Annotated[SearchBatch, Depends(JsonBody(SearchBatch))]

# What the index and the embedder raise. Anything else is a mistake of ours, and says so.
_FAILURES = (SomaError, ConnectionError, TimeoutError)


@dataclass(frozen=True)
class _Searches:
    """What a search takes besides its body: a dependency."""

    principal: Reader
    visibility: StoreVisibility
    search_index: SearchIndex
    erasures: ErasuresInProgress
    settings: Settings
    policies: Policies
    histories: Histories
    accesses: AccessesCounted

    async def requests(self, bodies: Sequence[SearchBody]) -> list[SearchRequest]:
        """Return what the index is asked, within what the principal may see."""
        tenant = self.principal.tenant
        in_force, selected = await self.policies.of(tenant), await self.erasures.of(tenant)
        return [
            replace(
                body.request(self.principal, in_force),
                erasures=selected,
                as_of=None
                if body.at is None
                else AsOf(body.at, partial(self.histories.there_at, tenant, at=body.at)),
            )
            for body in bodies
        ]

    def shown(self, found: SearchAnswer) -> None:
        """Count the hits of an answer as accessed, where the key has that counted."""
        self.accesses.note(self.principal, [hit.memory for hit in found.hits])

    async def index_state(self) -> IndexState:
        """Return how complete the index is. Asked before a search, which then looks through all of that.

        Raises:
            IndexUnavailableError: It does not answer.
        """
        try:
            return await self.visibility.index_state()
        except _FAILURES as error:
            raise translated(error) from error


_Searching = Annotated[_Searches, Depends()]


_PROBLEMS = (
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
)


@router.post(
    "/v1/search",
    operation_id="search",
    response_model=HitsView,
    responses=answers(HitsView, {}, *_PROBLEMS),
)
async def search(*, searching: _Searching, consistency: ReadsIndex, body: _Body) -> Response:
    """Search memories by meaning, by words, or by both. Each hit has the parts of its score."""
    (asked,) = await searching.requests([body])
    answered = await consistency.ensure()
    index = await searching.index_state()
    try:
        found = await searching.search_index(asked)
    except _FAILURES as error:
        raise translated(error) from error
    searching.shown(found)
    view = answer_view(found, asked.policies, searching.settings.weak_below(found.model), body.at)
    return json_response(view | {"index": index}, 200, answered)


@router.post(
    "/v1/search:batch",
    operation_id="search_batch",
    response_model=AnswersView,
    responses=answers(AnswersView, {}, *_PROBLEMS),
)
async def search_batch(*, searching: _Searching, consistency: ReadsIndex, batch: _Batch) -> Response:
    """Search several times in one request. The answers have the order of the searches.

    If one search cannot be answered, none is; the problem names it.
    """
    asked = await searching.requests(batch.searches)
    answered = await consistency.ensure()
    index = await searching.index_state()
    # All are waited for, also after one has failed: none goes on behind an answer.
    found = await asyncio.gather(*map(searching.search_index, asked), return_exceptions=True)
    views = []
    for number, (body, request, one) in enumerate(zip(batch.searches, asked, found, strict=True)):
        if isinstance(one, _FAILURES):
            raise translated(one, f"/searches/{number}") from one
        if isinstance(one, BaseException):
            raise one
        searching.shown(one)
        weak_below = searching.settings.weak_below(one.model)
        views.append(answer_view(one, request.policies, weak_below, body.at))
    return json_response({"answers": views, "index": index}, 200, answered)


def translated(error: Exception, place: str = "") -> ApiError:
    """Return what a failure of the index or the embedder means to the caller.

    Args:
        error: The failure.
        place: Of the search in the body, as a JSON pointer.
    """
    match error:
        case ApiError():
            return error
        case UnfitVectorError():
            return _refused(f"{place}/vector", str(error))
        case EmbeddingRefusedError():
            return _refused(f"{place}/query", "the embedder does not take this text")
        case index_errors.SearchTooCostlyError() if place:
            return SearchTooCostlyError(f"{error}, in `{place}`")
        case index_errors.SearchTooCostlyError():
            return SearchTooCostlyError(str(error))
        case _:
            return IndexUnavailableError("the vector index or the embedder does not answer")


def _refused(path: str, message: str) -> InvalidInputError:
    error = FieldError(source=Source.BODY, path=path, code=ViolationCode.INVALID_VALUE, message=message)
    return InvalidInputError("the body breaks the contract", errors=[error])
