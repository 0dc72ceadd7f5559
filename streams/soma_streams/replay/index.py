"""The index of dead letters, for whoever decides about them: look, decide, and have it on record."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from soma_schemas.topics import EPOCH_SUFFIX
from soma_schemas.versions import FIRST_EPOCH
from soma_streams.replay.stored_dead_letters import (
    Deed,
    Filters,
    Original,
    Place,
    Plan,
    RecordedDeed,
    Status,
    StoredDeadLetter,
    Tally,
    place_of,
)

_LONGEST_ID = 32
_BEFORE_ALL = Place(-1, -1, -1)


_COLUMNS = """
id, tenant, memory_id, consumer_group, topic, partition, log_offset, epoch, logged_at, dlq_partition,
dlq_offset, stage, error_class, code, message, attempts, first_failed_at, application_version, status,
status_changed_at
"""

# As a subquery the tenant is any tenant to the planner, not one of a single dead letter.
_MATCHES = """
(%(ids)s::uuid[] IS NULL OR id = ANY (%(ids)s::uuid[]))
AND (%(groups)s::text[] IS NULL OR consumer_group = ANY (%(groups)s::text[]))
AND (%(stages)s::text[] IS NULL OR stage = ANY (%(stages)s::text[]))
AND (%(codes)s::text[] IS NULL OR code = ANY (%(codes)s::text[]))
AND (%(tenant)s::text IS NULL OR tenant = (SELECT %(tenant)s::text))
AND (%(memory_id)s::uuid IS NULL OR memory_id = %(memory_id)s::uuid)
AND (%(since)s::timestamptz IS NULL OR first_failed_at >= %(since)s::timestamptz)
AND (%(until)s::timestamptz IS NULL OR first_failed_at < %(until)s::timestamptz)
AND status = ANY (%(statuses)s::text[])
"""

# As `Topic.full_name` has it: each epoch of the log has a topic of its own.
_TOPIC_OF_EPOCH = (
    f"%(topic)s::text || CASE WHEN {{epoch}} > {FIRST_EPOCH} THEN '{EPOCH_SUFFIX}' || {{epoch}} ELSE '' END"
)

# Of our log, and with headers that say where in it: everything else cannot go back to its place.
_REPLAYABLE = f"""
topic = {_TOPIC_OF_EPOCH.format(epoch="epoch")} AND num_nulls(epoch, partition, log_offset, logged_at) = 0
"""

# Of dead letters that are known when a run begins: what it makes itself comes later in the dead-letter topic.
_WITHIN = """
EXISTS (
    SELECT FROM unnest(%(end_partitions)s::integer[], %(end_offsets)s::bigint[]) AS ended (partition, next)
    WHERE dlq_partition = ended.partition AND dlq_offset < ended.next
)
"""

# The dead letters about an event of the log, through their index: the planner does not know how many events
# are wanted, and must not join them in another way.
_ABOUT = f"""
CROSS JOIN LATERAL (
    SELECT {_COLUMNS} FROM dead_letters AS dead_letter
    WHERE dead_letter.topic = {_TOPIC_OF_EPOCH.format(epoch="wanted.epoch")}
        AND dead_letter.partition = wanted.partition
        AND dead_letter.log_offset = wanted.log_offset
        AND dead_letter.epoch = wanted.epoch
        AND dead_letter.logged_at IS NOT NULL
    OFFSET 0
) AS about
"""  # noqa: S608  # put together from the constants above

# The dead-letter topic begins after them: it no longer keeps what is so old.
_TRIMMED = """
EXISTS (
    SELECT FROM unnest(%(begin_partitions)s::integer[], %(begin_offsets)s::bigint[])
        AS begun (partition, first)
    WHERE dlq_partition = begun.partition AND dlq_offset < begun.first
)
"""

# Nulls come first: dead letters that cannot be read want to be seen.
_PAGE = f"""
SELECT {_COLUMNS} FROM dead_letters
WHERE {_MATCHES}
    AND (
        %(after_id)s::uuid IS NULL
        OR (first_failed_at, id) < (%(after_time)s::timestamptz, %(after_id)s::uuid)
        OR (
            %(after_time)s::timestamptz IS NULL
            AND (first_failed_at IS NOT NULL OR id < %(after_id)s::uuid)
        )
    )
