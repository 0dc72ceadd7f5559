"""How a collection is divided and copied on a cluster: what is asked of the server, and what is told."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from qdrant_client import AsyncQdrantClient
from structlog.testing import capture_logs

from qdrant_server import qdrant_server
from soma_cli.diagnosis import store_checks
from soma_cli.diagnosis.findings import Health
from soma_schemas.settings import VectorSettings
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.placement import Placement
from soma_schemas.vectors.server import ensure_collection, misplaced, open_client
from soma_streams.settings import VectorWorkerSettings
from soma_streams.sinks.vectors.qdrant import QdrantWriter

_OURS = Collection("memories", "wordllama-256", 256)
_SPREAD = Placement(shards=12, replicas=3, write_consistency=2)


async def placement_of(client: AsyncQdrantClient) -> tuple[int | None, int | None, int | None]:
    params = (await client.get_collection("memories")).config.params
    return params.shard_number, params.replication_factor, params.write_consistency_factor


async def test_a_new_collection_is_placed_as_the_settings_say(client: AsyncQdrantClient) -> None:
    settings = VectorSettings(shards=12, replicas=3, write_consistency=2)

    await QdrantWriter(client, _OURS, Placement.of(settings)).prepare()

    assert await placement_of(client) == (12, 3, 2)
    assert await misplaced(client, "memories", _SPREAD) == []


async def test_one_that_takes_the_place_of_a_lost_one_is_placed_so_too(client: AsyncQdrantClient) -> None:
    writer = QdrantWriter(client, _OURS, _SPREAD)
    await writer.prepare()

    await writer.renew(keep_former=False)

    assert await placement_of(client) == (12, 3, 2)


async def test_what_is_not_set_is_left_to_the_server(client: AsyncQdrantClient) -> None:
    await ensure_collection(client, _OURS)

    assert await placement_of(client) == (1, 1, 1)
    assert await misplaced(client, "memories", Placement()) == []


async def test_one_that_is_placed_otherwise_stays_and_the_worker_tells_the_difference(
    client: AsyncQdrantClient,
) -> None:
    await ensure_collection(client, _OURS)

    with capture_logs() as lines:
        await QdrantWriter(client, _OURS, Placement(shards=12, replicas=1)).prepare()

    assert await placement_of(client) == (1, 1, 1)
    assert [each for each in lines if each["event"] == "collection_placed_otherwise"] == [
        {
            "event": "collection_placed_otherwise",
            "log_level": "warning",
            "alias": "memories",
            "differences": ["SOMA_VECTORS__SHARDS is 12, the collection has 1"],
        }
    ]


async def test_the_doctor_tells_the_difference_and_what_mends_it(tmp_path: Path) -> None:
    async with qdrant_server(tmp_path / "qdrant") as server:
        vectors = VectorSettings(url=server.url, replicas=2)
        async with open_client(vectors) as client:
            await ensure_collection(client, _OURS)

        verdicts = await store_checks.collection(VectorWorkerSettings(vectors=vectors), lambda *_: _OURS)

    assert [(each.health, each.found) for each in verdicts] == [
        (Health.OK, "collection `memories` is there, for model wordllama-256"),
        (Health.WARNING, "SOMA_VECTORS__REPLICAS is 2, the collection has 1"),
    ]
    assert "soma reindex" in str(verdicts[1].remedy)


def test_no_write_waits_for_more_copies_than_there_are() -> None:
    with pytest.raises(ValidationError, match="no write could be acknowledged"):
        VectorSettings(replicas=2, write_consistency=3)

    assert VectorSettings(replicas=3, write_consistency=3).write_consistency == 3
    # The server may have been configured to make more copies than one.
    assert VectorSettings(write_consistency=2).replicas is None
