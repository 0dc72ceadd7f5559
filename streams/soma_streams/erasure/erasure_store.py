"""What the eraser asks of PostgreSQL: what is selected, to clear it, and whether any is left."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import class_row

from soma_schemas.events import ErasureScope
from soma_schemas.groups import SinkGroup
from soma_streams.erasure import key_destruction
from soma_streams.erasure.erasure_state import Edge, Erasure, ErasureState, Target, WaitsFor
from soma_streams.replay.stored_dead_letters import StoredDeadLetter
from soma_streams.sinks.sessions import Connection, Pool, Sessions

_LEADER = {"key": 0x736F6D612D657261}  # "soma-era"

_COLUMNS = """
tenant, request_id, scope, selector, selector_sha256, actor, requested_at, accepted_at, before_versions,
state, waits_for, memories, history_rows, links, dead_letters, outbox_rows, notices, data_keys, index_points,
index_points_left, receipt
"""
_OPEN = f"SELECT {_COLUMNS} FROM erasures WHERE state <> 'completed' ORDER BY accepted_at, request_id"  # noqa: S608
_ONE = f"""
SELECT {_COLUMNS} FROM erasures WHERE tenant = %(tenant)s::text AND request_id = %(request_id)s::uuid
"""  # noqa: S608  # the columns above

# Which rows a scope selects, by the table that they are of; a namespace with all below it.
_WITHIN: Mapping[ErasureScope, LiteralString] = {
    ErasureScope.SUBJECT: "subject = %(selector)s::text",
    ErasureScope.MEMORY: "memory_id = %(selector)s::uuid",
    ErasureScope.NAMESPACE: (
        "(namespace = %(selector)s::text OR "
        "(namespace >= %(selector)s::text || '/' AND namespace < %(selector)s::text || '0'))"
    ),
    ErasureScope.TENANT: "true",
}
_SAID_WITHIN = {**_WITHIN, ErasureScope.SUBJECT: "content ->> 'subject' = %(selector)s::text"}
_QUEUED_WITHIN = {
    **_SAID_WITHIN,
    ErasureScope.NAMESPACE: _WITHIN[ErasureScope.NAMESPACE].replace("namespace", "(content ->> 'namespace')"),
}
# Older than the request. What lies in a partition that the log did not have then is newer.
_BEFORE = "version < coalesce((%(before)s::bigint[])[partition + 1], 0)"
# What decides whether a memory is one of those that were stored before: its last word on whom it is about, or
# else the last that said all of it.
_DECIDES = dict.fromkeys(ErasureScope, "event_type = 'MemoryStored'") | {
    ErasureScope.SUBJECT: "content ? 'subject'"
}

_NOT_ERASED_YET = "num_nonnulls(content, namespace, actor) > 0"
_CLEARED = "content = NULL, namespace = NULL, actor = NULL"


def _of(table: str, condition: str) -> str:
    for column in ("subject", "memory_id", "namespace"):
        condition = condition.replace(f"{column} ", f"{table}.{column} ")
    return condition


_LIVING = {
    scope: f"""
    SELECT held.memory_id, held.namespace, held.version
    FROM memories AS held
    LEFT JOIN LATERAL (
        SELECT partition, version FROM memory_history
        WHERE tenant = held.tenant AND memory_id = held.memory_id
            AND outcome = 'applied' AND {_DECIDES[scope]}
        ORDER BY version DESC
        LIMIT 1
    ) AS decided ON true
    WHERE held.tenant = %(tenant)s::text AND NOT held.deleted AND {_of("held", _WITHIN[scope])}
        AND (
            decided.version IS NULL
            OR decided.version < coalesce((%(before)s::bigint[])[decided.partition + 1], 0)
        )
        AND (%(after)s::uuid IS NULL OR held.memory_id > %(after)s::uuid)
    ORDER BY held.memory_id
    LIMIT %(limit)s::integer
    """  # noqa: S608  # the conditions above
    for scope in ErasureScope
}
_NOTE_TARGETS = """
INSERT INTO erasure_targets AS held (tenant, request_id, memory_id, namespace, version)
SELECT %(tenant)s::text, %(request_id)s::uuid, found.*
FROM unnest(%(memory_ids)s::uuid[], %(namespaces)s::text[], %(versions)s::bigint[]) AS found
ON CONFLICT (tenant, request_id, memory_id) DO UPDATE SET
    namespace = EXCLUDED.namespace, version = GREATEST(held.version, EXCLUDED.version)
