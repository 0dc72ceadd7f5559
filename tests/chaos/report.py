"""What runs found, as JSON for programs and as a page for people."""

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import psutil
import psycopg

from chaos.run import Played, Struck
from chaos.stage import Ending
from judge.verdict import POSTGRES, VECTORS, Verdict
from soma_cli.local.bundles import KAFKA, REGISTRY
from soma_schemas.clock import SystemClock

_PACKAGES = (
    "somafractalmemory",
    "faust-streaming",
    "aiokafka",
    "confluent-kafka",
    "psycopg",
    "qdrant-edge-py",
    "wordllama",
)


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        asked: What it was started with.
        failure: Why it has no result.
    """

    seed: int
    asked: Mapping[str, Any]
    played: Played | None
    failure: str | None = None

    @property
    def passed(self) -> bool:
        """Whether everything was where the log says, and no worker ended by itself."""
        played = self.played
        return played is not None and played.verdict.right and not played.endings and all(played.kept)

    def as_json(self) -> dict[str, Any]:
        """Return it for a file."""
        played = None
        if self.played is not None:
            played = asdict(self.played) | {"verdict": self.played.verdict.as_json()}
        return {
            "seed": self.seed,
            "asked": dict(self.asked),
            "passed": self.passed,
            "failure": self.failure,
            "played": played,
        }


def read_runs(written: Sequence[Mapping[str, Any]]) -> list[Run]:
    """Return runs of a report that was written before."""
    return [
        Run(run["seed"], run["asked"], _played(run["played"]) if run["played"] else None, run["failure"])
        for run in written
    ]


def _played(found: Mapping[str, Any]) -> Played:
    lists = {
        "struck": tuple(Struck(**each) for each in found["struck"]),
        "endings": tuple(Ending(**each) for each in found["endings"]),
        "verdict": Verdict.of_json(found["verdict"]),
    }
    return Played(**(dict(found) | lists))


def revision() -> str:
    """Return which state of the code runs."""
    said = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, check=False)
    return said.stdout.decode().strip() or "unknown"


def environment(owner_dsn: str) -> dict[str, str]:
    """Return what the runs ran on: versions and the shape of the machine."""
    with psycopg.connect(owner_dsn) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    found = {
        "made": SystemClock().now().date().isoformat(),
        "Python": platform.python_version(),
        "brokers": KAFKA.label,
        "registry": REGISTRY.label,
        "PostgreSQL": str(row[0]) if row is not None else "unknown",
        **{package: version(package) for package in _PACKAGES},
    }
    found["load"] = f"{os.getloadavg()[1]:.1f} before the first run"
    found["machine"] = (
        f"{os.cpu_count()} cores ({platform.machine()}), "
        f"{psutil.virtual_memory().total / 2**30:.0f} GiB, {platform.system()} {platform.release()}"
    )
    return found


def as_page(runs: Sequence[Run], found: Mapping[str, str], command: str) -> str:
    """Return the page."""
    lines = [
        "# Chaos: what faults do to the log's two stores",
        "",
        "Made by the command below; what each number means stands at the end. The suite is `tests/chaos`,",
        "whose files each open with what they are for.",
        "",
        "```sh",
        command,
        "```",
        "",
        "| seed | records | faults | lost | wrong | extra | settled again | dead letters | caught up after |",
        "|-|-|-|-|-|-|-|-|-|",
    ]
    lines += [_row(run) for run in runs]
    for run in runs:
        lines += ["", f"## Seed {run.seed}", "", *_details(run)]
    lines += ["", "## On what", "", "| | |", "|-|-|"]
    lines += [f"| {name} | {value} |" for name, value in found.items()]
    return "\n".join([*lines, "", _MEANINGS])


def _row(run: Run) -> str:
    played = run.played
    if played is None:
        return f"| {run.seed} | | | | | | | | failed: {run.failure} |"
    verdict = played.verdict
    again = {sink: max(0, settled - verdict.events) for sink, settled in played.settled.items()}
    letters = " / ".join(
        f"{verdict.parts[f'dead letters of {group}'].expected:,}" for group in (POSTGRES, VECTORS)
    )
    return (
        f"| {run.seed} | {verdict.events:,} | {len(played.struck)} | {verdict.lost} | {verdict.wrong} |"
        f" {verdict.extra} |"
        f" {again['postgres']:,} / {again['vectors']:,} | {letters} | {played.catch_up_seconds} s |"
    )


def _details(run: Run) -> list[str]:
    played = run.played
    if played is None:
        return [f"No result: {run.failure}"]
    verdict = played.verdict
    said = "Passed" if run.passed else "**Failed**"
    slowest = max(played.stops, default=0.0)
    sent_again = played.published_again
    lines = [
        f"Of revision {run.asked.get('revision', 'unknown')}.",
        f"{said} after {played.seconds} s. {verdict.memories:,} memories, tombstones among them.",
        f"{played.acknowledged:,} records were acknowledged to the producer, which had sent",
        f"{sent_again:,} of them again for want of an answer.",
        f"Dead letters written again: {verdict.letters_again}.",
        f"Stops in order: {len(played.stops)}, the slowest took {slowest} s.",
        f"Workers that ended by themselves: {len(played.endings)};",
        f"the vector worker stopped for a lost index: {played.index_lost}.",
        *(
            f"Through the long outage the group {'kept' if kept else '**did not keep**'} its members."
            for kept in played.kept
        ),
        "",
        "| outcome | Postgres | vectors |",
        "|-|-|-|",
        *(
            f"| {name} | {' | '.join(f'{each.get(name, 0):,}' for each in verdict.outcomes.values())} |"
            for name in sorted({name for counts in verdict.outcomes.values() for name in counts})
        ),
        "",
        f"Compared: {', '.join(f'{part.expected:,} {name}' for name, part in verdict.parts.items())}.",
        "",
        "| at | until | fault | part |",
        "|-|-|-|-|",
    ]
    lines += [
        f"| {each.at_seconds} s | {each.mended_seconds} s | {each.kind} | {each.target} |"
        for each in played.struck
    ]
    for ending in played.endings:
        lines += ["", f"- {ending.worker} ended with {ending.exit_code}"]
    for name, part in verdict.parts.items():
        lines += [f"\n- {name}: {example}" for example in part.examples]
    return lines


_MEANINGS = """\
## What the numbers mean

