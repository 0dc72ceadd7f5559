"""Says in SQL/JSON path language that a payload has fields with values, as searches mean it."""

import json
from collections.abc import Iterator, Mapping

from soma_schemas.vectors.terms import Scalar, number_spelling


def has_fields(fields: Mapping[str, Scalar]) -> str | None:
    """Return a path predicate that is true of payloads with all these fields, or None when there are none.

    It is strict: otherwise it would look into lists on its way. What a payload lacks makes a comparison
    unknown, which is as good as false.

    Args:
        fields: By name; a dot in a name stands in a payload's name, or between an object's and that of its
            field.
    """
    if not fields:
        return None
    tests = (
        " || ".join(_alternatives("$", name.split("."), _literal(value))) for name, value in fields.items()
    )
    return f"strict ({') && ('.join(tests)})"


def _alternatives(above: str, parts: list[str], literal: str) -> Iterator[str]:
    """Yield a test for each way in which the first names of a payload can be made of the first parts.

    Nested, not spelt out: where the first name is missing, none of its ways on is tried.
    """
    for count in range(1, len(parts)):
        name = json.dumps(".".join(parts[:count]))
        rest = " || ".join(_alternatives("@", parts[count:], literal))
        yield f"exists({above}.{name} ? ({rest}))"
    name = json.dumps(".".join(parts))
    yield f"exists({above}.{name} ? (@ == {literal}))"
    yield f"exists({above}.{name}[*] ? (@ == {literal}))"


def _literal(value: Scalar) -> str:
    if isinstance(value, bool | str) or value is None:
        return json.dumps(value)
    return number_spelling(value)
