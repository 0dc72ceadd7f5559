"""A rebuild beside the index in use: nothing that is asked or written meanwhile fails or is lost."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import grpc
import pytest
from qdrant_client import AsyncQdrantClient
from structlog.testing import capture_logs

from builders import A_NAMESPACE
from conftest import LocalParts
from integration.workers.test_lost_index import memories, reached, recorded, seen
from integration.workers.test_workers import COLLECTION, postgres_worker, settled_to, worker_settings
from qdrant_server import QdrantServer, qdrant_server
from soma_api.followed_index import FollowedIndex, SearchedIndex
from soma_api.index_completeness import IndexState, PointsById
from soma_api.queries.vectors.hybrid_search import Search, SearchRequest
from soma_api.queries.vectors.qdrant import QdrantReader
from soma_cli.processes.common import Embedders
from soma_cli.reindexing.index_place import Indexes, ReindexError
from soma_cli.reindexing.phases import Phase, Told
from soma_cli.reindexing.rebuilding import Rebuilding, Rebuilt, Wishes, alone
from soma_cli.reindexing.recall import Recall
from soma_cli.reindexing.server_place import ServerPlace
from soma_schemas.clock import SystemClock, yield_now
from soma_schemas.errors import SomaError
from soma_schemas.events import PatchField
from soma_schemas.metrics import MetricSet
from soma_schemas.postgres_pool import open_pool
from soma_schemas.producer import MemoryProducer, NewMemory
from soma_schemas.retention import TenantPolicies
from soma_schemas.settings import EmbedderSettings, NextEmbedderSettings, PublishingSettings, VectorSettings
from soma_schemas.topic_admin import open_admin
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.embedders import PACKAGED_DIMENSIONS, Embedder, PackagedEmbedder
from soma_schemas.vectors.index_errors import EmbedderUnavailableError
from soma_schemas.vectors.placement import Placement
from soma_schemas.vectors.server import behind, open_client, switch_alias
from soma_schemas.versions import Position
from soma_streams import workers
from soma_streams.audit.audited_tables import AuditedTables
from soma_streams.cancellation import end
from soma_streams.index_rebuild import rebuild_group
from soma_streams.settings import VectorWorkerSettings
from soma_streams.sinks.vectors.qdrant import QdrantWriter
from soma_streams.sinks.vectors.vector_sink_errors import IndexLostError
from waiting import eventually

TURNED = "turned-256"
OTHER = Collection(COLLECTION.alias, TURNED, PACKAGED_DIMENSIONS)
_MEMORIES = 40


class TurnedEmbedder:
    """The packaged model turned around: as good by itself, and of no use with vectors of the other."""

    name = TURNED
    dimensions = PACKAGED_DIMENSIONS
    in_process = True

    def __init__(self) -> None:
        self._packaged = PackagedEmbedder()
        self.away = False
        self.poor = False

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Return vectors with their numbers in the opposite order."""
        if self.away:
            raise EmbedderUnavailableError("away")
        # One that is poor looks at nothing but the last letters.
        read = [text[-4:] for text in texts] if self.poor else texts
        return [vector[::-1] for vector in self._packaged.embed_documents(read)]

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a question."""
        return self.embed_documents([text])[0]

    def close(self) -> None:
        """Nothing to give back."""


class BothEmbedders(Embedders):
    """What a process knows that has settings of both models."""

    def __init__(self) -> None:
        super().__init__(EmbedderSettings(), NextEmbedderSettings(model=TURNED), MetricSet())
        self.turned = TurnedEmbedder()
        self._packaged = PackagedEmbedder()

    def of(self, collection: Collection) -> Embedder:
        """Return one of the two."""
        return self.turned if collection.model == TURNED else self._packaged


@dataclass
class Installation:
    """A log, tables, a server, and who works on them."""

    client: AsyncQdrantClient
    embedders: BothEmbedders
    settings: VectorWorkerSettings
    dsn: str
    place: ServerPlace
    rebuild: Callable[[Wishes], Coroutine[Any, Any, Rebuilt]]
    told: list[Told] = field(default_factory=list)
    tick: asyncio.Event = field(default_factory=asyncio.Event)


async def no_policies(tenant: str) -> TenantPolicies:
    del tenant
    return TenantPolicies({})


async def yes(recall: Recall | None) -> bool:
    del recall
    return True


def wishes(
    target: Collection | None = OTHER,
    *,
    least_recall: float = 0.7,
    accept_recall: bool = False,
    switches: bool = True,
) -> Wishes:
    return Wishes(
        target=target,
        questions=None,
        draw=20,
        tenant=None,
        least_recall=least_recall,
        accept_recall=accept_recall,
        switches=switches,
    )


async def supervised(installation: Installation, stop: asyncio.Event) -> None:
    """The vector worker, started again whenever another index has taken the place of its own."""
    while not stop.is_set():
        found = await behind(installation.client, COLLECTION.alias)
        collection = installation.embedders.declared(found and found.recorded, COLLECTION.alias)
        try:
            await workers.work_vectors(
                installation.settings,
                writer=QdrantWriter(installation.client, collection),
                embedder=installation.embedders.of(collection),
                collection=collection,
                clock=SystemClock(),
                random=Random(2),
                metrics=MetricSet(),
                stop=stop,
            )
        except* IndexLostError:
            pass  # as its supervisor does, started again


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[QdrantServer]:
    async with qdrant_server(tmp_path / "qdrant") as server:
        yield server


@pytest.fixture
async def installation(
    local_parts: LocalParts, publishing_settings: PublishingSettings, owner_dsn: str, server: QdrantServer
) -> AsyncIterator[Installation]:
    vectors = VectorSettings(url=server.url)
    settings = VectorWorkerSettings(**worker_settings(local_parts, publishing_settings), vectors=vectors)
    async with AsyncExitStack() as opened:
        client = await opened.enter_async_context(open_client(vectors))
        pool = await opened.enter_async_context(open_pool(settings.postgres))
        embedders = opened.enter_context(closing(BothEmbedders()))
        place = ServerPlace(client, COLLECTION.alias, embedders, AuditedTables(pool).policies, Placement())
        told: list[Told] = []
        tick = asyncio.Event()

        def tell(each: Told) -> None:
            told.append(each)
            tick.set()

        async def rebuild(wanted: Wishes) -> Rebuilt:
            return await Rebuilding(
                place,
                settings,
                embedder_of=embedders.of,
                pool=pool,
                clock=SystemClock(),
                random=Random(3),
                tell=tell,
                agree=yes,
            ).run(wanted)

        yield Installation(client, embedders, settings, owner_dsn, place, rebuild, told, tick)


@asynccontextmanager
async def working(
    installation: Installation, local_parts: LocalParts, publishing: PublishingSettings
) -> AsyncIterator[None]:
    """Both workers, until the block ends."""
    stop = asyncio.Event()
    async with postgres_worker(local_parts, publishing):
        task = asyncio.create_task(supervised(installation, stop))
        try:
            yield
        finally:
            stop.set()
            await task


async def store(publishing: PublishingSettings, numbers: range) -> dict[int, int]:
    """Store a memory for each number; return where each partition then ends."""
    ends: dict[int, int] = {}
    async with MemoryProducer(publishing, tenant="acme") as producer:
        for number in numbers:
            memory = NewMemory(namespace=A_NAMESPACE, key=f"note {number}", text=f"Note {number} on tea.")
            position = (await producer.store_async(memory)).position
            ends[position.partition] = position.offset + 1
    return ends


async def in_tables(installation: Installation, ends: dict[int, int]) -> None:
    for partition, beyond in ends.items():
        await settled_to(installation.dsn, "soma-postgres", Position(partition, beyond - 1))


def asking(installation: Installation) -> FollowedIndex:
    """The search of an API that knows both models."""

    async def find(present: SearchedIndex | None) -> SearchedIndex:
        found = await behind(installation.client, COLLECTION.alias)
        assert found is not None
        if present is not None and present.name == found.name:
            return present
        reader = QdrantReader(installation.client, found.name)
        search = Search(reader, installation.embedders.of(found.recorded), Bm25Encoder(), SystemClock())
        return SearchedIndex(found.name, search, reader)

    return FollowedIndex(find, SystemClock())


async def complete(points: PointsById) -> IndexState:
    del points
    return IndexState(complete=True, filled=1.0)


async def ready(installation: Installation, publishing: PublishingSettings) -> dict[int, int]:
    """Some memories, in the tables and in the index in use."""
    ends = await store(publishing, range(_MEMORIES))
    await in_tables(installation, ends)
    # The worker makes the index when it starts.
    await eventually(lambda: behind(installation.client, COLLECTION.alias))
    await reached(QdrantWriter(installation.client, COLLECTION), ends)
    return ends


async def settled_in(
    installation: Installation, collection: Collection, ends: dict[int, int]
) -> tuple[dict[UUID, tuple[int, bool]], dict[UUID, tuple[int, bool]]]:
    """What the index in use has of what the tables have, once both are there; and that."""
    writer = QdrantWriter(installation.client, collection)
    await reached(writer, ends)
    await in_tables(installation, ends)
    return seen(await memories(writer, installation.dsn)), await recorded(installation.dsn)


async def filling(installation: Installation) -> bool:
    """Whether a rebuild knows how much there is to fill."""
    return any(each.phase is Phase.FILLING and each.total for each in installation.told)


def question(text: str) -> SearchRequest:
    return SearchRequest(tenant="acme", policies=TenantPolicies({}), text=text, top_k=5)


class Asking:
    """Asks without a pause, and counts what fails."""

    def __init__(self, installation: Installation) -> None:
        self.index = asking(installation)
        self.asked = 0
        self.failed: list[Exception] = []

    async def run(self, over: asyncio.Event) -> None:
        while not over.is_set():
            try:
                found = await self.index(question("Note 7 on tea."))
                assert found.hits[0].memory.content.key == "note 7"
                await self.index.look(complete)
            except (AssertionError, SomaError) as error:
                self.failed.append(error)
            self.asked += 1
            await yield_now()


async def write(installation: Installation, over: asyncio.Event, ends: dict[int, int]) -> None:
    """Store, change and delete whenever the rebuild says how far it is: in each phase."""
    async with MemoryProducer(installation.settings, tenant="acme") as producer:
        for number in itertools.count(_MEMORIES):
            await installation.tick.wait()
            installation.tick.clear()
            memory = NewMemory(namespace=A_NAMESPACE, key=f"note {number}", text=f"Note {number} on tea.")
            receipt = await producer.store_async(memory)
            named = (A_NAMESPACE, receipt.memory_id)
            if number % 3 == 0:
                changed = {PatchField.TEXT: f"Patched {number}."}
                receipt = await asyncio.to_thread(producer.patch, *named, changed)
            if number % 5 == 0:
                receipt = await asyncio.to_thread(producer.delete, *named)
            ends[receipt.position.partition] = receipt.position.offset + 1
            if over.is_set():
                return


async def test_everything_asked_and_written_during_a_rebuild_for_another_model_is_answered_and_kept(
    local_parts: LocalParts, publishing_settings: PublishingSettings, installation: Installation
) -> None:
    over, reader = asyncio.Event(), Asking(installation)
    async with working(installation, local_parts, publishing_settings):
        ends = await ready(installation, publishing_settings)
        before = await behind(installation.client, COLLECTION.alias)
        both = asyncio.gather(reader.run(over), write(installation, over, ends))
        rebuilt = await installation.rebuild(wishes())
        after = await behind(installation.client, COLLECTION.alias)
        over.set()
        installation.tick.set()
        await both
        points, rows = await settled_in(installation, OTHER, ends)

    assert rebuilt.switched
    assert before is not None
    assert after is not None
    assert after.name == rebuilt.following.name != before.name
    assert after.recorded == OTHER
    assert rebuilt.recall is not None
    assert rebuilt.recall.share > 0.9
    assert {each.phase for each in installation.told} >= {Phase.COMPARING, Phase.ASKING}
    assert reader.failed == []
    assert reader.asked > 10
    assert len(rows) > _MEMORIES
    assert points == rows


def groups_of_rebuilds(settings: VectorWorkerSettings) -> list[str]:
    """Return the groups of rebuilds that brokers know: whoever watches lag is told of each."""
    with open_admin(settings.kafka) as admin:
        listed = admin.list_consumer_groups().result(timeout=30)
    ours = rebuild_group(settings.topics, "")
    return [group.group_id for group in listed.valid if group.group_id.startswith(ours)]


async def test_a_rebuild_that_ends_anywhere_goes_on_and_one_that_is_rolled_back_has_what_came_since(
    local_parts: LocalParts, publishing_settings: PublishingSettings, installation: Installation
) -> None:
    async with working(installation, local_parts, publishing_settings):
        ends = await ready(installation, publishing_settings)
        before = await behind(installation.client, COLLECTION.alias)
        # The model is away from the first page on, and whoever waits for it is killed.
        installation.embedders.turned.away = True
        waiting = asyncio.create_task(installation.rebuild(wishes()))
        await eventually(lambda: filling(installation))
        await end(waiting)
        begun = (await installation.place.indexes()).following
        installation.embedders.turned.away = False
        compared = await installation.rebuild(wishes(switches=False))
        untouched = await behind(installation.client, COLLECTION.alias)
        with pytest.raises(ReindexError, match=TURNED):
            await installation.rebuild(wishes(COLLECTION))

        await installation.rebuild(wishes())
        ends |= await store(publishing_settings, range(_MEMORIES, _MEMORIES + 9))
        await settled_in(installation, OTHER, ends)
        with pytest.raises(ReindexError, match="the index before the one in use is still there"):
            await installation.rebuild(wishes(COLLECTION))
        back = await installation.rebuild(wishes(None))
        ends |= await store(publishing_settings, range(_MEMORIES, _MEMORIES + 9))
        points, rows = await settled_in(installation, COLLECTION, ends)
        dropped = await installation.place.drop()
        left = await installation.place.indexes()
        groups = groups_of_rebuilds(installation.settings)

    assert groups == []
    assert begun == compared.following
    assert not compared.switched
    assert untouched == before
    assert before is not None
    assert (back.following.name, back.recall) == (before.name, None)
    assert points == rows
    assert dropped == [compared.following.name]
    assert (left.following, left.former) == (None, None)


async def test_an_index_that_finds_too_little_of_what_was_found_is_not_put_into_use(
    local_parts: LocalParts, publishing_settings: PublishingSettings, installation: Installation
) -> None:
    installation.embedders.turned.poor = True
    async with working(installation, local_parts, publishing_settings):
        await ready(installation, publishing_settings)
        before = await behind(installation.client, COLLECTION.alias)

        with pytest.raises(
            ReindexError, match="of what 20 questions found before, the new index finds"
        ) as no:
            await installation.rebuild(wishes(least_recall=0.95))

        assert await behind(installation.client, COLLECTION.alias) == before
        accepted = await installation.rebuild(wishes(least_recall=0.95, accept_recall=True))

    assert "--accept-recall" in str(no.value.remedy)
    assert accepted.switched


async def test_of_two_rebuilds_one_is_refused(installation: Installation) -> None:
    async with alone(installation.settings):
        with pytest.raises(ReindexError, match="another `soma reindex` is at work"):
            await installation.rebuild(wishes())


async def test_a_server_without_room_leaves_the_index_in_use_alone_and_is_waited_for(
    local_parts: LocalParts,
    publishing_settings: PublishingSettings,
    installation: Installation,
    server: QdrantServer,
) -> None:
    async with working(installation, local_parts, publishing_settings):
        await ready(installation, publishing_settings)
        server.faults.statuses["Upsert"] = grpc.StatusCode.RESOURCE_EXHAUSTED
        with capture_logs() as logs:
            rebuilding = asyncio.create_task(installation.rebuild(wishes()))

            async def refusals() -> list[str]:
                return [str(each.get("reason")) for each in logs if each["event"] == "store_unavailable"]

            said = await eventually(refusals)
            found = await asking(installation)(question("Note 7 on tea."))
            del server.faults.statuses["Upsert"]
            rebuilt = await rebuilding

    assert said[0] == "index_unavailable: the vector index does not answer: RESOURCE_EXHAUSTED"
    assert found.hits[0].memory.content.key == "note 7"
    assert rebuilt.switched


async def test_a_switch_that_was_interrupted_between_its_requests_is_done_or_not(
    installation: Installation,
) -> None:
    client, place, alias = installation.client, installation.place, COLLECTION.alias
    await QdrantWriter(client, COLLECTION).prepare()
    old = COLLECTION.name()
    new = (await place.begin(OTHER)).name

    await switch_alias(client, f"{alias}--former", old)
    not_yet = await place.indexes()
    await switch_alias(client, alias, new)
    done = await place.indexes()
    await place.switch()
    again = await place.indexes()

    def names(indexes: Indexes) -> list[str | None]:
        return [each and each.name for each in (indexes.current, indexes.following, indexes.former)]

    assert names(not_yet) == [old, new, None]
    assert names(done) == names(again) == [new, None, old]
