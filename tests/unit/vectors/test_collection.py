"""The collection: what it is called, what is recorded of it, and when it is refused."""

from typing import Any

import pytest
from qdrant_client import AsyncQdrantClient, models

from soma_schemas.errors import MismatchError
from soma_schemas.languages import Language
from soma_schemas.vectors.collection import PAYLOAD_INDEXES, Collection
from soma_schemas.vectors.server import (
    check_collection,
    create_collection,
    ensure_collection,
    switch_alias,
)
from soma_streams.delivery.failures import FailureClass, classify

_OURS = Collection("memories", "wordllama-256", 256)


def test_its_name_tells_model_size_indexing_and_generation() -> None:
    endpoint = Collection("memories", "BAAI/bge-small-en-v1.5", 384)

    assert _OURS.name() == "memories--wordllama-256-256-english-i6-g1"
    assert endpoint.name(3) == "memories--baai-bge-small-en-v1-5-384-english-i6-g3"


def test_it_is_recorded_and_known_again() -> None:
    danish = Collection("memories", "wordllama-256", 256, Language.DANISH)

    assert Collection.recorded("memories", _OURS.metadata()) == _OURS
    assert Collection.recorded("memories", danish.metadata()) == danish


def test_the_words_of_one_that_does_not_say_are_english() -> None:
    record = {"model": "wordllama-256", "dimensions": 256, "indexing": 5}

    assert Collection.recorded("memories", record).language is Language.ENGLISH


@pytest.mark.parametrize(
    "record",
    [
        None,
        {},
        {"model": "a"},
        {"model": "a", "dimensions": "x", "indexing": 1},
        _OURS.metadata() | {"language": "klingon"},
    ],
)
def test_a_record_that_is_not_ours_is_a_mismatch(record: dict[str, object] | None) -> None:
    with pytest.raises(MismatchError, match="does not say which model"):
        Collection.recorded("memories", record)


@pytest.mark.parametrize(
    "other",
    [
        Collection("memories", "minilm-384", 384),
        Collection("memories", "wordllama-256", 128),
        Collection("memories", "wordllama-256", 256, indexing=0),
        Collection("memories", "wordllama-256", 256, Language.NONE),
    ],
)
def test_a_mismatch_of_any_part_names_the_way_out(
    other: Collection,
) -> None:
    with pytest.raises(MismatchError) as raised:
        _OURS.check(other)

    assert "soma reindex" in str(raised.value.remedy)
    assert classify(raised.value) is FailureClass.SYSTEMIC


async def test_a_missing_collection_is_made_behind_its_alias(client: AsyncQdrantClient) -> None:
    await ensure_collection(client, _OURS)

    [found] = (await client.get_collections()).collections
    assert found.name == _OURS.name()
    await check_collection(client, _OURS)


async def test_ensuring_it_again_keeps_what_is_in_it(client: AsyncQdrantClient) -> None:
    await ensure_collection(client, _OURS)
    await client.upsert("memories", [models.PointStruct(id=1, vector={}, payload={})])

    await ensure_collection(client, _OURS)

    assert (await client.count("memories")).count == 1


async def test_two_workers_that_start_at_the_same_moment_make_one_collection(
    client: AsyncQdrantClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = client.create_collection

    async def another_is_first(*args: Any, **options: Any) -> bool:
        await create(*args, **options)
        return await create(*args, **options)

    monkeypatch.setattr(client, "create_collection", another_is_first)

    await ensure_collection(client, _OURS)

    await check_collection(client, _OURS)


async def test_a_server_that_refuses_to_make_the_collection_is_not_overheard(
    client: AsyncQdrantClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: Any, **__: Any) -> bool:
        raise TimeoutError("too slow")

    monkeypatch.setattr(client, "create_collection", refuse)

    with pytest.raises(TimeoutError):
        await ensure_collection(client, _OURS)


async def test_without_a_collection_one_is_told_who_makes_it(client: AsyncQdrantClient) -> None:
    with pytest.raises(MismatchError, match="no such collection") as raised:
        await check_collection(client, _OURS)

    assert "soma work vectors" in str(raised.value.remedy)
    assert classify(raised.value) is FailureClass.SYSTEMIC


async def test_payload_indexes_that_are_missing_are_made_at_the_next_start(client: AsyncQdrantClient) -> None:
    await ensure_collection(client, _OURS)
    await client.delete_payload_index("memories", "tags")
    assert "tags" not in (await client.get_collection("memories")).payload_schema

    await ensure_collection(client, _OURS)

    assert set((await client.get_collection("memories")).payload_schema) == set(PAYLOAD_INDEXES)


async def test_a_collection_of_another_model_is_refused(client: AsyncQdrantClient) -> None:
    await ensure_collection(client, Collection("memories", "minilm-384", 384))

    with pytest.raises(MismatchError, match="minilm-384"):
        await ensure_collection(client, _OURS)


_COSINE, _IDF = models.Distance.COSINE, models.SparseVectorParams(modifier=models.Modifier.IDF)


@pytest.mark.parametrize(
    ("dense", "sparse", "difference"),
    [
        (models.VectorParams(size=256, distance=models.Distance.DOT), {"bm25": _IDF}, "256 numbers by Dot"),
        (models.VectorParams(size=128, distance=_COSINE), {"bm25": _IDF}, "128 numbers by Cosine"),
        (models.VectorParams(size=256, distance=_COSINE), {}, "`bm25` is missing"),
        (
            models.VectorParams(size=256, distance=_COSINE),
            {"bm25": models.SparseVectorParams()},
            "`bm25` is without rarity",
        ),
    ],
)
async def test_a_collection_whose_vectors_are_laid_out_differently_is_refused_with_the_difference(
    client: AsyncQdrantClient,
    dense: models.VectorParams,
    sparse: dict[str, models.SparseVectorParams],
    difference: str,
) -> None:
    await client.create_collection(
        "memories",
        vectors_config={"dense": dense},
        sparse_vectors_config=sparse,
        metadata=_OURS.metadata(),
    )

    with pytest.raises(MismatchError, match=difference):
        await check_collection(client, _OURS)


async def test_the_alias_moves_to_another_collection_and_the_first_one_stays(
    client: AsyncQdrantClient,
) -> None:
    await ensure_collection(client, _OURS)
    await client.upsert("memories", [models.PointStruct(id=1, vector={}, payload={})])
    await create_collection(client, _OURS, _OURS.name(2))

    await switch_alias(client, "memories", _OURS.name(2))

    assert (await client.count("memories")).count == 0
    assert (await client.count(_OURS.name(1))).count == 1
