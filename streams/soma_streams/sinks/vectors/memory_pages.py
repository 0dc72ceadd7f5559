"""The records in PostgreSQL as what an index is filled from: states in the order of their keys."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from soma_schemas.groups import SinkGroup
from soma_schemas.memories import FIELDS
from soma_schemas.tables import COMMENT, require_unmarked
from soma_streams.delivery.state import MemoryState
from soma_streams.sinks.postgres.rows import whole_state
from soma_streams.sinks.sessions import Pool, Sessions
from soma_streams.sinks.statements import statement

BEFORE_ALL = ("", UUID(int=0))

_CHANGED_AT = 5 + tuple(FIELDS).index("updated_at")  # five columns of a page come before the fields

_COUNT = "SELECT count(*) FROM public.memories"
_WATERMARKS = """
SELECT partition, next_offset FROM public.sink_watermarks
WHERE consumer_group = %(group)s::text AND topic = %(topic)s::text AND epoch = %(epoch)s::integer
"""


class Recorded(NamedTuple):
    """A memory or a tombstone as PostgreSQL has it, and when it was changed or deleted."""

    state: MemoryState
    changed_at: datetime

    @property
    def key(self) -> tuple[str, UUID]:
        """Where it stands in the order of the keys."""
        return self.state.name


class Records:
    """Reads everything of every tenant, page by page.

    Args:
        pool: Connections of a login with role soma_sinks.
    """

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    async def require_live(self) -> None:
        """Refuse a database that is a point in time: what the log has since is not what follows it.

        Raises:
            MismatchError: It is.
            psycopg.Error: As the server or the connection tells it.
        """
        async with self._sessions.borrow() as connection:
            found = await connection.execute(COMMENT)
            require_unmarked(connection.info.dbname, await found.fetchone())

    async def count(self) -> int:
        """Return how many memories and tombstones there are.

        Raises:
            psycopg.Error: As the server or the connection tells it.
        """
        async with self._sessions.borrow() as connection:
            found = await connection.execute(_COUNT)
            return int((await found.fetchall())[0][0])

    async def watermarks(self, topic: str, epoch: int) -> Mapping[int, int]:
        """Return up to where each partition of a log is in the records; nothing of a partition that is not.

        Raises:
            psycopg.Error: As the server or the connection tells it.
        """
        async with self._sessions.borrow() as connection:
            found = await connection.execute(
                _WATERMARKS, {"group": SinkGroup.POSTGRES.value, "topic": topic, "epoch": epoch}
            )
            return dict(await found.fetchall())

    async def page(self, after: tuple[str, UUID], most: int) -> list[Recorded]:
        """Return the next memories and tombstones after a key; none means that there are no more.

        Raises:
            psycopg.Error: As the server or the connection tells it.
        """
        tenant, memory_id = after
        async with self._sessions.borrow() as connection, connection.cursor(binary=True) as cursor:
            await cursor.execute(
                statement("vectors/read_page"), {"tenant": tenant, "memory_id": memory_id, "most": most}
            )
            return [recorded(row) for row in await cursor.fetchall()]


def recorded(row: Sequence[Any]) -> Recorded:
    """Return what a row of `read_page` or `read_memories` holds."""
    return Recorded(whole_state(row), row[_CHANGED_AT])
