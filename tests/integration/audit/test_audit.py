"""Each store is broken in each way: an audit finds it, and mends it from what the others have."""

import gc
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, cast
from uuid import UUID

import psycopg
import pytest
import qdrant_edge
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool

from builders import A_NAMESPACE, NoDataKeys
from conftest import LocalParts
from contract.vectors.build import a_point
from contract.vectors.engines import ShardEngine
from cranked_sinks import Sinks
from integration.workers.test_workers import COLLECTION
from qdrant_server import qdrant_server
from soma_cli.local.embedded_index import EmbeddedIndex
from soma_cli.local.postgres import Login
from soma_schemas.clock import SystemClock
from soma_schemas.events import PatchField
from soma_schemas.producer import MemoryProducer, NewMemory, Receipt
from soma_schemas.settings import PublishingSettings, VectorSettings
from soma_schemas.topics import MEMORY_EVENTS
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.embedders import Embedder, PackagedEmbedder
from soma_schemas.vectors.points import StoredPoint, point_id
from soma_schemas.vectors.server import ensure_collection, open_client
from soma_streams.audit import log_audit
from soma_streams.audit.audited_tables import AuditedTables
from soma_streams.audit.drift import Drift, Findings
from soma_streams.audit.index_audit import IndexStores
from soma_streams.audit.pace import Pace
from soma_streams.audit.requests import AuditRequest
from soma_streams.audit.whole_audit import WholeAudit
from soma_streams.delivery.state import MemoryState
from soma_streams.sinks.postgres.postgres_sink import PostgresSink
from soma_streams.sinks.sessions import Pool
from soma_streams.sinks.vectors.memory_pages import Records
from soma_streams.sinks.vectors.points import PointMaker
from soma_streams.sinks.vectors.qdrant import QdrantWriter
from soma_streams.sinks.vectors.standing import held_by
from soma_streams.sinks.vectors.writer import PointWriter
from waiting import eventually

_TABLES = ("memories", "memory_history", "memory_links")


@pytest.fixture(scope="module")
def embedder() -> Iterator[Embedder]:
    """The packaged model, loaded once."""
    with closing(PackagedEmbedder()) as opened:
        yield opened


@dataclass
class Site:
    """A log and its stores; the sinks run only where a test lets them."""

    settings: PublishingSettings
    engine: ShardEngine
    sinks: Sinks
    stores: IndexStores
    dsn: str
    memories: dict[str, UUID]

    def sql(self, statement: str, **values: Any) -> list[dict[str, Any]]:
        """Do something as the owner of the database."""
        with psycopg.connect(self.dsn, row_factory=dict_row) as connection:
            found = connection.execute(statement, values)
            return found.fetchall() if found.description is not None else []

    async def audit(self, *, mends: bool = False) -> Findings:
        """Compare everything."""
        findings = Findings()
        audit = WholeAudit(
            self.settings, self.stores, NoDataKeys(), clock=SystemClock(), grace=timedelta(hours=1)
        )
        await audit.make(AuditRequest(audit=UUID(int=1), mends=mends), findings, Pace(SystemClock()))
        return findings

    async def whole(self) -> dict[str, Any]:
        """Everything that both stores hold, by their own account."""
        points = await self.engine.stored()
        rows = {
            table: sorted(json.dumps(row["row"], sort_keys=True) for row in self._rows(table))
            for table in _TABLES
        }
        return rows | {
            "points": {
                place: (point.payload, point.dense is not None, point.words)
                for place, point in points.items()
                if "tenant" in point.payload
            }
        }

    def _rows(self, table: str) -> list[dict[str, Any]]:
        return self.sql(f"SELECT to_jsonb(held) AS row FROM {table} AS held")  # noqa: S608  # of three names

    def point(self, name: str) -> UUID:
        """The id of a memory's point."""
        return point_id("acme", self.memories[name])

    async def put(self, place: UUID, payload: dict[str, Any], vectors: dict[str, Any]) -> None:
        """Overwrite a point through the back door."""
        point = qdrant_edge.Point(place, vectors, payload)
        self.engine.shard.update(qdrant_edge.UpdateOperation.upsert_points([point]))

    async def payload(self, name: str) -> dict[str, Any]:
        """What a point says."""
        return dict((await self.engine.stored())[self.point(name)].payload)


def a_memory(text: str, **fields: Any) -> NewMemory:
    """A memory to be stored."""
    return NewMemory(namespace=A_NAMESPACE, text=text, **fields)


