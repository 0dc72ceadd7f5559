"""The filter language: one JSON object says which memories are meant, wherever memories are chosen.

    {"kind": {"eq": "SEMANTIC"}, "or": [{"importance": {"gte": 0.5}}, {"not": {"tags": {"in": ["a", "b"]}}}]}

Everything in an object has to be true: its fields, the operators of each field, and `and`, `or`, `not`.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from soma_api.models.memory_filter import Asked
from soma_api.models.requests import Input
from soma_api.queries.filter_terms import (
    Axis,
    Either,
    Every,
    FieldIs,
    Has,
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
    TimeField,
    TimeRange,
    TimeWithin,
)
from soma_schemas.fields import Finite, Kind, Moment, StorableString, Tag, broken, check_json_object
from soma_schemas.json_text import JsonError, read_json
from soma_schemas.limits import Limits
from soma_schemas.vectors.terms import MAX_FILTERABLE_DEPTH, name_parts
from soma_schemas.violations import ViolationCode, violations_of

MAX_TERMS: Final = 64
MAX_DEPTH: Final = 8
MAX_VALUES: Final = 64
_MAX_TEXT_BYTES: Final = 8192

BOUNDS: Final = (
    f"A filter has at most {MAX_TERMS} terms: operators on fields, and what `and`, `or` and `not` hold, "
    f"which nest at most {MAX_DEPTH} levels deep. A list has at most {MAX_VALUES} values."
)

_A_FILTER: JsonDict = {
    "kind": {"eq": "SEMANTIC"},
    "or": [{"importance": {"gte": 0.5}}, {"not": {"tags": {"contains": "draft"}}}],
    "payload": {"price": {"between": [1, 5]}},
}


def _scalar(value: object) -> object:
    if isinstance(value, dict | list):
        raise broken(ViolationCode.WRONG_TYPE, "is not one string, number, boolean or null")
    try:
        check_json_object({"value": value})
    except PydanticCustomError as fault:
        raise broken(ViolationCode(fault.type), fault.message()) from None
    return value


def _path(name: str) -> str:
    if name_parts(name) > MAX_FILTERABLE_DEPTH:
        raise broken(
            ViolationCode.TOO_DEEP, f"names a field by more than {MAX_FILTERABLE_DEPTH} parts between dots"
        )
    return name


_SCALAR_SCHEMA: Final[JsonDict] = {"type": ["string", "number", "boolean", "null"]}


def _in_order(pair: list[Any]) -> list[Any]:
    if pair[0] > pair[1]:
        raise broken(ViolationCode.INVALID_VALUE, "has the greater of its two values first")
    return pair


_MANY: Final = Field(min_length=1, max_length=MAX_VALUES)

_Numbers = Annotated[list[Finite], Field(min_length=2, max_length=2), AfterValidator(_in_order)]
_Moments = Annotated[list[Moment], Field(min_length=2, max_length=2), AfterValidator(_in_order)]
_Scalar = Annotated[Any, BeforeValidator(_scalar), WithJsonSchema(_SCALAR_SCHEMA)]
_Path = Annotated[StorableString, AfterValidator(_path)]
_AxisNumber = Annotated[str, Field(pattern=r"^([0-9]|[1-5][0-9]|6[0-3])$")]


class _Tests(Input):
    """Operators on one field: all of them have to be true."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise broken(ViolationCode.EMPTY, "has no operator")
        return self


class _Presence(_Tests):
    exists: Annotated[bool | None, Field(strict=True)] = Field(
        None, description="Whether the memory has something there."
    )

    def _present(self, has: Term) -> Iterator[Term]:
        if self.exists is not None:
            yield has if self.exists else Negated(has)


class KindTests(_Tests):
    """Operators on the kind."""

    eq: Kind | None = Field(None, description="This kind.")
    among: Annotated[list[Kind], _MANY] | None = Field(None, alias="in", description="One of these.")

    def terms(self) -> Iterator[Term]:
        """Yield what the operators say."""
        if self.eq is not None:
            yield FieldIs("kind", (self.eq.value,))
        if self.among is not None:
            yield FieldIs("kind", tuple(kind.value for kind in self.among))


class TextTests(_Presence):
    """Operators on a text that is compared as a whole; upper and lower case differ."""

    eq: Asked | None = Field(None, description="Exactly this.")
    among: Annotated[list[Asked], _MANY] | None = Field(None, alias="in", description="One of these.")

    def terms(self, field: OptionalField) -> Iterator[Term]:
        """Yield what the operators say of a field."""
        if self.eq is not None:
            yield FieldIs(field.value, (self.eq,))
        if self.among is not None:
            yield FieldIs(field.value, tuple(self.among))
        yield from self._present(Has(field))


