"""A filter means the same to the database, to both engines of the index and to some lines of plain Python."""

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from json import dumps, loads
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest

from api_gateway import Gateway, body_of
from builders import A_TENANT
from contract.vectors.build import A_COLLECTION, AN_AXIS, a_memory_id, a_point
from contract.vectors.engines import server_engine
from soma_api.models.search_models import FilterBody
from soma_api.queries.filter_shorthand import selection
from soma_api.queries.vectors.conditions import conditions_of, of_tenant
from soma_api.queries.vectors.reader import PointReader, Question
from soma_cli.local.embedded_index import EmbeddedIndex
from soma_schemas.fields import Kind

MEMORIES = 60
QUESTIONS = 120

_BEGIN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
_TIMES = [_BEGIN + timedelta(microseconds=offset) for offset in (-1, 0, 1, 10**6)]
# Neighbours among doubles, and some that are one number to 15 significant digits.
_UNIT = [0.0, 0.1, 0.2, 0.3, 0.1 + 0.2, 0.30000000000000001, 0.5, 0.49999999999999994, 1.0]
_PLACES = [-1.5, 0.0, 1.0, 0.1 + 0.2, 0.3, 1e20, 5e-324, 1.7976931348623157e308]
_NUMBERS = ["0", "-1", "1", "1.0", "0.1", "0.30000000000000004", "0.3", "1e30"]
_NUMBERS += ["9007199254740993", "9007199254740992"]
_TEXTS = ["a", "b", "A", "ä/%", "a b"]
_PATHS = ["a", "b", "a.b", "b.a", "c.d.e"]
_FIELDS = ["kind", "key", "subject", "source", "tags", "importance", "times", "expires_at", "coordinate"]
_FIELDS += ["payload"] * 2
_BOUNDS = ("gt", "gte", "lt", "lte")


def a_memory(random: Random) -> dict[str, Any]:
    """Fields of a memory that come close to those of another, and often are missing."""
    maybe: Callable[[Any], Any] = lambda value: value if random.random() < 0.6 else None  # noqa: E731  # short
    coordinate = maybe([random.choice(_PLACES) for _ in range(random.choice([1, 2, 5, 6]))])
    return {
        "memory_id": a_memory_id(),
        "kind": random.choice(list(Kind)),
        "key": None if coordinate else maybe(random.choice(_TEXTS)),
        "coordinate": coordinate,
        "subject": maybe(random.choice(_TEXTS)),
        "source": maybe(random.choice(_TEXTS)),
        "tags": random.sample(_TEXTS, random.randint(0, 3)),
        "importance": random.choice(_UNIT),
        "occurred_at": random.choice(_TIMES),
        "created_at": random.choice(_TIMES),
        "updated_at": random.choice(_TIMES),
        "expires_at": maybe(random.choice(_TIMES) + timedelta(days=36_500)),
        "payload": _an_object(random, 3),
    }


def _an_object(random: Random, depth: int) -> str:
    names = random.sample(["a", "b", "a.b", "c", "d", "e"], random.randint(0, 3))
    return "{" + ", ".join(f"{dumps(name)}: {_a_value(random, depth)}" for name in names) + "}"


def _a_value(random: Random, depth: int) -> str:
    match random.choice(["number", "scalar", "list", "object"][: 4 if depth else 2]):
        case "number":
            return random.choice(_NUMBERS)
        case "scalar":
            return random.choice(["true", "null", '"a"', '"1"', '"é"'])
        case "list":
            return f"[{', '.join(_a_value(random, depth - 1) for _ in range(random.randint(0, 3)))}]"
        case _:
            return _an_object(random, depth - 1)


def an_expression(random: Random, depth: int = 3) -> dict[str, Any]:
    """A filter of the language, as JSON."""
    kind = random.choice(["field", "field", "and", "or", "not"]) if depth else "field"
    match kind:
        case "and" | "or":
            return {kind: [an_expression(random, depth - 1) for _ in range(random.randint(1, 3))]}
        case "not":
            return {kind: an_expression(random, depth - 1)}
        case _:
            return dict(_a_test(random) for _ in range(random.choice([1, 1, 2])))


