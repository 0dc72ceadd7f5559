"""The embedded index and a server that has built its graph give one question one answer, at a real size.

`AGREEMENT_POINTS` says how many points; `make test-long` compares 20,000.
"""

import json
import os
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest

from contract.vectors.build import a_point
from contract.vectors.engines import grpc_engine
from soma_api.queries.filter_shorthand import selection
from soma_api.queries.vectors.conditions import conditions_of, of_tenant
from soma_api.queries.vectors.fusion import Candidate
from soma_api.queries.vectors.reader import Question
from soma_cli.local.embedded_index import EmbeddedIndex
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.points import unit_vector

_POINTS = int(os.environ.get("AGREEMENT_POINTS", "2000"))
_DIMENSIONS = 32
_CANDIDATES = 40
_EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
_SCORES_APART = 1e-4
_RECALL = 0.98  # a graph finds nearly everything


async def test_an_optimized_server_and_the_embedded_index_agree_on_scores(tmp_path: Path) -> None:
    random = Random(1)

    def direction() -> tuple[float, ...]:
        return tuple(unit_vector([random.gauss(0, 1) for _ in range(_DIMENSIONS)]) or ())

    texts = [line["text"] for line in _lines("assistant-month.jsonl")]
    questions = [line["question"] for line in _lines("assistant-month-questions.jsonl")]
    points = [
        a_point(
            tenant="acme" if number % 3 else "globex",
            memory_id=UUID(int=number + 1),
            text=f"{texts[number % len(texts)]} {texts[number * 7 % len(texts)]}",
            importance=number % 100 / 100,
            dense=direction(),
        )
        for number in range(_POINTS)
    ]
    collection = Collection("memories", "random", _DIMENSIONS)
    embedded = EmbeddedIndex.open(tmp_path / "embedded", collection)
    async with grpc_engine(tmp_path / "server", collection, indexing_threshold_kb=64) as server:
        await embedded.write(points)
        # The way over gRPC has its own tests; this one is about answers.
        await EmbeddedIndex(server.shard, tmp_path, collection).write(points)
        assert server.shard.optimize()
        assert server.shard.info().indexed_vectors_count >= _POINTS
        compared, missing = 0, {"dense": 0, "sparse": 0}
        for text in questions:
            for wanted in (selection(), selection(importance_min=0.6)):
                conditions = conditions_of("acme", wanted)
                assert conditions is not None
                question = Question(
                    conditions, of_tenant("acme"), direction(), Bm25Encoder().query(text), _CANDIDATES
                )
                one, other = [await each.candidates(question) for each in (embedded, server.reader)]
                for kind in missing:
                    found = _scores(getattr(other, kind))
                    # Which of equal scores makes the last place is open.
                    for point, score in _scores(getattr(one, kind), without_last=True).items():
                        compared += 1
                        if point in found:
                            assert found[point] == pytest.approx(score, abs=_SCORES_APART)
                        else:
                            missing[kind] += 1
    embedded.close()
    assert compared > 50 * len(questions)
    assert missing["sparse"] == 0
    assert missing["dense"] <= compared * (1 - _RECALL)


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (_EXAMPLES / name).read_text().splitlines()]


def _scores(candidates: object, *, without_last: bool = False) -> dict[UUID, float]:
    assert isinstance(candidates, list)
    scores = {each.id: each.score for each in candidates if isinstance(each, Candidate)}
    last = min(scores.values(), default=0.0) + _SCORES_APART if without_last else float("-inf")
    return {point: score for point, score in scores.items() if score > last}
