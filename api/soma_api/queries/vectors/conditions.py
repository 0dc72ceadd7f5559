"""The conditions of a search, in a form that every engine supports."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from soma_schemas.moments import micros
from soma_schemas.namespaces import contains
from soma_schemas.vectors import payload
from soma_schemas.vectors.numbers import Span, spans
from soma_schemas.vectors.points import point_id
from soma_schemas.vectors.terms import Scalar, filter_number, term


@dataclass(frozen=True, slots=True)
class OneOf:
    """A point has one of these labels."""

    labels: Sequence[str]


@dataclass(frozen=True, slots=True)
class InRange:
    """A number field lies between these bounds; None is no bound."""

    field: str
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None


@dataclass(frozen=True, slots=True)
class IsPoint:
    """The point has one of these ids."""

    ids: Sequence[UUID]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """All conditions of at least one alternative hold."""

    alternatives: Sequence[Sequence["Condition"]]


@dataclass(frozen=True, slots=True)
class Not:
    """These conditions do not all hold; a number field that a point does not have is in no range."""

    conditions: Sequence["Condition"]


Condition = OneOf | InRange | IsPoint | AnyOf | Not


@dataclass(frozen=True, slots=True)
class NumberRange:
    """Bounds of a number in a memory's payload; None is no bound."""

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None


