"""The log moves to a topic with more partitions while it is written to and read, killed and gone on with."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import LocalParts
from integration.api.test_with_the_log import running_api
from integration.workers.test_workers import COLLECTION, postgres_worker, rows, vector_worker
from soma_api.settings import ApiSettings, GatewaySettings
from soma_cli.local.embedded_index import EmbeddedIndex
from soma_cli.local.postgres import Login
from soma_schemas.clock import SystemClock, yield_now
from soma_schemas.producer import LogClosedError, MemoryProducer, NewMemory
from soma_schemas.settings import PublishingSettings
from soma_schemas.vectors.progress import HEADER_ID, header_of
from soma_schemas.versions import Position
from waiting import eventually, eventually_so

_CLOCK = SystemClock()
_NAMESPACE = "load/notes"


@dataclass
class Load:
    """Clients that write one version after the other of their keys, and read.

    Attributes:
        written: The newest number of each key that was acknowledged, and where it lies.
        refused: What writes were refused with.
        wrong: Everything else that a client was told and should not have been.
        reads: How many were answered.
    """

    client: httpx.AsyncClient
    written: dict[str, tuple[int, Position]] = field(default_factory=dict)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[Any] = field(default_factory=list)
    reads: int = 0
    ending: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, key: str) -> None:
        number = 0
        while not self.ending.is_set():
            number += 1
            while (position := await self._stored(key, number)) is None:
                pass
            self.written[key] = number, position

    async def read(self) -> None:
        while not self.ending.is_set():
            await yield_now()
            for key, (number, position) in list(self.written.items()):
                found = await self.of(key, position)
                listed = await self.client.get("/v1/memories", params={"namespace": _NAMESPACE})
                self.reads += 2
                if listed.status_code != 200 or found is None or found < number:
                    self.wrong.append((key, number, found, listed.status_code))

    async def of(self, key: str, position: Position) -> int | None:
        """Return the number that a key has for a reader that waits for a position."""
        headers = {"Soma-Position": str(position), "Prefer": "wait=30"}
        query = {"namespace": _NAMESPACE, "key": key}
        answer = await self.client.get("/v1/memories", params=query, headers=headers)
        return int(answer.json()["memories"][0]["text"]) if answer.status_code == 200 else None

    def epochs(self) -> set[int]:
        return {position.epoch for _, position in self.written.values()}

    async def _stored(self, key: str, number: int) -> Position | None:
        memory = {"namespace": _NAMESPACE, "key": key, "text": str(number)}
        answer = await self.client.post("/v1/memories", json=memory)
        if answer.status_code == 202:
            return Position.parse(answer.json()["position"])
        told = answer.json()
        if answer.status_code == 503:
            self.refused[told["code"], answer.headers["Retry-After"]] += 1
            await _CLOCK.sleep(float(answer.headers["Retry-After"]))
        else:
            self.wrong.append(told)
        return None


async def begun(operator: dict[str, str], *options: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "soma_cli.main", "topics", "migrate", *options, "--yes", "--json"),
        env=operator | {"PATH": os.environ["PATH"], "HOME": "/nonexistent"},
        stdout=PIPE,
        stderr=PIPE,
    )


async def migrated(operator: dict[str, str], *options: str) -> tuple[int | None, Any, str]:
    running = await begun(operator, *options)
    out, err = await running.communicate()
    return running.returncode, json.loads(out or b"null"), err.decode()


async def killed_at(said: str, operator: dict[str, str], *options: str) -> None:
    running = await begun(operator, *options)
    assert running.stderr is not None
    seen = b""
    while said.encode() not in (line := await running.stderr.readline()):
        seen += line
        assert line, f"it never said {said}: {seen.decode()}"
    running.kill()
    await running.wait()


@asynccontextmanager
async def platform(
    local_parts: LocalParts, publishing: PublishingSettings, owner_dsn: str, index: EmbeddedIndex
) -> AsyncIterator[httpx.AsyncClient]:
    """Both workers and the API, and a client of it."""
    settings = ApiSettings(
        kafka=publishing.kafka,
        registry=publishing.registry,
        topics=publishing.topics,
        postgres=local_parts.parts.postgres.settings(Login.API),
        api=GatewaySettings(port=0, publish_timeout=timedelta(seconds=20)),
    )
    async with (
        postgres_worker(local_parts, publishing),
        vector_worker(local_parts, publishing, index),
        running_api(settings, owner_dsn, index) as running,
    ):
        yield running.client


async def numbers_in_history(dsn: str) -> list[list[int]]:
    """What was applied to each memory, in the order of its versions."""
    found = await rows(
        dsn,
        "SELECT array_agg((content->>'text')::int ORDER BY version) AS numbers FROM memory_history"
        " WHERE namespace = %s AND outcome = 'applied' GROUP BY memory_id",
        _NAMESPACE,
    )
    return [row["numbers"] for row in found]


async def acts_on_the_log(owner_dsn: str) -> list[tuple[Any, ...]]:
    found = await rows(
        owner_dsn,
        "SELECT action, subject, details FROM audit_log WHERE action LIKE 'log.%%' ORDER BY id",
    )
    return [(row["action"], row["subject"], row["details"]) for row in found]


@pytest.mark.usefixtures("api_dsn")
async def test_a_log_gets_more_partitions_under_load_and_nothing_acknowledged_is_lost(
    local_parts: LocalParts,
    publishing_settings: PublishingSettings,
    operator: dict[str, str],
    owner_dsn: str,
    tmp_path: Path,
) -> None:
    prefix = publishing_settings.topics.prefix
    nobody = await migrated(operator, "--partitions", "7")
    async with AsyncExitStack() as opened:
        index = opened.enter_context(closing(EmbeddedIndex.open(tmp_path / "vectors", COLLECTION)))
        producer = opened.enter_context(MemoryProducer(publishing_settings, tenant="acme"))
        client = await opened.enter_async_context(
            platform(local_parts, publishing_settings, owner_dsn, index)
        )
        load = Load(client)
        async with asyncio.TaskGroup() as clients:
            for number in range(8):
                clients.create_task(load.write(f"k{number}"))
            clients.create_task(load.read())
            await eventually_so(lambda: len(load.written), lambda count: count == 8)
            early = next(iter(load.written.values()))[1]

            async def is_searchable(position: Position) -> bool:
                return bool((await client.get(f"/v1/writes/{position}")).json().get("searchable"))

            # Both sinks are in their groups then.
            await eventually(partial(is_searchable, early))
            await killed_at("Closing", operator, "--partitions", "7")
            given_up = await migrated(operator, "--abort")
            await killed_at("Draining", operator, "--partitions", "7")
            with pytest.raises(LogClosedError):
                await producer.store_async(NewMemory(namespace="direct", text="too late"))
            await eventually_so(load.refused.total)
            in_between = load.epochs()
            done = await migrated(operator, "--partitions", "7")
            await eventually_so(load.epochs, lambda seen: seen == {2})
            load.ending.set()
        direct = await producer.store_async(NewMemory(namespace="direct", text="in time"))
        found = {key: await load.of(key, position) for key, (_, position) in load.written.items()}

        await eventually(partial(is_searchable, direct.position))
        early_state = (await client.get(f"/v1/writes/{early}")).json()
        dropped = await migrated(operator, "--drop")
        header = header_of(await index.read([HEADER_ID]))

    numbers = await numbers_in_history(owner_dsn)
    assert (nobody[0], given_up[0], done[0], dropped[0]) == (1, 0, 0, 0), (given_up, done, dropped)
    assert "nobody is in" in nobody[2]
    assert given_up[1]["log"]["closed"] is False
    assert done[1]["resumed"] is True
    assert in_between == {1}
    assert done[1]["log"] == {
        "topic": f"{prefix}memory.events.e2",
        "epoch": 2,
        "partitions": 7,
        "closed": False,
        "former": [f"{prefix}memory.events"],
    }
    assert dropped[1]["dropped"] == [f"{prefix}memory.events"]
    assert await acts_on_the_log(owner_dsn) == [
        ("log.open", f"{prefix}memory.events", {}),
        ("log.migrate", f"{prefix}memory.events.e2", {"former": f"{prefix}memory.events", "partitions": 7}),
        ("log.drop", f"{prefix}memory.events", {}),
    ]
    assert load.wrong == []
    assert set(load.refused) == {("log_unavailable", "1")}
    assert load.reads > 0
    assert found == {key: number for key, (number, _) in load.written.items()}
    assert all(each == sorted(set(each)) for each in numbers)
    assert len(numbers) == 8
    # What a client held from before is applied: the drain has proved it.
    assert (early_state["readable"], early_state["searchable"]) == (True, True)
    assert direct.position.epoch == 2
    # The index went on with what it had, and was not filled anew.
    assert header is not None
    assert (header.log.epoch, header.from_records) == (2, False)