ORDER BY first_failed_at DESC, id DESC
LIMIT %(limit)s::integer
"""  # noqa: S608  # likewise

_BY_BEGINNING = f"""
SELECT {_COLUMNS} FROM dead_letters
WHERE id BETWEEN %(low)s::uuid AND %(high)s::uuid
ORDER BY id
LIMIT 2
"""  # noqa: S608  # likewise

_TALLY = f"""
SELECT
    code, consumer_group, stage, count(*), count(*) FILTER (WHERE {_REPLAYABLE}),
    count(*) FILTER (WHERE {_TRIMMED})
FROM dead_letters
WHERE {_MATCHES}
GROUP BY code, consumer_group, stage
ORDER BY count(*) DESC, code, consumer_group, stage
"""  # noqa: S608  # likewise

# What a replay would do, dead letters of other groups about the same events included.
_PLAN = f"""
WITH wanted AS (
    SELECT DISTINCT epoch, partition, log_offset FROM dead_letters WHERE {_MATCHES} AND {_REPLAYABLE}
), events AS (
    SELECT count(*) AS dead_letters, bool_and({_TRIMMED}) AS trimmed
    FROM wanted {_ABOUT}
    WHERE status = ANY (%(statuses)s::text[])
    GROUP BY about.epoch, about.partition, about.log_offset
)
SELECT count(*)::integer, coalesce(sum(dead_letters), 0)::integer, (count(*) FILTER (WHERE trimmed))::integer
FROM events
"""  # noqa: S608  # likewise

_ENDS = "SELECT dlq_partition, max(dlq_offset) + 1 FROM dead_letters GROUP BY dlq_partition"

# In the order of the log, so that changes to one memory are told again as they were told first. Those of
# other groups about the same events come along: an event is published for every group.
_ORIGINALS = f"""
WITH wanted AS (
    SELECT DISTINCT epoch, partition, log_offset FROM dead_letters
    WHERE {_MATCHES}
        AND {_WITHIN}
        AND {_REPLAYABLE}
        AND (epoch, partition, log_offset)
            > (%(after_epoch)s::integer, %(after_partition)s::integer, %(after_offset)s::bigint)
    ORDER BY epoch, partition, log_offset
    LIMIT %(limit)s::integer
)
SELECT about.*
FROM wanted {_ABOUT}
WHERE status = ANY (%(statuses)s::text[]) AND {_WITHIN}
ORDER BY about.epoch, about.partition, about.log_offset, first_failed_at, id
"""  # noqa: S608  # likewise

_DECIDE = """
UPDATE dead_letters SET status = %(status)s::text, status_changed_at = %(at)s::timestamptz
WHERE id = ANY (%(ids)s::uuid[])
"""

_DISCARD = f"""
WITH wanted AS (
    SELECT id FROM dead_letters WHERE {_MATCHES} AND {_WITHIN}
    ORDER BY dead_letters.tenant, first_failed_at, id -- along the index, whether or not a tenant is named
    LIMIT %(limit)s::integer
    FOR UPDATE SKIP LOCKED
)
UPDATE dead_letters SET status = 'discarded', status_changed_at = %(at)s::timestamptz
WHERE id = ANY (ARRAY(SELECT id FROM wanted))
RETURNING id, tenant
"""  # noqa: S608  # likewise

_RECORD = """
INSERT INTO audit_log (happened_at, tenant, actor, action, subject, details)
SELECT %(at)s::timestamptz, tenant, %(actor)s::text, %(action)s::text, subject, details
FROM unnest(%(tenants)s::text[], %(subjects)s::text[], %(details)s::jsonb[])
    AS deed (tenant, subject, details)
"""

_RUNS = """
SELECT
    (details ->> 'run')::uuid AS run, min(happened_at) AS at, actor, action,
    min(details ->> 'reason') AS reason, count(*)::integer AS dead_letters, '{}'::jsonb AS details
FROM audit_log
WHERE action LIKE 'dead_letter.%%'
GROUP BY details ->> 'run', actor, action
ORDER BY at DESC
LIMIT %(limit)s::integer
"""

_DEEDS = """
SELECT
    (details ->> 'run')::uuid AS run, happened_at AS at, actor, action, details ->> 'reason' AS reason,
    1 AS dead_letters, details