Pairs are Postgres / vectors.

- **records** of the log: stores, patches, deletions, links, reads, expiries, compare-and-set, repeated
  event ids and 1 percent of poison of ten kinds, of four tenants. The same seed makes the same schedule and
  the same choices; which offsets the events get, and so what compare-and-set names, depends on the moment.
- **faults**: some overlap. `until` is when the part was started again or let go; a worker then still loads,
  and a broker still joins. The index is a stand-in for a Qdrant *server*: its gRPC interface over the
  embedded engine, in a process of its own, behind a line that can go dead; `soma work vectors` is the real
  one.
- **lost**: what the log has and a store has not, or has in an older version: memories, points, links, history
  rows, dead letters, their index and watermarks, each compared one by one, column by column, with what the
  judge makes of the whole log. The judge (`tests/judge`) decodes with plain fastavro, has the rules of the
  contract and of folding written down once more, and reads both stores through their own clients; it imports
  nothing of the product.
- **wrong**: there, but not as the log says.
- **extra**: there, and not to be there at all.
- **settled again**: events that were delivered and settled more than once, as the workers count them. At
  least so many: what a worker counted between the last look and a SIGKILL is not in it. None of it may show.
- **dead letters**: by the group that gave up. The index refuses one kind of poison that the tables take.
- **caught up after**: from the last mending until both sinks were at the end of the log.
- **stopped for a lost index**: the vector worker ends when its index is not the one that it began on, is
  started again as by any supervisor, and fills the new one.

## What this judge looks at

A former judge decoded with the sinks' decoder, folded with the sinks' fold, and compared states that the
sinks' own functions had read. This one has its own of each, and looks at what those states did not have:

- of dead letters the bytes of key and value and all headers, beside place and code;
- of the history one row for each position, with its names, content and error code, beside outcome and reason;
- of points the fields that searches filter by, which vectors there are, and that the vector of an event which
  brought its own embedding is that one. What the model makes of a text is not worked out a second time;
- of tombstones the version that deleted them; links that have ended; the table of dead letters column by
  column; and the watermarks.

`tests/integration/judge` puts a fault into each and sees that it is found.
"""
