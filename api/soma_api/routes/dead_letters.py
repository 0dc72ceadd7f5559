"""Dead letters over HTTP, without their content."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query
from starlette.responses import Response

from soma_api.dependencies import DeadLetterOperator, DeadLetters, PageCursors
from soma_api.models.dead_letter_views import DeadLetterQuery, dead_letter_view
from soma_api.models.responses import json_response
from soma_api.openapi import answers
from soma_api.problems import (
    DeadLetterNotFoundError,
    InvalidCursorError,
    InvalidInputError,
    NamespaceForbiddenError,
    StoreUnavailableError,
)
from soma_schemas.responses.dead_letter_responses import DeadLetterPage, DeadLetterView

router = APIRouter(tags=["operation"])

_Id = Annotated[UUID, Path(description="`id` of the dead letter.")]


@router.get(
    "/v1/dead-letters",
    operation_id="list_dead_letters",
    response_model=DeadLetterPage,
    responses=answers(
        DeadLetterPage,
        {},
        InvalidInputError,
        InvalidCursorError,
        NamespaceForbiddenError,
        StoreUnavailableError,
    ),
)
async def list_dead_letters(
    *,
    principal: DeadLetterOperator,
    dead_letters: DeadLetters,
    cursors: PageCursors,
    query: Annotated[DeadLetterQuery, Query()],
) -> Response:
    """List dead letters, newest first, in pages.

    `soma dlq` shows their content, and replays or discards them.
    """
    # Another kind of list than that of memories, whose cursors are signed with the same secret.
    belongs_to = {"dead_letters": query.signature()}
    begin = None
    if query.cursor is not None:
        failed_at, dead_letter_id = cursors.read(query.cursor, principal.tenant, belongs_to)
        begin = failed_at, UUID(dead_letter_id)
    letters = await dead_letters.page(principal.tenant, query.filters(), after=begin, limit=query.limit + 1)
    page = letters[: query.limit]
    next_cursor = None
    if len(letters) > query.limit:
        last = page[-1]
        failed_at = None if last.first_failed_at is None else last.first_failed_at.isoformat()
        next_cursor = cursors.make(principal.tenant, belongs_to, (failed_at, str(last.id)))
    return json_response(
        {"dead_letters": [dead_letter_view(each) for each in page], "next_cursor": next_cursor}
    )


@router.get(
    "/v1/dead-letters/{dead_letter_id}",
    operation_id="read_dead_letter",
    response_model=DeadLetterView,
    responses=answers(
        DeadLetterView,
        {},
        InvalidInputError,
        DeadLetterNotFoundError,
        NamespaceForbiddenError,
        StoreUnavailableError,
    ),
)
async def read_dead_letter(
    *, principal: DeadLetterOperator, dead_letters: DeadLetters, dead_letter_id: _Id
) -> Response:
    """Read the error of a dead letter, and what to do about it."""
    dead_letter = await dead_letters.get(principal.tenant, dead_letter_id)
    if dead_letter is None:
        raise DeadLetterNotFoundError("there is no dead letter with this id")
    return json_response(dead_letter_view(dead_letter))
