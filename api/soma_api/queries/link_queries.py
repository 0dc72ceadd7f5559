"""Reads links between living memories from PostgreSQL: those of some memories, or page by page."""

from collections.abc import Collection, Sequence
from enum import StrEnum
from typing import LiteralString, NamedTuple
from uuid import UUID

from soma_api.queries.database import Database
from soma_api.queries.deadlines import LIVING, Deadlines

# Through the primary key, and through the index by target.
_LINKS = f"""
SELECT link.from_memory_id, link.to_memory_id, link.link_type, link.weight, near.id, link.other, namespace
FROM unnest(%(memory_ids)s::uuid[]) AS near (id)
CROSS JOIN LATERAL (
    (
        SELECT * FROM (
            SELECT from_memory_id, to_memory_id, link_type, weight, to_memory_id AS other FROM memory_links
            WHERE tenant = %(tenant)s::text AND from_memory_id = near.id AND NOT deleted
            OFFSET 0 -- nothing asked outside of it can open an index by tenant and type
        ) AS outgoing
        WHERE %(outgoing)s::boolean
            AND (%(types)s::text[] IS NULL OR link_type = ANY (%(types)s::text[]))
            AND weight >= %(min_weight)s::float8
        LIMIT %(most)s::integer
    )
    UNION ALL
    (
        SELECT * FROM (
            SELECT from_memory_id, to_memory_id, link_type, weight, from_memory_id AS other FROM memory_links
            WHERE tenant = %(tenant)s::text AND to_memory_id = near.id AND NOT deleted
            OFFSET 0 -- as above
        ) AS incoming
        WHERE %(incoming)s::boolean
            AND (%(types)s::text[] IS NULL OR link_type = ANY (%(types)s::text[]))
            AND weight >= %(min_weight)s::float8
            AND NOT (%(outgoing)s::boolean AND from_memory_id = near.id)
        LIMIT %(most)s::integer
    )
) AS link
CROSS JOIN LATERAL (
    SELECT namespace, kind, expires_at, updated_at, importance_hundredths, memories.deleted FROM memories
    WHERE tenant = %(tenant)s::text AND memory_id = link.other
    OFFSET 0 -- that it lives is asked outside, where it cannot open the indexes of the living by tenant alone
) AS held
WHERE NOT held.deleted AND {LIVING}
LIMIT %(most)s::integer
"""  # noqa: S608  # a condition of our own

_LIVES = f"""(
    SELECT namespace FROM (
        SELECT namespace, kind, expires_at, updated_at, importance_hundredths, memories.deleted FROM memories
        WHERE tenant = %(tenant)s::text AND memory_id = {{}}
        OFFSET 0
    ) AS held
    WHERE NOT held.deleted AND {LIVING}
)"""  # noqa: S608  # a condition of our own

_PAGE = f"""
SELECT from_memory_id, to_memory_id, link_type, weight, {_LIVES.format("from_memory_id")},
    {_LIVES.format("to_memory_id")}
FROM (
    SELECT from_memory_id, to_memory_id, link_type, weight FROM memory_links
    WHERE tenant = %(tenant)s::text AND NOT deleted
        AND (from_memory_id, link_type, to_memory_id)
            > (%(after_from)s::uuid, %(after_type)s::text, %(after_to)s::uuid)
    ORDER BY from_memory_id, link_type, to_memory_id
    LIMIT %(limit)s::integer
) AS link
ORDER BY from_memory_id, link_type, to_memory_id
"""  # noqa: S608  # conditions of our own


def _of_one(wanted: LiteralString, of_type: LiteralString) -> LiteralString:
    # Each leg is read in the order of an index. A link of a memory to itself belongs to the first.
    return f"""
SELECT incoming, from_memory_id, to_memory_id, link_type, weight, {_LIVES.format("other")}
FROM (
    SELECT leg.* FROM {wanted} CROSS JOIN LATERAL (
        (
            SELECT false AS incoming, from_memory_id, to_memory_id, link_type, weight, to_memory_id AS other
            FROM memory_links
            WHERE %(outgoing)s::boolean AND tenant = %(tenant)s::text
                AND from_memory_id = %(memory_id)s::uuid AND NOT deleted AND {of_type}
                AND (link_type, to_memory_id) > (%(outgoing_type)s::text, %(outgoing_other)s::uuid)
            ORDER BY link_type, to_memory_id
            LIMIT %(limit)s::integer
        )
        UNION ALL
        (
            SELECT true, from_memory_id, to_memory_id, link_type, weight, from_memory_id
            FROM memory_links
            WHERE %(incoming)s::boolean AND tenant = %(tenant)s::text
                AND to_memory_id = %(memory_id)s::uuid AND NOT deleted AND {of_type}
                AND (link_type, from_memory_id) > (%(incoming_type)s::text, %(incoming_other)s::uuid)
                AND NOT (%(both)s::boolean AND from_memory_id = to_memory_id)
            ORDER BY link_type, from_memory_id
            LIMIT %(limit)s::integer
        )
    ) AS leg
    ORDER BY incoming, link_type, other
    LIMIT %(limit)s::integer
) AS link
ORDER BY incoming, link_type, other
"""  # noqa: S608  # conditions of our own


_OF_ONE = _of_one("(SELECT) AS wanted", "true")
_OF_ONE_BY_TYPE = _of_one("unnest(%(types)s::text[]) AS wanted (type)", "link_type = wanted.type")

