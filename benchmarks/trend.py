"""`python -m benchmarks.trend HISTORY`: put the last run beside those before it."""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.aims import aims
from benchmarks.results import Results
from benchmarks.stage import CLOCK

# So many runs before it are what a run is compared with.
_RECENT = 10


def add(history: Path, results: Results, when: datetime) -> list[dict[str, Any]]:
    """Append a run to a history of JSON Lines and return all of it, oldest first."""
    runs = (
        [json.loads(line) for line in history.read_text(encoding="utf-8").splitlines()]
        if history.exists()
        else []
    )
    figures = {aim.what: aim.measured for aim in aims(results)}
    runs.append({"at": when.isoformat(timespec="seconds"), "figures": figures})
    history.parent.mkdir(parents=True, exist_ok=True)
    history.write_text("".join(f"{json.dumps(run)}\n" for run in runs), encoding="utf-8")
    return runs


def table(runs: Sequence[dict[str, Any]]) -> str:
    """Return the last run beside the median of those before it, as a table of Markdown."""
    *before, last = runs
    lines = [
        f"| measured {last['at']} | now | median of the {min(len(before), _RECENT)} runs before |",
        "|-|-|-|",
    ]
    for what, measured in last["figures"].items():
        earlier = [_number(run["figures"][what]) for run in before[-_RECENT:] if what in run["figures"]]
        lines.append(f"| {what} | {measured} | {f'{median(earlier):,.2f}' if earlier else ''} |")
    return "\n".join(lines)


def _number(measured: str) -> float:
    # As the table of aims writes it: `1.62 x`, `2,600/s`, `+3%`.
    found = re.match(r"[+-]?[\d.,]+", measured)
    if found is None:
        raise ValueError(f"no figure: {measured}")
    return float(found.group().replace(",", ""))


def main() -> None:
    """Add the results of `make bench`, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trend", description=__doc__)
    parser.add_argument("history", type=Path, help="file of JSON Lines; it is made if it is not there")
    parser.add_argument("--results", type=Path, default=Path("build/benchmarks/results"))
    arguments = parser.parse_args()
    if not list(arguments.results.glob("*.json")):
        sys.exit(f"no results in {arguments.results}: run `make bench`")
    print(table(add(arguments.history, Results(arguments.results), CLOCK.now())))


if __name__ == "__main__":
    main()