def vectors_of(text: str = "tea") -> dict[str, Any]:
    """Vectors that fit the collection."""
    return {"dense": [1.0, *[0.0] * 255], "bm25": Bm25Encoder().document(text)}


def publish(settings: PublishingSettings) -> tuple[dict[str, UUID], dict[int, int]]:
    """Publish events of every kind; return the memories by name and where each partition then ends."""
    receipts: dict[str, Receipt] = {}
    ends: dict[int, int] = {}

    def noted(name: str, receipt: Receipt) -> Receipt:
        receipts.setdefault(name, receipt)
        position = receipt.position
        ends[position.partition] = max(ends.get(position.partition, 0), position.offset + 1)
        return receipt

    with MemoryProducer(settings, tenant="acme") as producer:
        for number in range(12):
            noted(f"note {number}", producer.store(a_memory(f"Note {number}.", key=f"n{number}")))
        noted(
            "rich",
            producer.store(
                a_memory(
                    "Ada's tea.",
                    payload={"z": 1e2, "a": {"n": 12.50, "l": [1, "x", None]}},
                    tags=["tea", "ada"],
                    coordinate=[0.1, -0.0, 3, 4, 5.5],
                    importance=1 / 3,
                    subject="ada",
                )
            ),
        )
        odd = [0.1] * COLLECTION.dimensions
        noted(
            "embedded",
            producer.store(a_memory("Own.", key="own", embedding=odd, embedding_model=COLLECTION.model)),
        )
        changed = noted("changed", producer.store(a_memory("Before.", key="changed")))
        noted("changed", producer.patch(A_NAMESPACE, changed.memory_id, {PatchField.TEXT: "After."}))
        noted("changed", producer.patch(A_NAMESPACE, changed.memory_id, {PatchField.TAGS: ["late"]}))
        ended = noted("ended", producer.store(a_memory("Gone.", key="ended")))
        noted("ended", producer.delete(A_NAMESPACE, ended.memory_id))
        gone = noted("gone", producer.store(a_memory("Gone too.", key="gone")))
        noted("gone", producer.delete(A_NAMESPACE, gone.memory_id))
        back = noted("back", producer.store(a_memory("First life.", key="back")))
        noted("back", producer.link(A_NAMESPACE, back.memory_id, changed.memory_id, "knows"))
        noted("back", producer.delete(A_NAMESPACE, back.memory_id))
        noted("back", producer.store(a_memory("Second life.", key="back")))
        noted("back", producer.link(A_NAMESPACE, back.memory_id, ended.memory_id, "knows"))
    return {name: receipt.memory_id for name, receipt in receipts.items()}, ends


@asynccontextmanager
async def opened_engine(kind: str, folder: Path) -> AsyncIterator[ShardEngine]:
    """One of the two engines."""
    if kind == "embedded":
        with closing(EmbeddedIndex.open(folder, COLLECTION)) as index:
            yield ShardEngine.embedded(index)
        return
    async with qdrant_server(folder) as server, open_client(VectorSettings(url=server.url)) as client:
        await ensure_collection(client, COLLECTION)
        writer = QdrantWriter(client, COLLECTION)
        yield ShardEngine(writer, None, lambda: server.shard(COLLECTION.alias))  # type: ignore[arg-type]  # nobody reads


@asynccontextmanager
async def opened_site(
    engine_opened: AbstractAsyncContextManager[ShardEngine],
    local_parts: LocalParts,
    settings: PublishingSettings,
    owner_dsn: str,
    embedder: Embedder,
) -> AsyncIterator[Site]:
    """A site whose stores have everything that was published."""
    memories, ends = publish(settings)
    dsn = local_parts.parts.postgres.dsn(Login.WORKER)
    topic = MEMORY_EVENTS.full_name(settings.topics)
    async with AsyncExitStack() as opened:
        engine = await opened.enter_async_context(engine_opened)
        pool: Pool = AsyncConnectionPool(dsn, min_size=1, max_size=4, open=False)
        await opened.enter_async_context(pool)
        records = Records(pool)

        async def index_offsets() -> dict[int, int]:
            held = await held_by(engine.writer, range(3))
            return dict(held.progress) if held is not None else {}

        stores = IndexStores(
            writer=engine.writer,
            index_offsets=index_offsets,
            records=records,
            record_offsets=lambda: records.watermarks(topic, settings.topics.epoch),
            tables=AuditedTables(pool),
            sink=PostgresSink(pool, "soma-postgres"),
            maker=PointMaker(embedder, Bm25Encoder(), COLLECTION),
        )
        sinks = Sinks(settings, dsn, engine.writer, embedder, COLLECTION)
        site = Site(settings, engine, sinks, stores, owner_dsn, memories)
        async with sinks.running():
            await settled(site, ends)
        yield site


