"""`python -m benchmarks.fusions`: how well ways to make one order of words and meaning find what answers.

Needs no stack: an embedded index has a set of `docs/examples`, and every question of the set is asked of it.
A packaged model may be named, for meaning; it is the light one otherwise.
Intervals are those of 95 % from 2,000 resamples of the questions.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from rich.console import Console
from rich.table import Table

from benchmarks.stage import tell
from soma_api.queries.filter_shorthand import selection
from soma_api.queries.vectors.conditions import conditions_of, of_tenant
from soma_api.queries.vectors.reader import Question, Unscored
from soma_cli.benchmark.figures import bootstrap_interval
from soma_cli.local.embedded_index import EmbeddedIndex
from soma_schemas.fields import Kind
from soma_schemas.memories import Content
from soma_schemas.settings import EmbedderSettings
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.embedders import PACKAGED_MODEL, Embedder, open_embedder
from soma_schemas.vectors.points import Point, point_id, unit_vector
from soma_schemas.vectors.text import indexed_text
from soma_streams.delivery.state import MemoryName, MemoryState
from soma_streams.sinks.vectors.states import living_point

_EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
_SETS = {
    "assistant's month": ("assistant-month.jsonl", "assistant-month-questions.jsonl"),
    "conversations": ("conversations.jsonl", "conversations-questions.jsonl"),
}
_TENANT = "bench"
_CANDIDATES = 100
_AMONG = 10
_NAMES = UUID("6f3c1d1e-8f51-4c4b-9d2a-1f3d5a5b7c9e")

Scores = Mapping[UUID, float]
Fusion = Callable[[Scores, Scores], Mapping[UUID, float]]


class Found(NamedTuple):
    """What was found for a question, and what answers it.

    Attributes:
        dense: Cosines of the candidates that were near.
        sparse: BM25 of the candidates that have the words.
        all_dense: Cosines of all candidates.
        all_sparse: BM25 of all candidates that have a word.
    """

    answers: frozenset[UUID]
    dense: Scores
    sparse: Scores
    all_dense: Scores
    all_sparse: Scores


def _lines(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (_EXAMPLES / name).read_text(encoding="utf-8").splitlines()]


def _id(named: Mapping[str, Any]) -> UUID:
    if "memory_id" in named:
        return UUID(named["memory_id"])
    return uuid5(_NAMES, json.dumps([named["namespace"], named.get("key"), named.get("coordinate")]))


def _points(lines: Sequence[Mapping[str, Any]], embedder: Embedder, bm25: Bm25Encoder) -> list[Point]:
    points: dict[UUID, Point] = {}
    for line in lines:
        at = datetime.fromisoformat(line["occurred_at"])
        content = Content(
            namespace=line["namespace"],
            key=line.get("key"),
            coordinate=None,
            kind=Kind(line["kind"]),
            text=line["text"],
            payload="{}",
            tags=tuple(line.get("tags", ())),
            importance=0.5,
            embedding=None,
            embedding_model=None,
            subject=None,
            source=None,
            expires_at=None,
            occurred_at=at,
            actor="benchmark",
            created_at=at,
            updated_at=at,
        )
        text = indexed_text(content.text, at, content.key, content.tags)
        state = MemoryState(MemoryName(_TENANT, _id(line)), 1, content, (UUID(int=1),))
        dense = unit_vector(embedder.embed_documents([text])[0])
        points[state.name.memory_id] = living_point(state, content, dense, bm25.document(text))
    return list(points.values())


async def _found(
    index: EmbeddedIndex, line: Mapping[str, Any], embedder: Embedder, bm25: Bm25Encoder
) -> Found:
    conditions = conditions_of(_TENANT, selection(namespace_prefix=line.get("namespace_prefix")))
    text = line["question"]
    question = Question(
        conditions or (),
        of_tenant(_TENANT),
        unit_vector(embedder.embed_query(text)),
        bm25.query(text),
        _CANDIDATES,
    )
    found = await index.candidates(question)
    dense, sparse = dict(found.dense), dict(found.sparse)
    more = await index.scores(question, Unscored([*(sparse - dense.keys())], [*(dense - sparse.keys())]))
    return Found(
        frozenset(point_id(_TENANT, _id(each)) for each in line["answers"]),
        dense,
        sparse,
        dense | dict(more.dense),
        sparse | dict(more.sparse),
    )


def _sum(weight: float) -> Fusion:
    """Ten times the cosine plus BM25, or another weight."""
    return lambda dense, sparse: {
        each: weight * dense.get(each, 0.0) + sparse.get(each, 0.0) for each in dense.keys() | sparse.keys()
    }


def _convex(weight: float) -> Fusion:
    """Of each score what lies above the least that there can be, as a share of what the best has."""

    def fused(dense: Scores, sparse: Scores) -> Mapping[UUID, float]:
        nearest = max(dense.values(), default=0.0) + 1.0 or 1.0
        best = max(sparse.values(), default=0.0) or 1.0
        return {
            each: weight * (dense.get(each, -1.0) + 1.0) / nearest
            + (1 - weight) * sparse.get(each, 0.0) / best
            for each in dense.keys() | sparse.keys()
        }

    return fused


def _z_scores(weight: float) -> Fusion:
    """Of each score its distance from the mean of the candidates, in standard deviations."""

    def fused(dense: Scores, sparse: Scores) -> Mapping[UUID, float]:
        every = dense.keys() | sparse.keys()
        near = _standard({each: dense.get(each, 0.0) for each in every})
        matching = _standard({each: sparse.get(each, 0.0) for each in every})
        return {each: weight * near[each] + (1 - weight) * matching[each] for each in every}

    return fused


def _standard(scores: Scores) -> Scores:
    if not scores:
        return scores
    mean, deviation = fmean(scores.values()), pstdev(scores.values()) or 1.0
    return {each: (score - mean) / deviation for each, score in scores.items()}


def _ranks(constant: float) -> Fusion:
    """Reciprocal rank fusion."""

    def fused(dense: Scores, sparse: Scores) -> Mapping[UUID, float]:
        total: dict[UUID, float] = {}
        for scores in (dense, sparse):
            for rank, each in enumerate(sorted(scores, key=lambda each: -scores[each]), 1):
                total[each] = total.get(each, 0.0) + 1 / (constant + rank)
        return total

    return fused


class Way(NamedTuple):
    """A way to make one order; `complete` has every candidate scored on both."""

    name: str
    fusion: Fusion
    complete: bool


def ways() -> list[Way]:
    """Return the ways that are compared."""
    compared = [
        Way("meaning alone", lambda dense, _: dense, complete=False),
        Way("words alone", lambda _, sparse: sparse, complete=False),
        Way("rank fusion, k = 60", _ranks(60), complete=False),
        *(Way(f"{weight} x cosine + BM25", _sum(weight), complete=False) for weight in (10, 20)),
    ]
    compared += [
        Way(f"{weight} x cosine + BM25", _sum(weight), complete=True) for weight in (5, 10, 15, 20, 30)
    ]
    compared += [
        Way(f"convex, {weight} of meaning", _convex(weight), complete=True)
        for weight in (0.4, 0.5, 0.6, 0.7, 0.8)
    ]
    compared += [
        Way(f"z-scores, {weight} of meaning", _z_scores(weight), complete=True)
        for weight in (0.3, 0.4, 0.5, 0.6)
    ]
    return compared


def recall(found: Found, way: Way) -> float:
    """Return which share of the answers is among the first ten."""
    scores = way.fusion(
        found.all_dense if way.complete else found.dense, found.all_sparse if way.complete else found.sparse
    )
    first = sorted(scores, key=lambda each: (-scores[each], each.int))[:_AMONG]
    return len(found.answers.intersection(first)) / min(len(found.answers), _AMONG)


async def measure(name: str, folder: Path, embedder: Embedder) -> list[Found]:
    """Return what is found for every question of a set."""
    bm25 = Bm25Encoder()
    memories, questions = map(_lines, _SETS[name])
    collection = Collection("memories", embedder.name, embedder.dimensions)
    with closing(EmbeddedIndex.open(folder / name, collection)) as index:
        await index.write(_points(memories, embedder, bm25))
        return [await _found(index, line, embedder, bm25) for line in questions]


def main() -> None:
    """Print a table."""
    (model,) = sys.argv[1:] or [PACKAGED_MODEL]
    embedder = open_embedder(EmbedderSettings(model=model))
    with tempfile.TemporaryDirectory() as folder:
        found = {name: asyncio.run(measure(name, Path(folder), embedder)) for name in _SETS}
    table = Table("scored on both", "order by", *(f"recall@{_AMONG}, {name}" for name in found))
    for way in ways():
        cells = []
        for each in found.values():
            shares = [recall(one, way) for one in each]
            low, high = bootstrap_interval(shares)
            cells.append(f"{fmean(shares):.3f} ({low:.2f} - {high:.2f})")
        table.add_row("yes" if way.complete else "no", way.name, *cells)
    Console(width=120).print(table)
    for name, each in found.items():
        lacking = fmean(_found_by_words_only(one) for one in each)
        tell(f"{name}: {len(each)} questions, {lacking:.2f} of the candidates were found by words only")


def _found_by_words_only(found: Found) -> float:
    candidates = found.dense.keys() | found.sparse.keys()
    return len(candidates - found.dense.keys()) / max(1, len(candidates))


if __name__ == "__main__":
    main()
