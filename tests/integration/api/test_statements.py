"""Every statement against the migrated database, as the login that runs it; and row-level security."""

import re
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from api_gateway import Gateway
from builders import A_MOMENT
from soma_api import watermark_feed
from soma_api.queries import (
    api_key_queries,
    dead_letter_queries,
    memory_queries,
    overview_queries,
    write_queries,
)
from soma_api.queries.filter_sql import SqlConditions
from soma_api.queries.filter_terms import (
    Axis,
    Either,
    Every,
    FieldIs,
    Has,
    IsMemory,
    Negated,
    NumberField,
    NumberRange,
    NumberWithin,
    OptionalField,
    PayloadHas,
    PayloadIs,
    PayloadWithin,
    Tagged,
    TimeField,
    TimeRange,
    TimeWithin,
)
from soma_api.queries.memory_queries import Order, list_statement, matched_statement
from soma_api.queries.nearness import Nearness
from soma_schemas.memories import EQUAL

_A_NUMBER, _A_TIME = NumberRange(at_least=0.5, below=0.7), TimeRange(above=A_MOMENT)
EVERY_TERM = Every(
    (
        *(FieldIs(name, ("a",)) for name in EQUAL),
        *(FieldIs(name, ("a", "b")) for name in EQUAL),
        Tagged(("a",)),
        Tagged(("a", "b")),
        IsMemory((UUID(int=1),)),
        *(
            NumberWithin(of, bounds)
            for of in (*NumberField, Axis(0))
            for bounds in (_A_NUMBER, NumberRange())
        ),
        *(TimeWithin(of, bounds) for of in TimeField for bounds in (_A_TIME, TimeRange())),
        *map(Has, OptionalField),
        PayloadIs("a.b", (1, None)),
        PayloadWithin("a", _A_NUMBER),
        PayloadHas("a"),
        Either((Negated(Tagged(("c",))), Either(()), Every(()))),
    )
)
_PLACEHOLDER = re.compile(r"%\((\w+)\)s(::\w+(?:\[\])?)?")


def _statements() -> dict[str, str]:
    found = {
        f"{module.__name__}.{name}": text
        for module in (
            api_key_queries,
            dead_letter_queries,
            memory_queries,
            overview_queries,
            write_queries,
            watermark_feed,
        )
        for name, text in vars(module).items()
        if isinstance(text, str) and re.match(r"\s*SELECT\b", text)
    }
    conditions = SqlConditions()
    where = conditions.met_by(EVERY_TERM)
    nearness = Nearness(16, where)
    for order in Order:
        for first in (True, False):
            found[f"list {order} {'first' if first else 'after'}"] = list_statement(
                order, where, first=first, nearness=nearness if order is Order.DISTANCE else None
            ).as_string()
    found["count of what is compared"] = nearness.count_statement().as_string()
    found["matched"] = matched_statement(SqlConditions().met_by(EVERY_TERM)).as_string()
    return found


STATEMENTS = _statements()


def test_the_statements_are_found() -> None:
    assert len(STATEMENTS) > 2 * len(Order) + 8


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_can_be_prepared_by_the_apis_login(api_dsn: str, name: str) -> None:
    numbers: dict[str, int] = {}

    def numbered(match: re.Match[str]) -> str:
        return f"${numbers.setdefault(match[1], len(numbers) + 1)}{match[2] or ''}"

    text = _PLACEHOLDER.sub(numbered, STATEMENTS[name])
    with psycopg.connect(api_dsn) as connection:
        connection.execute(sql.SQL("PREPARE checked AS ") + sql.SQL(text))


@pytest.mark.parametrize("name", STATEMENTS)
def test_every_parameter_is_cast(name: str) -> None:
    uncast = {match[1] for match in _PLACEHOLDER.finditer(STATEMENTS[name]) if match[2] is None}

    assert uncast == set()


def test_the_apis_login_sees_nothing_before_a_tenant_is_set(gateway: Gateway, api_dsn: str) -> None:
    gateway.given_memory()

    with psycopg.connect(api_dsn) as connection:
        assert connection.execute("SELECT count(*) FROM memories").fetchone() == (0,)


def test_a_tenant_is_set_for_one_transaction_only(gateway: Gateway, api_dsn: str) -> None:
    gateway.given_memory()

    with psycopg.connect(api_dsn, autocommit=True) as connection:
        with connection.transaction():
            connection.execute("SELECT set_config('soma.tenant', 'acme', true)")
            assert connection.execute("SELECT count(*) FROM memories").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM memories").fetchone() == (0,)
