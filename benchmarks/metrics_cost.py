"""What metrics cost a worker, and what a scrape costs: `python -m benchmarks.metrics_cost`.

Batches are decoded and made into rows, as the PostgreSQL worker does it, without a server: what is left out
would make the share smaller. Each batch is settled twice, with and without its numbers, by turns.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from random import Random
from statistics import median
from uuid import UUID

from benchmarks.decoding import SCHEMAS, batch_of, native_rows
from benchmarks.stage import CLOCK, tell
from soma_schemas.events import SINK_EVENTS
from soma_schemas.limits import DEFAULT_LIMITS
from soma_schemas.metrics import MetricSet
from soma_schemas.outcomes import Outcome
from soma_streams.checks import Waiting
from soma_streams.delivery.dead_letters import DeadLetter
from soma_streams.delivery.decode import Decoded, Decoder
from soma_streams.delivery.flood import FloodGuard
from soma_streams.delivery.native import NativeReader
from soma_streams.delivery.retry import Retry
from soma_streams.delivery.sealed_events import KnownKey, SealedEvents
from soma_streams.delivery.settle import Settler
from soma_streams.delivery.state import LoggedEvent, Settlement, Unapplied, Watermark
from soma_streams.delivery.writer_schemas import WriterSchema
from soma_streams.garbage_collection import collect_rarely
from soma_streams.metrics import SinkMetrics, SinkName, WorkerMetrics
from soma_streams.settings import DeliverySettings, RetrySettings
from soma_streams.sinks.postgres.native_rows import NativeRows
from soma_streams.transport import RecordBatch

_PAIRS = 31
_EVENTS_A_RUN = 4_000
_BATCHES_A_RUN = 50
_SIZES = (1, 20, 200, 2000)
_SCRAPES = 21


class _Rows:
    """Takes the place of PostgreSQL: makes the rows, and sends them nowhere."""

    group = "soma-postgres"

    def __init__(self, native: NativeReader) -> None:
        self._rows = NativeRows(native)

    async def check(self) -> None:
        """Nothing can be wrong."""

    async def write(
        self, events: Sequence[LoggedEvent], unapplied: Sequence[Unapplied], watermark: Watermark
    ) -> Sequence[Settlement]:
        """Make the rows."""
        del unapplied, watermark
        native_rows(self._rows, Decoded(tuple(events)))
        return [Settlement(event, Outcome.APPLIED) for event in events]


class _Schemas:
    async def fetch(self, ids: set[int]) -> Mapping[int, WriterSchema]:
        """The one that there is."""
        del ids
        return SCHEMAS


class _NoKeys:
    async def read(self, key_ids: Collection[UUID]) -> Mapping[UUID, KnownKey]:
        """None is asked for here."""
        del key_ids
        return {}


class _Letters:
    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """None is written here."""
        raise ValueError(f"{len(letters)} dead letters")


def _settler() -> Settler:
    native = NativeReader(DEFAULT_LIMITS)
    return Settler(
        sink=_Rows(native),
        decoder=Decoder(SINK_EVENTS, DEFAULT_LIMITS, 1, native),
        sealed=SealedEvents(_NoKeys(), DEFAULT_LIMITS, 1),
        schemas=_Schemas(),
        dead_letters=_Letters(),
        retry=Retry(RetrySettings(), CLOCK, Random(1), Waiting()),  # noqa: S311  # jitter, guards nothing
        clock=CLOCK,
        flood=FloodGuard(DeliverySettings()),
        epoch=1,
    )


async def _settled(settler: Settler, batch: RecordBatch, metrics: SinkMetrics | None) -> None:
    began = CLOCK.monotonic()
    settled = await settler.settle(batch)
    if metrics is not None:
        metrics.batch_settled(settled, len(batch), CLOCK.monotonic() - began, 0.5)


async def _cpu_seconds(times: int, work: Callable[[], Awaitable[None]]) -> float:
    began = time.process_time()
    for _ in range(times):
        await work()
    return time.process_time() - began


async def measure() -> None:
    """Print the processor time of an event without and with metrics, and that of a scrape."""
    collect_rarely()  # as workers do
    settler, process = _settler(), MetricSet.of_process()
    metrics = WorkerMetrics(process).of(SinkName.POSTGRES)
    tell("| events in a batch | without, µs an event | with, µs | metrics, µs a batch | share |")
    tell("|-|-|-|-|-|")
    for size in _SIZES:
        batch, times = batch_of(size), max(1, min(_BATCHES_A_RUN, _EVENTS_A_RUN // size))
        without: list[float] = []
        differences: list[float] = []
        for pair in range(_PAIRS):
            costs: dict[bool, float] = {}
            for counted in (False, True) if pair % 2 else (True, False):
                of = metrics if counted else None
                costs[counted] = await _cpu_seconds(times, lambda of=of: _settled(settler, batch, of))  # type: ignore[misc]  # noqa: B023  # called within this turn
            without.append(costs[False] / times)
            differences.append((costs[True] - costs[False]) / times)
        plain, more = median(without) * 1e6, median(differences) * 1e6
        each, counted_each = plain / size, (plain + more) / size
        tell(f"| {size:,} | {each:.1f} | {counted_each:.1f} | {more:.0f} | {more / plain:.2%} |")
    seconds: list[float] = []
    for _ in range(_SCRAPES):
        began = time.process_time()
        written = process.exposition("application/openmetrics-text; version=1.0.0")
        seconds.append(time.process_time() - began)
    tell(f"\na scrape of {len(written.body):,} bytes: {median(seconds) * 1e3:.1f} ms")


if __name__ == "__main__":
    asyncio.run(measure())
