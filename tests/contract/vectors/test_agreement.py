"""Both engines give one question one answer, over real text and the packaged model."""

import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from qdrant_client.local.payload_filters import calculate_payload_mask

from builders import NO_POLICIES
from contract.vectors.build import a_state
from contract.vectors.engines import Engine, ShardEngine, server_engine
from fakes import FakeClock
from soma_api.queries.filter_shorthand import selection
from soma_api.queries.vectors.hybrid_search import Search, SearchMode, SearchRequest
from soma_cli.local.embedded_index import EmbeddedIndex
from soma_schemas.fields import Kind
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.embedders import PackagedEmbedder
from soma_schemas.vectors.points import Point, unit_vector
from soma_schemas.vectors.text import indexed_text
from soma_streams.sinks.vectors.states import living_point

_EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
_BM25 = Bm25Encoder()


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (_EXAMPLES / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def embedder() -> PackagedEmbedder:
    """The packaged model."""
    return PackagedEmbedder()


@pytest.fixture(scope="module")
def points(embedder: PackagedEmbedder) -> list[Point]:
    """The example memories; half as many again belong to another tenant."""
    points = []
    for number, line in enumerate(_lines("assistant-month.jsonl")):
        state = a_state(
            tenant="acme" if number % 3 else "globex",
            memory_id=UUID(int=number + 1),
            namespace=line["namespace"],
            key=line.get("key"),
            kind=Kind(line["kind"]),
            text=line["text"],
            tags=tuple(line.get("tags", ())),
            importance=line.get("importance", 0.5),
            occurred_at=datetime.fromisoformat(line["occurred_at"]),
        )
        held = state.content
        assert held is not None
        text = indexed_text(held.text, held.occurred_at, held.key, held.tags)
        dense = unit_vector(embedder.embed_documents([text])[0])
        points.append(living_point(state, held, dense, _BM25.document(text)))
    return points


@pytest.fixture
async def engines(
    tmp_path: Path, points: list[Point], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[list[Engine]]:
    """Both engines with the same points."""
    collection = Collection("memories", PackagedEmbedder.name, PackagedEmbedder.dimensions)
    index = EmbeddedIndex.open(tmp_path / "vectors", collection)
    async with server_engine(collection) as server:
        engines: list[Engine] = [ShardEngine.embedded(index), server]
        for engine in engines:
            await engine.writer.write(points)
        # The points stay as they are: without this the client looks at all of them for every question again.
        masks: dict[str, Any] = {}

        def once(**asked: Any) -> Any:
            by = str(asked["payload_filter"])
            if by not in masks:
                masks[by] = calculate_payload_mask(**asked)
            return masks[by]

        monkeypatch.setattr("qdrant_client.local.local_collection.calculate_payload_mask", once)
        yield engines
    index.close()


async def test_every_question_has_the_same_hits_with_the_same_scores_on_both_engines(
    engines: list[Engine], embedder: PackagedEmbedder
) -> None:
    searches = [Search(engine.reader, embedder, _BM25, FakeClock()) for engine in engines]
    questions = [line["question"] for line in _lines("assistant-month-questions.jsonl")]
    compared = 0
    for question in questions:
        for mode in SearchMode:
            for wanted in (selection(), selection(namespace_prefix="projects", importance_min=0.6)):
                request = SearchRequest(
                    tenant="acme", policies=NO_POLICIES, text=question, mode=mode, filter=wanted, top_k=20
                )
                one, other = [
                    {hit.memory.memory_id: hit for hit in (await search(request)).hits} for search in searches
                ]
                # Which of equal scores is the last candidate is open. So the last hits are left out, and
                # z-scores, which every candidate moves (by 0.02 mostly, by 0.06 seldom), are compared less
                # closely than their parts.
                close = 0.2 if mode is SearchMode.HYBRID else 1e-4
                last = min((hit.score for hit in one.values()), default=0.0) + close
                for memory_id, hit in one.items():
                    if hit.score > last:
                        same = other[memory_id]
                        assert same.score == pytest.approx(hit.score, abs=close)
                        assert same.explanation.dense == pytest.approx(hit.explanation.dense, abs=1e-4)
                        assert same.explanation.bm25 == pytest.approx(hit.explanation.bm25, abs=1e-4)
                        compared += 1
    assert compared > 3000
