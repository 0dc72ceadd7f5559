"""Reads memories from PostgreSQL: one, some, or page by page."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

from psycopg import sql

from soma_api.problems import ListTooCostlyError
from soma_api.queries.database import Database
from soma_api.queries.deadlines import LIVING, Deadlines
from soma_api.queries.filter_sql import SqlConditions
from soma_api.queries.filter_terms import Every, IsMemory, Selection, Tagged, Term, conjuncts
from soma_api.queries.nearness import MOST_COMPARED, PLACED, Nearness, indexed_box
from soma_schemas.memories import SELECTED, Content, content_of

# As many ids as are joined faster than a list is filtered in its order.
_FEW_TAGGED = 1000

# The columns of a memory; its embedding where it was asked for.
_COLUMNS = "memory_id, version, " + SELECTED.replace(
    "embedding,", "CASE WHEN %(embeddings)s::boolean THEN embedding END,", 1
)

_GET = f"""
SELECT {_COLUMNS}
FROM (
    SELECT * FROM memories WHERE tenant = %(tenant)s::text AND memory_id = %(memory_id)s::uuid
    OFFSET 0 -- that it lives is asked outside, where it cannot open the indexes of the living by tenant alone
) AS held
WHERE NOT deleted AND {LIVING}
"""  # noqa: S608  # columns of our own

_WHEREABOUTS = f"""
SELECT memory_id, namespace, version, NOT deleted AND NOT {LIVING}
FROM memories
WHERE tenant = %(tenant)s::text AND memory_id = ANY (%(memory_ids)s::uuid[])
"""  # noqa: S608  # a condition of our own

# Of a few memories, in no order.
_GET_SOME = f"""
SELECT {_COLUMNS}
FROM unnest(%(memory_ids)s::uuid[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT * FROM memories WHERE tenant = %(tenant)s::text AND memory_id = wanted.id
    OFFSET 0 -- as above
) AS held
WHERE NOT deleted AND {LIVING}
"""  # noqa: S608  # columns of our own

_TAGGED = "SELECT soma_tagged_memories(%(tags)s::text[], %(most)s::integer)"


class Memory(NamedTuple):
    """A living memory as a store has it, with its embedding where that was asked for."""

    memory_id: UUID
    version: int
    content: Content


class Order(StrEnum):
    """How a list is sorted; a minus says newest or greatest first. Distance is from a coordinate."""

    UPDATED = "updated_at"
    UPDATED_DESCENDING = "-updated_at"
    CREATED = "created_at"
    CREATED_DESCENDING = "-created_at"
    OCCURRED = "occurred_at"
    OCCURRED_DESCENDING = "-occurred_at"
    IMPORTANCE = "importance"
    IMPORTANCE_DESCENDING = "-importance"
    DISTANCE = "distance"

    @property
    def column(self) -> str:
        """Return the column that decides first; the id decides between equals."""
        return self.removeprefix("-")

    @property
    def descending(self) -> bool:
        """Say whether the greatest comes first."""
        return self.startswith("-")


class Listed(NamedTuple):
    """A memory of a list.

    Attributes:
        memory: The memory.
        sorted_by: Its value in the order of the list.
    """

    memory: Memory
    sorted_by: Any


@dataclass(frozen=True)
class Whereabouts:
    """Where a memory lies.

    Attributes:
        namespace: None for the tombstone of a deleted memory.
        version: Of its last change.
        expired: Whether its time is over, and it is still there.
    """

    namespace: str | None
    version: int
    expired: bool


class MemoryQueries:
    """Questions about memories. One whose time is over is not there, whatever still lies in the table.

    Args:
        database: Where they are.
        deadlines: Knows what has ended.
    """

    def __init__(self, database: Database, deadlines: Deadlines) -> None:
        self._database = database
        self._deadlines = deadlines

    async def get(self, tenant: str, memory_id: UUID, *, embeddings: bool = False) -> Memory | None:
        """Return a living memory, with its embedding when that is asked for, or None.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        values = {"memory_id": memory_id, "embeddings": embeddings} | await self._deadlines.values(tenant)
        rows = await self._database.rows(tenant, _GET, values, prepare=True)
        return _memory(rows[0]) if rows else None

    async def whereabouts(self, tenant: str, memory_ids: Sequence[UUID]) -> dict[UUID, Whereabouts]:
        """Return where these memories lie; one that was never seen is missing.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        values = {"memory_ids": list(memory_ids)} | await self._deadlines.values(tenant)
        rows = await self._database.rows(tenant, _WHEREABOUTS, values, prepare=True)
        return {memory_id: Whereabouts(*found) for memory_id, *found in rows}

    async def some(self, tenant: str, memory_ids: Collection[UUID]) -> dict[UUID, Memory]:
        """Return the living ones among these memories, without their embeddings.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        values = {"memory_ids": list(memory_ids), "embeddings": False} | await self._deadlines.values(tenant)
        rows = await self._database.rows(tenant, _GET_SOME, values, prepare=True)
        return {memory.memory_id: memory for memory in map(_memory, rows)}

    async def matched(
        self, tenant: str, memory_ids: Collection[UUID], where: Term
    ) -> dict[UUID, tuple[Memory, bool]]:
        """Return the living ones among these memories, as `some` does, and whether a term is true of each.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        conditions = SqlConditions()
        statement = matched_statement(conditions.met_by(where))
        values = {"memory_ids": list(memory_ids), "embeddings": False} | conditions.values
        values |= await self._deadlines.values(tenant)
        rows = await self._database.rows(tenant, statement, values, prepare=False)
        found = [(_memory(row), met) for met, *row in rows]
        return {memory.memory_id: (memory, met) for memory, met in found}

    async def page(
        self,
        tenant: str,
        wanted: Selection,
        order: Order,
        *,
        near: Sequence[float] | None = None,
        after: tuple[Any, UUID] | None,
        limit: int,
        embeddings: bool = False,
    ) -> list[Listed]:
        """Return at most `limit` living memories in order.

        Args:
            tenant: Whose.
            wanted: Which.
            order: In what order.
            near: For the order by distance, the coordinate from which it is; otherwise None.
            after: The sorting value and the id of the row after which the page begins.
            limit: How many.
            embeddings: Whether to read their embeddings as well.

        Raises:
            ListTooCostlyError: It is ordered by distance, and too many memories would have to be looked at.
            StoreUnavailableError: The database does not answer.
        """
        where = wanted.where
        conditions = SqlConditions()
        values = _places(wanted) | {"limit": limit, "embeddings": embeddings}
        nearness = None
        if near is not None:
            nearness = Nearness(len(near), conditions.met_by(indexed_box(wanted)))
            values |= nearness.values(near)
            await self._check_count(tenant, nearness, values | conditions.values)
        elif tags := _all_tagged(where):
            few = await self._few_tagged(tenant, tags)
            where = where if few is None else Every((IsMemory(tuple(few)), *where.terms))
        statement = list_statement(order, conditions.met_by(where), first=after is None, nearness=nearness)
        values |= conditions.values | await self._deadlines.values(tenant)
        if after is not None:
            values["after_value"], values["after_id"] = after
        rows = await self._database.rows(tenant, statement, values, prepare=False)
        return [Listed(_memory(row), sorted_by) for sorted_by, *row in rows]

    async def _check_count(self, tenant: str, nearness: Nearness, values: Mapping[str, Any]) -> None:
        ((count,),) = await self._database.rows(tenant, nearness.count_statement(), values, prepare=False)
        if count > MOST_COMPARED:
            raise ListTooCostlyError(f"more than {MOST_COMPARED:,} memories lie where it would have to look")

    async def _few_tagged(self, tenant: str, tags: Sequence[str]) -> list[UUID] | None:
        values = {"tags": list(tags), "most": _FEW_TAGGED}
        rows = await self._database.rows(tenant, _TAGGED, values, prepare=True)
        return None if len(rows) == _FEW_TAGGED else [memory_id for (memory_id,) in rows]


_TYPES: Mapping[str, LiteralString] = {
    "updated_at": "timestamptz",
    "created_at": "timestamptz",
    "occurred_at": "timestamptz",
    "importance": "float8",
    "distance": "float8",
}


def list_statement(
    order: Order, where: sql.Composable, *, first: bool, nearness: Nearness | None = None
) -> sql.Composed:
    """Return the statement that reads a page in this order: the first one, or one after a row.

    Args:
        order: Of the rows.
        where: What they meet, as `SqlConditions` says it.
        first: Whether it is the first page.
        nearness: For the order by distance, what it is measured by; otherwise None.
    """
    column = sql.Identifier(order.column)
    direction = sql.SQL("DESC") if order.descending else sql.SQL("ASC")
    after: sql.Composable = sql.SQL("true")
    if not first:
        after = sql.SQL(
            "({column}, memory_id) {beyond} (%(after_value)s::{type}, %(after_id)s::uuid)"
        ).format(
            column=column,
            beyond=sql.SQL("<") if order.descending else sql.SQL(">"),
            type=sql.SQL(_TYPES[order.column]),
        )
    return sql.SQL(_list_text()).format(
        sorting=column,
        columns=sql.SQL(_COLUMNS),
        source=sql.Identifier("memories") if nearness is None else nearness.source(),
        placed=sql.SQL(PLACED),
        living=sql.SQL(LIVING),
        where=where,
        after=after,
        order=sql.SQL("{column} {direction}, memory_id {direction}").format(
            column=column, direction=direction
        ),
    )


def matched_statement(where: sql.Composable) -> sql.Composed:
    """Return the statement that reads some memories, each with whether it meets a condition.

    Args:
        where: What they meet, as `SqlConditions` says it.
    """
    return sql.SQL("SELECT ({where}) IS TRUE, {some}").format(
        where=where, some=sql.SQL(_GET_SOME.removeprefix("\nSELECT "))
    )


@cache
def _list_text() -> LiteralString:
    # The file is part of the package and holds no value of anybody's.
    text: LiteralString = (files("soma_api.queries") / "list_memories.sql").read_text("utf-8")
    return text


def _memory(row: Sequence[Any]) -> Memory:
    memory_id, version, *values = row
    return Memory(memory_id, version, content_of(values))


def _places(wanted: Selection) -> dict[str, Any]:
    return {
        "namespace": wanted.namespace,
        "namespace_prefix": wanted.namespace_prefix,
        "allowed": None if wanted.allowed is None else list(wanted.allowed),
    }


def _all_tagged(where: Every) -> list[str]:
    return [tag for each in conjuncts(where) if isinstance(each, Tagged) for tag in _only(each.tags)]


def _only(values: Sequence[str]) -> Sequence[str]:
    return values if len(values) == 1 else ()
