"""What the short fields of lists and searches mean, as terms of the filter language."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from soma_api.queries.filter_terms import (
    EVERYTHING,
    Axis,
    Every,
    FieldIs,
    IsMemory,
    NumberField,
    NumberRange,
    NumberWithin,
    PayloadIs,
    PayloadWithin,
    Selection,
    Tagged,
    Term,
    TimeField,
    TimeRange,
    TimeWithin,
)
from soma_schemas.vectors.terms import Scalar


def selection(
    *,
    namespace: str | None = None,
    namespace_prefix: str | None = None,
    allowed: Sequence[str] | None = None,
    memory_ids: Sequence[UUID] | None = None,
    equal: Mapping[str, str] | None = None,
    tags: Sequence[str] = (),
    tags_any: Sequence[str] | None = None,
    importance_min: float | None = None,
    importance_max: float | None = None,
    occurred_from: datetime | None = None,
    occurred_before: datetime | None = None,
    created_from: datetime | None = None,
    created_before: datetime | None = None,
    updated_from: datetime | None = None,
    updated_before: datetime | None = None,
    payload: Mapping[str, Scalar] | None = None,
    payload_ranges: Mapping[str, NumberRange] | None = None,
    coordinate_min: Sequence[float] | None = None,
    coordinate_max: Sequence[float] | None = None,
    where: Every = EVERYTHING,
) -> Selection:
    """Return a selection of what meets all of this; None asks nothing.

    Args:
        namespace: Exactly this one.
        namespace_prefix: This namespace and all below it.
        allowed: What the reader may see at all, each with all below it.
        memory_ids: Only these.
        equal: Fields of `soma_schemas.memories.EQUAL`, and the value that each must have.
        tags: All of them.
        tags_any: At least one of them.
        importance_min: Included, as `importance_max` is.
        importance_max: See there.
        occurred_from: Included; `occurred_before` is not; the other times likewise.
        occurred_before: See there.
        created_from: See there.
        created_before: See there.
        updated_from: See there.
        updated_before: See there.
        payload: Fields of the payload, by names joined with dots, and the value that each must have.
        payload_ranges: Number fields of the payload, and their bounds.
        coordinate_min: The low corner of a box of coordinates, as long as `coordinate_max`; both ends count,
            and coordinates with more or fewer numbers do not.
        coordinate_max: See there.
        where: What is asked besides.

    Raises:
        ValueError: A box has one corner, or two that do not fit.
    """
    terms: list[Term] = []
    if memory_ids is not None:
        terms.append(IsMemory(tuple(memory_ids)))
    terms += [FieldIs(name, (value,)) for name, value in (equal or {}).items()]
    terms += [Tagged((tag,)) for tag in tags]
    if tags_any is not None:
        terms.append(Tagged(tuple(tags_any)))
    if importance_min is not None or importance_max is not None:
        bounds = NumberRange(at_least=importance_min, at_most=importance_max)
        terms.append(NumberWithin(NumberField.IMPORTANCE, bounds))
    terms += [
        TimeWithin(of, TimeRange(at_least=start, below=end))
        for of, start, end in (
            (TimeField.OCCURRED_AT, occurred_from, occurred_before),
            (TimeField.CREATED_AT, created_from, created_before),
            (TimeField.UPDATED_AT, updated_from, updated_before),
        )
        if start is not None or end is not None
    ]
    terms += [PayloadIs(path, (value,)) for path, value in (payload or {}).items()]
    terms += [PayloadWithin(path, bounds) for path, bounds in (payload_ranges or {}).items()]
    terms += _box(coordinate_min, coordinate_max)
    return Selection(
        namespace=namespace,
        namespace_prefix=namespace_prefix,
        allowed=allowed,
        where=Every((*terms, *where.terms)),
    )


def _box(low: Sequence[float] | None, high: Sequence[float] | None) -> Iterator[Term]:
    if (low is None) != (high is None):
        raise ValueError("a box of coordinates has both corners")
    if low is None or high is None:
        return
    if len(low) != len(high):
        raise ValueError("the corners of a box have as many numbers")
    count = float(len(low))
    yield NumberWithin(NumberField.DIMENSIONS, NumberRange(at_least=count, at_most=count))
    for number, (first, last) in enumerate(zip(low, high, strict=True)):
        yield NumberWithin(Axis(number), NumberRange(at_least=first, at_most=last))
