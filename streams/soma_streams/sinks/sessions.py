"""Database sessions that take the rows of a batch as one parameter: an array of a row type.

For a large batch this costs what a binary COPY into a temporary table costs, and for a single event a
quarter of it: no table is emptied at every commit, and a batch is one message in a pipeline. The row types
live as long as the session, so a program has the fields that it was written for, whatever a later migration
adds.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any, NamedTuple, get_type_hints
from uuid import UUID
from weakref import WeakKeyDictionary

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow
from psycopg.types.composite import CompositeInfo
from psycopg_pool import AsyncConnectionPool

from soma_schemas.tables.layout import READ_LAYOUT, require_layout
from soma_streams.sinks.binary_encoding import (
    NO_ELEMENTS,
    Elements,
    Encoded,
    EncodedDumper,
    database_type,
    encode_rows,
    row_encoder,
)

Connection = psycopg.AsyncConnection[TupleRow]
Pool = AsyncConnectionPool[Connection]

# What a field of a row is in Python, and the type that PostgreSQL has for it.
Text = Annotated[str, "text"]
TextArray = Annotated[Sequence[str], "text[]"]
Uuid = Annotated[UUID, "uuid"]
UuidArray = Annotated[Sequence[UUID], "uuid[]"]
Integer = Annotated[int, "bigint"]
Boolean = Annotated[bool, "boolean"]
Double = Annotated[float, "double precision"]
DoubleArray = Annotated[Sequence[float], "double precision[]"]
RealArray = Annotated[tuple[float, ...], "real[]"]
Moment = Annotated[datetime, "timestamptz"]
Json = Annotated[str | bytes, "jsonb"]


class RowType(NamedTuple):
    """A kind of row.

    Attributes:
        name: What statements call it, in schema `pg_temp`.
        row: A named tuple whose fields are annotated with the types above.
    """

    name: str
    row: type[tuple[Any, ...]]


class Sessions:
    """Lends connections whose sessions know some row types.

    Args:
        pool: Connections of a login with role soma_sinks, straight to the server: settings and row types stay
            in each session, which a pooler between them would mix up. Whoever shares the pool meets them too:
            the time zone is UTC, every statement commits by itself, and no table is read whole that has an
            index for it.
        row_types: What statements take as parameters.
    """

    def __init__(self, pool: Pool, *row_types: RowType) -> None:
        self._pool = pool
        self._row_types = row_types
        self._encoders = {each.name: row_encoder(each.row) for each in row_types}
        self._taught: WeakKeyDictionary[Connection, dict[str, int]] = WeakKeyDictionary()

    @asynccontextmanager
    async def borrow(self) -> AsyncIterator[Connection]:
        """Lend a connection that commits each statement by itself, unless a transaction is opened on it.

        It goes back clean after an error, or is replaced by the pool.
        """
        async with self._pool.connection() as connection:
            if connection not in self._taught:
                await connection.set_autocommit(True)
                # Times come back in the session's zone, in which the last ones of year 9999 would overflow.
                await connection.execute("SET TIME ZONE 'UTC'")
                # A plan is kept from when a table was empty, and must not read the whole of it later.
                await connection.execute("SET enable_seqscan = off")
                self._taught[connection] = await _teach(connection, self._row_types)
            yield connection

    async def check_tables(self) -> None:
        """Return when the tables are as the migrations made them.

        Raises:
            MismatchError: They are not: whoever changed them made them refuse rows, or take fewer.
            psycopg.Error: As the server or the connection tells it.
        """
        async with self.borrow() as connection:
            lines = await connection.execute(READ_LAYOUT, prepare=False)
            require_layout([row[0] for row in await lines.fetchall()])

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lend a connection in a transaction whose statements go to the server together.

        psycopg's own transaction would wait for the server at its begin and at its end, which is a third of
        the time of a small one. After an error the pool rolls back what is open.
        """
        async with self.borrow() as connection, connection.pipeline():
            await connection.execute("BEGIN")
            yield connection
            await connection.execute("COMMIT")

    def parameter(
        self,
        connection: Connection,
        name: str,
        rows: Sequence[tuple[Any, ...]],
        more: Elements = NO_ELEMENTS,
    ) -> Encoded:
        """Return rows as a parameter for a statement on a borrowed connection.

        Args:
            connection: That one and no other.
            name: Of the row type that they are of.
            rows: The rows.
            more: Rows of the same type that are packed already, and come first.

        Raises:
            psycopg.DataError: A value can be in no column of its type.
        """
        return encode_rows(self._encoders[name], rows, self._taught[connection][name], more)


async def _teach(connection: Connection, row_types: tuple[RowType, ...]) -> dict[str, int]:
    """Make the row types in a session, and return the number that each has there."""
    connection.adapters.register_dumper(Encoded, EncodedDumper)
    numbers: dict[str, int] = {}
    for name, row in row_types:
        identifier = sql.Identifier("pg_temp", name)
        fields = sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(field), sql.SQL(database_type(hint)[0]))
            for field, hint in get_type_hints(row, include_extras=True).items()
        )
        # Dropped first, because an earlier try may have been interrupted half-way.
        await connection.execute(sql.SQL("DROP TYPE IF EXISTS {}").format(identifier))
        await connection.execute(sql.SQL("CREATE TYPE {} AS ({})").format(identifier, fields))
        info = await CompositeInfo.fetch(connection, identifier)
        if info is None:
            raise RuntimeError(f"the session has lost its row type {name}")
        numbers[name] = info.oid
    return numbers