"""
# What an erasure had deleted, where the log has deleted it again.
_RECALL_TARGETS = """
INSERT INTO erasure_targets AS held (tenant, request_id, memory_id, namespace, version)
SELECT tenant, %(request_id)s::uuid, memory_id, max(namespace), max(version) FROM memory_history
WHERE tenant = %(tenant)s::text AND actor = %(deleter)s::text AND event_type = 'MemoryDeleted'
    AND outcome = 'applied' AND namespace IS NOT NULL
GROUP BY tenant, memory_id
ON CONFLICT (tenant, request_id, memory_id) DO UPDATE SET version = GREATEST(held.version, EXCLUDED.version)
"""
FIND_SELECTOR = """
UPDATE erasures AS held SET selector = (
    SELECT candidate FROM (
        SELECT subject FROM memories WHERE tenant = held.tenant AND held.scope = 'SUBJECT'
        UNION ALL
        SELECT content ->> 'subject' FROM memory_history
        WHERE tenant = held.tenant AND held.scope = 'SUBJECT'
        UNION ALL
        SELECT memory_id::text FROM memories WHERE tenant = held.tenant AND held.scope = 'MEMORY'
        UNION ALL
        SELECT array_to_string(parts[:depth], '/')
        FROM namespace_counts, string_to_array(namespace, '/') AS parts,
            generate_series(1, cardinality(parts)) AS depth
        WHERE tenant = held.tenant AND held.scope = 'NAMESPACE'
    ) AS found (candidate)
    WHERE soma_selects(held, candidate)
    LIMIT 1
)
WHERE held.tenant = %(tenant)s::text AND held.request_id = %(request_id)s::uuid
    AND held.selector IS NULL AND held.scope <> 'TENANT' AND held.state <> 'completed'
"""
"""Finds out by the digest who or what was erased, where the tables have it and the row does not say."""

_TARGETS = """
SELECT target.memory_id, target.namespace, target.version, NOT held.deleted
FROM erasure_targets AS target
JOIN memories AS held ON held.tenant = target.tenant AND held.memory_id = target.memory_id
WHERE target.tenant = %(tenant)s::text AND target.request_id = %(request_id)s::uuid
    AND (%(after)s::uuid IS NULL OR target.memory_id > %(after)s::uuid)
ORDER BY target.memory_id
LIMIT %(limit)s::integer
"""
# Links of memories that live on to such that are gone.
_EDGES = """
SELECT link.from_memory_id, source.namespace, link.link_type, link.to_memory_id
FROM erasure_targets AS target
JOIN memory_links AS link ON link.tenant = target.tenant AND link.to_memory_id = target.memory_id
JOIN memories AS source ON source.tenant = link.tenant AND source.memory_id = link.from_memory_id
JOIN memories AS goal ON goal.tenant = link.tenant AND goal.memory_id = link.to_memory_id
WHERE target.tenant = %(tenant)s::text AND target.request_id = %(request_id)s::uuid
    AND NOT link.deleted AND NOT source.deleted AND goal.deleted
ORDER BY link.from_memory_id, link.link_type, link.to_memory_id
LIMIT %(limit)s::integer
"""

_CLEAR_HISTORY_OF_TARGETS = f"""
UPDATE memory_history SET {_CLEARED}
FROM erasure_targets AS target
WHERE target.tenant = %(tenant)s::text AND target.request_id = %(request_id)s::uuid
    AND memory_history.tenant = target.tenant AND memory_history.memory_id = target.memory_id
    AND (
        memory_history.version <= target.version
        OR memory_history.version < coalesce((%(before)s::bigint[])[memory_history.partition + 1], 0)
        OR memory_history.actor = %(deleter)s::text
    )
    AND num_nonnulls(memory_history.content, memory_history.namespace, memory_history.actor) > 0