async def settled(site: Site, ends: dict[int, int]) -> None:
    """Wait until both sinks have everything."""

    async def reached() -> list[dict[int, int]]:
        return [dict(await site.stores.index_offsets()), dict(await site.stores.record_offsets())]

    await eventually(
        reached, lambda seen: all(one.get(each, 0) >= end for one in seen for each, end in ends.items())
    )


Open = Callable[[str], Any]


@pytest.fixture
def opening(
    local_parts: LocalParts,
    publishing_settings: PublishingSettings,
    owner_dsn: str,
    tmp_path: Path,
    embedder: Embedder,
) -> Open:
    """Opens a site on an engine."""
    return lambda kind: opened_site(
        opened_engine(kind, tmp_path / "index"), local_parts, publishing_settings, owner_dsn, embedder
    )


def found(findings: Findings) -> dict[Drift, int]:
    """What was found, and how much of each."""
    return {kind: each.found for kind, each in findings.tallies.items() if each.found}


def left(findings: Findings) -> dict[Drift, int]:
    """What was found and is not mended."""
    return {kind: each.left for kind, each in findings.tallies.items() if each.left}


async def a_row_deleted(site: Site) -> None:
    site.sql("DELETE FROM memories WHERE memory_id = %(id)s", id=site.memories["changed"])


async def a_row_set_back(site: Site) -> None:
    site.sql(
        "UPDATE memories SET version = version - 1, recent_event_ids = recent_event_ids[2:], tags = '{}' "
        "WHERE memory_id = %(id)s",
        id=site.memories["changed"],
    )


async def history_lost(site: Site) -> None:
    site.sql("DELETE FROM memory_history WHERE memory_id = %(id)s", id=site.memories["back"])


async def an_event_undone(site: Site) -> None:
    await history_lost(site)
    for table, column in (("memories", "memory_id"), ("memory_links", "from_memory_id")):
        site.sql(f"DELETE FROM {table} WHERE {column} = %(id)s", id=site.memories["back"])  # noqa: S608  # of two names


async def a_point_deleted(site: Site) -> None:
    gone: list[int | UUID | str] = [site.point("note 1"), site.point("gone")]
    site.engine.shard.update(qdrant_edge.UpdateOperation.delete_points(gone))


async def a_point_set_back(site: Site) -> None:
    payload = await site.payload("note 2")
    await site.put(site.point("note 2"), payload | {"version": payload["version"] - 1}, vectors_of())


async def a_vector_stripped(site: Site) -> None:
    await site.put(site.point("note 3"), await site.payload("note 3"), {"bm25": vectors_of()["bm25"]})


async def a_text_altered(site: Site) -> None:
    payload = await site.payload("note 4")
    altered = payload["document"].replace("Note 4.", "Note 5.")
    await site.put(site.point("note 4"), payload | {"document": altered}, vectors_of())


async def a_label_altered(site: Site) -> None:
    payload = await site.payload("note 5")
    await site.put(site.point("note 5"), payload | {"labels": "another"}, vectors_of())


async def a_payload_that_is_none(site: Site) -> None:
    payload = await site.payload("note 6")
    await site.put(site.point("note 6"), payload | {"document": "{"}, vectors_of())


async def a_deleted_memory_alive(site: Site) -> None:
    payload = await site.payload("note 7")
    payload["document"] = payload["document"].replace(
        str(site.memories["note 7"]), str(site.memories["ended"])
    )
    payload["version"] = (await site.payload("ended"))["version"]
    await site.put(site.point("ended"), payload, vectors_of())


Breakage = tuple[Callable[[Site], Awaitable[None]], dict[Drift, int]]

