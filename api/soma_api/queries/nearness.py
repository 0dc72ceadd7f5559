"""How memories are sorted by the distance of their coordinates: what is looked at, and how far away it is.

No index has distances of any number of dimensions, so all that lies where is asked is compared, and how many
that are has a bound.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString

from psycopg import sql

from soma_api.queries.filter_terms import Axis, Every, NumberWithin, Selection, conjuncts

# So many memories with coordinates are compared for a page.
MOST_COMPARED = 10_000

# PostgreSQL refuses squares that overflow, and those that become zero.
_FARTHEST = 1e150
_NEAREST = 1e-150

# The first dimensions stand in the index of coordinates, behind the namespace.
_INDEXED_AXES = 2

# Of a row of `memories` that lies where a list looks. Absent values are null and fold away when the statement
# is planned with them. A prefix is a range, because row-level security admits only leakproof operators to
# indexes: '0' is the character after '/', and the column's collation is "C".
PLACED: Final[LiteralString] = """(
    (%(namespace)s::text IS NULL OR namespace = %(namespace)s::text)
    AND (
        %(namespace_prefix)s::text IS NULL
        OR namespace = %(namespace_prefix)s::text
        OR (namespace >= %(namespace_prefix)s::text || '/' AND namespace < %(namespace_prefix)s::text || '0')
    )
    AND (
        %(allowed)s::text[] IS NULL
        OR EXISTS (
            SELECT FROM unnest(%(allowed)s::text[]) AS own (prefix)
            WHERE namespace = own.prefix
                OR (namespace >= own.prefix || '/' AND namespace < own.prefix || '0')
        )
    )
)"""

_COMPARED: Final[LiteralString] = """(
    SELECT {columns} FROM memories
    WHERE tenant = (SELECT %(tenant)s::text) AND coordinate IS NOT NULL AND {placed} AND {box}
    LIMIT %(most_compared)s::integer
)"""


@dataclass(frozen=True)
class Nearness:
    """What memories are sorted by distance among.

    Attributes:
        dimensions: Of the coordinate from which the distance is; others have none from it.
        box: In which they lie, as far as an index knows it; a condition.
    """

    dimensions: int
    box: sql.Composable

    def source(self) -> sql.Composed:
        """Return the rows of `memories` that are compared, each with its `distance`."""
        return sql.SQL(
            "(SELECT compared.*, {distance} AS distance FROM {compared} AS compared"
            " WHERE cardinality(coordinate) = {dimensions}) AS memories"
        ).format(
            distance=self._distance(),
            compared=self._compared(sql.SQL("*")),
            dimensions=sql.Literal(self.dimensions),
        )

    def count_statement(self) -> sql.Composed:
        """Return the statement that counts what would be compared, and one more at most."""
        return sql.SQL("SELECT count(*) FROM {} AS compared").format(self._compared(sql.SQL("")))

    def values(self, near: Sequence[float]) -> dict[str, Any]:
        """Return the values that both statements name, given the coordinate from which the distance is."""
        return {"most_compared": MOST_COMPARED + 1} | {
            f"near{number}": max(-_FARTHEST, min(_FARTHEST, axis)) for number, axis in enumerate(near)
        }

    def _compared(self, columns: sql.Composable) -> sql.Composed:
        return sql.SQL(_COMPARED).format(columns=columns, placed=sql.SQL(PLACED), box=self.box)

    def _distance(self) -> sql.Composed:
        squares = [
            sql.SQL("CASE WHEN abs({apart}) < {nearest} THEN 0 ELSE {apart} * {apart} END").format(
                apart=sql.SQL(
                    "(least({farthest}, greatest(-{farthest}, coordinate[{axis}])) - {near})"
                ).format(
                    farthest=sql.Literal(_FARTHEST) + sql.SQL("::float8"),
                    axis=sql.Literal(number + 1),
                    near=sql.Placeholder(f"near{number}") + sql.SQL("::float8"),
                ),
                nearest=sql.Literal(_NEAREST) + sql.SQL("::float8"),
            )
            for number in range(self.dimensions)
        ]
        return sql.SQL("sqrt({})").format(sql.SQL(" + ").join(squares))


def indexed_box(wanted: Selection) -> Every:
    """Return what a selection says of coordinates that the index narrows by: nothing across namespaces."""
    if wanted.namespace is None:
        return Every(())
    return Every(
        tuple(
            each
            for each in conjuncts(wanted.where)
            if isinstance(each, NumberWithin) and isinstance(each.of, Axis) and each.of.number < _INDEXED_AXES
        )
    )
