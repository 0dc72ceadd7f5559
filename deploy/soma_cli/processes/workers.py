"""The workers. They load nothing of the API, which would take most of a second of their start."""

from contextlib import closing

from soma_cli.processes.common import (
    collection_of,
    jitter,
    measured_embedder,
    stopped_by_signal,
    tell_and_trace,
)
from soma_schemas.clock import SystemClock
from soma_schemas.configuration import Loaded
from soma_schemas.metrics import MetricSet
from soma_streams import retention_worker, workers
from soma_streams.garbage_collection import collect_rarely
from soma_streams.settings import PostgresWorkerSettings, RetentionWorkerSettings, VectorWorkerSettings


async def work_postgres(loaded: Loaded[PostgresWorkerSettings]) -> None:
    """Apply memory events to PostgreSQL, and index dead letters, until a signal comes.

    Raises:
        Exception: What made going on impossible.
    """
    tell_and_trace(loaded, "soma-postgres-worker")
    collect_rarely()
    await workers.work_postgres(
        loaded.settings,
        clock=SystemClock(),
        random=jitter(),
        metrics=MetricSet.of_process(),
        stop=stopped_by_signal(),
    )


async def work_vectors(loaded: Loaded[VectorWorkerSettings]) -> None:
    """Apply memory events to a Qdrant server until a signal comes.

    Raises:
        Exception: What made going on impossible.
    """
    # Only this worker needs the client of a server, and it too takes most of a second to import.
    from soma_schemas.vectors.server import open_client  # noqa: PLC0415  # see above
    from soma_streams.sinks.vectors.qdrant import QdrantWriter  # noqa: PLC0415  # see above

    tell_and_trace(loaded, "soma-vector-worker")
    settings = loaded.settings
    stop = stopped_by_signal()
    collection = collection_of(settings.vectors.collection, settings.embedder)
    metrics = MetricSet.of_process()
    with closing(measured_embedder(settings.embedder, metrics)) as embedder:
        async with open_client(settings.vectors) as client:
            await workers.work_vectors(
                settings,
                writer=QdrantWriter(client, collection),
                embedder=embedder,
                collection=collection,
                clock=SystemClock(),
                random=jitter(),
                metrics=metrics,
                stop=stop,
            )


async def work_retention(loaded: Loaded[RetentionWorkerSettings]) -> None:
    """Keep the policies in force, and end memories whose time has come, until a signal comes.

    Raises:
        Exception: What made going on impossible.
    """
    tell_and_trace(loaded, "soma-retention-worker")
    collect_rarely()
    await retention_worker.work_retention(
        loaded.settings,
        clock=SystemClock(),
        random=jitter(),
        metrics=MetricSet.of_process(),
        stop=stopped_by_signal(),
    )
