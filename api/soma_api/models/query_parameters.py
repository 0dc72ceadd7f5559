"""Numbers in a query string, as JSON writes them, and other parameters that several routes take."""

from typing import Annotated, TypeVar
from uuid import UUID

from fastapi import Path, Query
from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError

from soma_api.problems import InvalidInputError, Source, field_errors_of
from soma_schemas.fields import Coordinate, StorableString, broken
from soma_schemas.json_text import JsonError, number_of
from soma_schemas.limits import Limits
from soma_schemas.violations import Violation, ViolationCode, json_pointer, violations_of

ValueT = TypeVar("ValueT")

_COORDINATE = TypeAdapter[list[float]](Coordinate)
_NUMBER = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?"
_NUMBERS = rf"^{_NUMBER}(,{_NUMBER}){{0,63}}$"

MemoryId = Annotated[UUID, Path(description="Names the memory within the tenant.")]
LinkedMemoryId = Annotated[UUID, Path(description="Names the memory that the link leads to.")]
Numbers = Annotated[str, Field(pattern=_NUMBERS, max_length=2048)]


def _number(value: object) -> object:
    # pydantic would take `0_1` for 1, and 5.0 for a count.
    if not isinstance(value, str):
        return value
    try:
        return number_of(value)
    except JsonError as error:
        code = ViolationCode.WRONG_TYPE if error.code is ViolationCode.NOT_JSON else error.code
        raise broken(code, "is not a number" if code is ViolationCode.WRONG_TYPE else str(error)) from None


QueryImportance = Annotated[float, Field(ge=0.0, le=1.0, strict=True), BeforeValidator(_number)]
PageSize = Annotated[int, Field(ge=1, le=1000, strict=True), BeforeValidator(_number)]
DEFAULT_PAGE_SIZE = 50

LinkTypes = Annotated[
    list[Annotated[StorableString, Field(min_length=1)]] | None,
    Query(alias="type", max_length=64, description="Links of this type; repeat the parameter for several."),
]
LinkPageSize = Annotated[PageSize, Query(description="Links that a page looks at.")]
DEFAULT_LINK_PAGE_SIZE = 500
PageCursor = Annotated[str | None, Query(max_length=1024, description="`next_cursor` of the page before.")]
QueryWeight = Annotated[float, Field(ge=0.0, allow_inf_nan=False, strict=True), BeforeValidator(_number)]
QueryVersion = Annotated[int, Field(ge=1, lt=2**63, strict=True), BeforeValidator(_number)]
QueryDepth = Annotated[int, Field(ge=1, le=5, strict=True), BeforeValidator(_number)]


def numbers_of(name: str, text: str | None, limits: Limits) -> list[float] | None:
    """Return a coordinate that a parameter spells; None where it is left out.

    Args:
        name: The parameter.
        text: Its value.
        limits: Of this installation.

    Raises:
        InvalidInputError: It breaks the contract.
    """
    if text is None:
        return None
    try:
        numbers = [number_of(number) for number in text.split(",")]
    except JsonError as error:
        raise refused_query(Violation(json_pointer([name]), error.code, str(error))) from None
    return held_to_limits(_COORDINATE, name, numbers, limits)


def held_to_limits(adapter: TypeAdapter[ValueT], name: str, value: object, limits: Limits) -> ValueT:
    """Return the value of a parameter, which was read with the default limits or none.

    Raises:
        InvalidInputError: It breaks the contract under the limits of this installation.
    """
    try:
        return adapter.validate_python(value, context={"limits": limits})
    except ValidationError as error:
        raise refused_query(
            *(
                Violation(json_pointer([name]) + each.path, each.code, each.message)
                for each in violations_of(error)
            )
        ) from None


def refused_query(*violations: Violation) -> InvalidInputError:
    """Return the problem of a query that breaks the contract."""
    return InvalidInputError(
        "the query breaks the contract", errors=field_errors_of(violations, Source.QUERY)
    )