FROM audit_log
WHERE action LIKE 'dead_letter.%%' AND subject = %(subject)s::text
ORDER BY id DESC
LIMIT %(limit)s::integer
"""

_NEWER = """
SELECT version, logged_at FROM memory_history
WHERE tenant = %(tenant)s::text
    AND memory_id = %(memory_id)s::uuid
    AND version > %(version)s::bigint
    AND outcome = 'applied'
ORDER BY version DESC
LIMIT 1
"""


class DeadLetterStore:
    """What an operator may ask and decide.

    Args:
        connection: In autocommit, with role soma_operators.
        topic: Full name of `memory.events` in its first epoch. Only what lay there, or in a later epoch, is
            replayed: whoever may write to the dead-letter topic must not have an operator write elsewhere.
    """

    def __init__(self, connection: psycopg.AsyncConnection[Any], topic: str) -> None:
        self._connection = connection
        self._topic = topic

    async def page(
        self, filters: Filters, after: StoredDeadLetter | None, limit: int
    ) -> list[StoredDeadLetter]:
        """Return at most so many dead letters, newest first.

        Args:
            filters: Which.
            after: The last dead letter of the page before; None for the first page.
            limit: How many.

        Raises:
            psycopg.Error: The database does not answer or refuses.
        """
        begin = {
            "after_id": None if after is None else after.id,
            "after_time": None if after is None else after.first_failed_at,
        }
        return await self._dead_letters(_PAGE, {**filters.parameters(), **begin, "limit": limit})

    async def beginning_with(self, digits: str) -> list[StoredDeadLetter]:
        """Return at most two dead letters whose ids begin with these hexadecimal digits.

        Raises:
            ValueError: They are no beginning of an id.
            psycopg.Error: The database does not answer or refuses.
        """
        plain = digits.replace("-", "").lower()
        if not 0 < len(plain) <= _LONGEST_ID:
            raise ValueError("an id has 1 to 32 hexadecimal digits")
        bounds = {
            "low": UUID(plain.ljust(_LONGEST_ID, "0")),
            "high": UUID(plain.ljust(_LONGEST_ID, "f")),
        }
        return await self._dead_letters(_BY_BEGINNING, bounds)

    async def tally(self, filters: Filters, begins: Mapping[int, int]) -> list[Tally]:
        """Return how many dead letters there are of each code, group and stage; most first.

        Args:
            filters: Which.
            begins: Where each partition of the dead-letter topic begins; empty when nobody asked the brokers.

        Raises:
            psycopg.Error: The database does not answer or refuses.
        """
        values = {**filters.parameters(), **_begins(begins), "topic": self._topic}
        return [Tally(*row) for row in await (await self._connection.execute(_TALLY, values)).fetchall()]

    async def plan(self, filters: Filters, begins: Mapping[int, int]) -> Plan:
        """Return what a replay would do.

        Args:
            filters: Which dead letters.
            begins: Where each partition of the dead-letter topic begins.

        Raises:
            psycopg.Error: The database does not answer or refuses.
        """
        values = {**filters.parameters(), **_begins(begins), "topic": self._topic}
        row = await (await self._connection.execute(_PLAN, values)).fetchone()
        return Plan(*row) if row is not None else Plan(0, 0, 0)

    async def ends(self) -> Mapping[int, int]:
        """Return, by partition of the dead-letter topic, the offset after the last dead letter that is known.

        Raises:
            psycopg.Error: The database does not answer or refuses.
        """
        return dict(await (await self._connection.execute(_ENDS)).fetchall())

    async def originals(
        self, filters: Filters, ends: Mapping[int, int], after: Place | None, limit: int
    ) -> list[Original]:
        """Return at most so many events with all their dead letters, in the order of the log.

        Args:
            filters: At least one dead letter of each fits; its others come along if their status does.
            ends: As they were when the run began.
            after: The last event of the page before; None for the first page.
            limit: How many events.

        Raises:
            psycopg.Error: The database does not answer or refuses.
        """
        begin = after or _BEFORE_ALL
        dead_letters = await self._dead_letters(
            _ORIGINALS,
            {
                **filters.parameters(),
                **_ends(ends),
                "topic": self._topic,
                "after_epoch": begin.epoch,
                "after_partition": begin.partition,
                "after_offset": begin.log_offset,
                "limit": limit,
            },
        )
        return [Original(place, tuple(group)) for place, group in groupby(dead_letters, key=place_of)]

    async def decide(
        self,
        dead_letters: Sequence[StoredDeadLetter],
        status: Status,
        deed: Deed,
        details: Sequence[Mapping[str, Any]],
    ) -> None:
        """Give dead letters a status and put it on record, both or neither.

        Args:
            dead_letters: Which.
            status: What they become.
            deed: What was done.
            details: Of each dead letter, JSON-ready.

        Raises:
            psycopg.Error: The database does not answer or refuses; nothing was changed.
        """
        async with self._connection.transaction():
            ids = [dead_letter.id for dead_letter in dead_letters]
            await self._connection.execute(_DECIDE, {"ids": ids, "status": status.value, "at": deed.at})
            await self._record(
                deed, [(dead_letter.tenant, str(dead_letter.id)) for dead_letter in dead_letters], details
            )

    async def discard(self, filters: Filters, ends: Mapping[int, int], deed: Deed, limit: int) -> int:
        """Discard at most so many dead letters, put it on record, and return how many they were.

        Raises:
            psycopg.Error: The database does not answer or refuses; nothing was changed.
        """
        values = {**filters.parameters(), **_ends(ends), "at": deed.at, "limit": limit}
        async with self._connection.transaction():
            rows = await (await self._connection.execute(_DISCARD, values)).fetchall()
            owners = [(tenant, str(dead_letter_id)) for dead_letter_id, tenant in rows]
            await self._record(deed, owners, [{}] * len(owners))
        return len(rows)

    async def record(self, deed: Deed, dead_letters: Sequence[StoredDeadLetter]) -> None:
        """Put on record that somebody read the content of dead letters, one by one.

        Raises:
            psycopg.Error: The database does not answer or refuses.
        """
        owners = [(dead_letter.tenant, str(dead_letter.id)) for dead_letter in dead_letters]
        await self._record(deed, owners, [{}] * len(owners))

    async def runs(self, limit: int) -> list[RecordedDeed]:
        """Return what was done, newest first, one entry for each command that was run.

        Raises:
            psycopg.Error: The database does not answer or refuses.
        """
        return await self._deeds(_RUNS, {"limit": limit})

    async def deeds(self, dead_letter: StoredDeadLetter, limit: int) -> list[RecordedDeed]:
        """Return what was done about one dead letter, newest first.

        Raises:
            psycopg.Error: The database does not answer or refuses.
        """
        return await self._deeds(_DEEDS, {"subject": str(dead_letter.id), "limit": limit})

    async def newer_change(self, tenant: str, memory_id: UUID, version: int) -> datetime | None:
        """Return when a memory was last changed by an event that is newer than a version, or None.

        Raises:
            psycopg.Error: The database does not answer or refuses.
        """
        values = {"tenant": tenant, "memory_id": memory_id, "version": version}
        row = await (await self._connection.execute(_NEWER, values)).fetchone()
        return None if row is None else row[1]

    async def _dead_letters(self, query: str, values: Mapping[str, Any]) -> list[StoredDeadLetter]:
        async with self._connection.cursor(row_factory=class_row(StoredDeadLetter)) as cursor:
            # Planned anew each time: which conditions ask something differs from call to call.
            await cursor.execute(query.encode(), values, prepare=False)
            return await cursor.fetchall()

    async def _deeds(self, query: str, values: Mapping[str, Any]) -> list[RecordedDeed]:
        async with self._connection.cursor(row_factory=class_row(RecordedDeed)) as cursor:
            await cursor.execute(query.encode(), values)
            return await cursor.fetchall()

    async def _record(
        self, deed: Deed, owners: Sequence[tuple[str | None, str]], details: Sequence[Mapping[str, Any]]
    ) -> None:
        common = {"run": str(deed.run)} | ({} if deed.reason is None else {"reason": deed.reason})
        await self._connection.execute(
            _RECORD,
            {
                "at": deed.at,
                "actor": deed.actor,
                "action": deed.action.value,
                "tenants": [tenant for tenant, _ in owners],
                "subjects": [subject for _, subject in owners],
                "details": [Jsonb({**common, **each}) for each in details],
            },
        )


def _ends(ends: Mapping[int, int]) -> dict[str, list[int]]:
    return {"end_partitions": list(ends), "end_offsets": list(ends.values())}


def _begins(begins: Mapping[int, int]) -> dict[str, list[int]]:
    return {"begin_partitions": list(begins), "begin_offsets": list(begins.values())}