@dataclass(frozen=True, kw_only=True)
class SearchFilter:
    """Which memories a search considers; None asks nothing. Named as the filters of lists are.

    Attributes:
        namespace_prefix: This namespace and all below it.
        allowed: What the reader may see at all, each with all below it.
        memory_ids: Only these.
        equal: Fields of `soma_schemas.memories.EQUAL`, and the value that each must have.
        tags: All of them.
        tags_any: At least one of them.
        occurred_from: Included; `occurred_before` is not; the other times likewise.
        payload: Fields of the payload, by names joined with dots, and the value that each must have; a list
            has each of its scalars.
        payload_ranges: Number fields of the payload, and their bounds.
        coordinate_min: The low corner of a box of coordinates, as long as `coordinate_max`; both ends count,
            and coordinates with more or fewer numbers do not.
    """

    namespace: str | None = None
    namespace_prefix: str | None = None
    allowed: Sequence[str] | None = None
    memory_ids: Sequence[UUID] | None = None
    equal: Mapping[str, str] = field(default_factory=dict)
    tags: Sequence[str] = ()
    tags_any: Sequence[str] | None = None
    importance_min: float | None = None
    importance_max: float | None = None
    occurred_from: datetime | None = None
    occurred_before: datetime | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None
    updated_from: datetime | None = None
    updated_before: datetime | None = None
    payload: Mapping[str, Scalar] = field(default_factory=dict)
    payload_ranges: Mapping[str, NumberRange] = field(default_factory=dict)
    coordinate_min: Sequence[float] | None = None
    coordinate_max: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if (self.coordinate_min is None) != (self.coordinate_max is None):
            raise ValueError("a box of coordinates has both corners")
        if (
            self.coordinate_min is not None
            and self.coordinate_max is not None
            and len(self.coordinate_min) != len(self.coordinate_max)
        ):
            raise ValueError("the corners of a box have as many numbers")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a search looks.

    Attributes:
        namespace: With all below it; None is the whole tenant.
        alone: The namespace without what lies below it.
    """

    namespace: str | None
    alone: bool = False

    def label(self, tenant: str) -> str:
        """Return the label of every living memory there."""
        if self.namespace is None:
            return payload.tenant_label(tenant)
        if self.alone:
            return payload.namespace_label(tenant, self.namespace)
        return payload.prefix_label(tenant, self.namespace)

    def lies_in(self, namespace: str | None) -> bool:
        """Say whether all of it lies in a namespace, or below it; None is the whole tenant."""
        return namespace is None or (self.namespace is not None and contains(namespace, self.namespace))

    def meets(self, namespace: str | None) -> bool:
        """Say whether any of it can lie in a namespace, or below it."""
        return self.lies_in(namespace) or (
            not self.alone
            and namespace is not None
            and (self.namespace is None or contains(self.namespace, namespace))
        )


def of_tenant(tenant: str) -> OneOf:
    """Return the condition that every living memory of a tenant meets, and nothing else."""
    return OneOf([payload.tenant_label(tenant)])


def conditions_of(tenant: str, wanted: SearchFilter) -> list[Condition] | None:
    """Return what a point must meet, all of it, or None when none can.

    The first condition names tenant and namespaces in one, and is always there: no filter reaches beyond the
    tenant, and no deleted memory is ever met.
    """
    places = [place.label(tenant) for place in places_of(wanted)]
    if not places:
        return None
    labels = [payload.equal_label(name, value) for name, value in wanted.equal.items()]
    labels += map(payload.tag_label, wanted.tags)
    labels += [payload.term_label(term(path, value)) for path, value in wanted.payload.items()]
    conditions: list[Condition] = [OneOf(places), *(OneOf([label]) for label in labels)]
    if wanted.tags_any is not None:
        conditions.append(OneOf(list(map(payload.tag_label, wanted.tags_any))))
    if wanted.memory_ids is not None:
        conditions.append(IsPoint([point_id(tenant, each) for each in wanted.memory_ids]))
    conditions += _ranges(wanted)
    if any(_is_empty(condition) for condition in conditions):
        return None
    return conditions


def places_of(wanted: SearchFilter) -> list[Place]:
    """Return where memories that a filter lets through can lie; nowhere when nothing is allowed."""
    allowed, exact, prefix = wanted.allowed, wanted.namespace, wanted.namespace_prefix
    if exact is not None:
        reachable = allowed is None or any(contains(each, exact) for each in allowed)
        inside = prefix is None or contains(prefix, exact)
        return [Place(exact, alone=True)] if reachable and inside else []
    if prefix is not None:
        if allowed is None or any(contains(each, prefix) for each in allowed):
            return [Place(prefix)]
        return [Place(each) for each in allowed if contains(prefix, each)]
    if allowed is not None:
        return [Place(each) for each in allowed]
    return [Place(None)]


def _ranges(wanted: SearchFilter) -> list[Condition]:
    ranges: list[Condition] = []
    if wanted.importance_min is not None or wanted.importance_max is not None:
        ranges.append(
            InRange(
                payload.IMPORTANCE,
                at_least=_bound(wanted.importance_min),
                at_most=_bound(wanted.importance_max),
            )
        )
    for name, start, end in (
        (payload.OCCURRED_AT, wanted.occurred_from, wanted.occurred_before),
        (payload.CREATED_AT, wanted.created_from, wanted.created_before),
        (payload.UPDATED_AT, wanted.updated_from, wanted.updated_before),
    ):
        if start is not None or end is not None:
            ranges.append(InRange(name, at_least=_moment(start), below=_moment(end)))
    ranges += [_number_within(path, bounds) for path, bounds in wanted.payload_ranges.items()]
    if wanted.coordinate_min is not None and wanted.coordinate_max is not None:
        count = float(len(wanted.coordinate_min))
        ranges.append(InRange(payload.DIMENSIONS, at_least=count, at_most=count))
        for axis, (low, high) in enumerate(zip(wanted.coordinate_min, wanted.coordinate_max, strict=True)):
            if axis < payload.INDEXED_AXES:
                bound = InRange(payload.axis_field(axis), at_least=_bound(low), at_most=_bound(high))
                ranges.append(bound)
            else:
                ranges.append(_number_within(payload.axis_name(axis), NumberRange(low, at_most=high)))
    return ranges


def _number_within(name: str, bounds: NumberRange) -> Condition:
    found = spans(
        name,
        at_least=bounds.at_least,
        above=bounds.above,
        at_most=bounds.at_most,
        below=bounds.below,
    )
    return AnyOf(
        [
            [OneOf([payload.term_label(mark)]), AnyOf([_within(span) for span in some])]
            for mark, some in found
            if some
        ]
    )


def _within(span: Span) -> list[Condition]:
    halves = [(payload.NUMBER_HIGHS, span.highs)]
    if span.lows is not None:
        halves.append((payload.NUMBER_LOWS, span.lows))
    return [InRange(name, at_least=float(first), at_most=float(last)) for name, (first, last) in halves]


def _bound(number: float | None) -> float | None:
    return filter_number(number) if number is not None else None


def _moment(moment: datetime | None) -> float | None:
    return float(micros(moment)) if moment is not None else None


def _is_empty(condition: Condition) -> bool:
    match condition:
        case OneOf(labels=labels):
            return not labels
        case IsPoint(ids=ids):
            return not ids
        case AnyOf(alternatives=alternatives):
            return not alternatives
        case InRange() | Not():
            return False