"""  # noqa: S608  # the conditions above
# A memory was about a subject from the word that said so to the next that says otherwise; what it was told in
# between is about the subject too, whoever it is about now.
_CLEAR_HISTORY_OF_SUBJECT = f"""
WITH said AS (
    SELECT partition, version, logged_at, memory_id, content,
        count(*) FILTER (WHERE content ? 'subject') OVER (PARTITION BY memory_id ORDER BY version) AS span
    FROM memory_history
    WHERE tenant = %(tenant)s::text
        AND outcome = 'applied'
        AND memory_id IN (
            SELECT memory_id FROM memory_history
            WHERE tenant = %(tenant)s::text AND content ->> 'subject' = %(selector)s::text
        )
), about AS (
    SELECT partition, version, logged_at,
        bool_or(content ->> 'subject' = %(selector)s::text) OVER (PARTITION BY memory_id, span) AS erased
    FROM said
)
UPDATE memory_history SET {_CLEARED}
FROM about
WHERE about.erased AND (memory_history.partition, memory_history.version, memory_history.logged_at)
        = (about.partition, about.version, about.logged_at)
    AND memory_history.version < coalesce((%(before)s::bigint[])[memory_history.partition + 1], 0)
    AND num_nonnulls(memory_history.content, memory_history.namespace, memory_history.actor) > 0
"""  # noqa: S608  # the conditions above


_CLEAR_HISTORY = {
    scope: _CLEAR_HISTORY_OF_SUBJECT
    if scope is ErasureScope.SUBJECT
    else f"""
    UPDATE memory_history SET {_CLEARED}
    WHERE tenant = %(tenant)s::text AND {_SAID_WITHIN[scope]} AND {_BEFORE} AND {_NOT_ERASED_YET}
    """  # noqa: S608  # the conditions above
    for scope in ErasureScope
}

# Those of a memory that was stored again since are newer than its deletion, and stay.
_CLEAR_LINKS = """
DELETE FROM memory_links AS link
USING erasure_targets AS target, memories AS held
WHERE target.tenant = %(tenant)s::text AND target.request_id = %(request_id)s::uuid
    AND held.tenant = target.tenant AND held.memory_id = target.memory_id
    AND link.tenant = target.tenant
    AND link.deleted
    AND (
        link.from_memory_id = target.memory_id AND link.version <= held.deleted_version
        OR link.to_memory_id = target.memory_id
    )
"""


_CLEAR_OUTBOX = {
    scope: f"""
    DELETE FROM outbox
    WHERE tenant = %(tenant)s::text AND ({_QUEUED_WITHIN[scope]} OR memory_id IN (
        SELECT memory_id FROM erasure_targets
        WHERE tenant = %(tenant)s::text AND request_id = %(request_id)s::uuid
    ))
    """  # noqa: S608  # the conditions above
    for scope in ErasureScope
}
_CLEAR_NOTICES = """
DELETE FROM retention_notices AS notice
USING erasure_targets AS target
WHERE target.tenant = %(tenant)s::text AND target.request_id = %(request_id)s::uuid
    AND notice.tenant = target.tenant AND notice.memory_id = target.memory_id
"""

_LETTER_COLUMNS = """
id, tenant, memory_id, consumer_group, topic, partition, log_offset, epoch, logged_at, dlq_partition,
dlq_offset, stage, error_class, code, message, attempts, first_failed_at, application_version, status,
status_changed_at
"""
# One that does not say where its original lies is taken for an old one.
_LETTER_BEFORE = """
coalesce(epoch::bigint << 40 | log_offset < coalesce((%(before)s::bigint[])[partition + 1], 0), true)
"""


_OF_ITS_MEMORY = {
    scope: _WITHIN[scope]
    if scope in (ErasureScope.MEMORY, ErasureScope.TENANT)
    else f"""(
        EXISTS (
            SELECT FROM memories AS held WHERE held.tenant = letter.tenant
                AND held.memory_id = letter.memory_id AND {_of("held", _WITHIN[scope])}
        )
        OR EXISTS (
            SELECT FROM memory_history AS said WHERE said.tenant = letter.tenant
                AND said.memory_id = letter.memory_id AND {_SAID_WITHIN[scope]}
        )
    )"""  # noqa: S608  # the conditions above
    for scope in ErasureScope
}
_LETTERS = {
    scope: f"""
    SELECT {_LETTER_COLUMNS}, {_OF_ITS_MEMORY[scope]} OR EXISTS (
        SELECT FROM erasure_targets AS target WHERE target.tenant = letter.tenant
            AND target.request_id = %(request_id)s::uuid AND target.memory_id = letter.memory_id
    )
    FROM dead_letters AS letter
    WHERE tenant = %(tenant)s::text AND status <> 'erased' AND {_LETTER_BEFORE}
        AND (%(after)s::uuid IS NULL OR id > %(after)s::uuid)
    ORDER BY id
    LIMIT %(limit)s::integer
    """  # noqa: S608  # the conditions above
    for scope in ErasureScope
}

_ERASE_LETTERS = """
UPDATE dead_letters SET status = 'erased', status_changed_at = now()
WHERE id = ANY (%(ids)s::uuid[]) AND status <> 'erased'
"""

_LINKS_LEFT = """
SELECT count(*) FROM memory_links AS link
JOIN erasure_targets AS target ON link.tenant = target.tenant AND link.to_memory_id = target.memory_id
JOIN memories AS held ON held.tenant = link.tenant AND held.memory_id = link.to_memory_id
WHERE target.tenant = %(tenant)s::text AND target.request_id = %(request_id)s::uuid AND held.deleted
"""
_LETTERS_LEFT = f"""
SELECT count(*) FROM dead_letters AS letter
JOIN erasure_targets AS target ON target.tenant = letter.tenant AND target.memory_id = letter.memory_id
WHERE target.tenant = %(tenant)s::text AND target.request_id = %(request_id)s::uuid
    AND letter.status <> 'erased' AND {_LETTER_BEFORE}