def _a_test(random: Random) -> tuple[str, Any]:
    field = random.choice(_FIELDS)
    exists = {"exists": random.random() < 0.5}
    match field:
        case "kind":
            return field, random.choice([{"eq": "SEMANTIC"}, {"in": ["SEMANTIC", "EPISODIC"]}])
        case "key" | "subject" | "source":
            some = random.sample(_TEXTS, 2)
            return field, random.choice([{"eq": some[0]}, {"in": some}, exists])
        case "tags":
            some = random.sample(_TEXTS, 2)
            return field, random.choice([{"contains": some[0]}, {"contains": some}, {"in": some}, exists])
        case "importance":
            return field, _a_range(random, _UNIT, among=True)
        case "times":
            some_time = random.choice(["occurred_at", "created_at", "updated_at"])
            return some_time, {name: each.isoformat() for name, each in _a_range(random, _TIMES).items()}
        case "expires_at":
            return field, exists
        case "coordinate":
            return field, random.choice(
                [
                    exists,
                    {"dimensions": {"eq": random.choice([1, 2, 5])}},
                    {"dimensions": {random.choice(_BOUNDS): 1.5}},
                    {"axes": {str(random.choice([0, 1, 4])): _a_range(random, _PLACES, among=True)}},
                ]
            )
        case _:
            value = loads(_a_value(random, 0))
            number = float(random.choice(_NUMBERS))
            tests = [
                exists,
                {"eq": value},
                {"in": [value, "a"]},
                {"contains": [value, "a"]},
                {random.choice(_BOUNDS): number},
                {"between": sorted([number, float(random.choice(_NUMBERS))])},
            ]
            return field, {random.choice(_PATHS): random.choice(tests)}


def _a_range(random: Random, values: list[Any], *, among: bool = False) -> dict[str, Any]:
    one, other = sorted(random.choices(values, k=2))
    shapes: list[dict[str, Any]] = [{random.choice(_BOUNDS): one}, {"eq": one}, {"gte": one, "lt": other}]
    if among:
        shapes += [{"in": [one, other]}, {"between": [one, other]}]
    return random.choice(shapes)


# The judge: it reads the JSON itself, and shares nothing with what reads it in the product.


def holds(expression: Mapping[str, Any], memory: Mapping[str, Any]) -> bool:
    return all(_holds(name, asked, memory) for name, asked in expression.items())


def _holds(name: str, asked: Any, memory: Mapping[str, Any]) -> bool:
    match name:
        case "and":
            return all(holds(each, memory) for each in asked)
        case "or":
            return any(holds(each, memory) for each in asked)
        case "not":
            return not holds(asked, memory)
        case "tags":
            return all(_tags(operator, each, memory["tags"]) for operator, each in asked.items())
        case "importance":
            return _number(asked, memory["importance"])
        case "occurred_at" | "created_at" | "updated_at":
            bounds = {each: datetime.fromisoformat(at) for each, at in asked.items()}
            return _compares(bounds, memory[name])
        case "coordinate":
            return all(_coordinate(each, tests, memory["coordinate"]) for each, tests in asked.items())
        case "payload":
            held = loads(memory["payload"], parse_float=Decimal)
            return all(_field(tests, list(_found(held, path.split(".")))) for path, tests in asked.items())
        case _:
            return all(_text(operator, wanted, memory[name]) for operator, wanted in asked.items())


def _text(operator: str, wanted: Any, value: Any) -> bool:
    match operator:
        case "eq":
            return bool(value == wanted)
        case "in":
            return bool(value in wanted)
        case _:
            return bool((value is not None) == wanted)


def _tags(operator: str, asked: Any, tags: list[str]) -> bool:
    wanted = set(asked if isinstance(asked, list) else [asked])
    match operator:
        case "contains":
            return wanted <= set(tags)
        case "in":
            return bool(wanted & set(tags))
        case _:
            return bool(tags) == bool(asked)


def _number(tests: Mapping[str, Any], number: float) -> bool:
    def told(value: Any) -> Any:
        return [told(each) for each in value] if isinstance(value, list) else float(f"{value:.15g}")

    shown = number if abs(number) > 1e300 else told(number)
    return _compares(
        {name: value if _is_huge(value) else told(value) for name, value in tests.items()}, shown
    )


def _is_huge(value: Any) -> bool:
    return any(abs(each) > 1e300 for each in (value if isinstance(value, list) else [value]))


def _compares(tests: Mapping[str, Any], value: Any) -> bool:
    told: dict[str, Callable[[Any], bool]] = {
        "eq": lambda wanted: value == wanted,
        "in": lambda wanted: value in wanted,
        "gt": lambda wanted: value > wanted,
        "gte": lambda wanted: value >= wanted,
        "lt": lambda wanted: value < wanted,
        "lte": lambda wanted: value <= wanted,
        "between": lambda wanted: wanted[0] <= value <= wanted[1],
    }
    return all(told[name](wanted) for name, wanted in tests.items())


