"""Counts, as they are kept beside the rows, without what has ended: namespaces, and how much a tenant has."""

from collections.abc import Sequence
from dataclasses import dataclass

from soma_api.queries.database import Database
from soma_api.queries.deadlines import Deadlines, nearest_reach
from soma_schemas.namespaces import ancestors, contains

_OWN = """
AND (
    %(allowed)s::text[] IS NULL
    OR EXISTS (
        SELECT FROM unnest(%(allowed)s::text[]) AS own (prefix)
        WHERE namespace = own.prefix OR (namespace >= own.prefix || '/' AND namespace < own.prefix || '0')
    )
)
"""

# Memories that have ended and are still there: as a rule the sweeper has left none. Those with a deadline of
# their own are the first of their tenant in an index by tenant and deadline. Its words are used: a deadline
# itself opens the sweeper's index of all tenants, and the time of an answer would tell how much of others has
# ended. Those that a policy ends are looked for in each namespace alone, where those of each importance are
# the first of an index by change.
_ENDED = f"""(
    SELECT memory_id, namespace, kind FROM memories
    WHERE tenant = %(tenant)s::text
        AND NOT deleted
        AND coalesce(expires_at, 'infinity') <= %(now)s::timestamptz
        AND coalesce(expires_at, 'infinity') < 'infinity'
    UNION ALL
    SELECT due.memory_id, held.namespace, held.kind
    FROM (
        SELECT namespace, kind FROM namespace_counts
        WHERE tenant = %(tenant)s::text AND %(policy_kinds)s::text[] IS NOT NULL
        GROUP BY namespace, kind
        HAVING sum(number) > 0
        OFFSET 0
    ) AS held
    CROSS JOIN LATERAL ({nearest_reach("held.namespace", "held.kind")}) AS reach
    CROSS JOIN LATERAL
        soma_importances(%(tenant)s::text, held.namespace, held.kind) AS counted (hundredths)
    CROSS JOIN LATERAL (
        SELECT memory_id FROM memories
        WHERE tenant = %(tenant)s::text
            AND NOT deleted
            AND namespace = held.namespace
            AND kind = held.kind
            AND importance_hundredths = counted.hundredths
            AND updated_at <= soma_cutoff(
                %(now)s::timestamptz, reach.cutoff, reach.half_life, reach.lowest, reach.shortest,
                counted.hundredths
            )
            AND expires_at IS NULL
        OFFSET 0
    ) AS due
)"""  # noqa: S608  # as everywhere here: texts of our own

_COUNTED = f"""(
    SELECT namespace, kind, number FROM namespace_counts WHERE tenant = %(tenant)s::text
    UNION ALL
    SELECT namespace, kind, -1 FROM {_ENDED} AS ended
) AS counted"""  # noqa: S608

# Namespaces below the depth are counted at it, so that a tree of any size has an answer of bounded width.
_NAMESPACES = (
    f"""
SELECT
    array_to_string((string_to_array(namespace, '/'))[1:%(depth)s::integer], '/') AS path,
    sum(number)::bigint
FROM {_COUNTED}
WHERE (
        %(prefix)s::text IS NULL
        OR namespace = %(prefix)s::text
        OR (namespace >= %(prefix)s::text || '/' AND namespace < %(prefix)s::text || '0')
    )
    AND (
        %(suffix)s::text IS NULL
        OR right('/' || namespace, length(%(suffix)s::text) + 1) = '/' || %(suffix)s::text
    )
"""  # noqa: S608
    + _OWN
    + """
GROUP BY 1
HAVING sum(number) > 0
ORDER BY 1
LIMIT %(limit)s::integer
"""
)

_KINDS = (
    f"""
SELECT kind, sum(number)::bigint
FROM {_COUNTED}
WHERE true
"""  # noqa: S608
    + _OWN
    + """
GROUP BY kind
HAVING sum(number) > 0
"""
)

_NAMESPACE_COUNT = (
    f"""
SELECT count(*) FROM (
    SELECT FROM {_COUNTED} WHERE true
"""  # noqa: S608
    + _OWN
    + """
    GROUP BY namespace
    HAVING sum(number) > 0
) AS held
"""
)