class TagTests(_Presence):
    """Operators on the tags."""

    contains: Annotated[list[Tag], _MANY] | Tag | None = Field(
        None, description="This tag; of a list, all of them."
    )
    among: Annotated[list[Tag], _MANY] | None = Field(
        None, alias="in", description="At least one of these tags."
    )

    def terms(self) -> Iterator[Term]:
        """Yield what the operators say."""
        if self.contains is not None:
            every = self.contains if isinstance(self.contains, list) else [self.contains]
            yield from (Tagged((tag,)) for tag in every)
        if self.among is not None:
            yield Tagged(tuple(self.among))
        yield from self._present(Has(OptionalField.TAGS))


class _NumberBounds(_Tests):
    gt: Finite | None = Field(None, description="More than.")
    gte: Finite | None = Field(None, description="At least.")
    lt: Finite | None = Field(None, description="Less than.")
    lte: Finite | None = Field(None, description="At most.")
    between: _Numbers | None = Field(None, description="From the first to the second, both included.")

    def ranges(self) -> Iterator[NumberRange]:
        """Yield ranges; the number lies in all of them."""
        bounds = NumberRange(at_least=self.gte, above=self.gt, at_most=self.lte, below=self.lt)
        if bounds != NumberRange():
            yield bounds
        if self.between is not None:
            yield NumberRange(at_least=self.between[0], at_most=self.between[1])


class NumberTests(_NumberBounds):
    """Operators on a number, compared to 15 significant digits."""

    eq: Finite | None = Field(None, description="This number.")
    among: Annotated[list[Finite], _MANY] | None = Field(None, alias="in", description="One of these.")

    def terms(self, of: NumberField | Axis) -> Iterator[Term]:
        """Yield what the operators say of a number."""
        yield from (NumberWithin(of, bounds) for bounds in self.ranges())
        if self.eq is not None:
            yield _is_number(of, self.eq)
        if self.among is not None:
            yield Either(tuple(_is_number(of, number) for number in self.among))


class TimeTests(_Tests):
    """Operators on a time."""

    eq: Moment | None = Field(None, description="At this time, to the microsecond.")
    gt: Moment | None = Field(None, description="After.")
    gte: Moment | None = Field(None, description="At this time or later.")
    lt: Moment | None = Field(None, description="Before.")
    lte: Moment | None = Field(None, description="At this time or earlier.")
    between: _Moments | None = Field(None, description="From the first to the second, both included.")

    def terms(self, of: TimeField) -> Iterator[Term]:
        """Yield what the operators say of a time."""
        bounds = TimeRange(at_least=self.gte, above=self.gt, at_most=self.lte, below=self.lt)
        if bounds != TimeRange():
            yield TimeWithin(of, bounds)
        if self.eq is not None:
            yield TimeWithin(of, TimeRange(at_least=self.eq, at_most=self.eq))
        if self.between is not None:
            yield TimeWithin(of, TimeRange(at_least=self.between[0], at_most=self.between[1]))


class DeadlineTests(_Presence, TimeTests):
    """Operators on the deadline that was set for a memory itself; a policy's is none."""

    def all_terms(self) -> Iterator[Term]:
        """Yield what the operators say."""
        yield from self.terms(TimeField.EXPIRES_AT)
        yield from self._present(Has(OptionalField.EXPIRES_AT))


class CoordinateTests(_Presence):
    """Operators on the coordinate and on its numbers."""

    dimensions: NumberTests | None = Field(None, description="How many numbers it has.")
    axes: dict[_AxisNumber, NumberTests] | None = Field(
        None, description='Its numbers, counted from "0". One that a coordinate lacks is in no range.'
    )

    def terms(self) -> Iterator[Term]:
        """Yield what the operators say."""
        yield from self._present(Has(OptionalField.COORDINATE))
        if self.dimensions is not None:
            yield from self.dimensions.terms(NumberField.DIMENSIONS)
        for number, tests in (self.axes or {}).items():
            yield from tests.terms(Axis(int(number)))


class PayloadTests(_Presence, _NumberBounds):
    """Operators on a field of the payload. `gt`, `gte`, `lt`, `lte` and `between` ask for one number."""

    eq: _Scalar = Field(None, description="This value; of a list, one of its values.")
    among: Annotated[list[_Scalar], _MANY] | None = Field(None, alias="in", description="One of these.")
    contains: Annotated[list[_Scalar], _MANY] | _Scalar = Field(
        None, description="A list in the payload has this value; of a list here, all of them."
    )

    def terms(self, path: str) -> Iterator[Term]:
        """Yield what the operators say of a field."""
        given = self.model_fields_set
        if "eq" in given:
            yield PayloadIs(path, (self.eq,))
        if self.among is not None:
            yield PayloadIs(path, tuple(self.among))
        if "contains" in given:
            every = self.contains if isinstance(self.contains, list) else [self.contains]
            yield from (PayloadIs(path, (value,)) for value in every)
        yield from (PayloadWithin(path, bounds) for bounds in self.ranges())
        yield from self._present(PayloadHas(path))


