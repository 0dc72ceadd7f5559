"""Filters as conditions over the columns of table `memories`."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, LiteralString, assert_never

from psycopg import sql

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
    Tagged,
    Term,
    TimeWithin,
)
from soma_api.queries.payload_path import has_field, has_number_within, has_one_of
from soma_schemas.vectors.terms import filter_number

_TRUE: Final = sql.SQL("true")
_FALSE: Final = sql.SQL("false")
_DIMENSIONS: Final = sql.SQL("cardinality(coordinate)")
_MOST_DIMENSIONS: Final = 2**31 - 1
_COMPARISONS: Final[Sequence[LiteralString]] = (">=", ">", "<=", "<")


class SqlConditions:
    """Conditions, and the values that they name. A value stands in a condition by its name alone.

    Attributes:
        values: By name; the names are `f1`, `f2`, and so on.
    """

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def met_by(self, term: Term) -> sql.Composable:
        """Return a condition that is true of the rows of which a term is; otherwise it is false or null.

        Null is as good as false in a conjunction and in a disjunction, and a negation makes it true.
        """
        match term:
            case Every(terms):
                return _joined(" AND ", [self.met_by(each) for each in terms], _TRUE)
            case Either(terms):
                return _joined(" OR ", [self.met_by(each) for each in terms], _FALSE)
            case Negated(negated):
                return sql.SQL("({}) IS NOT TRUE").format(self.met_by(negated))
            case _:
                return self._leaf(term)

    def _leaf(self, term: Leaf) -> sql.Composable:
        match term:
            case FieldIs(field, [value]):
                return sql.SQL("{} = {}").format(sql.Identifier(field), self._value(value, "text"))
            case FieldIs(field, values):
                among = self._value(list(values), "text[]")
                return sql.SQL("{} = ANY ({})").format(sql.Identifier(field), among)
            case Tagged([tag]):
                return sql.SQL("tags @> {}").format(self._value([tag], "text[]"))
            case Tagged(tags):
                return sql.SQL("tags && {}").format(self._value(list(tags), "text[]"))
            case IsMemory(memory_ids):
                return sql.SQL("memory_id = ANY ({})").format(self._value(list(memory_ids), "uuid[]"))
            case NumberWithin(NumberField.DIMENSIONS, bounds):
                return self._within(_DIMENSIONS, _whole_bounds(bounds), "integer")
            case NumberWithin(of, bounds):
                return self._within(_number(of), _stored_bounds(bounds), "float8")
            case TimeWithin(of, times):
                bounds_of_time = (times.at_least, times.above, times.at_most, times.below)
                return self._within(sql.Identifier(of.value), bounds_of_time, "timestamptz")
            case Has(OptionalField.TAGS):
                return sql.SQL("cardinality(tags) > 0")
            case Has(field):
                return sql.SQL("{} IS NOT NULL").format(sql.Identifier(field.value))
            case PayloadIs() | PayloadWithin() | PayloadHas():
                return sql.SQL("payload @@ {}").format(self._value(_predicate(term), "jsonpath"))
            case _:
                assert_never(term)

    def _within(
        self, what: sql.Composable, bounds: Sequence[object | None], of_type: LiteralString
    ) -> sql.Composable:
        at_least, _, at_most, _ = bounds
        if at_least is not None and at_least == at_most:
            return sql.SQL("{} = {}").format(what, self._value(at_least, of_type))
        compared = [
            sql.SQL("{} {} {}").format(what, sql.SQL(comparison), self._value(bound, of_type))
            for comparison, bound in zip(_COMPARISONS, bounds, strict=True)
            if bound is not None
        ]
        return _joined(" AND ", compared, sql.SQL("{} IS NOT NULL").format(what))

    def _value(self, value: object, of_type: LiteralString) -> sql.Composable:
        name = f"f{len(self.values) + 1}"
        self.values[name] = value
        return sql.Placeholder(name) + sql.SQL("::" + of_type)


def _predicate(term: PayloadIs | PayloadWithin | PayloadHas) -> str:
    match term:
        case PayloadIs(path, scalars):
            return has_one_of(path, scalars)
        case PayloadWithin(path, bounds):
            return has_number_within(path, bounds)
        case PayloadHas(path):
            return has_field(path)


def _number(of: NumberField | Axis) -> sql.Composable:
    if isinstance(of, Axis):
        return sql.SQL("coordinate[{}]").format(sql.Literal(of.number + 1))
    return sql.Identifier(of.value)


def _joined(
    by: LiteralString, conditions: Sequence[sql.Composable], of_none: sql.Composable
) -> sql.Composable:
    if not conditions:
        return of_none
    if len(conditions) == 1:
        return conditions[0]
    return sql.SQL("({})").format(sql.SQL(by).join(conditions))


def _whole_bounds(bounds: NumberRange) -> tuple[int | None, ...]:
    """Return bounds of whole numbers that say the same of them: an index compares them with no other."""
    return (
        None if bounds.at_least is None else _whole(bounds.at_least, math.ceil),
        None if bounds.above is None else _whole(bounds.above, math.floor),
        None if bounds.at_most is None else _whole(bounds.at_most, math.floor),
        None if bounds.below is None else _whole(bounds.below, math.ceil),
    )


def _whole(bound: float, rounded: Callable[[float], int]) -> int:
    return max(-1, min(rounded(bound), _MOST_DIMENSIONS))


def _stored_bounds(bounds: NumberRange) -> tuple[float | None, ...]:
    """Return bounds of the numbers themselves that say what these say of numbers to 15 significant digits.

    The index has numbers so rounded. Rounding keeps their order, so the first and the last double that
    become the same as a bound say the same of the others.
    """
    return (
        None if bounds.at_least is None else _alike(bounds.at_least, -math.inf),
        None if bounds.above is None else _alike(bounds.above, math.inf),
        None if bounds.at_most is None else _alike(bounds.at_most, math.inf),
        None if bounds.below is None else _alike(bounds.below, -math.inf),
    )


def _alike(bound: float, towards: float) -> float:
    """Return the last double in a direction that is the same as a bound to 15 significant digits."""
    rounded = filter_number(bound)
    *_, last = _same(rounded, towards)
    return last


def _same(rounded: float, towards: float) -> Iterator[float]:
    number = rounded
    while math.isfinite(number) and filter_number(number) == rounded:
        yield number
        number = math.nextafter(number, towards)
