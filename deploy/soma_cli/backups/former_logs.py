"""What logs of earlier epochs have that a dump lacks: it is applied before the log in force goes on."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import psycopg

from soma_cli.backups.backup_errors import NotRestorableError
from soma_cli.backups.log_positions import Continuation
from soma_cli.backups.manifest import Manifest, StoredWatermark, TopicExtent
from soma_cli.backups.table_contents import stored_watermarks
from soma_cli.output import progress
from soma_cli.settings import OperatorSettings
from soma_schemas.clock import Clock
from soma_schemas.groups import SinkGroup
from soma_schemas.log_epochs import epochs_of
from soma_schemas.postgres_pool import open_pool
from soma_schemas.settings import KafkaSettings, TopicSettings
from soma_schemas.tables import HEAD
from soma_schemas.topic_admin import cluster_of, open_admin
from soma_schemas.topics import MEMORY_EVENTS
from soma_streams.log_replay import replay
from soma_streams.log_state import log_state
from soma_streams.sinks.data_key_reader import DataKeyReader


@dataclass(frozen=True, slots=True)
class FormerLog:
    """A log that is over.

    Attributes:
        topics: As they were laid out.
        tail: What it has beyond the dump, by partition.
    """

    topics: TopicSettings
    tail: Sequence[Continuation]


def read_former(
    kafka: KafkaSettings, topics: TopicSettings, since: int
) -> dict[int, tuple[TopicSettings, TopicExtent]]:
    """Return the logs of the epochs from one to the one before this, those that are still there; blocks.

    Raises:
        BrokerError: The brokers cannot be reached.
    """
    with open_admin(kafka) as admin:
        epochs = epochs_of(cluster_of(admin), topics.declared)
    found = {}
    for epoch in range(since, topics.epoch):
        if epoch in epochs:
            state = log_state(kafka, epochs[epoch])
            extent = TopicExtent(id=state.identity.topic_id, starts=state.starts, ends=state.ends)
            found[epoch] = (epochs[epoch], extent)
    return found


def former_logs(
    manifest: Manifest, found: Mapping[int, tuple[TopicSettings, TopicExtent]], topics: TopicSettings
) -> list[FormerLog]:
    """Decide what to apply of the logs that are over, the oldest first: pure.

    Where an operator has raised the epoch because a log was lost, there is nothing to apply.

    Args:
        manifest: Of the archive.
        found: The logs since then that are still there, by epoch.
        topics: As they are now.

    Raises:
        NotRestorableError: One was deleted or made anew, or the tables are of an older revision.
    """
    since = range(max(manifest.epoch, topics.declared.epoch), topics.epoch)
    if not since:
        return []
    if manifest.revision != HEAD:
        raise NotRestorableError(
            f"the log was migrated since the backup, whose tables are of revision {manifest.revision}",
            remedy=f"restore it with the version that made it ({manifest.product}), then upgrade",
        )
    logs = []
    for epoch in since:
        name = MEMORY_EVENTS.full_name(topics, epoch)
        there = found.get(epoch)
        made_beside = manifest.topics.get(name)
        if there is None or (made_beside is not None and made_beside.id != there[1].id):
            raise NotRestorableError(
                f"the log was migrated since the backup, and {name} is gone: what it had is in no log",
                remedy="take a backup that was made after the migration; or go on without that: set "
                f"SOMA_TOPICS__EPOCH to {topics.epoch} for everything",
            )
        layout, extent = there
        marks = _marks(manifest.watermarks, name, epoch)
        logs.append(FormerLog(layout, [_tail(name, extent, number, marks) for number in sorted(extent.ends)]))
    return logs


def apply_former(logs: Sequence[FormerLog], settings: OperatorSettings, clock: Clock) -> None:
    """Apply what the logs have beyond what the tables contain; ended, the same call goes on.

    Raises:
        SomaError: The brokers or the registry do not answer.
        psycopg.Error: PostgreSQL does not answer or refuses.
    """
    for each in logs:
        name = MEMORY_EVENTS.full_name(each.topics)
        with psycopg.connect(settings.postgres.conninfo()) as connection:
            reached = _marks(stored_watermarks(connection), name, each.topics.epoch)
        spans = {
            part.partition: (max(part.offset, reached.get(part.partition, 0)), part.offset + part.ahead)
            for part in each.tail
        }
        asyncio.run(_applied(each.topics, spans, settings, clock))


async def _applied(
    topics: TopicSettings, spans: Mapping[int, tuple[int, int]], settings: OperatorSettings, clock: Clock
) -> None:
    total = sum(max(0, end - start) for start, end in spans.values())
    with progress(f"Applying {MEMORY_EVENTS.full_name(topics)}", total) as advance:
        async with open_pool(settings.postgres) as pool:
            await replay(
                settings.model_copy(update={"topics": topics}),
                settings.postgres,
                spans,
                DataKeyReader(pool, settings.encryption),
                clock=clock,
                random=Random(),  # noqa: S311  # jitter
                advance=advance,
            )


def _marks(watermarks: Iterable[StoredWatermark], name: str, epoch: int) -> dict[int, int]:
    """Return how far the tables are with a log, by partition."""
    return {
        each.partition: each.next_offset
        for each in watermarks
        if (each.group, each.topic, each.epoch) == (SinkGroup.POSTGRES, name, epoch)
    }


def _tail(name: str, extent: TopicExtent, number: int, marks: Mapping[int, int]) -> Continuation:
    wanted, start, end = marks.get(number, 0), extent.starts[number], extent.ends[number]
    offset = min(max(wanted, start), end)
    return Continuation(SinkGroup.POSTGRES, name, number, offset, max(0, offset - wanted), end - offset)
