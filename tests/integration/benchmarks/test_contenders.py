"""Loops by hand make the same rows of the same events, or their figures could not be compared."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import psycopg
import pytest

from conftest import LocalParts

EVENTS = 2_000
CONTENTS = "SELECT count(*), md5(string_agg(held::text, '' ORDER BY memory_id)) FROM bench.memories AS held"

Bring = Callable[[str], tuple[Any, ...]]


@pytest.fixture
def bring(local_parts: LocalParts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bring:
    """Have a contender bring all events to the table, and return what the table holds then."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))
    road = import_module("benchmarks.road")
    stage = import_module("benchmarks.stage").Stage(local_parts.parts, tmp_path)
    stage.execute(import_module("benchmarks.contenders.common").CREATE)
    topics = stage.filled(EVENTS)

    def run(name: str) -> tuple[Any, ...]:
        contender = next(each for each in road.CONTENDERS if each.name == name)
        road.run_script(stage, topics, contender, EVENTS, batch=300)
        with psycopg.connect(stage.dsn()) as connection:
            return connection.execute(CONTENTS).fetchone() or ()

    return run


@pytest.mark.long
def test_both_loops_by_hand_make_the_same_rows(bring: Bring) -> None:
    expected = bring("by hand, confluent-kafka")
    assert expected[0] > EVENTS // 2
    assert bring("by hand, aiokafka") == expected