"""  # noqa: S608  # the conditions above
_LEFT = {
    scope: {
        "memories": f"SELECT count(*) FROM ({_LIVING[scope]}) AS living",  # noqa: S608  # as above
        "memory_history": f"""
        SELECT count(*) FROM memory_history
        WHERE tenant = %(tenant)s::text AND {_SAID_WITHIN[scope]} AND {_BEFORE} AND content IS NOT NULL
        """,  # noqa: S608  # as above
        "memory_links": _LINKS_LEFT,
        "dead_letters": _LETTERS_LEFT,
        "outbox": f"""
        SELECT count(*) FROM outbox WHERE tenant = %(tenant)s::text AND {_QUEUED_WITHIN[scope]}
        """,  # noqa: S608  # as above
    }
    for scope in ErasureScope
}

_WATERMARKS = """
SELECT consumer_group, partition, next_offset FROM sink_watermarks
WHERE topic = %(topic)s::text AND epoch = %(epoch)s::integer AND consumer_group = ANY (%(groups)s::text[])
"""


class ErasureStore:
    """The tables, as the eraser uses them.

    Args:
        pool: Connections of a login with role soma_sinks, straight to the server, as `Sessions` wants them.
    """

    def __init__(self, pool: Pool) -> None:
        self._sessions = Sessions(pool)

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[bool]:
        """Yield whether no other process erases meanwhile; two would do no harm, and everything twice."""
        async with self._sessions.borrow() as connection:
            row = await (
                await connection.execute("SELECT pg_try_advisory_lock(%(key)s::bigint)", _LEADER)
            ).fetchone()
            alone = row is not None and bool(row[0])
            try:
                yield alone
            finally:
                if alone and not connection.closed:
                    await connection.execute("SELECT pg_advisory_unlock(%(key)s::bigint)", _LEADER)

    async def open(self) -> list[Erasure]:
        """Return the erasures that are not complete, the oldest first."""
        async with (
            self._sessions.borrow() as connection,
            connection.cursor(row_factory=class_row(Erasure)) as cursor,
        ):
            await cursor.execute(_OPEN.encode())
            return await cursor.fetchall()

    async def get(self, erasure: Erasure) -> Erasure | None:
        """Return an erasure as it is now, or None."""
        async with (
            self._sessions.borrow() as connection,
            connection.cursor(row_factory=class_row(Erasure)) as cursor,
        ):
            await cursor.execute(_ONE.encode(), _name(erasure))
            return await cursor.fetchone()

    async def watermarks(
        self, groups: Collection[SinkGroup], topic: str, epoch: int
    ) -> Mapping[SinkGroup, Mapping[int, int]]:
        """Return how far sinks have come on a topic, by partition."""
        found: dict[SinkGroup, dict[int, int]] = {group: {} for group in groups}
        values = {"topic": topic, "epoch": epoch, "groups": [group.value for group in groups]}
        async with self._sessions.borrow() as connection:
            for group, partition, offset in await (await connection.execute(_WATERMARKS, values)).fetchall():
                found[SinkGroup(group)][partition] = offset
        return found

    async def wait_for(self, erasure: Erasure, waits_for: WaitsFor | None) -> None:
        """Note what an erasure waits for."""
        async with self._sessions.borrow() as connection:
            await connection.execute(
                "UPDATE erasures SET waits_for = %(waits_for)s::text WHERE tenant = %(tenant)s::text"
                " AND request_id = %(request_id)s::uuid AND waits_for IS DISTINCT FROM %(waits_for)s::text",
                _name(erasure) | {"waits_for": waits_for},
            )

    async def advance(self, erasure: Erasure, state: ErasureState) -> None:
        """Note that a step is done, unless somebody else has gone on already."""
        async with self._sessions.borrow() as connection:
            await _advance(connection, erasure, state)

    async def letters(
        self, erasure: Erasure, after: UUID | None, limit: int
    ) -> list[tuple[StoredDeadLetter, bool]]:
        """Return dead letters of the tenant from before the request, and whether their memory is selected."""
        values = _values(erasure) | {"after": after, "limit": limit}
        async with self._sessions.borrow() as connection:
            found = await connection.execute(_LETTERS[erasure.scope].encode(), values, prepare=False)
            names = [each.strip() for each in _LETTER_COLUMNS.split(",")]
            return [
                (StoredDeadLetter(**dict(zip(names, row, strict=False))), bool(row[-1]))
                for row in await found.fetchall()
            ]

    async def erase_letters(self, erasure: Erasure, ids: Sequence[UUID]) -> None:
        """Take dead letters from everybody's sight for good, and count them."""
        async with self._sessions.borrow() as connection, connection.transaction():
            erased = await connection.execute(_ERASE_LETTERS, {"ids": list(ids)})
            await _count(connection, erasure, dead_letters=erased.rowcount)

    async def living(self, erasure: Erasure, after: UUID | None, limit: int) -> list[Target]:
        """Return a page of memories that live although they are selected; they are targets from now on."""
        async with self._sessions.borrow() as connection, connection.transaction():
            found = await connection.execute(
                _LIVING[erasure.scope].encode(),
                _values(erasure) | {"after": after, "limit": limit},
                prepare=False,
            )
            targets = [Target(*row) for row in await found.fetchall()]
            await connection.execute(
                _NOTE_TARGETS,
                _name(erasure)
                | {
                    "memory_ids": [target.memory_id for target in targets],
                    "namespaces": [target.namespace for target in targets],
                    "versions": [target.version for target in targets],
                },
            )
        return targets

    async def recalled(self, erasure: Erasure) -> Erasure:
        """Find again what an erasure that was complete in other tables was about, and return it with that."""
        async with self._sessions.borrow() as connection, connection.transaction():
            await connection.execute(_RECALL_TARGETS, _values(erasure))
            await connection.execute(FIND_SELECTOR, _name(erasure))
        return await self.get(erasure) or erasure

    async def edges(self, erasure: Erasure, limit: int) -> list[Edge]:
        """Return living links of other memories to such that are gone."""
        async with self._sessions.borrow() as connection:
            found = await connection.execute(_EDGES, _name(erasure) | {"limit": limit}, prepare=False)
            return [Edge(*row) for row in await found.fetchall()]

    async def targets(self, erasure: Erasure, after: UUID | None, limit: int) -> list[Target]:
        """Return the memories that were found so far, in pages."""
        values = _name(erasure) | {"after": after, "limit": limit}
        async with self._sessions.borrow() as connection:
            found = await connection.execute(_TARGETS, values)
            return [Target(*row) for row in await found.fetchall()]

    async def retire_keys(self, erasure: Erasure) -> bool:
        """Retire the keys of what was found, and say whether a publisher may still use a retired one."""
        async with self._sessions.borrow() as connection, connection.transaction():
            return await key_destruction.retire_found(
                connection, erasure.scope, erasure.selector, erasure.tenant, erasure.request_id
            )

    async def retired_keys(self, erasure: Erasure) -> list[UUID]:
        """Return the data keys that the erasure destroys, or has destroyed."""
        async with self._sessions.borrow() as connection:
            return await key_destruction.retired_keys(connection, erasure.tenant, erasure.request_id)

    async def unlogged_keys(self, erasure: Erasure) -> bool:
        """Say whether the log has yet to hear that a data key of the erasure is destroyed."""
        async with self._sessions.borrow() as connection:
            return await key_destruction.unlogged_keys(connection, erasure.tenant, erasure.request_id)

    async def clear(self, erasure: Erasure) -> None:
        """Clear what was kept although nobody reads it, count it, and have the index looked through.

        The keys go with the same commit: from then on nobody reads what they encrypted.
        """
        values = _values(erasure)
        async with self._sessions.borrow() as connection, connection.transaction():
            history = 0
            for statement in (_CLEAR_HISTORY_OF_TARGETS, _CLEAR_HISTORY[erasure.scope]):
                history += (await connection.execute(statement.encode(), values, prepare=False)).rowcount
            links = await connection.execute(_CLEAR_LINKS, values)
            outbox = await connection.execute(_CLEAR_OUTBOX[erasure.scope].encode(), values, prepare=False)
            notices = await connection.execute(_CLEAR_NOTICES, values)
            keys = await key_destruction.destroy(connection, erasure.tenant, erasure.request_id)
            await _count(
                connection,
                erasure,
                data_keys=keys,
                history_rows=history,
                links=links.rowcount,
                outbox_rows=outbox.rowcount,
                notices=notices.rowcount,
            )
            await connection.execute(
                "UPDATE erasures SET index_points = NULL, index_points_left = NULL, memories = ("
                " SELECT count(*) FROM erasure_targets AS target WHERE target.tenant = erasures.tenant"
                " AND target.request_id = erasures.request_id)"
                " WHERE tenant = %(tenant)s::text AND request_id = %(request_id)s::uuid",
                _name(erasure),
            )
            await _advance(connection, erasure, ErasureState.VERIFYING)

    async def left(self, erasure: Erasure) -> Mapping[str, int]:
        """Return how many rows each table still has of what is erased, by its name."""
        values = _values(erasure)
        found: dict[str, int] = {}
        async with self._sessions.borrow() as connection:
            for table, look in _LEFT[erasure.scope].items():
                row = await (
                    await connection.execute(
                        look.encode(), values | {"after": None, "limit": 1000}, prepare=False
                    )
                ).fetchone()
                found[table] = row[0] if row is not None else 0
        return found

    async def look_again(self, erasure: Erasure) -> None:
        """Have the vector worker look anew."""
        async with self._sessions.borrow() as connection:
            await connection.execute(
                "UPDATE erasures SET index_points = NULL, index_points_left = NULL"
                " WHERE tenant = %(tenant)s::text AND request_id = %(request_id)s::uuid",
                _name(erasure),
            )

    async def looked(self, erasure: Erasure, points: int, left: int) -> None:
        """Note what the vector worker saw."""
        async with self._sessions.borrow() as connection:
            await connection.execute(
                "UPDATE erasures SET index_points = %(points)s::bigint, index_points_left = %(left)s::bigint"
                " WHERE tenant = %(tenant)s::text AND request_id = %(request_id)s::uuid"
                " AND state = 'verifying'",
                _name(erasure) | {"points": points, "left": left},
            )

    async def sign(self, erasure: Erasure, receipt: str) -> None:
        """Keep the receipt; the first one stays."""
        async with self._sessions.borrow() as connection:
            await connection.execute(
                "UPDATE erasures SET receipt = %(receipt)s::text, state = 'signed', waits_for = NULL"
                " WHERE tenant = %(tenant)s::text AND request_id = %(request_id)s::uuid"
                " AND state = 'verifying'",
                _name(erasure) | {"receipt": receipt},
            )


async def _advance(connection: Connection, erasure: Erasure, state: ErasureState) -> None:
    await connection.execute(
        "UPDATE erasures SET state = %(state)s::text, waits_for = NULL WHERE tenant = %(tenant)s::text"
        " AND request_id = %(request_id)s::uuid AND state = %(former)s::text",
        _name(erasure) | {"state": state.value, "former": erasure.state.value},
    )


async def _count(connection: Connection, erasure: Erasure, **more: int) -> None:
    for name, number in more.items():
        await connection.execute(
            f"UPDATE erasures SET {name} = {name} + %(number)s::bigint"  # noqa: S608  # names of this module
            " WHERE tenant = %(tenant)s::text AND request_id = %(request_id)s::uuid".encode(),
            _name(erasure) | {"number": number},
        )


def _name(erasure: Erasure) -> dict[str, Any]:
    return {"tenant": erasure.tenant, "request_id": erasure.request_id}


def _values(erasure: Erasure) -> dict[str, Any]:
    return _name(erasure) | {
        "selector": erasure.selector,
        "before": erasure.before_versions,
        "deleter": erasure.deleter,
    }
