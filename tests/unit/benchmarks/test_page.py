"""The page about what was measured says what was reached and what was not, and its pictures can be drawn."""

from importlib import import_module
from pathlib import Path
from re import findall
from typing import Any
from xml.etree import ElementTree as ET

import pytest

ROAD = {
    "by hand, confluent-kafka": 1000.0,
    "by hand, aiokafka": 900.0,
    "ours, everything the platform does": 1500.0,
    "stock Faust": 300.0,
    "Quix Streams, its own sink": 400.0,
}


def a_run(rate: float, **more: float) -> dict[str, Any]:
    return {"events": int(rate * 2), "seconds": 2.0, "cpu_seconds": 1.0, "rss_mb": 100.0, **more}


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))
    results = import_module("benchmarks.results").Results(tmp_path / "results")
    whole, holed = {"with_subject": 0.75, "with_expiry": 0.2}, {"with_subject": 0.4, "with_expiry": 0.0}
    runs = {
        name: [a_run(rate * share, **(holed if "Quix" in name else whole)) for share in (0.9, 1.0, 1.2)]
        for name, rate in ROAD.items()
    }
    results.save("road", {"runs": runs, "failures": {"stock Loop": "it fell over"}, "batch": 2000})
    results.save("latency", {"seconds": [0.004, 0.005, 0.02], "acknowledged": [0.002, 0.002, 0.003]})
    results.save("batches", {"runs": {"1": [a_run(10)], "2000": [a_run(1000)]}})
    results.save("scaling", {"runs": {"1": [a_run(100)], "2": [a_run(170)]}})
    results.save("vectors", {"runs": {"with the packaged embedder": [a_run(2400)]}})
    results.save(
        "producer", {"busy_percent": 40.0, "rates": {"one by one": [100.0], "many at once": [900.0]}}
    )
    outage = {"rate_in": 10, "gone_at": 1.0, "back_at": 3.0, "caught_up_at": None, "backlog": 20, "rate": 5.0}
    results.save("outage", {**outage, "curve": [(0.0, 0), (3.0, 20), (4.0, 15)]})
    results.save("memory", {"curve": [(0.0, 90.0), (1.0, 100.0), (2.0, 101.0)], "rate": 5.0, "minutes": 1.5})
    page = tmp_path / "performance.md"
    import_module("benchmarks.report").write(results, page)
    return page


def test_every_aim_says_whether_it_was_reached(page: Path) -> None:
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if "reached" in line]
    said = {row.split("|")[1].strip(): row.split("|")[3:5] for row in rows}
    assert said["everything the platform does, to the best loop by hand"] == [
        " 1.50 x ",
        " **not reached** ",
    ]
    assert said["everything the platform does, to stock Faust"] == [" 5.00 x ", " reached "]
    assert said["memories into the vector index, with the packaged embedder"] == [
        " 2,400/s ",
        " **not reached** ",
    ]
    assert said["memories with a payload published by `store_many` from one thread"] == [
        " 900/s ",
        " **not reached** ",
    ]
    assert len(said) == 8


def test_values_that_a_sink_lost_are_named(page: Path) -> None:
    said = page.read_text(encoding="utf-8")
    assert "Quix Streams, its own sink lost values without a word: 40% of its rows have a subject" in said
    assert "by hand, aiokafka lost values" not in said


def test_what_failed_is_told(page: Path) -> None:
    said = page.read_text(encoding="utf-8")
    assert "stock Loop failed: it fell over" in said
    assert "the backlog was not gone in time" in said


def test_what_began_on_a_busy_machine_is_named_and_nothing_else(page: Path) -> None:
    [said] = [line for line in page.read_text(encoding="utf-8").splitlines() if "% busy with" in line]
    assert "40 % busy" in said
    assert "`producer`" in said


def test_every_picture_that_the_page_shows_can_be_drawn(page: Path) -> None:
    shown = findall(r"!\[[^]]*\]\(([^)]*)\)", page.read_text(encoding="utf-8"))
    assert len(shown) == 4
    for picture in shown:
        assert ET.parse(page.parent / picture).getroot().tag.endswith("svg")  # noqa: S314  # drawn a moment ago
