"""What became of events that were published again: asked of the sinks' watermarks and of the history."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

import psycopg

from soma_schemas.clock import Clock
from soma_schemas.groups import SinkGroup
from soma_schemas.settings import TopicSettings
from soma_schemas.topics import DEAD_LETTERS, MEMORY_EVENTS, Topic
from soma_schemas.versions import Position

_SINKS = (SinkGroup.POSTGRES, SinkGroup.VECTORS)
_ASK_EVERY_SECONDS = 0.05

_BEHIND = """
SELECT count(*) FROM unnest(%(groups)s::text[], %(partitions)s::integer[], %(offsets)s::bigint[])
    AS wanted (consumer_group, partition, next_offset)
WHERE NOT EXISTS (
    SELECT FROM sink_watermarks AS held
    WHERE held.consumer_group = wanted.consumer_group
        AND held.topic = %(topic)s::text
        AND held.partition = wanted.partition
        AND (held.epoch, held.next_offset) >= (%(epoch)s::integer, wanted.next_offset)
)
"""

# Both are driven by the list, through an index: whatever statistics say, there is no other way to take.
_HISTORY = """
SELECT wanted.number, known.outcome, known.reason
FROM unnest(
    %(numbers)s::integer[], %(partitions)s::integer[], %(versions)s::bigint[], %(moments)s::timestamptz[]
) AS wanted (number, partition, version, logged_at)
CROSS JOIN LATERAL (
    SELECT logged_at, outcome, reason FROM memory_history
    WHERE memory_history.partition = wanted.partition AND memory_history.version = wanted.version
    OFFSET 0
) AS known
WHERE wanted.logged_at IS NULL OR known.logged_at = wanted.logged_at
"""

_AGAIN = """
SELECT wanted.partition, wanted.log_offset, dead_letter.consumer_group, dead_letter.code
FROM unnest(%(partitions)s::integer[], %(offsets)s::bigint[]) AS wanted (partition, log_offset)
CROSS JOIN LATERAL (
    SELECT consumer_group, code FROM dead_letters
    WHERE dead_letters.topic = %(topic)s::text
        AND dead_letters.partition = wanted.partition
        AND dead_letters.log_offset = wanted.log_offset
        AND dead_letters.epoch = %(epoch)s::integer
    OFFSET 0
) AS dead_letter
"""


@dataclass(frozen=True, slots=True)
class Sent:
    """An event that the log has taken.

    Attributes:
        position: Where it lies now.
        version: By which the sinks know it.
        logged_at: When the log received it first; None when that is not known.
    """

    position: Position
    version: int
    logged_at: datetime | None


class State(StrEnum):
    """What became of an event in one sink."""

    PENDING = "pending"  # the sink has not come so far, or nobody waited
    APPLIED = "applied"
    SUPERSEDED = "superseded"
    SETTLED = "settled"  # applied or superseded: the vector index keeps no record of which
    DEAD_LETTERED = "dead_lettered"  # again


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an event that was published again.

    Attributes:
        records: In PostgreSQL.
        reason: Why it was superseded there, or the code of its new dead letter.
        vectors: In the vector index.
        vectors_code: The code of its new dead letter there.
    """

    records: State = State.PENDING
    reason: str | None = None
    vectors: State = State.PENDING
    vectors_code: str | None = None

    @property
    def dead_lettered(self) -> bool:
        """Say whether a sink gave up on it again."""
        return State.DEAD_LETTERED in {self.records, self.vectors}

    @property
    def pending(self) -> bool:
        """Say whether a sink has not come so far."""
        return State.PENDING in {self.records, self.vectors}


class DeadLetterTopic(Protocol):
    """Knows where the dead-letter topic ends."""

    async def ends(self) -> Mapping[int, int]:
        """Return the next offset of each partition."""
        ...


