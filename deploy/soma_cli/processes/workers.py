"""The workers. They load nothing of the API, which would take most of a second of their start."""

from contextlib import closing

from soma_cli.processes.common import (
    Embedders,
    jitter,
    stopped_by_signal,
    tell_and_trace,
)
from soma_schemas.clock import SystemClock
from soma_schemas.configuration import Loaded
from soma_schemas.metrics import MetricSet
from soma_streams import retention_worker, workers
from soma_streams.epochs import S, Work
from soma_streams.garbage_collection import collect_rarely
from soma_streams.settings import PostgresWorkerSettings, RetentionWorkerSettings, VectorWorkerSettings
from soma_streams.worker_parts import retry_at_start, started


async def work_postgres(loaded: Loaded[PostgresWorkerSettings]) -> None:
    """Apply memory events to PostgreSQL, and index dead letters, until a signal comes.

    Raises:
        Exception: What made going on impossible.
    """
    await _work(loaded, "soma-postgres-worker", workers.work_postgres)


async def work_vectors(loaded: Loaded[VectorWorkerSettings]) -> None:
    """Apply memory events to a Qdrant server until a signal comes.

    Raises:
        Exception: What made going on impossible.
    """
    # Only this worker needs the client of a server, and it too takes most of a second to import.
    from soma_schemas.vectors.placement import Placement  # noqa: PLC0415  # see above
    from soma_schemas.vectors.server import Behind, behind, kept_beside, open_client  # noqa: PLC0415  # see above
    from soma_streams.sinks.vectors.qdrant import QdrantWriter  # noqa: PLC0415  # see above

    tell_and_trace(loaded, "soma-vector-worker")
    settings = loaded.settings
    stop = stopped_by_signal()
    alias, metrics, clock = settings.vectors.collection, MetricSet.of_process(), SystemClock()
    with closing(Embedders(settings.embedder, settings.next_embedder, metrics, settings.index)) as embedders:
        async with open_client(settings.vectors) as client:
            found: list[Behind | None] = []

            async def look() -> None:
                retry = retry_at_start(settings, clock, jitter())
                found.append(await retry("look for the index", lambda: behind(client, alias)))

            if not await started(stop, look()):
                return
            collection = embedders.declared(found[0] and found[0].recorded, alias)
            await workers.work_vectors(
                settings,
                writer=QdrantWriter(client, collection, Placement.of(settings.vectors)),
                embedder=embedders.of(collection),
                collection=collection,
                clock=clock,
                random=jitter(),
                metrics=metrics,
                stop=stop,
                beside=lambda: kept_beside(client, alias),
            )


async def work_retention(loaded: Loaded[RetentionWorkerSettings]) -> None:
    """Keep the policies in force, and end memories whose time has come, until a signal comes.

    Raises:
        Exception: What made going on impossible.
    """
    await _work(loaded, "soma-retention-worker", retention_worker.work_retention)


async def _work(loaded: Loaded[S], service: str, work: Work[S]) -> None:
    tell_and_trace(loaded, service)
    collect_rarely()
    await work(
        loaded.settings,
        clock=SystemClock(),
        random=jitter(),
        metrics=MetricSet.of_process(),
        stop=stopped_by_signal(),
    )
