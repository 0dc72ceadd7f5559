"""Looks up the outcomes of writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from soma_api.queries.database import Database
from soma_schemas.outcomes import Outcome
from soma_schemas.settings import TopicSettings
from soma_schemas.topics import MEMORY_EVENTS
from soma_schemas.versions import Position

# Driven by the positions that are asked for, through the primary keys: whatever statistics say of the tenant,
# there is no other way to take. OFFSET 0 keeps conditions outside, the tenant's too, from offering one.
_OUTCOMES = """
SELECT
    settled.partition, settled.version, settled.outcome, settled.reason, settled.error_code,
    settled.memory_id, settled.event_id, settled.event_type, settled.namespace,
    held.version = settled.version AND held.created_at = settled.logged_at
FROM unnest(%(partitions)s::integer[], %(versions)s::bigint[]) AS wanted (partition, version)
CROSS JOIN LATERAL (
    SELECT * FROM memory_history AS history
    WHERE history.partition = wanted.partition AND history.version = wanted.version
    OFFSET 0
) AS settled
LEFT JOIN LATERAL (
    SELECT memories.version, memories.created_at FROM memories
    WHERE memories.tenant = %(tenant)s::text AND memories.memory_id = settled.memory_id
    OFFSET 0
) AS held ON true
WHERE settled.tenant = %(tenant)s::text
"""

_DEAD_LETTERS = """
SELECT consumer_group, code
FROM (
    SELECT tenant, consumer_group, code FROM dead_letters
    WHERE topic = %(topic)s::text
        AND partition = %(partition)s::integer
        AND log_offset = %(offset)s::bigint
        AND epoch = %(epoch)s::integer
    OFFSET 0
) AS dead_letter
WHERE tenant = %(tenant)s::text
ORDER BY consumer_group
"""


class SettledWrite(NamedTuple):
    """A write that has its outcome.

    Attributes:
        reason: Why it was superseded; a word of the sinks, so that a newer one's are passed on.
        error_code: Why it was dead-lettered.
        created: Whether it made the memory, and is still its last word.
    """

    outcome: Outcome
    reason: str | None
    error_code: str | None
    memory_id: UUID | None
    event_id: UUID | None
    event_type: str | None
    namespace: str | None
    created: bool


@dataclass(frozen=True)
class WriteQueries:
    """Questions about writes.

    Args:
        database: Where outcomes are kept.
        topics: Name the log.
    """

    database: Database
    topics: TopicSettings

    async def outcomes(self, tenant: str, positions: Sequence[Position]) -> dict[Position, SettledWrite]:
        """Return what became of the writes at these positions; one that has no outcome yet is missing.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        rows = await self.database.rows(
            tenant,
            _OUTCOMES,
            {
                "partitions": [position.partition for position in positions],
                "versions": [position.version for position in positions],
            },
            prepare=True,
        )
        by_version: Mapping[tuple[int, int], SettledWrite] = {
            (partition, version): SettledWrite._make((Outcome(outcome), *told, bool(created)))
            for partition, version, outcome, *told, created in rows
        }
        return {
            position: settled
            for position in positions
            if (settled := by_version.get((position.partition, position.version))) is not None
        }

    async def dead_letters(self, tenant: str, position: Position) -> dict[str, str]:
        """Return the code of each dead letter that the write became, by consumer group.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        values = {
            "topic": MEMORY_EVENTS.full_name(self.topics, position.epoch),
            "partition": position.partition,
            "offset": position.offset,
            "epoch": position.epoch,
        }
        return dict(await self.database.rows(tenant, _DEAD_LETTERS, values))
