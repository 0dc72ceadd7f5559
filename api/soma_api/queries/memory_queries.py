"""Reads memories from PostgreSQL: one, some, or page by page."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

from psycopg import sql

from soma_api.queries.database import Database
from soma_api.queries.deadlines import LIVING, Deadlines
from soma_api.queries.payload_path import has_fields
from soma_schemas.memories import EQUAL, SELECTED, Content, content_of
from soma_schemas.vectors.terms import Scalar

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

_EQUAL = " AND ".join(f"(%({name})s::text IS NULL OR {name} = %({name})s::text)" for name in EQUAL)

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
    """How a list is sorted; a minus says newest or greatest first."""

    UPDATED = "updated_at"
    UPDATED_DESCENDING = "-updated_at"
    CREATED = "created_at"
    CREATED_DESCENDING = "-created_at"
    OCCURRED = "occurred_at"
    OCCURRED_DESCENDING = "-occurred_at"
    IMPORTANCE = "importance"
    IMPORTANCE_DESCENDING = "-importance"

    @property
    def column(self) -> str:
        """Return the column that decides first; the id decides between equals."""
        return self.removeprefix("-")

    @property
    def descending(self) -> bool:
        """Say whether the greatest comes first."""
        return self.startswith("-")


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which memories a list holds; None asks nothing.

    Attributes:
        namespace_prefix: This namespace and all below it.
        allowed: What the reader may see at all, each with all below it.
        memory_ids: Only these.
        equal: Fields of `soma_schemas.memories.EQUAL`, and the value that each must have.
        tags: All of them.
        payload: Fields of the payload, by names joined with dots, and the value that each must have.
        coordinate_min: The low corner of a box of coordinates, as long as `coordinate_max`; both ends count.
    """

    namespace: str | None = None
    namespace_prefix: str | None = None
    allowed: Sequence[str] | None = None
    memory_ids: Sequence[UUID] | None = None
    equal: Mapping[str, str] = field(default_factory=dict)
    coordinate: Sequence[float] | None = None
    tags: Sequence[str] | None = None
    importance_min: float | None = None
    importance_max: float | None = None
    occurred_from: datetime | None = None
    occurred_before: datetime | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None
    updated_from: datetime | None = None
    updated_before: datetime | None = None
    payload: Mapping[str, Scalar] = field(default_factory=dict)
    coordinate_min: Sequence[float] | None = None
    coordinate_max: Sequence[float] | None = None


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

    async def page(
        self,
        tenant: str,
        filters: Filters,
        order: Order,
        *,
        after: tuple[Any, UUID] | None,
        limit: int,
        embeddings: bool = False,
    ) -> list[Memory]:
        """Return at most `limit` living memories in order.

        Args:
            tenant: Whose.
            filters: Which.
            order: In what order.
            after: The sorting value and the id of the row after which the page begins.
            limit: How many.
            embeddings: Whether to read their embeddings as well.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        values = _values(filters) | await self._deadlines.values(tenant)
        if filters.tags:
            few = await self._few_tagged(tenant, filters.tags)
            if few is not None:
                wanted = filters.memory_ids
                values["memory_ids"] = (
                    few if wanted is None else [each for each in wanted if each in set(few)]
                )
        values |= {"limit": limit, "embeddings": embeddings, "after_value": None, "after_id": None}
        if after is not None:
            values["after_value"], values["after_id"] = after
        rows = await self._database.rows(
            tenant, list_statement(order, first=after is None), values, prepare=False
        )
        return list(map(_memory, rows))

    async def _few_tagged(self, tenant: str, tags: Sequence[str]) -> list[UUID] | None:
        values = {"tags": list(tags), "most": _FEW_TAGGED}
        rows = await self._database.rows(tenant, _TAGGED, values, prepare=True)
        return None if len(rows) == _FEW_TAGGED else [memory_id for (memory_id,) in rows]


_TYPES: Mapping[str, LiteralString] = {
    "updated_at": "timestamptz",
    "created_at": "timestamptz",
    "occurred_at": "timestamptz",
    "importance": "float8",
}


@cache
def list_statement(order: Order, *, first: bool) -> sql.Composed:
    """Return the statement that reads a page in this order: the first one, or one after a row."""
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
    # The file is part of the package and holds no value of anybody's.
    text = (files("soma_api.queries") / "list_memories.sql").read_text("utf-8")
    return sql.SQL(text).format(
        columns=sql.SQL(_COLUMNS),
        living=sql.SQL(LIVING),
        equal=sql.SQL(_EQUAL),
        after=after,
        order=sql.SQL("{column} {direction}, memory_id {direction}").format(
            column=column, direction=direction
        ),
    )


def _memory(row: Sequence[Any]) -> Memory:
    memory_id, version, *values = row
    return Memory(memory_id, version, content_of(values))


def _values(filters: Filters) -> dict[str, Any]:
    coordinate_min, coordinate_max = filters.coordinate_min, filters.coordinate_max
    second = coordinate_min is not None and len(coordinate_min) > 1
    return {
        "namespace": filters.namespace,
        "namespace_prefix": filters.namespace_prefix,
        "allowed": _list(filters.allowed),
        "memory_ids": _list(filters.memory_ids),
        **{name: filters.equal.get(name) for name in EQUAL},
        "coordinate": _list(filters.coordinate),
        "tags": _list(filters.tags),
        "importance_min": filters.importance_min,
        "importance_max": filters.importance_max,
        "occurred_from": filters.occurred_from,
        "occurred_before": filters.occurred_before,
        "created_from": filters.created_from,
        "created_before": filters.created_before,
        "updated_from": filters.updated_from,
        "updated_before": filters.updated_before,
        "payload": has_fields(filters.payload),
        "min": _list(coordinate_min),
        "max": _list(coordinate_max),
        "min_1": coordinate_min[0] if coordinate_min else None,
        "max_1": coordinate_max[0] if coordinate_max else None,
        "min_2": coordinate_min[1] if coordinate_min and second else None,
        "max_2": coordinate_max[1] if coordinate_max and second else None,
    }


def _list(values: Sequence[Any] | None) -> list[Any] | None:
    return None if values is None else list(values)
