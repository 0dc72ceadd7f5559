"""What can be wrong with input, named once for producers, the gateway and the sinks."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from soma_schemas.errors import SomaError


class ViolationCode(StrEnum):
    """The stable names of what input can break; each is explained in the reference."""

    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    WRONG_TYPE = "wrong_type"
    NOT_JSON = "not_json"
    NOT_FINITE = "not_finite"
    OUT_OF_RANGE = "out_of_range"
    TOO_LONG = "too_long"
    TOO_DEEP = "too_deep"
    TOO_MANY = "too_many"
    EMPTY = "empty"
    INVALID_CHARACTER = "invalid_character"
    INVALID_TENANT = "invalid_tenant"
    INVALID_NAMESPACE = "invalid_namespace"
    IDENTITY_MISMATCH = "identity_mismatch"
    KEY_AND_COORDINATE = "key_and_coordinate"
    INVALID_PATCH = "invalid_patch"
    INVALID_TIME = "invalid_time"
    INVALID_VALUE = "invalid_value"

    @property
    def meaning(self) -> str:
        """Return the code in words, as the reference has it."""
        return _MEANINGS[self]


_MEANINGS = {
    ViolationCode.MISSING_FIELD: "A field that is required is not there.",
    ViolationCode.UNKNOWN_FIELD: "There is no such field; it may be misspelt.",
    ViolationCode.WRONG_TYPE: "The value has another type than the field.",
    ViolationCode.NOT_JSON: "Text that has to be JSON, or a JSON object, is not.",
    ViolationCode.NOT_FINITE: "The number is NaN or infinite, or larger than a double can be.",
    ViolationCode.OUT_OF_RANGE: (
        "The number or the time lies outside its bounds. So does a number closer to zero than a double gets."
    ),
    ViolationCode.TOO_LONG: "The text has more characters or bytes than the limit.",
    ViolationCode.TOO_DEEP: "JSON is nested deeper than the limit.",
    ViolationCode.TOO_MANY: "There are more items than the limit.",
    ViolationCode.EMPTY: "Something that must not be empty is.",
    ViolationCode.INVALID_CHARACTER: "The text holds a character that is not allowed there.",
    ViolationCode.INVALID_TENANT: "A tenant is `[a-z0-9][a-z0-9._-]{0,62}`.",
    ViolationCode.INVALID_NAMESPACE: (
        "A namespace is a path of 1 to 16 segments, each of 1 to 128 characters, with `%` and `/` in a "
        "segment percent-encoded."
    ),
    ViolationCode.IDENTITY_MISMATCH: "The `memory_id` is not the one that the key or the coordinate gives.",
    ViolationCode.KEY_AND_COORDINATE: "A memory has a key or a coordinate, not both.",
    ViolationCode.INVALID_PATCH: "A patch names the fields that it changes, and gives values to no other.",
    ViolationCode.INVALID_TIME: (
        "A time is text as RFC 3339 has it, with `T`, seconds and an offset, and no leap second; of a "
        "fraction, at most nine digits, of which six are kept."
    ),
    ViolationCode.INVALID_VALUE: "The value is not one of those that the field takes.",
}


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong with the input.

    Attributes:
        path: Where, as a JSON pointer (RFC 6901); empty for the whole.
        code: What, as a stable name.
        message: The same in words, without the value itself.
    """

    path: str
    code: ViolationCode
    message: str


class ContractError(SomaError):
    """The caller's input breaks the contract; nothing was published.

    Attributes:
        violations: Everything that is wrong, at least one.
    """

    code = "invalid_input"
    remedy = "Correct the fields named and send it again."

    def __init__(self, violations: Sequence[Violation]) -> None:
        first = violations[0]
        more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
        super().__init__(f"{first.path or 'input'}: {first.message}{more}")
        self.violations = tuple(violations)

    def within(self, path: str) -> "ContractError":
        """Return the same of an input that lies at this JSON pointer within another."""
        return ContractError([replace(each, path=path + each.path) for each in self.violations])


# Under this name the context of an error of pydantic's says where in the field.
WITHIN = "within"
_LONGEST_PLACE = 256
_PYDANTIC_TOO_LONG = "too_long"
_OWN_TYPES = frozenset(code.value for code in ViolationCode)
_CODES_BY_PYDANTIC_TYPE = {
    "missing": ViolationCode.MISSING_FIELD,
    "extra_forbidden": ViolationCode.UNKNOWN_FIELD,
    "json_invalid": ViolationCode.NOT_JSON,
    "finite_number": ViolationCode.NOT_FINITE,
    "string_too_short": ViolationCode.EMPTY,
    "too_short": ViolationCode.EMPTY,
    "string_too_long": ViolationCode.TOO_LONG,
    "greater_than": ViolationCode.OUT_OF_RANGE,
    "greater_than_equal": ViolationCode.OUT_OF_RANGE,
    "less_than": ViolationCode.OUT_OF_RANGE,
    "less_than_equal": ViolationCode.OUT_OF_RANGE,
    "string_unicode": ViolationCode.INVALID_CHARACTER,
    "timezone_aware": ViolationCode.INVALID_TIME,
}


def violations_of(error: ValidationError) -> list[Violation]:
    """Translate pydantic's findings into ours, without the values that it saw."""
    return [
        Violation(
            path=json_pointer(finding["loc"]) + finding.get("ctx", {}).get(WITHIN, ""),
            code=_code_of(finding),
            message=finding["msg"],
        )
        for finding in error.errors(include_url=False)
    ]


def violation_of(error: PydanticCustomError, path: str) -> Violation:
    """Return what a validator raised when it was called by itself.

    Args:
        error: With one of our codes as its type.
        path: Of what was validated.
    """
    within = (error.context or {}).get(WITHIN, "")
    return Violation(path + within, ViolationCode(error.type), error.message())


def json_pointer(location: Sequence[int | str]) -> str:
    """Return a JSON pointer (RFC 6901) for a path of field names and list indices."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in location)


def place_within(parts: Iterable[int | str]) -> str:
    """Return where something lies in a value that somebody gave, as a JSON pointer (RFC 6901).

    It ends early, at what holds the place, where it would not fit into a line: its names are theirs.
    """
    place = ""
    for part in parts:
        further = place + json_pointer([part])
        if len(further) > _LONGEST_PLACE or not further.isprintable():
            break
        place = further
    return place


def _code_of(finding: ErrorDetails) -> ViolationCode:
    pydantic_type = finding["type"]
    if pydantic_type == _PYDANTIC_TOO_LONG and "max_length" in finding.get("ctx", {}):
        # Pydantic's own, with the name of ours. Behind a validator it says it of texts as well.
        return ViolationCode.TOO_LONG if isinstance(finding["input"], str) else ViolationCode.TOO_MANY
    if pydantic_type in _OWN_TYPES:
        return ViolationCode(pydantic_type)
    if pydantic_type in _CODES_BY_PYDANTIC_TYPE:
        return _CODES_BY_PYDANTIC_TYPE[pydantic_type]
    if pydantic_type.endswith(("_type", "_parsing")):
        return ViolationCode.WRONG_TYPE
    return ViolationCode.INVALID_VALUE
