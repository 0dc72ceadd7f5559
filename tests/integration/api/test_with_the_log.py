"""The API as a process composes it: the real log, the real registry, the real database."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from api_gateway import CannedSearch, body_of
from conftest import LocalParts
from soma_api.api_keys import new_key
from soma_api.application import create_application
from soma_api.index_completeness import PointsById
from soma_api.resources import Resources, open_resources
from soma_api.serving import bind, serve
from soma_api.settings import ApiSettings, GatewaySettings
from soma_cli.local.postgres import Login
from soma_schemas.clock import SystemClock
from soma_schemas.metrics import MetricSet
from soma_schemas.producer import EventPublisher
from soma_schemas.settings import ProducerSettings, PublishingSettings
from soma_schemas.topic_admin import described_topic
from soma_schemas.topics import MEMORY_EVENTS
from soma_schemas.vectors.progress import Header, LogIdentity
from soma_schemas.versions import Position
from waiting import eventually

GOOD: dict[str, Any] = {"namespace": "team/notes", "text": "tea at four"}


async def fine() -> None:
    return None


class Whole:
    """An index that says that it has all of a log."""

    def __init__(self, log: LogIdentity, partitions: int) -> None:
        header = Header(UUID(int=1), log, from_records=False)
        progress = [header.progress_point(partition, 1_000_000) for partition in range(partitions)]
        self._said = {point.id: point.payload for point in (header.point(), *progress)}

    async def read(self, ids: Collection[UUID]) -> Mapping[UUID, Mapping[str, Any]]:
        """Return what it says."""
        return {each: self._said[each] for each in ids if each in self._said}


@dataclass
class Running:
    """The API on a port, with a writer's key."""

    client: httpx.AsyncClient
    parts: Resources
    stop: asyncio.Event
    serving: "asyncio.Task[None]"


@asynccontextmanager
async def running_api(settings: ApiSettings, owner_dsn: str, points: PointsById) -> AsyncIterator[Running]:
    key = new_key()
    with psycopg.connect(owner_dsn) as connection:
        connection.execute(
            "INSERT INTO api_keys (key_id, tenant, role, secret_hash, created_at)"
            " VALUES (%s, 'acme', 'writer', %s, now())",
            [key.key_id, key.digest()],
        )
    publisher = EventPublisher(settings)
    try:
        async with open_resources(
            settings,
            clock=SystemClock(),
            publisher=publisher,
            search=CannedSearch(),
            points=points,
            vectors_probe=fine,
            metrics=MetricSet(),
        ) as parts:
            stop, listening = asyncio.Event(), bind(settings.api)
            host, port = listening.getsockname()
            serving = asyncio.create_task(serve(create_application(parts), settings.api, stop, listening))
            async with httpx.AsyncClient(
                base_url=f"http://{host}:{port}", headers={"X-API-Key": key.reveal()}, timeout=30
            ) as client:
                yield Running(client, parts, stop, serving)
            stop.set()
            await serving
    finally:
        publisher.close()


@pytest.fixture
def api_settings(
    local_parts: LocalParts, publishing_settings: PublishingSettings, api_dsn: str
) -> ApiSettings:
    del api_dsn
    return ApiSettings(
        kafka=publishing_settings.kafka,
        registry=publishing_settings.registry,
        topics=publishing_settings.topics,
        postgres=local_parts.parts.postgres.settings(Login.API),
        api=GatewaySettings(port=0, publish_timeout=timedelta(seconds=5)),
        producer=ProducerSettings(delivery_timeout=timedelta(seconds=6)),
    )


@pytest.fixture
def whole(api_settings: ApiSettings, admin: AdminClient) -> Whole:
    topic = MEMORY_EVENTS.full_name(api_settings.topics)
    log = LogIdentity(str(described_topic(admin, topic).topic_id), api_settings.topics.epoch)
    return Whole(log, api_settings.topics.partitions)


@pytest.fixture
async def running(api_settings: ApiSettings, owner_dsn: str, whole: Whole) -> AsyncIterator[Running]:
    async with running_api(api_settings, owner_dsn, whole) as running:
        yield running


async def ends(running: Running) -> int:
    return sum((await running.parts.ends.ends()).values())


async def test_a_write_lies_where_its_answer_says(running: Running, api_settings: ApiSettings) -> None:
    answer = await running.client.post("/v1/memories", json=GOOD | {"key": "tea"})

    written = body_of(answer)
    place = Position.parse(written["position"])
    consumer = Consumer(api_settings.kafka.librdkafka() | {"group.id": "unused"})
    consumer.assign(
        [TopicPartition(MEMORY_EVENTS.full_name(api_settings.topics), place.partition, place.offset)]
    )
    message = await asyncio.to_thread(consumer.poll, 10)
    consumer.close()
    assert answer.status_code == 202
    assert message is not None
    assert (message.key() or b"").decode() == f"acme/{written['memory_id']}"


