"""`python -m benchmarks.deadlines`: what leaving out what has ended costs a search of the embedded index.

Needs no stack. Each question is asked with and without the conditions in turn, and times are those of the
thread, in which the engine works, so that what others do on the machine counts little.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from statistics import median
from uuid import UUID

from rich.console import Console
from rich.table import Table

from soma_api.queries.filter_shorthand import selection
from soma_api.queries.vectors.conditions import Condition, conditions_of, of_tenant, places_of
from soma_api.queries.vectors.living_conditions import living
from soma_api.queries.vectors.reader import Question
from soma_cli.local.embedded_index import EmbeddedIndex
from soma_schemas.events import RetentionRule
from soma_schemas.fields import Kind
from soma_schemas.memories import Content
from soma_schemas.retention import TenantPolicies
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.points import Point, unit_vector
from soma_streams.delivery.state import MemoryName, MemoryState
from soma_streams.sinks.vectors.states import living_point

_TENANT = "acme"
_DIMENSIONS = 256
_NOW = datetime(2026, 3, 10, tzinfo=UTC)
_WORDS = (
    "alpha",
    "beta",
    "gamma",
    "tea",
    "coffee",
    "meeting",
    "project",
    "note",
    "call",
    "plan",
    "bug",
    "fix",
)
_QUESTIONS, _ROUNDS, _BATCH, _NAMESPACES = 30, 3, 2_000, 40

_FILTERS = {
    "whole tenant": selection(),
    "wide prefix": selection(namespace_prefix="user"),
    "narrow prefix": selection(namespace_prefix="user/3"),
    "importance >= 0.5": selection(importance_min=0.5),
}


def _policies(count: int) -> TenantPolicies:
    """So many policies of which none is like another, and under which nothing has ended."""
    rules = [
        RetentionRule(kind=None, ttl_seconds=10**8 + number, notice_seconds=0, archive=False)
        for number in range(count)
    ]
    return TenantPolicies({f"user/{number}" if number else None: [rule] for number, rule in enumerate(rules)})


_POLICIES = {"deadlines": _policies(0), "and a policy": _policies(1), "and 10 policies": _policies(10)}


def _vector(random: Random) -> Sequence[float]:
    return unit_vector([random.gauss(0, 1) for _ in range(_DIMENSIONS)]) or ()


def _points(count: int, ended: int, random: Random, bm25: Bm25Encoder) -> list[Point]:
    """One memory of five has a deadline; those that have ended are the first."""
    points = []
    for number in range(count):
        own = _NOW + timedelta(days=1 + number % 300) if number % 5 == 0 else None
        changed = _NOW - timedelta(minutes=number)
        content = Content(
            namespace=f"user/{number % _NAMESPACES}/notes",
            key=None,
            coordinate=None,
            kind=Kind.EPISODIC,
            text=" ".join(random.choices(_WORDS, k=12)),
            payload="{}",
            tags=(),
            importance=random.random(),
            embedding=None,
            embedding_model=None,
            subject=None,
            source=None,
            expires_at=_NOW if number < ended else own,
            occurred_at=changed,
            actor="benchmark",
            created_at=changed,
            updated_at=changed,
        )
        state = MemoryState(MemoryName(_TENANT, UUID(int=number + 1)), 1, content, (UUID(int=1),))
        points.append(living_point(state, content, _vector(random), bm25.document(content.text)))
    return points


async def measure(points: int, ended: int, folder: Path) -> dict[str, dict[str, float]]:
    """Return the median milliseconds of the candidates of a question, by filter and by conditions."""
    random, bm25 = Random(1), Bm25Encoder()  # noqa: S311  # made-up memories
    found: dict[str, dict[str, float]] = {}
    with closing(EmbeddedIndex.open(folder, Collection("memories", "made-up", _DIMENSIONS))) as index:
        made = _points(points, ended, random, bm25)
        for start in range(0, points, _BATCH):
            await index.write(made[start : start + _BATCH])
        asked = [(_vector(random), bm25.query("tea project")) for _ in range(_QUESTIONS)]
        for name, wanted in _FILTERS.items():
            without = conditions_of(_TENANT, wanted) or []
            ways: dict[str, list[Condition]] = {"without": without} | {
                title: without + living(_TENANT, policies, places_of(wanted), _NOW)
                for title, policies in _POLICIES.items()
            }
            seconds: dict[str, list[float]] = {title: [] for title in ways}
            for dense, words in asked * _ROUNDS:
                for title, conditions in ways.items():
                    began = time.thread_time()
                    await index.candidates(Question(conditions, of_tenant(_TENANT), dense, words, 100))
                    seconds[title].append(time.thread_time() - began)
            found[name] = {title: median(each) * 1000 for title, each in seconds.items()}
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=20_000)
    parser.add_argument("--ended", type=int, default=0, help="that have ended and are still there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(options.points, options.ended, Path(folder) / "vectors"))
    table = Table("filter", "without, ms", *_POLICIES, box=None)
    for name, medians in found.items():
        first = medians["without"]
        table.add_row(name, f"{first:.2f}", *(f"{medians[title] / first:.2f}" for title in _POLICIES))
    Console().print(table)


if __name__ == "__main__":
    main()