# A link ends with either of its memories.
_OTHERS = f"""
SELECT counted, sum(number)::bigint
FROM (
    SELECT counted, number FROM tenant_counts WHERE tenant = %(tenant)s::text
    UNION ALL
    SELECT 'links', -count(DISTINCT (link.from_memory_id, link.link_type, link.to_memory_id))
    FROM {_ENDED} AS ended
    CROSS JOIN LATERAL (
        (
            SELECT from_memory_id, link_type, to_memory_id FROM memory_links
            WHERE tenant = %(tenant)s::text AND from_memory_id = ended.memory_id AND NOT deleted
            OFFSET 0
        )
        UNION ALL
        (
            SELECT from_memory_id, link_type, to_memory_id FROM memory_links
            WHERE tenant = %(tenant)s::text AND to_memory_id = ended.memory_id AND NOT deleted
            OFFSET 0
        )
    ) AS link
) AS held
GROUP BY counted
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class NamespaceCount:
    """A node of the tree.

    Attributes:
        memories: In the namespace and all below it.
    """

    namespace: str
    memories: int


@dataclass(frozen=True, slots=True)
class Tree:
    """Namespaces in the order of their paths.

    Attributes:
        truncated: There are more than were asked for.
    """

    nodes: tuple[NamespaceCount, ...]
    truncated: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """How much a tenant has, as far as the reader may see it.

    Attributes:
        links: None for a reader who sees only some namespaces: links are not kept by namespace.
        dead letters: Open ones; None likewise.
    """

    memories: int
    memories_by_kind: dict[str, int]
    namespaces: int
    links: int | None
    dead_letters: int | None


class OverviewQueries:
    """Questions about how much there is.

    Args:
        database: Where counts are kept.
        deadlines: Knows what has ended.
    """

    def __init__(self, database: Database, deadlines: Deadlines) -> None:
        self._database = database
        self._deadlines = deadlines

    async def namespaces(
        self,
        tenant: str,
        *,
        prefix: str | None,
        suffix: str | None,
        depth: int,
        allowed: Sequence[str] | None,
        limit: int,
    ) -> Tree:
        """Return the tree of namespaces that hold memories.

        Args:
            tenant: Whose.
            prefix: Only this namespace and all below it.
            suffix: Only namespaces that end in these segments.
            depth: Levels below the prefix that are told apart; what lies deeper is counted there.
            allowed: What the reader may see, each with all below it; None is everything.
            limit: Most nodes of the deepest level.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        above = len(prefix.split("/")) if prefix is not None else 0
        rows = await self._database.rows(
            tenant,
            _NAMESPACES,
            {
                "prefix": prefix,
                "suffix": suffix,
                "depth": above + depth,
                "allowed": None if allowed is None else list(allowed),
                "limit": limit + 1,
            }
            | await self._deadlines.values(tenant),
            prepare=False,
        )
        return tree(rows[:limit], prefix, truncated=len(rows) > limit)

    async def counts(self, tenant: str, allowed: Sequence[str] | None) -> Counts:
        """Return how much there is.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        ended = await self._deadlines.values(tenant)
        values = {"allowed": None if allowed is None else list(allowed)} | ended
        kinds = await self._database.rows(tenant, _KINDS, values, prepare=False)
        ((namespaces,),) = await self._database.rows(tenant, _NAMESPACE_COUNT, values, prepare=False)
        links = dead_letters = None
        if allowed is None:
            others: dict[str, int] = dict(await self._database.rows(tenant, _OTHERS, ended, prepare=False))
            links, dead_letters = others.get("links", 0), others.get("dead_letters", 0)
        by_kind: dict[str, int] = dict(kinds)
        return Counts(sum(by_kind.values()), by_kind, namespaces, links, dead_letters)


def tree(counted: Sequence[tuple[str, int]], prefix: str | None = None, *, truncated: bool = False) -> Tree:
    """Return every level of a tree from its prefix down, given the counts of its lowest level."""
    totals: dict[str, int] = {}
    for path, memories in counted:
        for node in ancestors(path):
            if prefix is None or contains(prefix, node):
                totals[node] = totals.get(node, 0) + memories
    ordered = sorted(totals.items(), key=lambda item: item[0].split("/"))
    return Tree(tuple(NamespaceCount(path, memories) for path, memories in ordered), truncated)
