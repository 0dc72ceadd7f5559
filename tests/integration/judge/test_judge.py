"""The judge finds nothing where all is right, and each fault that is put into a store."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from chaos.publishing import Publishing
from chaos.workload import LIMITS, Workload
from conftest import LocalParts
from cranked_sinks import Sinks
from judge.log import read_ends
from judge.stores import Point
from judge.verdict import Verdict, behind, judge, read_log
from judging import embedded_points, installation
from soma_cli.local.embedded_index import EmbeddedIndex
from soma_cli.local.postgres import Login
from soma_schemas.settings import PublishingSettings
from soma_schemas.topics import DEAD_LETTERS
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.embedders import PACKAGED_DIMENSIONS, PACKAGED_MODEL, PackagedEmbedder
from waiting import eventually

EVENTS = 1000
ANOTHER = UUID(int=1)
COLLECTION = Collection("memories", PACKAGED_MODEL, PACKAGED_DIMENSIONS)
# (a fault, the part in which it shows, as what)
ROW_FAULTS = [
    ("UPDATE memories SET text = text || '!' WHERE {a} AND NOT deleted", "memories", "wrong"),
    ("UPDATE memories SET version = version - 1 WHERE {a}", "memories", "lost"),
    (
        "UPDATE memories SET payload = payload || '{{\"a\": 1}}' WHERE {a} AND NOT deleted",
        "memories",
        "wrong",
    ),
    ("UPDATE memories SET recent_event_ids = '{{}}' WHERE {a}", "memories", "wrong"),
    ("UPDATE memories SET access_count = access_count + 1 WHERE {a} AND NOT deleted", "memories", "wrong"),
    ("UPDATE memories SET created_at = updated_at + '1 s' WHERE {a} AND NOT deleted", "memories", "wrong"),
    ("UPDATE memories SET deleted_version = 0 WHERE {a} AND deleted", "memories", "wrong"),
    ("DELETE FROM memories WHERE {a} AND deleted", "memories", "lost"),
    ("UPDATE memories SET memory_id = gen_random_uuid() WHERE {a} AND deleted", "memories", "extra"),
    ("DELETE FROM memory_history WHERE {a}", "history", "lost"),
    (
        "UPDATE memory_history SET reason = 'older' WHERE {a} AND reason = 'version_mismatch'",
        "history",
        "wrong",
    ),
    (
        "UPDATE memory_history SET outcome = 'applied' WHERE {a} AND reason = 'version_mismatch'",
        "history",
        "wrong",
    ),
    ("UPDATE memory_history SET error_code = 'x' WHERE {a} AND error_code = 'avro'", "history", "wrong"),
    ("UPDATE memory_history SET content = NULL WHERE {a} AND content IS NOT NULL", "history", "wrong"),
    ("UPDATE memory_history SET version = version + 2 ^ 20 WHERE {a}", "history", "extra"),
    ("UPDATE memory_links SET weight = weight + 1 WHERE {a} AND NOT deleted", "links", "wrong"),
    ("UPDATE memory_links SET deleted = true WHERE {a} AND NOT deleted", "links", "wrong"),
    ("UPDATE memory_links SET deleted = false WHERE {a} AND deleted AND weight > 0", "links", "wrong"),
    ("DELETE FROM memory_links WHERE {a}", "links", "lost"),
    ("DELETE FROM dead_letters WHERE {a}", "dead-letter index", "lost"),
    ("UPDATE dead_letters SET status = 'discarded' WHERE {a}", "dead-letter index", "wrong"),
    ("UPDATE tenant_counts SET number = number + 1 WHERE {a} AND counted = 'links'", "counts", "wrong"),
    (
        "UPDATE tenant_counts SET number = number + 1 WHERE {a} AND counted = 'dead_letters'",
        "counts",
        "wrong",
    ),
    (
        (
            "UPDATE namespace_counts SET number = number + 1 WHERE {a} AND (tenant, namespace, kind)"
            " IN (SELECT tenant, namespace, kind FROM memories WHERE NOT deleted)"
        ),
        "counts",
        "wrong",
    ),
    ("UPDATE sink_watermarks SET next_offset = next_offset - 1 WHERE {a}", "watermarks", "lost"),
]


def changed(point: Point, **fields: object) -> Point:
    return point._replace(payload={**point.payload, **fields})


def stale(point: Point) -> Point:
    document = json.loads(point.payload["document"])
    document["content"]["text"] = "as it was"
    return changed(point, document=json.dumps(document))


def without_events(point: Point) -> Point:
    document = json.loads(point.payload["document"]) | {"recent_event_ids": []}
    return changed(point, document=json.dumps(document))


def elsewhere(point: Point) -> Point:
    labels = [*point.payload["labels"].split()[1:], b"in:elsewhere".hex()]
    return changed(point, labels=" ".join(labels))


POINT_FAULTS: list[tuple[str, Callable[[Point], list[Point]], str]] = [
    ("living", lambda _: [], "lost"),
    ("dead", lambda _: [], "lost"),
    ("living", lambda point: [point, point._replace(id=ANOTHER)], "extra"),
    ("living", lambda point: [changed(point, version=point.payload["version"] - 1)], "lost"),
    ("living", lambda point: [stale(point)], "wrong"),
    ("living", lambda point: [without_events(point)], "wrong"),
    ("living", lambda point: [elsewhere(point)], "wrong"),
    ("living", lambda point: [point._replace(vectors={"bm25": point.vectors["bm25"]})], "wrong"),
    ("dead", lambda point: [point._replace(vectors={"dense": [1.0] * PACKAGED_DIMENSIONS})], "wrong"),
    ("dead", lambda point: [changed(point, deleted_at=0)], "wrong"),
    ("given", lambda point: [point._replace(vectors={**point.vectors, "dense": [0.0625] * 256})], "wrong"),
]


@pytest.fixture
async def site(
    local_parts: LocalParts, publishing_settings: PublishingSettings, owner_dsn: str, tmp_path: Path
) -> PublishingSettings:
    """A log that both sinks have applied to its end; the index is in `tmp_path`."""
    settings = publishing_settings.model_copy(update={"limits": LIMITS})
    with Publishing(settings, Workload(5)) as publishing:
        publishing.publish(EVENTS)
        publishing.finish()

    at = installation(settings, owner_dsn)

    async def left() -> int:
        return behind(at)

    with (
        closing(PackagedEmbedder()) as embedder,
        closing(EmbeddedIndex.open(tmp_path / "vectors", COLLECTION)) as index,
    ):
        dsn = local_parts.parts.postgres.dsn(Login.WORKER)
        async with Sinks(settings, dsn, index, embedder, COLLECTION).running(records=LIMITS, vectors=LIMITS):
            await eventually(left, lambda seen: seen == 0, seconds=300)
    return settings


def kind_of(point: Point) -> set[str]:
    if "deleted_at" in point.payload:
        return {"dead"}
    given = json.loads(point.payload["document"])["content"]["embedding_model"] == PACKAGED_MODEL
    return {"living", "given"} if given else {"living"}


def changes(before: Verdict, after: Verdict) -> set[tuple[str, str, int]]:
    """What a fault changed in the verdict: part, count, by how many."""
    return {
        (name, count, more)
        for name, part in after.parts.items()
        for count in ("lost", "wrong", "extra")
        if (more := getattr(part, count) - getattr(before.parts[name], count))
    }


def stored_columns(connection: psycopg.Connection, table: str) -> str:
    """Return the columns of a table that are written, and not computed."""
    rows = connection.execute(
        "SELECT column_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = %s AND is_generated = 'NEVER'",
        [table],
    )
    return ", ".join(name for (name,) in rows)


@pytest.mark.long
async def test_every_fault_that_is_put_into_a_store_is_found_and_nothing_else(
    site: PublishingSettings, owner_dsn: str, tmp_path: Path, admin: AdminClient
) -> None:
    at, points = installation(site, owner_dsn), embedded_points(tmp_path / "vectors")
    log = read_log(at)

    right = judge(at, points, log=log)

    assert right.right, str(right)
    assert (right.events, right.no_opinion, right.letters_again) == (EVENTS, 0, 0)
    assert min(part.expected for part in right.parts.values()) >= 9

    for kind, fault, count in POINT_FAULTS:
        (number, point) = next((n, each) for n, each in enumerate(points) if kind in kind_of(each))
        faulty = [*points[:number], *fault(point), *points[number + 1 :]]
        assert changes(right, judge(at, faulty, log=log)) == {("points", count, 1)}

    with psycopg.connect(owner_dsn, autocommit=True) as connection:
        for query, part, count in ROW_FAULTS:
            table = query.split()[2 if query.startswith("DELETE") else 1]
            where = query.format(a="true").partition("WHERE ")[2]
            one = f"(tableoid, ctid) = (SELECT tableoid, ctid FROM {table} WHERE {where} LIMIT 1)"  # noqa: S608  # our own names
            connection.execute(f"CREATE TEMPORARY TABLE held AS TABLE {table}".encode())
            assert connection.execute(query.format(a=one).encode()).rowcount == 1, query

            found = changes(right, judge(at, points, log=log))

            # A row under another name is missing under its own.
            assert found == {(part, count, 1)} | ({(part, "lost", 1)} if count == "extra" else set()), query
            names = stored_columns(connection, table)
            again = f"INSERT INTO {table} ({names}) SELECT {names} FROM held"  # noqa: S608  # our own names
            restored = f"DELETE FROM {table}; {again}; DROP TABLE held"  # noqa: S608  # our own names
            connection.execute(restored.encode())
    assert judge(at, points, log=log).right

    topic = DEAD_LETTERS.full_name(site.topics)
    partition = next(number for number, end in read_ends(at.brokers, topic).items() if end)
    for future in admin.delete_records([TopicPartition(topic, partition, 1)]).values():
        future.result()
    assert {(part.partition(" of ")[0], count) for part, count, _ in changes(right, judge(at, points))} == {
        ("dead letters", "lost"),
        ("dead-letter index", "extra"),
    }


def test_records_that_were_acknowledged_and_are_not_in_the_log_are_lost(
    publishing_settings: PublishingSettings, owner_dsn: str
) -> None:
    verdict = judge(installation(publishing_settings, owner_dsn), [], {0: 6, 1: -1})

    assert not verdict.right
    assert verdict.lost == 7
