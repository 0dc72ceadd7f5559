"""The body of a request: read straight from its bytes, and held to this installation's limits."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from soma_api.injection import services_of
from soma_api.problems import (
    FieldError,
    InvalidInputError,
    NotJsonError,
    UnsupportedMediaTypeError,
    field_errors_of,
)
from soma_schemas.json_text import JsonError, may_hold_what_no_double_is, read_json, repeats_a_name
from soma_schemas.violations import Violation, ViolationCode, violations_of

ModelT = TypeVar("ModelT", bound=BaseModel)

# Reading a body of this size takes milliseconds, in which the event loop would serve nobody.
_LARGE_BODY_BYTES = 128 * 1024

_AS_IT_IS = "identity"  # the content coding that is none


class JsonBody(Generic[ModelT]):
    """A dependency: the body as a model. FastAPI's own reading lets NaN pass and rounds large numbers.

    Args:
        model: What it must be.
        media_types: Besides `application/json`.
    """

    def __init__(self, model: type[ModelT], *media_types: str) -> None:
        self.model = model
        self.media_types = ("application/json", *media_types)

    async def __call__(self, request: Request) -> ModelT:
        """Return the body.

        Raises:
            UnsupportedMediaTypeError: It says that it is no JSON, or that it is compressed.
            NotJsonError: It is no JSON.
            InvalidInputError: It breaks the contract.
            BodyTooLargeError: It is larger than this installation takes.
        """
        said = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
        if said not in self.media_types:
            raise UnsupportedMediaTypeError("the body does not say that it is JSON")
        if request.headers.get("content-encoding", _AS_IT_IS).strip().lower() not in {_AS_IT_IS, ""}:
            raise UnsupportedMediaTypeError(
                "the body says that it is compressed", headers={"Accept-Encoding": _AS_IT_IS}
            )
        body = await request.body()
        context = {"limits": services_of(request).settings.limits}
        if len(body) > _LARGE_BODY_BYTES:
            return await asyncio.to_thread(parsed, self.model, body, context)
        return parsed(self.model, body, context)


def parsed(model: type[ModelT], body: bytes, context: Mapping[str, Any]) -> ModelT:
    """Return a body as its model.

    Raises:
        NotJsonError: It is no JSON.
        InvalidInputError: It breaks the contract.
    """
    try:
        value = model.model_validate_json(body, context=dict(context))
    except ValidationError as error:
        errors = field_errors_of(violations_of(error))
    else:
        errors = []
    if (not errors or _is_no_json(errors)) and may_hold_what_no_double_is(body):
        # pydantic makes zero of what is too small, and nothing of an integer of thousands of digits.
        try:
            read_json(body)
        except JsonError as error:
            errors = field_errors_of([Violation(error.within, error.code, str(error))])
    if not errors and repeats_a_name(body):
        errors = field_errors_of(
            [Violation("", ViolationCode.INVALID_VALUE, "has an object with a name twice")]
        )
    if not errors:
        return value
    if _is_no_json(errors):
        raise NotJsonError(errors[0].message, errors=errors)
    raise InvalidInputError("the body breaks the contract; nothing was sent", errors=errors)


def _is_no_json(errors: Sequence[FieldError]) -> bool:
    return len(errors) == 1 and errors[0].code is ViolationCode.NOT_JSON and not errors[0].path
