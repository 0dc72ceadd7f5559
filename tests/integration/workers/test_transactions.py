"""What transactions leave in the log: both sinks pass it, and answers are as fresh as they are."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Producer

from conftest import LocalParts
from integration.api.test_with_the_log import running_api
from integration.transport.harness import a_name
from integration.workers.test_workers import COLLECTION, postgres_worker, rows, vector_worker
from soma_api.settings import ApiSettings, GatewaySettings
from soma_cli.local.embedded_index import EmbeddedIndex
from soma_cli.local.postgres import Login
from soma_schemas.settings import PublishingSettings
from soma_schemas.topics import MEMORY_EVENTS
from soma_schemas.versions import Position
from waiting import eventually

A_MEMORY = {"namespace": "team/notes", "text": "tea at four"}
# What a probe accepts: samples are a second apart, and the machine may be busy.
FRESH_SECONDS = 5.0


@dataclass
class Platform:
    """The API and both workers.

    Attributes:
        client: Of the API, with a writer's key.
        publishing: Where the log is.
        dsn: Of the tables.
    """

    client: httpx.AsyncClient
    publishing: PublishingSettings
    dsn: str

    @property
    def partitions(self) -> range:
        return range(MEMORY_EVENTS.partitions(self.publishing.topics))

    async def begun(self) -> Producer:
        """Return a producer of a transaction that has written to every partition."""
        producer = Producer(self.publishing.kafka.librdkafka() | {"transactional.id": a_name("foreign")})
        await asyncio.to_thread(producer.init_transactions, 20)
        producer.begin_transaction()
        for partition in self.partitions:
            producer.produce(MEMORY_EVENTS.full_name(self.publishing.topics), b"x", partition=partition)
        assert await asyncio.to_thread(producer.flush, 20) == 0
        return producer

    async def watermarks(self) -> dict[tuple[str, int], int]:
        found = await rows(
            self.dsn,
            "SELECT consumer_group, partition, next_offset FROM sink_watermarks"
            " WHERE topic LIKE '%%memory.events'",
        )
        return {(row["consumer_group"], row["partition"]): row["next_offset"] for row in found}

    async def read(self, **headers: str) -> list[httpx.Response]:
        """Return what a list says, from PostgreSQL, and a search, from the index."""
        return [
            await self.client.get("/v1/memories", headers=headers),
            await self.client.post("/v1/search", json={"query": "tea"}, headers=headers),
        ]

    async def staleness(self) -> list[float]:
        told = [answer.headers["soma-staleness"] for answer in await self.read()]
        return [float("inf") if each == "unknown" else float(each) for each in told]


@pytest.fixture
async def platform(
    local_parts: LocalParts,
    publishing_settings: PublishingSettings,
    owner_dsn: str,
    api_dsn: str,
    tmp_path: Path,
) -> AsyncIterator[Platform]:
    del api_dsn
    settings = ApiSettings(
        kafka=publishing_settings.kafka,
        registry=publishing_settings.registry,
        topics=publishing_settings.topics,
        postgres=local_parts.parts.postgres.settings(Login.API),
        api=GatewaySettings(port=0, publish_timeout=timedelta(seconds=20)),
    )
    async with AsyncExitStack() as opened:
        index = opened.enter_context(closing(EmbeddedIndex.open(tmp_path / "vectors", COLLECTION)))
        await opened.enter_async_context(postgres_worker(local_parts, publishing_settings))
        await opened.enter_async_context(vector_worker(local_parts, publishing_settings, index))
        running = await opened.enter_async_context(running_api(settings, owner_dsn, index))
        yield Platform(running.client, publishing_settings, owner_dsn)


def fresh(staleness: list[float]) -> bool:
    return max(staleness) < FRESH_SECONDS


async def test_an_aborted_transaction_at_the_end_of_every_partition_leaves_answers_fresh(
    platform: Platform,
) -> None:
    stored = await platform.client.post("/v1/memories", json=A_MEMORY, headers={"Prefer": "wait=20"})
    assert stored.status_code == 201
    await eventually(platform.staleness, fresh)

    producer = await platform.begun()
    await asyncio.to_thread(producer.abort_transaction, 20)

    # The aborted record and the marker, in each partition; the memory in one of them.
    of_memory = Position.parse(stored.json()["position"]).partition
    ends = {
        (group, partition): 2 + (partition == of_memory)
        for group in ("soma-postgres", "soma-vectors")
        for partition in platform.partitions
    }
    await eventually(platform.watermarks, lambda found: found == ends)
    await eventually(platform.staleness, fresh)
    answers = await platform.read(**{"Soma-Max-Staleness": str(FRESH_SECONDS)})
    assert [answer.status_code for answer in answers] == [200, 200]


async def test_an_open_transaction_makes_answers_older_until_it_ends(platform: Platform) -> None:
    await eventually(platform.staleness, fresh)
    producer = await platform.begun()
    # Acknowledged, and behind the open transaction: no sink can have it.
    stored = await platform.client.post("/v1/memories", json=A_MEMORY)
    assert stored.status_code == 202

    await eventually(platform.staleness, lambda told: min(told) > FRESH_SECONDS)
    answers = await platform.read(**{"Soma-Max-Staleness": str(FRESH_SECONDS)})
    assert [answer.status_code for answer in answers] == [503, 503]
    assert await platform.watermarks() == {}

    await asyncio.to_thread(producer.abort_transaction, 20)
    await eventually(platform.staleness, fresh)
    listed = await platform.client.get("/v1/memories")
    assert [each["text"] for each in listed.json()["memories"]] == ["tea at four"]
