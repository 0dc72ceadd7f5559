"""Each run of the benchmarks is put beside those before it."""

import json
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(autouse=True)
def from_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[3])


def add(history: Path, results: Any, when: datetime) -> Any:
    return import_module("benchmarks.trend").add(history, results, when)


def table(runs: Any) -> str:
    text: str = import_module("benchmarks.trend").table(runs)
    return text


def measured(folder: Path, milliseconds: float) -> Any:
    results = import_module("benchmarks.results").Results(folder)
    results.save("latency", {"seconds": [milliseconds / 1000]})
    return results


def test_a_run_stands_beside_the_median_of_those_before_it(tmp_path: Path) -> None:
    history = tmp_path / "kept" / "history.jsonl"
    for day, milliseconds in enumerate((4.0, 9.0, 5.0, 30.0), start=1):
        runs = add(history, measured(tmp_path / "results", milliseconds), datetime(2026, 11, day, tzinfo=UTC))

    assert len(history.read_text(encoding="utf-8").splitlines()) == 4
    assert table(runs).splitlines() == [
        "| measured 2026-11-04T00:00:00+00:00 | now | median of the 3 runs before |",
        "|-|-|-|",
        "| one event on an idle system in PostgreSQL, p50 | 30.0 ms | 5.00 |",
    ]


def test_the_first_run_has_nothing_to_stand_beside(tmp_path: Path) -> None:
    runs = add(
        tmp_path / "history.jsonl", measured(tmp_path / "results", 4.0), datetime(2026, 11, 1, tzinfo=UTC)
    )

    assert table(runs).splitlines()[-1] == "| one event on an idle system in PostgreSQL, p50 | 4.0 ms |  |"


@pytest.mark.parametrize("figure", ["none", ""])
def test_a_history_of_something_else_is_told(tmp_path: Path, figure: str) -> None:
    history = tmp_path / "history.jsonl"
    what = "one event on an idle system in PostgreSQL, p50"
    history.write_text(json.dumps({"at": "2026-10-01", "figures": {what: figure}}) + "\n", encoding="utf-8")

    runs = add(history, measured(tmp_path / "results", 4.0), datetime(2026, 11, 1, tzinfo=UTC))

    with pytest.raises(ValueError, match="no figure"):
        table(runs)
