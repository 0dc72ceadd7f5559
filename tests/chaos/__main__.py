"""Runs chaos from the command line: `make chaos`, or `PYTHONPATH=tests python -m chaos --help`."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from caches import cache_folder
from chaos.report import Run, as_page, environment, read_runs, revision
from chaos.run import Player
from chaos.schedule import Blow, Fault, FaultKind, Parts, plan
from chaos.stage import SESSION, Stage, open_stage
from chaos.workload import Workload

_SUFFIXES = (".json", ".md")


def main() -> int:
    """Play a schedule for each seed, print what happens, and write the report."""
    asked = _arguments()
    kept = asked.report.with_suffix(".json") if asked.report is not None else None
    runs: list[Run] = []
    if kept is not None and kept.exists():
        # Other seeds' runs stay: one that failed can be played again alone, once its cause is mended.
        runs = read_runs(
            [run for run in json.loads(kept.read_text())["runs"] if run["seed"] not in asked.seeds]
        )
    found: dict[str, str] = {}
    for seed in asked.seeds:
        folder = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-"))
        _say(f"seed {seed}: starting {asked.brokers} brokers, a registry and PostgreSQL in {folder}")
        with open_stage(
            folder, cache_folder(), seed, brokers=asked.brokers, postgres_workers=asked.postgres_workers
        ) as stage:
            found = found or environment(stage.owner_dsn)
            runs.append(_play(stage, seed, asked))
        runs.sort(key=lambda run: run.seed)
        _say(_summary(next(run for run in runs if run.seed == seed)))
        if asked.report is not None:
            _write(asked.report, runs, found, asked)
    return 0 if all(run.passed for run in runs) else 1


def _play(stage: Stage, seed: int, asked: argparse.Namespace) -> Run:
    parts = Parts(list(stage.workers), list(stage.brokers), SESSION.total_seconds())
    blows = plan(seed, asked.faults, asked.events, parts)
    if asked.postgres_away_minutes:
        away = Fault(FaultKind.POSTGRES_STOPPED, "postgres")
        blows += (Blow(away, asked.events // 10, 1.0, 60.0 * asked.postgres_away_minutes, overlaps=False),)
    settings = {
        "events": asked.events,
        "faults": asked.faults,
        "brokers": asked.brokers,
        "revision": revision(),
    }
    _say(_schedule(blows))
    try:
        played = Player(stage, _say).play(blows, Workload(seed))
    except AssertionError as error:
        return Run(seed, settings, None, str(error))
    return Run(seed, settings, played)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m chaos",
        description="Strike the parts while events flow, then compare every record.",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="one run for each")
    parser.add_argument("--events", type=int, default=60_000, help="records to publish in each run")
    parser.add_argument("--faults", type=int, default=26, help="faults in each run")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=3)
    parser.add_argument("--postgres-workers", type=int, default=2, help="how many share the log")
    parser.add_argument(
        "--postgres-away-minutes",
        type=float,
        default=0.0,
        help="end with one more fault: PostgreSQL stopped for so long, in real time",
    )
    parser.add_argument("--report", type=Path, help="where to write it, without suffix: both .md and .json")
    return parser.parse_args()


def _schedule(blows: tuple[Blow, ...]) -> str:
    lines = [
        f"  {number:2}. {blow.events} records; after {blow.wait_seconds} s {blow.fault.kind}:"
        f" {blow.fault.target}, for {blow.hold_seconds} s{', and meanwhile' if blow.overlaps else ''}"
        for number, blow in enumerate(blows, start=1)
    ]
    return "\n".join(["schedule:", *lines])


def _summary(run: Run) -> str:
    if run.played is None:
        return f"seed {run.seed}: FAILED, {run.failure}"
    verdict = run.played.verdict
    said = "passed" if run.passed else "FAILED"
    return f"seed {run.seed}: {said}; {verdict}\n{json.dumps(run.as_json()['played'], default=str)}"


def _write(report: Path, runs: list[Run], found: dict[str, str], asked: argparse.Namespace) -> None:
    report.parent.mkdir(parents=True, exist_ok=True)
    seeds = " ".join(str(run.seed) for run in runs)
    command = (
        f"PYTHONPATH=tests python -m chaos --seeds {seeds} --events {asked.events} --faults {asked.faults}"
        f" --brokers {asked.brokers} --report {report}"
    )
    texts = (
        json.dumps({"environment": found, "runs": [run.as_json() for run in runs]}, indent=1, default=str)
        + "\n",
        as_page(runs, found, command),
    )
    for suffix, text in zip(_SUFFIXES, texts, strict=True):
        report.with_suffix(suffix).write_text(text, encoding="utf-8")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
