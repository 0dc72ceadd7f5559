"""By what names the findings of the validation library go."""

from typing import Annotated, Any

import pytest
from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from soma_schemas.fields import broken
from soma_schemas.violations import ViolationCode, violations_of


def _long(text: str) -> str:
    raise broken(ViolationCode.TOO_LONG, f"has {len(text)} characters")


@pytest.mark.parametrize(
    ("of_type", "value", "code"),
    [
        (Annotated[list[int], Field(max_length=1)], [1, 2], "too_many"),
        (Annotated[list[int], AfterValidator(list), Field(max_length=1)], [1, 2], "too_many"),
        (Annotated[dict[str, int], Field(max_length=1)], {"a": 1, "b": 2}, "too_many"),
        (Annotated[str, Field(max_length=1)], "ab", "too_long"),
        (Annotated[str, AfterValidator(str), Field(max_length=1)], "ab", "too_long"),
        (Annotated[str, AfterValidator(_long)], "ab", "too_long"),
        (Annotated[list[int], Field(min_length=1)], [], "empty"),
    ],
)
def test_lists_have_too_many_items_and_texts_are_too_long(of_type: Any, value: object, code: str) -> None:
    with pytest.raises(ValidationError) as refused:
        TypeAdapter(of_type).validate_python(value)

    assert [(each.path, each.code) for each in violations_of(refused.value)] == [("", code)]
