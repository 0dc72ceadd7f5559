"""What a filter says, the same for lists and searches: terms about the fields of a memory. Pure.

A term is true of a memory or it is not: nothing is unknown, so that `Negated` is exactly the rest. What a
memory lacks is in no range and equal to nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Generic, TypeVar
from uuid import UUID

from soma_schemas.vectors.terms import Scalar

BoundT = TypeVar("BoundT")


class NumberField(StrEnum):
    """A number of a memory that ranges ask for, to 15 significant digits."""

    IMPORTANCE = "importance"
    DIMENSIONS = "dimensions"


@dataclass(frozen=True, slots=True)
class Axis:
    """One number of a coordinate, counted from 0; also asked to 15 significant digits."""

    number: int


class TimeField(StrEnum):
    """A time of a memory."""

    OCCURRED_AT = "occurred_at"
    CREATED_AT = "created_at"
    UPDATED_AT = "updated_at"
    EXPIRES_AT = "expires_at"


class OptionalField(StrEnum):
    """A field that a memory may lack."""

    KEY = "key"
    SUBJECT = "subject"
    SOURCE = "source"
    TAGS = "tags"
    COORDINATE = "coordinate"
    EXPIRES_AT = "expires_at"


@dataclass(frozen=True, slots=True)
class Bounds(Generic[BoundT]):
    """Bounds of a value; None is no bound."""

    at_least: BoundT | None = None
    above: BoundT | None = None
    at_most: BoundT | None = None
    below: BoundT | None = None


class NumberRange(Bounds[float]):
    """Bounds of a number."""

    __slots__ = ()


class TimeRange(Bounds[datetime]):
    """Bounds of a time."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class FieldIs:
    """A field of `soma_schemas.memories.EQUAL` has one of these values."""

    field: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tagged:
    """The memory has one of these tags."""

    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IsMemory:
    """It is one of these memories."""

    memory_ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class NumberWithin:
    """A number of the memory lies in a range."""

    of: NumberField | Axis
    bounds: NumberRange


@dataclass(frozen=True, slots=True)
class TimeWithin:
    """A time of the memory lies in a range."""

    of: TimeField
    bounds: TimeRange


@dataclass(frozen=True, slots=True)
class Has:
    """The memory has something in this field."""

    field: OptionalField


@dataclass(frozen=True, slots=True)
class PayloadIs:
    """A field of the payload, named with dots, is one of these values, or a list that has one of them."""

    path: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class PayloadWithin:
    """A field of the payload, named with dots, is a number in a range, compared as doubles."""

    path: str
    bounds: NumberRange


@dataclass(frozen=True, slots=True)
class PayloadHas:
    """The payload has a field of this name, whatever its value."""

    path: str


@dataclass(frozen=True, slots=True)
class Every:
    """All of these terms are true; of no terms, it is."""

    terms: tuple["Term", ...]


@dataclass(frozen=True, slots=True)
class Either:
    """At least one of these terms is true."""

    terms: tuple["Term", ...]


@dataclass(frozen=True, slots=True)
class Negated:
    """The term is not true."""

    term: "Term"


Leaf = FieldIs | Tagged | IsMemory | NumberWithin | TimeWithin | Has | PayloadIs | PayloadWithin | PayloadHas
Term = Leaf | Every | Either | Negated

EVERYTHING: Final = Every(())


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which memories a list or a search considers.

    Attributes:
        namespace: Exactly this one.
        namespace_prefix: This namespace and all below it.
        allowed: What the reader may see at all, each with all below it; None is the whole tenant.
        where: What is true of each of them.
    """

    namespace: str | None = None
    namespace_prefix: str | None = None
    allowed: Sequence[str] | None = None
    where: Every = EVERYTHING


def conjuncts(term: Term) -> Iterator[Term]:
    """Yield the terms that all have to be true, without those that only hold others together."""
    if isinstance(term, Every):
        for each in term.terms:
            yield from conjuncts(each)
    else:
        yield term