async def test_a_refused_write_leaves_the_log_as_it_was(running: Running) -> None:
    before = await ends(running)

    for path, body in (
        ("/v1/memories", GOOD | {"colour": "green"}),
        ("/v1/memories", GOOD | {"tenant": "globex"}),
        ("/v1/memories", GOOD | {"coordinate": [0.0] * 17}),
        ("/v1/memories:batch", {"memories": [GOOD, GOOD | {"tags": [7]}]}),
        ("/v1/memories:batch", {"memories": []}),
    ):
        assert (await running.client.post(path, json=body)).status_code in {403, 422}

    assert await ends(running) == before


async def test_a_batch_reaches_the_log_whole(running: Running) -> None:
    before = await ends(running)

    answer = await running.client.post(
        "/v1/memories:batch", json={"memories": [GOOD | {"key": str(number)} for number in range(200)]}
    )

    assert answer.status_code == 202
    assert await ends(running) == before + 200


async def test_a_write_waits_for_the_sinks_and_is_created(
    running: Running, api_settings: ApiSettings, worker_dsn: str
) -> None:
    async def sinks() -> None:
        """Settle the write as the sinks do, once the log has it."""
        while not await ends(running):
            await SystemClock().sleep(0.01)
        (partition,) = [each for each, end in (await running.parts.ends.ends()).items() if end]
        await asyncio.to_thread(_settle, worker_dsn, api_settings, partition)

    settling = asyncio.create_task(sinks())
    answer = await running.client.post("/v1/memories", json=GOOD, headers={"Prefer": "wait=20"})
    await settling

    assert (answer.status_code, body_of(answer)["outcome"]) == (201, "applied")


def _settle(worker_dsn: str, settings: ApiSettings, partition: int) -> None:
    topic = MEMORY_EVENTS.full_name(settings.topics)
    with psycopg.connect(worker_dsn) as connection:
        connection.execute("SELECT soma_ensure_history_partition(current_date)")
        connection.execute(
            "INSERT INTO memory_history (partition, version, logged_at, tenant, outcome)"
            " VALUES (%s, %s, now(), 'acme', 'applied')",
            [partition, 1 << 40],
        )
        for group in ("soma-postgres", "soma-vectors"):
            connection.execute(
                "INSERT INTO sink_watermarks"
                " (consumer_group, topic, partition, epoch, next_offset, updated_at)"
                " VALUES (%s, %s, %s, 1, 1, now())",
                [group, topic, partition],
            )
            connection.execute("SELECT pg_notify('soma_watermarks', %s)", [f"{group}:1:{partition}:1"])


async def test_a_position_beyond_the_end_of_the_log_is_not_found(running: Running) -> None:
    written = body_of(await running.client.post("/v1/memories", json=GOOD))
    place = Position.parse(written["position"])

    here = await running.client.get(written["status_url"])
    beyond = await running.client.get(f"/v1/writes/{place.partition}:{place.offset + 1}")
    nowhere = await running.client.get("/v1/writes/999:0")

    assert (here.status_code, body_of(here)["state"]) == (200, "pending")
    assert (beyond.status_code, nowhere.status_code) == (404, 404)


async def test_every_part_answers_its_probe(running: Running) -> None:
    async def status() -> str:
        """Ready once the process knows which log this is and how far the sinks are."""
        return str(body_of(await running.client.get("/readyz"))["status"])

    await eventually(status, "ready".__eq__)

    parts = body_of(await running.client.get("/readyz"))["parts"]
    assert set(parts) == {"postgres", "vectors", "kafka", "registry"}


async def test_an_empty_log_has_fresh_answers(running: Running) -> None:
    await running.parts.freshness.sample()

    answer = await running.client.get("/v1/memories")

    assert float(answer.headers["Soma-Staleness"]) < 5


async def test_a_write_while_the_topic_is_gone_is_told_how_to_try_again(
    running: Running, api_settings: ApiSettings, admin: AdminClient
) -> None:
    await running.client.post("/v1/memories", json=GOOD)
    topic = MEMORY_EVENTS.full_name(api_settings.topics)
    await asyncio.to_thread(admin.delete_topics([topic])[topic].result)

    answer = await running.client.post("/v1/memories", json=GOOD)

    assert (answer.status_code, body_of(answer)["code"]) == (503, "log_unavailable")
    assert body_of(answer)["idempotency_key"] in body_of(answer)["remedy"]


async def test_a_stop_lets_requests_that_are_under_way_finish(running: Running) -> None:
    waiting = asyncio.create_task(
        running.client.post("/v1/memories", json=GOOD, headers={"Prefer": "wait=1"})
    )
    while not await ends(running):
        await SystemClock().sleep(0.01)

    running.stop.set()

    assert (await waiting).status_code == 202
    await running.serving
