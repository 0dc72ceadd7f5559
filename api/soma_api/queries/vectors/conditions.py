"""The conditions of a search, in a form that every engine supports."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, assert_never
from uuid import UUID

from soma_api.queries.filter_terms import (
    Axis,
    Either,
    Every,
    FieldIs,
    Has,
    IsMemory,
    Leaf,
    Negated,
    NumberField,
    NumberRange,
    NumberWithin,
    OptionalField,
    PayloadHas,
    PayloadIs,
    PayloadWithin,
    Selection,
    Tagged,
    Term,
    TimeRange,
    TimeWithin,
)
from soma_schemas.moments import micros
from soma_schemas.namespaces import contains
from soma_schemas.vectors import payload
from soma_schemas.vectors.numbers import Span, spans
from soma_schemas.vectors.points import point_id
from soma_schemas.vectors.terms import filter_number, presence
from soma_schemas.vectors.terms import term as spelt

# A range over numbers that share two indexes takes as long as a few others (docs/adr/0030).
CHECKS_OF_A_NUMBER_BY_NAME: Final = 4


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
    """All conditions of at least one alternative hold.

    Attributes:
        checks: As long as so many conditions it takes to check it; None: as all that it has.
    """

    alternatives: Sequence[Sequence["Condition"]]
    checks: int | None = None


@dataclass(frozen=True, slots=True)
class Not:
    """These conditions do not all hold; a number field that a point does not have is in no range.

    Attributes:
        asked: Whether it is part of what somebody asked for.
    """

    conditions: Sequence["Condition"]
    asked: bool = False


Condition = OneOf | InRange | IsPoint | AnyOf | Not


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


def conditions_of(tenant: str, wanted: Selection) -> list[Condition] | None:
    """Return what a point must meet, all of it, or None when none can.

    The first condition names tenant and namespaces in one, and is always there: no filter reaches beyond the
    tenant, and no deleted memory is ever met.
    """
    places = [place.label(tenant) for place in places_of(wanted)]
    met = _met_by(tenant, wanted.where)
    if not places or met is None:
        return None
    return [OneOf(places), *met]


def places_of(wanted: Selection) -> list[Place]:
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


def _met_by(tenant: str, term: Term) -> list[Condition] | None:
    """Return what the points meet of which a term is true: all of it, or None when it is true of none."""
    match term:
        case Every(terms):
            found: list[Condition] = []
            for each in terms:
                met = _met_by(tenant, each)
                if met is None:
                    return None
                found += met
            return found
        case Either(terms):
            possible = [met for each in terms if (met := _met_by(tenant, each)) is not None]
            return _any_of(possible)
        case Negated(negated):
            met = _met_by(tenant, negated)
            if met is None:
                return []
            return [Not(met, asked=True)] if met else None
        case _:
            return _leaf(tenant, term)


def _any_of(alternatives: Sequence[list[Condition]]) -> list[Condition] | None:
    if not alternatives:
        return None
    if not all(alternatives):
        return []
    if len(alternatives) == 1:
        return alternatives[0]
    labels: list[str] = []
    others: list[list[Condition]] = []
    for each in alternatives:
        match each:
            # One look at a point's labels finds whether it has one of several.
            case [OneOf(some)]:
                labels += some
            case _:
                others.append(each)
    if not others:
        return [OneOf(labels)]
    return [AnyOf([*([[OneOf(labels)]] if labels else []), *others])]


def _leaf(tenant: str, term: Leaf) -> list[Condition] | None:
    match term:
        case FieldIs(field, values):
            return _one_of([payload.equal_label(field, each) for each in values])
        case Tagged(tags):
            return _one_of(list(map(payload.tag_label, tags)))
        case IsMemory(memory_ids):
            return [IsPoint([point_id(tenant, each) for each in memory_ids])] if memory_ids else None
        case NumberWithin(Axis(number), bounds) if number >= payload.INDEXED_AXES:
            return _number_within(payload.axis_name(number), _rounded(bounds))
        case NumberWithin(of, bounds):
            return [_in_range(_field(of), _rounded(bounds))]
        case TimeWithin(of, times):
            return [_in_range(of.value, _moments(times))]
        case Has(field):
            return [_has(field)]
        case PayloadIs(path, scalars):
            return _one_of([payload.term_label(spelt(path, each)) for each in scalars])
        case PayloadWithin(path, bounds):
            return _number_within(path, bounds)
        case PayloadHas(path):
            return [OneOf([payload.term_label(presence(path))])]
        case _:
            assert_never(term)


def _one_of(labels: list[str]) -> list[Condition] | None:
    return [OneOf(labels)] if labels else None


def _has(field: OptionalField) -> Condition:
    match field:
        case OptionalField.COORDINATE:
            return InRange(payload.DIMENSIONS, at_least=1.0)
        case OptionalField.EXPIRES_AT:
            return InRange(payload.EXPIRES_AT, at_least=float(micros(datetime.min.replace(tzinfo=UTC))))
        case _:
            return OneOf([payload.presence_label(field.value)])


def _field(of: NumberField | Axis) -> str:
    match of:
        case Axis(number):
            return payload.axis_field(number)
        case NumberField.IMPORTANCE:
            return payload.IMPORTANCE
        case NumberField.DIMENSIONS:
            return payload.DIMENSIONS


def _in_range(field: str, bounds: NumberRange) -> InRange:
    return InRange(
        field, at_least=bounds.at_least, above=bounds.above, at_most=bounds.at_most, below=bounds.below
    )


def _number_within(name: str, bounds: NumberRange) -> list[Condition] | None:
    found = spans(
        name,
        at_least=bounds.at_least,
        above=bounds.above,
        at_most=bounds.at_most,
        below=bounds.below,
    )
    alternatives: list[list[Condition]] = [
        [OneOf([payload.term_label(mark)]), AnyOf([_within(span) for span in some])]
        for mark, some in found
        if some
    ]
    # Most points lack the marks, so that the spans are looked at on few.
    return [AnyOf(alternatives, checks=CHECKS_OF_A_NUMBER_BY_NAME)] if alternatives else None


def _within(span: Span) -> list[Condition]:
    halves = [(payload.NUMBER_HIGHS, span.highs)]
    if span.lows is not None:
        halves.append((payload.NUMBER_LOWS, span.lows))
    return [InRange(name, at_least=float(first), at_most=float(last)) for name, (first, last) in halves]


def _rounded(bounds: NumberRange) -> NumberRange:
    """Return bounds as the numbers are that they are compared with."""
    return NumberRange(
        at_least=_bound(bounds.at_least),
        above=_bound(bounds.above),
        at_most=_bound(bounds.at_most),
        below=_bound(bounds.below),
    )


def _bound(number: float | None) -> float | None:
    return filter_number(number) if number is not None else None


def _moments(times: TimeRange) -> NumberRange:
    return NumberRange(
        at_least=_moment(times.at_least),
        above=_moment(times.above),
        at_most=_moment(times.at_most),
        below=_moment(times.below),
    )


def _moment(moment: datetime | None) -> float | None:
    return float(micros(moment)) if moment is not None else None
