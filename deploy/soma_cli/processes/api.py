"""The API, alone or together with the vector worker and the index that both use."""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import structlog

from soma_api.application import create_application
from soma_api.followed_index import FollowedIndex, SearchedIndex
from soma_api.probes import Probe
from soma_api.queries.vectors.hybrid_search import Search
from soma_api.resources import open_resources
from soma_api.serving import bind
from soma_api.serving import serve as serve_http
from soma_api.settings import ApiSettings
from soma_cli.local.embedded_index import EmbeddedIndex
from soma_cli.local.index_folder import IndexFolder
from soma_cli.processes.common import Embedders, jitter, stopped_by_signal, tell_and_trace
from soma_cli.settings import EmbeddedApiSettings
from soma_schemas.clock import SystemClock
from soma_schemas.configuration import Loaded
from soma_schemas.encryption.data_keys import open_data_keys
from soma_schemas.metrics import MetricSet
from soma_schemas.producer import EventPublisher
from soma_schemas.producer_metrics import ProducerMetrics
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.embedders import Embedder
from soma_schemas.vectors.index_errors import IndexUnavailableError
from soma_streams import workers
from soma_streams.cancellation import done_before
from soma_streams.garbage_collection import collect_rarely
from soma_streams.settings import VectorWorkerSettings

EMBEDDED_ALIAS = "memories"

log = structlog.get_logger(__name__)

_LOOK_SECONDS = 1.0


async def serve(loaded: Loaded[ApiSettings]) -> None:
    """Serve the API until a signal comes.

    Raises:
        Exception: What made going on impossible.
    """
    from soma_api.queries.vectors.qdrant import QdrantReader  # noqa: PLC0415  # not where the index is embedded
    from soma_schemas.vectors.server import behind, check_collection, open_client  # noqa: PLC0415  # not where the index is embedded

    tell_and_trace(loaded, "soma-api")
    settings = loaded.settings
    stop = stopped_by_signal()
    alias, metrics = settings.vectors.collection, MetricSet.of_process()
    with closing(Embedders(settings.embedder, settings.next_embedder, metrics)) as embedders:
        async with open_client(settings.vectors) as client:

            async def find(present: SearchedIndex | None) -> SearchedIndex:
                found = await behind(client, alias)
                if found is None:
                    raise IndexUnavailableError(f"there is no collection `{alias}`")
                if present is not None and present.name == found.name:
                    return present
                reader = QdrantReader(client, found.name, settings.vectors.hnsw_ef)
                bm25 = Bm25Encoder(found.recorded.language)
                search = Search(reader, embedders.of(found.recorded), bm25, SystemClock())
                return SearchedIndex(found.name, search, reader)

            async def probe() -> None:
                found = await behind(client, alias)
                await check_collection(client, embedders.declared(found and found.recorded, alias))

            index = FollowedIndex(find, SystemClock())
            await _serve(settings, index, metrics, stop, vectors_probe=probe)


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
    metrics = MetricSet.of_process()
    with closing(Embedders(settings.embedder, settings.next_embedder, metrics, settings.index)) as embedders:
        indexes = _EmbeddedIndexes(IndexFolder(folder), embedders)
        with closing(indexes):
            indexes.open()
            index = FollowedIndex(indexes.find, SystemClock())

            async def probe() -> None:
                await index.read(())
                indexes.require_current()

            # Either of the two ends both: a worker that cannot go on must be seen, not outlived.
            async with asyncio.TaskGroup() as both:
                both.create_task(_serve(settings, index, metrics, stop, vectors_probe=probe))
                both.create_task(_work_on(indexes, settings.vector_worker(), metrics, stop))


class _EmbeddedIndexes:
    """The index that the worker writes, and the one before it for as long as questions still go there.

    Args:
        folder: Where they are.
        embedders: By their models.
    """

    def __init__(self, folder: IndexFolder, embedders: Embedders) -> None:
        self._folder = folder
        self._embedders = embedders
        self._opened: dict[str, tuple[EmbeddedIndex, SearchedIndex]] = {}
        self.name = ""
        self.collection = embedders.declared(None, EMBEDDED_ALIAS)

    @property
    def index(self) -> EmbeddedIndex:
        """The one in use."""
        return self._opened[self.name][0]

    @property
    def embedder(self) -> Embedder:
        """Its own."""
        return self._embedders.of(self.collection)

    def open(self) -> None:
        """Open the one that is in use by now.

        Raises:
            MismatchError: It is of a model that is not known here, or of a newer indexing.
            IndexInUseError: Another process has it open.
        """
        name = self._folder.names().current
        self.collection = self._embedders.declared(self._folder.recorded(name), EMBEDDED_ALIAS)
        index = EmbeddedIndex.open(self._folder.path(name), self.collection)
        search = Search(index, self.embedder, Bm25Encoder(self.collection.language), SystemClock())
        self._opened[name] = index, SearchedIndex(name, search, index)
        self.name = name

    async def find(self, present: SearchedIndex | None) -> SearchedIndex:
        """Return the index in use; one that is asked no more is closed."""
        searched = self._opened[self.name][1]
        if searched is present:
            for name in [name for name in self._opened if name != self.name]:
                self._opened.pop(name)[0].close()
        return searched

    async def beside(self) -> Sequence[str]:
        """Return the names of the others that are kept."""
        names = self._folder.names()
        return [each for each in (names.following, names.former) if each is not None]

    def require_current(self) -> None:
        """Return if the index in use is the one here, or one that this process can go over to.

        Raises:
            MismatchError: It is of a model that is not known here, or of another indexing.
        """
        name = self._folder.names().current
        recorded = self._folder.recorded(name)
        if name != self.name and recorded is not None:
            self._embedders.of(recorded)

    async def until_another(self) -> None:
        """Return when another index is to be used, of a model and an indexing that are known here."""
        clock, told = SystemClock(), False
        while True:
            await clock.sleep(_LOOK_SECONDS)
            name = self._folder.names().current
            recorded = self._folder.recorded(name)
            if name == self.name or recorded is None:
                continue
            if self._embedders.knows(recorded):
                return
            if not told:
                told = True
                log.error("index_unknown", index=name, model=recorded.model, indexing=recorded.indexing)

    def close(self) -> None:
        """Close all of them."""
        for index, _ in self._opened.values():
            index.close()


async def _work_on(
    indexes: _EmbeddedIndexes, settings: VectorWorkerSettings, metrics: MetricSet, stop: asyncio.Event
) -> None:
    """Keep the index in use up with the log, and go over to another one that takes its place."""
    while not stop.is_set():
        ending = asyncio.Event()

        async def end_in_time(ending: asyncio.Event = ending) -> None:
            await done_before(stop, indexes.until_another())
            ending.set()

        with metrics.for_a_time() as of_worker:
            async with asyncio.TaskGroup() as both:
                both.create_task(end_in_time())
                both.create_task(
                    workers.work_vectors(
                        settings,
                        writer=indexes.index,
                        embedder=indexes.embedder,
                        collection=indexes.collection,
                        clock=SystemClock(),
                        random=jitter(),
                        metrics=of_worker,
                        stop=ending,
                        beside=indexes.beside,
                    )
                )
        if not stop.is_set():
            indexes.open()


async def _serve(
    settings: ApiSettings,
    index: FollowedIndex,
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
            search=index,
            points=index,
            vectors_probe=vectors_probe,
            follow=index.follow,
        ) as parts:
            # Looking for cycles among all that is loaded by now stops every request for up to 0.1 s.
            collect_rarely()
            await serve_http(create_application(parts), settings.api, stop, listening)