class FilterExpression(Input):
    """What is true of the memories that are meant. Everything in it has to be true."""

    model_config = ConfigDict(json_schema_extra={"examples": [_A_FILTER]})

    every: Annotated[list["FilterExpression"], _MANY] | None = Field(
        None, alias="and", description="All of these are true."
    )
    some: Annotated[list["FilterExpression"], _MANY] | None = Field(
        None, alias="or", description="At least one of these is true."
    )
    negated: "FilterExpression | None" = Field(
        None, alias="not", description="This is not true: also where the memory lacks the field."
    )
    kind: KindTests | None = Field(None, description="EPISODIC or SEMANTIC.")
    key: TextTests | None = Field(None, description="The key.")
    subject: TextTests | None = Field(None, description="The person whom it is about.")
    source: TextTests | None = Field(None, description="Where it comes from.")
    tags: TagTests | None = Field(None, description="The tags.")
    importance: NumberTests | None = Field(None, description="0 to 1.")
    occurred_at: TimeTests | None = Field(None, description="When it happened.")
    created_at: TimeTests | None = Field(None, description="When it was stored first.")
    updated_at: TimeTests | None = Field(None, description="When it was changed last.")
    expires_at: DeadlineTests | None = Field(None, description="When it is to end.")
    coordinate: CoordinateTests | None = Field(None, description="The coordinate.")
    payload: dict[_Path, PayloadTests] | None = Field(
        None, description="Fields of the payload, by names joined with dots."
    )

    def term(self) -> Every:
        """Return what it says."""
        return Every(tuple(self._terms()))

    def _terms(self) -> Iterator[Term]:
        yield from (each.term() for each in self.every or ())
        if self.some is not None:
            yield Either(tuple(each.term() for each in self.some))
        if self.negated is not None:
            yield Negated(self.negated.term())
        if self.kind is not None:
            yield from self.kind.terms()
        for field in (OptionalField.KEY, OptionalField.SUBJECT, OptionalField.SOURCE):
            text: TextTests | None = getattr(self, field.value)
            if text is not None:
                yield from text.terms(field)
        if self.tags is not None:
            yield from self.tags.terms()
        if self.importance is not None:
            yield from self.importance.terms(NumberField.IMPORTANCE)
        for of in (TimeField.OCCURRED_AT, TimeField.CREATED_AT, TimeField.UPDATED_AT):
            times: TimeTests | None = getattr(self, of.value)
            if times is not None:
                yield from times.terms(of)
        if self.expires_at is not None:
            yield from self.expires_at.all_terms()
        if self.coordinate is not None:
            yield from self.coordinate.terms()
        for path, tests in (self.payload or {}).items():
            yield from tests.terms(path)


def _is_number(of: NumberField | Axis, number: float) -> Term:
    return NumberWithin(of, NumberRange(at_least=number, at_most=number))


def _bounded(value: object) -> object:
    """Refuse a filter of too many terms before anything is made of them."""
    pending: list[tuple[object, int]] = [(value, 0)]
    terms = 0
    while pending:
        expression, depth = pending.pop()
        if not isinstance(expression, Mapping):
            continue  # said where it is read
        if depth > MAX_DEPTH:
            raise broken(
                ViolationCode.TOO_DEEP, f"nests `and`, `or` and `not` deeper than {MAX_DEPTH} levels"
            )
        for name, held in expression.items():
            match name:
                case "and" | "or" if isinstance(held, list):
                    terms += len(held)
                    pending += [(each, depth + 1) for each in held[: MAX_TERMS + 1]]
                case "not":
                    terms += 1
                    pending.append((held, depth + 1))
                case _:
                    terms += _operators(held)
        if terms > MAX_TERMS:
            raise broken(ViolationCode.TOO_MANY, f"has more than {MAX_TERMS} terms")
    return value


def _operators(tests: object) -> int:
    """Return how many operators a field has; fields of a payload and numbers of a coordinate have theirs."""
    if not isinstance(tests, Mapping):
        return 1
    return sum(max(1, len(held)) if isinstance(held, Mapping) else 1 for held in tests.values())


Where = Annotated[FilterExpression, BeforeValidator(_bounded)]
_WHERE: Final = TypeAdapter[FilterExpression](Where)


def read_filter(text: str, limits: Limits) -> FilterExpression:
    """Return the filter that a text holds as JSON.

    Raises:
        PydanticCustomError: It holds none; the error says where.
    """
    if len(text.encode(errors="surrogatepass")) > _MAX_TEXT_BYTES:
        raise broken(ViolationCode.TOO_LONG, f"has more than {_MAX_TEXT_BYTES} bytes")
    try:
        return _WHERE.validate_python(read_json(text).value, context={"limits": limits})
    except JsonError as error:
        raise broken(error.code, str(error), error.within) from None
    except ValidationError as error:
        first = violations_of(error)[0]
        raise broken(first.code, first.message, first.path) from None