_OF_TABLES: list[Breakage] = [
    (a_row_deleted, {Drift.ROW_MISSING: 1, Drift.POINT_AHEAD: 1}),
    (a_row_set_back, {Drift.ROW_STALE: 1, Drift.POINT_AHEAD: 1}),
    (history_lost, {Drift.EVENT_LOST: 5}),
    (an_event_undone, {Drift.EVENT_LOST: 5, Drift.POINT_EXTRA: 1}),
]
_OF_THE_INDEX: list[Breakage] = [
    (a_point_deleted, {Drift.POINT_MISSING: 2}),
    (a_point_set_back, {Drift.POINT_STALE: 1}),
    (a_vector_stripped, {Drift.POINT_UNEMBEDDED: 1}),
    (a_text_altered, {Drift.POINT_WRONG: 1}),
    (a_label_altered, {Drift.POINT_WRONG: 1}),
    (a_payload_that_is_none, {Drift.POINT_WRONG: 1}),
    (a_deleted_memory_alive, {Drift.POINT_EXTRA: 1}),
]


# A point that is gone, that is set back, that has no vector, and that says something else.
_ON_A_SERVER = _OF_THE_INDEX[:4]


@pytest.mark.parametrize(
    ("kind", "breakages"), [("embedded", [*_OF_TABLES, *_OF_THE_INDEX]), ("server", _ON_A_SERVER)]
)
async def test_each_breakage_is_found_and_mended_to_what_was_there(
    opening: Open, kind: str, breakages: list[Breakage]
) -> None:
    async with opening(kind) as site:
        before = await site.whole()
        assert found(await site.audit()) == {}

        for breaks, expected in breakages:
            await breaks(site)
            broken = await site.whole()
            assert broken != before, breaks.__name__

            seen = await site.audit()
            assert (breaks.__name__, found(seen)) == (breaks.__name__, expected)
            assert await site.whole() == broken

            mended = await site.audit(mends=True)
            assert (breaks.__name__, left(mended)) == (breaks.__name__, {})
            assert await site.whole() == before, breaks.__name__

        assert found(await site.audit()) == {}


async def test_a_point_that_nothing_knows_of_becomes_a_tombstone_of_its_own_version(opening: Open) -> None:
    async with opening("server") as site:
        strange = a_point(tenant="acme", version=2**41)
        await site.put(strange.id, dict(strange.payload), vectors_of())

        seen = await site.audit()
        mended = await site.audit(mends=True)

        assert found(seen) == {Drift.POINT_EXTRA: 1}
        assert left(mended) == {}
        stored = (await site.engine.stored())[strange.id]
        assert stored.payload["version"] == 2**41
        assert "deleted_at" in stored.payload
        assert (stored.dense, stored.words) == (None, frozenset())
        assert found(await site.audit()) == {}


@pytest.mark.parametrize("most", [4096, 2])
async def test_all_at_once_is_mended_too_however_little_is_held(
    opening: Open, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_audit, "_MOST_AT_ONCE", most)
    async with opening("embedded") as site:
        before = await site.whole()
        for breaks, _ in [*_OF_TABLES, *_OF_THE_INDEX]:
            await breaks(site)

        mended = await site.audit(mends=True)

        assert left(mended) == {}
        assert await site.whole() == before


class Watched:
    """Passes on to an index, and counts the rows and points that are in memory whenever it is asked."""

    def __init__(self, writer: PointWriter) -> None:
        self._writer = writer
        self.most = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)

    async def look(self, ids: Iterable[UUID]) -> Mapping[UUID, StoredPoint]:
        """Return what the index does."""
        found = await self._writer.look(list(ids))
        held = sum(type(each) in {MemoryState, StoredPoint} for each in gc.get_objects())
        self.most = max(self.most, held)
        return found


async def test_no_more_than_some_pages_are_held_however_much_differs(opening: Open) -> None:
    rows = 1500
    async with opening("embedded") as site:
        site.sql(
            """
            INSERT INTO memories (
                tenant, memory_id, version, updated_at, created_at, occurred_at, access_count, importance,
                deleted, recent_event_ids, namespace, kind, text, payload, tags, actor
            )
            SELECT 'bulk', gen_random_uuid(), 1, now(), now(), now(), 0, 0.5, false, '{}', 'n', 'SEMANTIC',
                'tea', '{}', '{}', 'tester'
            FROM generate_series(1, %(rows)s::integer)
            """,
            rows=rows,
        )
        watched = Watched(site.engine.writer)
        site.stores = site.stores._replace(writer=cast("PointWriter", watched))

        seen = await site.audit()

        assert found(seen) == {Drift.POINT_MISSING: rows}
        assert len(seen.tallies[Drift.POINT_MISSING].examples) == 20
        # A page of rows with its points, and both once more while they are looked at again.
        assert 256 <= watched.most <= 4 * 256