class Outcomes:
    """Waits for the sinks and tells what they did.

    Args:
        connection: With role soma_operators, in autocommit.
        dead_letters: The dead-letter topic.
        topics: As they are now.
        clock: Measures the wait.
    """

    def __init__(
        self,
        connection: psycopg.AsyncConnection[Any],
        dead_letters: DeadLetterTopic,
        topics: TopicSettings,
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._dead_letters = dead_letters
        self._topics = topics
        self._events = MEMORY_EVENTS.full_name(topics)
        self._epoch = topics.epoch
        self._clock = clock

    async def of(self, sent: Sequence[Sent], seconds: float) -> tuple[list[Outcome], bool]:
        """Wait until both sinks have settled these events, and return what became of each.

        Args:
            sent: The events.
            seconds: How long to wait at most.

        Returns:
            Outcomes in the order given; and whether everything was settled in time.

        Raises:
            BrokerError: The brokers do not answer.
            psycopg.Error: The database does not answer or refuses.
        """
        ends: dict[int, int] = {}
        for event in sent:
            place = event.position
            ends[place.partition] = max(place.offset + 1, ends.get(place.partition, 0))
        deadline = self._clock.monotonic() + seconds
        # Together, because one sink that is away must not hide what the other did.
        passed = dict(
            zip(
                _SINKS,
                await asyncio.gather(*(self._passed(sink, MEMORY_EVENTS, ends, deadline) for sink in _SINKS)),
                strict=True,
            )
        )
        # A dead letter that a sink wrote before its watermark rose is below this end.
        indexed = await self._passed(
            SinkGroup.DEAD_LETTERS, DEAD_LETTERS, await self._dead_letters.ends(), deadline
        )
        again = await self._again(sent)
        history = await self._history(sent)
        outcomes = [
            outcome_of(passed, history.get(number), again.get(event.position, {}))
            for number, event in enumerate(sent)
        ]
        return outcomes, indexed and all(passed.values())

    async def _passed(self, group: SinkGroup, topic: Topic, ends: Mapping[int, int], deadline: float) -> bool:
        wanted = {partition: end for partition, end in ends.items() if end > 0}
        values = {
            "groups": [group.value] * len(wanted),
            "partitions": list(wanted),
            "offsets": list(wanted.values()),
            "topic": topic.full_name(self._topics),
            "epoch": topic.epoch(self._topics),
        }
        while True:
            row = await (await self._connection.execute(_BEHIND, values)).fetchone()
            if row is not None and row[0] == 0:
                return True
            if self._clock.monotonic() >= deadline:
                return False
            await self._clock.sleep(_ASK_EVERY_SECONDS)

    async def _again(self, sent: Sequence[Sent]) -> dict[Position, dict[str | None, str]]:
        values = {
            "topic": self._events,
            "epoch": self._epoch,
            "partitions": [event.position.partition for event in sent],
            "offsets": [event.position.offset for event in sent],
        }
        found: dict[Position, dict[str | None, str]] = {}
        for partition, offset, group, code in await (
            await self._connection.execute(_AGAIN, values)
        ).fetchall():
            found.setdefault(Position(partition, offset, self._epoch), {})[group] = code
        return found

    async def _history(self, sent: Sequence[Sent]) -> dict[int, tuple[str, str | None]]:
        values = {
            "numbers": list(range(len(sent))),
            # The sink files a replay under its first offset, in the partition where it lies now.
            "partitions": [event.position.partition for event in sent],
            "versions": [event.version for event in sent],
            "moments": [event.logged_at for event in sent],
        }
        rows = await (await self._connection.execute(_HISTORY, values)).fetchall()
        return {number: (outcome, reason) for number, outcome, reason in rows}


def outcome_of(
    passed: Mapping[SinkGroup, bool],
    history: tuple[str, str | None] | None,
    again: Mapping[str | None, str],
) -> Outcome:
    """Return what became of one event.

    Args:
        passed: Whether each sink has come so far.
        history: What the history says of its first place: outcome, and why it was superseded.
        again: The codes of its new dead letters, by group.
    """
    records, reason = State.PENDING, None
    if SinkGroup.POSTGRES in again:
        records, reason = State.DEAD_LETTERED, again[SinkGroup.POSTGRES]
    elif passed[SinkGroup.POSTGRES] and history is not None:
        records, reason = State(history[0]), history[1]
    vectors = State.SETTLED if passed[SinkGroup.VECTORS] else State.PENDING
    if SinkGroup.VECTORS in again:
        vectors = State.DEAD_LETTERED
    return Outcome(records, reason, vectors, again.get(SinkGroup.VECTORS))
