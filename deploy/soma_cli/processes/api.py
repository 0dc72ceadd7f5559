"""The API, alone or together with the vector worker and the index that both use."""

import asyncio
from contextlib import AsyncExitStack, closing
from functools import partial
from pathlib import Path

from soma_api.application import create_application
from soma_api.index_completeness import PointsById
from soma_api.probes import Probe
from soma_api.queries.vectors.hybrid_search import Search
from soma_api.resources import open_resources
from soma_api.serving import bind
from soma_api.serving import serve as serve_http
from soma_api.settings import ApiSettings
from soma_cli.local.embedded_index import EmbeddedIndex, IndexDiscardedError
from soma_cli.processes.common import (
    collection_of,
    jitter,
    measured_embedder,
    stopped_by_signal,
    tell_and_trace,
)
from soma_cli.settings import EmbeddedApiSettings
from soma_schemas.clock import SystemClock
from soma_schemas.configuration import Loaded
from soma_schemas.encryption.data_keys import open_data_keys
from soma_schemas.metrics import MetricSet
from soma_schemas.producer import EventPublisher
from soma_schemas.producer_metrics import ProducerMetrics
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_streams import workers
from soma_streams.cancellation import done_before
from soma_streams.garbage_collection import collect_rarely

_EMBEDDED_ALIAS = "memories"


async def serve(loaded: Loaded[ApiSettings]) -> None:
    """Serve the API until a signal comes.

    Raises:
        Exception: What made going on impossible.
    """
    from soma_api.queries.vectors.qdrant import QdrantReader  # noqa: PLC0415  # not where the index is embedded
    from soma_schemas.vectors.server import check_collection, open_client  # noqa: PLC0415  # not where the index is embedded

    tell_and_trace(loaded, "soma-api")
    settings = loaded.settings
    stop = stopped_by_signal()
    metrics = MetricSet.of_process()
    with closing(measured_embedder(settings.embedder, metrics)) as embedder:
        async with open_client(settings.vectors) as client:
            collection = collection_of(settings.vectors.collection, settings.embedder)
            reader = QdrantReader(client, collection.alias)
            search = Search(reader, embedder, Bm25Encoder(), SystemClock())
            probe = partial(check_collection, client, collection)
            await _serve(settings, search, reader, metrics, stop, vectors_probe=probe)


async def serve_embedded(loaded: Loaded[EmbeddedApiSettings], folder: Path) -> None:
    """Serve the API, and keep the vector index in a folder of this process, until a signal comes.

    Args:
        loaded: Settings of both.
        folder: Where the index is; made when it is not there.

    Raises:
        Exception: What made going on impossible.
    """
    tell_and_trace(loaded, "soma-api")
    settings = loaded.settings
    stop = stopped_by_signal()
    collection = collection_of(_EMBEDDED_ALIAS, settings.embedder)
    metrics = MetricSet.of_process()
    async with AsyncExitStack() as opened:
        embedder = opened.enter_context(closing(measured_embedder(settings.embedder, metrics)))
        index = opened.enter_context(closing(EmbeddedIndex.open(folder, collection)))
        # Either of the two ends both: a worker that cannot go on must be seen, not outlived.
        async with asyncio.TaskGroup() as both:
            search = Search(index, embedder, Bm25Encoder(), SystemClock())
            serving = _serve(settings, search, index, metrics, stop, vectors_probe=partial(index.read, ()))
            both.create_task(serving)
            both.create_task(_while_kept(index, stop))
            both.create_task(
                workers.work_vectors(
                    settings.vector_worker(),
                    writer=index,
                    embedder=embedder,
                    collection=collection,
                    clock=SystemClock(),
                    random=jitter(),
                    metrics=metrics,
                    stop=stop,
                )
            )


async def _while_kept(index: EmbeddedIndex, stop: asyncio.Event) -> None:
    """Return when told to stop.

    Raises:
        IndexDiscardedError: The index is to be made anew, which the next start does.
    """
    discarded = index.until_discarded(SystemClock())
    if await done_before(stop, discarded):
        raise IndexDiscardedError("the vector index is to be made anew")


async def _serve(
    settings: ApiSettings,
    search: Search,
    points: PointsById,
    metrics: MetricSet,
    stop: asyncio.Event,
    *,
    vectors_probe: Probe,
) -> None:
    with (
        bind(settings.api) as listening,
        open_data_keys(settings.postgres, settings.encryption) as keys,
        closing(EventPublisher(settings, ProducerMetrics(metrics), keys)) as publisher,
    ):
        async with open_resources(
            settings,
            clock=SystemClock(),
            publisher=publisher,
            metrics=metrics,
            search=search,
            points=points,
            vectors_probe=vectors_probe,
        ) as parts:
            # Looking for cycles among all that is loaded by now stops every request for up to 0.1 s.
            collect_rarely()
            await serve_http(create_application(parts), settings.api, stop, listening)