def _coordinate(part: str, tests: Any, coordinate: list[float] | None) -> bool:
    if part == "exists":
        return (coordinate is not None) == bool(tests)
    if coordinate is None:
        return False
    if part == "dimensions":
        return _compares(tests, len(coordinate))
    return all(
        int(axis) < len(coordinate) and _number(asked, coordinate[int(axis)]) for axis, asked in tests.items()
    )


def _found(held: Any, parts: list[str]) -> Any:
    """Yield each value that a path leads to: names with dots in them stand for several parts."""
    if not parts:
        yield held
    elif isinstance(held, dict):
        for count in range(1, len(parts) + 1):
            name = ".".join(parts[:count])
            if name in held:
                yield from _found(held[name], parts[count:])


def _field(tests: Mapping[str, Any], values: list[Any]) -> bool:
    scalars = [
        item
        for value in values
        for item in (value if isinstance(value, list) else [value])
        if not isinstance(item, dict | list)
    ]
    numbers = [
        float(each) for each in values if isinstance(each, int | Decimal) and not isinstance(each, bool)
    ]

    def has(wanted: Any) -> bool:
        return any(_alike(wanted, each) for each in scalars)

    told: dict[str, Callable[[Any], bool]] = {
        "exists": lambda wanted: bool(values) == wanted,
        "eq": has,
        "in": lambda wanted: any(map(has, wanted)),
        "contains": lambda wanted: all(map(has, wanted)),
    }
    ranges = {name: wanted for name, wanted in tests.items() if name not in told}
    return all(told[name](wanted) for name, wanted in tests.items() if name in told) and (
        not ranges or any(_compares(ranges, number) for number in numbers)
    )


def _alike(wanted: Any, held: Any) -> bool:
    if isinstance(wanted, bool) or isinstance(held, bool) or isinstance(wanted, str | None):
        return type(wanted) is type(held) and wanted == held
    return isinstance(held, int | Decimal) and Decimal(str(wanted)) == Decimal(held)


@pytest.fixture
async def engines(tmp_path: Path) -> AsyncIterator[list[Any]]:
    """Both engines of the index, empty."""
    index = EmbeddedIndex.open(tmp_path / "vectors", A_COLLECTION)
    async with server_engine(A_COLLECTION) as server:
        yield [index, server]
    index.close()


@pytest.mark.parametrize("seed", range(3))
async def test_a_filter_lets_the_same_memories_through_wherever_it_is_asked(
    seed: int, gateway: Gateway, engines: list[Any]
) -> None:
    random = Random(seed)
    memories = [a_memory(random) for _ in range(MEMORIES)]
    points = []
    for memory in memories:
        gateway.given_memory(**memory | {"kind": memory["kind"].value})
        points.append(
            a_point(
                tenant=A_TENANT,
                **memory
                | {"tags": tuple(memory["tags"])}
                | {"coordinate": None if memory["coordinate"] is None else tuple(memory["coordinate"])},
            )
        )
    index, server = engines
    await index.write(points)
    await server.writer.write(points)
    ids = {point.id: memory["memory_id"] for point, memory in zip(points, memories, strict=True)}

    async def found(reader: PointReader, expression: dict[str, Any]) -> set[UUID]:
        where = FilterBody.model_validate_json(dumps({"where": expression})).where
        assert where is not None
        conditions = conditions_of(A_TENANT, selection(where=where.term()))
        if conditions is None:
            return set()
        asked = Question(conditions, of_tenant(A_TENANT), AN_AXIS, None, 1000)
        return {ids[hit.id] for hit in (await reader.candidates(asked)).dense}

    sizes = []
    for _ in range(QUESTIONS):
        expression = an_expression(random)
        answer = await gateway.client.get("/v1/memories", params={"filter": dumps(expression), "limit": 1000})
        assert answer.status_code == 200, (expression, answer.text)
        listed = {UUID(each["memory_id"]) for each in body_of(answer)["memories"]}
        judged = {memory["memory_id"] for memory in memories if holds(expression, memory)}

        assert listed == judged, expression
        assert await found(index, expression) == judged, expression
        assert await found(server.reader, expression) == judged, expression
        sizes.append(len(judged))
    # The filters tell memories apart, rather than take all or none.
    assert sum(0 < size < MEMORIES for size in sizes) > QUESTIONS / 2