# Before every link: an id of zeros belongs to no memory.
BEGINNING = (UUID(int=0), "", UUID(int=0))


class Direction(StrEnum):
    """Which links of a memory: those that begin there, those that end there, or both."""

    OUT = "out"
    IN = "in"
    BOTH = "both"

    @property
    def reversed(self) -> "Direction":
        """The same links, looked at from their other ends."""
        return {Direction.OUT: Direction.IN, Direction.IN: Direction.OUT}.get(self, self)


class Link(NamedTuple):
    """An edge between two memories."""

    from_memory_id: UUID
    to_memory_id: UUID
    type: str
    weight: float


class LinkPlace(NamedTuple):
    """Where a link stands among those of a memory: those that begin there come first.

    Attributes:
        incoming: Whether it ends at the memory.
        other: The other end.
    """

    incoming: bool
    type: str
    other: UUID


FIRST_PLACE = LinkPlace(incoming=False, type="", other=UUID(int=0))


class NextLink(NamedTuple):
    """An edge of a page of a memory's.

    Attributes:
        link: The edge.
        place: Where the page after it begins.
        namespace: In which the other end lies; None where that does not live.
    """

    link: Link
    place: LinkPlace
    namespace: str | None


class LinkOf(NamedTuple):
    """An edge of a memory that was asked about, to one that lives.

    Attributes:
        link: The edge.
        near: The end that was asked about.
        other: The other end; the same memory where it is linked to itself.
        namespace: In which `other` lies.
    """

    link: Link
    near: UUID
    other: UUID
    namespace: str


class ListedLink(NamedTuple):
    """An edge of a list; a namespace is None where that end does not live."""

    link: Link
    from_namespace: str | None
    to_namespace: str | None


class LinkQueries:
    """Questions about links. One whose other end has gone or ended is not there.

    Args:
        database: Where they are.
        deadlines: Knows what has ended.
    """

    def __init__(self, database: Database, deadlines: Deadlines) -> None:
        self._database = database
        self._deadlines = deadlines

    async def of(
        self,
        tenant: str,
        memory_ids: Collection[UUID],
        *,
        most: int,
        direction: Direction = Direction.BOTH,
        types: Sequence[str] | None = None,
        min_weight: float = 0.0,
    ) -> list[LinkOf]:
        """Return edges of some memories, in no order.

        Args:
            tenant: Whose.
            memory_ids: Which; whether they live themselves is not asked.
            most: At most so many.
            direction: Those that begin or end there, or both.
            types: Of one of these types; None is any.
            min_weight: At least so heavy.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        values = {
            "memory_ids": list(memory_ids),
            "outgoing": direction is not Direction.IN,
            "incoming": direction is not Direction.OUT,
            "types": None if types is None else list(types),
            "min_weight": min_weight,
            "most": most,
        } | await self._deadlines.values(tenant)
        rows = await self._database.rows(tenant, _LINKS, values, prepare=True)
        return [LinkOf(Link(*row[:4]), *row[4:]) for row in rows]

    async def of_one(
        self,
        tenant: str,
        memory_id: UUID,
        after: LinkPlace,
        limit: int,
        *,
        direction: Direction = Direction.BOTH,
        types: Sequence[str] | None = None,
    ) -> list[NextLink]:
        """Return the next edges of a memory: those that begin there, then those that end there.

        Args:
            tenant: Whose.
            memory_id: Which; whether it lives itself is not asked.
            after: The place of the edge before; `FIRST_PLACE` for the first ones.
            limit: At most so many.
            direction: Those that begin or end there, or both.
            types: Of one of these types; None is any.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        there = after.type, after.other
        outgoing_from = incoming_from = FIRST_PLACE.type, FIRST_PLACE.other
        if after.incoming:
            incoming_from = there
        else:
            outgoing_from = there
        values = {
            "memory_id": memory_id,
            "outgoing": direction is not Direction.IN and not after.incoming,
            "outgoing_type": outgoing_from[0],
            "outgoing_other": outgoing_from[1],
            "incoming": direction is not Direction.OUT,
            "incoming_type": incoming_from[0],
            "incoming_other": incoming_from[1],
            "both": direction is Direction.BOTH,
            "types": None if types is None else list(dict.fromkeys(types)),
            "limit": limit,
        } | await self._deadlines.values(tenant)
        statement = _OF_ONE if types is None else _OF_ONE_BY_TYPE
        rows = await self._database.rows(tenant, statement, values, prepare=True)
        found = []
        for incoming, *edge, namespace in rows:
            link = Link(*edge)
            other = link.from_memory_id if incoming else link.to_memory_id
            found.append(NextLink(link, LinkPlace(incoming, link.type, other), namespace))
        return found

    async def page(self, tenant: str, after: tuple[UUID, str, UUID], limit: int) -> list[ListedLink]:
        """Return the next edges of a tenant, ordered by where they begin, type, and where they end.

        Args:
            tenant: Whose.
            after: Begin, type and end of the edge before; `BEGINNING` for the first ones.
            limit: At most so many.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        after_from, after_type, after_to = after
        values = {
            "after_from": after_from,
            "after_type": after_type,
            "after_to": after_to,
            "limit": limit,
        } | await self._deadlines.values(tenant)
        rows = await self._database.rows(tenant, _PAGE, values, prepare=True)
        return [ListedLink(Link(*row[:4]), *row[4:]) for row in rows]
