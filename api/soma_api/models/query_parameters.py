"""Numbers in a query string, as JSON writes them, and other parameters that several routes take."""

from typing import Annotated

from fastapi import Query
from pydantic import BeforeValidator, Field

from soma_schemas.fields import StorableString, broken
from soma_schemas.json_text import JsonError, number_of
from soma_schemas.violations import ViolationCode


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
QueryWeight = Annotated[float, Field(ge=0.0, allow_inf_nan=False, strict=True), BeforeValidator(_number)]
QueryVersion = Annotated[int, Field(ge=1, lt=2**63, strict=True), BeforeValidator(_number)]
QueryDepth = Annotated[int, Field(ge=1, le=5, strict=True), BeforeValidator(_number)]
