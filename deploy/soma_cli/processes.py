"""What each long-running process is made of: settings become parts, parts are handed down."""

import asyncio
import signal
from contextlib import AsyncExitStack, closing
from functools import partial
from pathlib import Path
from random import Random

from prometheus_client import CollectorRegistry

from soma_api.application import create_application
from soma_api.parts import open_parts
from soma_api.probes import Probe
from soma_api.queries.vectors.search import Search
from soma_api.serving import bind
from soma_api.serving import serve as serve_http
from soma_api.settings import ApiSettings
from soma_cli.local.vectors import EmbeddedIndex
from soma_cli.settings import EmbeddedApiSettings
from soma_schemas.clock import SystemClock
from soma_schemas.configuration import Loaded
from soma_schemas.logs import configure_logging, log_settings
from soma_schemas.producer import EventPublisher
from soma_schemas.settings import EmbedderSettings, ProcessSettings
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.embedders import open_embedder
from soma_streams import workers
from soma_streams.settings import PostgresWorkerSettings, VectorWorkerSettings

_EMBEDDED_ALIAS = "memories"


async def work_postgres(loaded: Loaded[PostgresWorkerSettings]) -> None:
    """Apply memory events to PostgreSQL, and index dead letters, until a signal comes.

    Raises:
        Exception: What made going on impossible.
    """
    _tell(loaded)
    await workers.work_postgres(
        loaded.settings,
        clock=SystemClock(),
        random=_jitter(),
        registry=CollectorRegistry(),
        stop=_stopped_by_signal(),
    )


async def work_vectors(loaded: Loaded[VectorWorkerSettings]) -> None:
    """Apply memory events to a Qdrant server until a signal comes.

    Raises:
        Exception: What made going on impossible.
    """
    # Most of a second to import, and no use where the index is embedded; so below.
    from soma_schemas.vectors.server import ensure_collection, open_client  # noqa: PLC0415  # see above
    from soma_streams.sinks.vectors.qdrant import QdrantWriter  # noqa: PLC0415  # see above

    _tell(loaded)
    settings = loaded.settings
    stop = _stopped_by_signal()
    collection = _collection(settings.vectors.collection, settings.embedder)
    with closing(open_embedder(settings.embedder)) as embedder:
        async with open_client(settings.vectors) as client:
            await ensure_collection(client, collection)
            await workers.work_vectors(
                settings,
                writer=QdrantWriter(client, collection),
                embedder=embedder,
                collection=collection,
                clock=SystemClock(),
                random=_jitter(),
                registry=CollectorRegistry(),
                stop=stop,
            )


async def serve(loaded: Loaded[ApiSettings]) -> None:
    """Serve the API until a signal comes.

    Raises:
        Exception: What made going on impossible.
    """
    from soma_api.queries.vectors.qdrant import QdrantReader  # noqa: PLC0415  # as above
    from soma_schemas.vectors.server import check_collection, open_client  # noqa: PLC0415  # as above

    _tell(loaded)
    settings = loaded.settings
    stop = _stopped_by_signal()
    with closing(open_embedder(settings.embedder)) as embedder:
        async with open_client(settings.vectors) as client:
            collection = _collection(settings.vectors.collection, settings.embedder)
            reader = QdrantReader(client, collection.alias)
            search = Search(reader, embedder, Bm25Encoder())
            probe = partial(check_collection, client, collection)
            await _serve(settings, search, probe, CollectorRegistry(), stop)


async def serve_embedded(loaded: Loaded[EmbeddedApiSettings], folder: Path) -> None:
    """Serve the API, and keep the vector index in a folder of this process, until a signal comes.

    Args:
        loaded: Settings of both.
        folder: Where the index is; made when it is not there.

    Raises:
        Exception: What made going on impossible.
    """
    _tell(loaded)
    settings = loaded.settings
    stop = _stopped_by_signal()
    collection = _collection(_EMBEDDED_ALIAS, settings.embedder)
    registry = CollectorRegistry()
    async with AsyncExitStack() as opened:
        embedder = opened.enter_context(closing(open_embedder(settings.embedder)))
        index = opened.enter_context(closing(EmbeddedIndex.open(folder, collection)))
        # Either of the two ends both: a worker that cannot go on must be seen, not outlived.
        async with asyncio.TaskGroup() as both:
            search = Search(index, embedder, Bm25Encoder())
            both.create_task(_serve(settings, search, partial(index.read, ()), registry, stop))
            both.create_task(
                workers.work_vectors(
                    settings.vector_worker(),
                    writer=index,
                    embedder=embedder,
                    collection=collection,
                    clock=SystemClock(),
                    random=_jitter(),
                    registry=registry,
                    stop=stop,
                )
            )


async def _serve(
    settings: ApiSettings,
    search: Search,
    vectors_probe: Probe,
    registry: CollectorRegistry,
    stop: asyncio.Event,
) -> None:
    with bind(settings.api) as listening, closing(EventPublisher(settings)) as publisher:
        async with open_parts(
            settings,
            clock=SystemClock(),
            publisher=publisher,
            registry=registry,
            search=search,
            vectors_probe=vectors_probe,
        ) as parts:
            await serve_http(create_application(parts), settings.api, stop, listening)


def _collection(alias: str, embedder: EmbedderSettings) -> Collection:
    return Collection(alias, embedder.model, embedder.dimensions)


def _tell(loaded: Loaded[ProcessSettings]) -> None:
    configure_logging(loaded.settings.log)
    log_settings(loaded.effective)


def _stopped_by_signal() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def _jitter() -> Random:
    return Random()  # noqa: S311  # spreads retries, guards nothing
