"""A filter by payload means the same to a list, to a search and to a few lines of plain Python."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest

from contract.vectors.build import A_COLLECTION, AN_AXIS, a_point
from soma_api.models.json_numbers import with_one_spelling
from soma_api.models.payload_filter import compared
from soma_api.models.search_models import FilterBody
from soma_api.queries.filter_shorthand import selection
from soma_api.queries.payload_path import has_one_of
from soma_api.queries.vectors.conditions import conditions_of, of_tenant
from soma_api.queries.vectors.reader import Question
from soma_cli.local.embedded_index import EmbeddedIndex

# Names and values that come close to each other, and the ways in which one of them is written.
_NAMES = ["a", "b", "a.b", "b.a", "", "a.", ".", 'é"\\', "long" * 80]
_VALUES = [
    *("1", "1.0", "1e0", "10e-1", "true", '"1"', "0", "-0", "-0.0", "0e5", "false", "null", '"null"', '""'),
    *("1e30", "1000000000000000000000000000000", "1.0e+30", "1000000000000000019884624838656", "-1e30"),
    *(
        "0.1",
        "0.10",
        "1e-1",
        "1e-7",
        "0.0000001",
        "9007199254740993",
        "9007199254740992",
        "1.7976931348623157e308",
    ),
    *(
        '"\\u00e9\\ud83d\\ude00"',
        '"é😀"',
        '"a.b"',
        '"\\"\\\\\\n"',
        json.dumps("x" * 300),
        json.dumps("x" * 301),
    ),
]


@pytest.mark.parametrize("seed", range(4))
async def test_list_and_search_find_what_has_the_fields(seed: int, owner_dsn: str, tmp_path: Path) -> None:
    random = Random(seed)
    payloads = [_an_object(random, 4) for _ in range(100)]
    points = [a_point(payload=payload) for payload in payloads]
    index = EmbeddedIndex.open(tmp_path / "vectors", A_COLLECTION)
    await index.write(points)
    places = {point.id: place for place, point in enumerate(points)}
    compared_at_all = 0
    async with await psycopg.AsyncConnection.connect(owner_dsn) as connection:
        for _ in range(150):
            asked = _a_filter(random, random.choice(payloads))
            model = {place for place, payload in enumerate(payloads) if _has(payload, asked)}
            rows = await connection.execute(
                "SELECT place - 1 FROM unnest(%s::jsonb[]) WITH ORDINALITY AS held (payload, place) "
                "WHERE (SELECT bool_and((payload @@ path) IS TRUE) FROM unnest(%s::jsonpath[]) AS path)",
                (payloads, [has_one_of(path, [value]) for path, value in compared(asked).items()]),
            )
            conditions = conditions_of("acme", selection(payload=compared(FilterBody(payload=asked).payload)))
            assert conditions is not None
            hits = await index.candidates(Question(conditions, of_tenant("acme"), AN_AXIS, None, 1000))

            assert {place async for (place,) in rows} == model, asked
            assert {places[hit.id] for hit in hits.dense} == model, asked
            compared_at_all += len(model)
    index.close()
    assert compared_at_all > 50


@pytest.mark.parametrize("seed", range(4))
async def test_what_either_store_has_of_a_payload_is_shown_alike(seed: int, owner_dsn: str) -> None:
    random = Random(seed)
    payloads = [_an_object(random, 4) for _ in range(100)]
    async with await psycopg.AsyncConnection.connect(owner_dsn) as connection:
        rows = await connection.execute("SELECT unnest(%s::jsonb[])::text", (payloads,))
        kept = [text async for (text,) in rows]

    assert [_literals(text) for text in kept] == [_literals(payload) for payload in payloads]


def _literals(text: str) -> Any:
    """Parse what is shown, with the spelling of its numbers."""
    return json.loads(with_one_spelling(text), parse_int=str, parse_float=str)


def _an_object(random: Random, depth: int) -> str:
    names = random.sample(_NAMES, random.randint(1, 4))
    fields = (f"{json.dumps(name)}: {_a_value(random, depth - 1)}" for name in names)
    return "{" + ", ".join(fields) + "}"


def _a_value(random: Random, depth: int) -> str:
    match random.choice(["value", "value", "list", "object"]) if depth else "value":
        case "list":
            return f"[{', '.join(_a_value(random, depth - 1) for _ in range(random.randint(0, 3)))}]"
        case "object":
            return _an_object(random, depth)
        case _:
            return random.choice(_VALUES)


def _a_filter(random: Random, payload: str) -> dict[str, Any]:
    """Ask for a field that this payload has, or nearly has, as an object or with dots."""
    name, value = random.choice([*_fields(json.loads(payload)), (random.choice(_NAMES), None)])
    if random.random() < 0.4:
        value = json.loads(random.choice(_VALUES))
    first, dot, rest = name.partition(".")
    asked = {first: {rest: value}} if dot and random.random() < 0.5 else {name: value}
    if random.random() < 0.3:
        asked |= {"b": json.loads(random.choice(_VALUES))}
    return asked


def _has(payload: str, asked: dict[str, Any]) -> bool:
    held = list(_fields(json.loads(payload, parse_float=Decimal)))
    return all(
        any(name == other and _is_one(value, it) for other, it in held) for name, value in _fields(asked)
    )


def _fields(value: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, child in value.items():
        if isinstance(child, dict):
            yield from _fields(child, f"{above}{name}.")
        elif isinstance(child, list):
            yield from ((above + name, item) for item in child if not isinstance(item, list | dict))
        else:
            yield above + name, child


def _is_one(value: Any, other: Any) -> bool:
    numbers = [
        Decimal(str(each))
        for each in (value, other)
        if isinstance(each, int | float | Decimal) and not isinstance(each, bool)
    ]
    return (
        numbers[0] == numbers[1]
        if len(numbers) == 2
        else not numbers and (type(value), value) == (type(other), other)
    )