async def test_where_the_log_lost_its_beginning_a_row_comes_back_from_its_point_and_nothing_is_invented(
    opening: Open, admin: AdminClient
) -> None:
    async with opening("embedded") as site:
        before = await site.whole()
        topic = MEMORY_EVENTS.full_name(site.settings.topics)
        ends = await site.stores.record_offsets()
        gone = [TopicPartition(topic, partition, end) for partition, end in ends.items()]
        for done in admin.delete_records(gone).values():
            done.result(20)
        await a_row_deleted(site)
        site.sql("DELETE FROM memories WHERE memory_id = %(id)s", id=site.memories["note 8"])
        site.engine.shard.update(qdrant_edge.UpdateOperation.delete_points([site.point("note 8")]))

        mended = await site.audit(mends=True)

        # Of the other one nothing tells any more.
        assert left(mended) == {}
        assert mended.tallies[Drift.POINT_AHEAD].mended == 1
        after = await site.whole()
        lost = {row for row in before["memories"] if str(site.memories["note 8"]) in row}
        assert set(after["memories"]) == set(before["memories"]) - lost


async def test_what_a_dead_letter_of_one_sink_explains_is_no_drift(opening: Open) -> None:
    async with opening("embedded") as site:
        with MemoryProducer(site.settings, tenant="acme") as producer:
            receipt = producer.store(
                a_memory("Odd.", key="n9", embedding=[1.0], embedding_model=COLLECTION.model)
            )
        async with site.sinks.running():
            await settled(site, {receipt.position.partition: receipt.position.offset + 1})
            await eventually(
                lambda: _soon(lambda: site.sql("SELECT FROM dead_letters")), lambda rows: len(rows) == 1
            )

        seen = await site.audit(mends=True)

        assert found(seen) == {}
        assert seen.dead_lettered == 1


async def test_lag_is_never_called_drift_while_writers_write(opening: Open) -> None:
    async with opening("embedded") as site:
        random = Random(7)
        async with site.sinks.running():
            for _ in range(3):
                with MemoryProducer(site.settings, tenant="acme") as producer:
                    producer.store_many(
                        a_memory(f"Text {random.random()}.", key=f"n{random.randrange(40)}")
                        for _ in range(300)
                    )
                    seen = await site.audit()
                assert found(seen) == {}
                assert seen.undecided == 0
        assert seen.events > 300


async def test_a_sink_that_is_behind_leaves_undecided_what_it_has_not_come_to(opening: Open) -> None:
    async with opening("embedded") as site:
        site.sql("UPDATE sink_watermarks SET next_offset = next_offset + 5")
        await a_point_deleted(site)
        stores = site.stores

        clock = ImpatientClock()
        findings = Findings()
        audit = WholeAudit(site.settings, stores, NoDataKeys(), clock=clock, grace=timedelta(hours=1))
        await audit.make(AuditRequest(audit=UUID(int=1), mends=True), findings, Pace(SystemClock()))

        assert found(findings) == {}
        assert findings.undecided == 2


class ImpatientClock(SystemClock):
    """A clock by which every pause takes a minute."""

    def __init__(self) -> None:
        self._slept = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self._slept

    async def sleep(self, seconds: float) -> None:
        del seconds
        self._slept += 60.0
        await super().sleep(0)


async def test_what_is_past_its_deadline_is_told_by_its_own_and_by_policy(opening: Open) -> None:
    async with opening("embedded") as site:
        rules = [{"kind": None, "ttl_seconds": 60, "notice_seconds": 0, "archive": False}]
        site.sql(
            "INSERT INTO retention_policies "
            "VALUES ('acme', '', %(rules)s, 'tester', now() - interval '1 day', 1)",
            rules=Jsonb(rules),
        )
        site.sql(
            "UPDATE memories SET updated_at = now() - interval '1 day' WHERE memory_id = %(id)s",
            id=site.memories["note 1"],
        )
        site.sql(
            "UPDATE memories SET expires_at = now() - interval '2 hours' WHERE memory_id = %(id)s",
            id=site.memories["note 2"],
        )
        site.sql(
            "UPDATE memories SET expires_at = now() - interval '2 minutes' WHERE memory_id = %(id)s",
            id=site.memories["note 3"],
        )

        seen = await site.audit()

        told = Counter(example["memory_id"] for example in seen.tallies[Drift.OVERDUE].examples)
        assert told == Counter(str(site.memories[name]) for name in ("note 1", "note 2"))
        site.sql("DELETE FROM retention_policies")


async def _soon(look: Callable[[], Any]) -> Any:
    return look()
