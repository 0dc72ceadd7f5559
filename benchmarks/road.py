"""From the log into PostgreSQL: the platform's own worker beside what else could fill a table."""

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import platform_worker
from benchmarks.budget import Budget
from benchmarks.contenders.common import TABLE, Order
from benchmarks.results import Run, as_json
from benchmarks.stage import CLOCK, Stage, tell
from soma_schemas.settings import TopicSettings
from soma_schemas.topics import MEMORY_EVENTS

BATCH = 2000
PEERS_PYTHON = Path("build/benchmarks/venv/bin/python")
_PEERS_ARE_HERE = PEERS_PYTHON.exists()
_RUN_SECONDS = 180
_NO_NEW_ROUND_SECONDS = 400


@dataclass(frozen=True)
class Contender:
    """Something that brings events from the topic to the table.

    Attributes:
        name: For people.
        script: In `contenders`; none is the platform's own worker.
        events: How many it is given: some five seconds' worth.
        elsewhere: Whether it has libraries of its own environment.
        native: Whether the platform's own worker has the native extension.
    """

    name: str
    script: str | None
    events: int
    elsewhere: bool = False
    native: bool = True


BY_HAND_CONFLUENT = "by hand, confluent-kafka"
BY_HAND_AIOKAFKA = "by hand, aiokafka"
STOCK_FAUST = "stock Faust"
FASTSTREAM = "FastStream, batches"
QUIX = "Quix Streams, its own sink"
OURS = "ours, everything the platform does"
OURS_BY_REFERENCE = "ours, without the native extension"

CONTENDERS = (
    Contender(BY_HAND_CONFLUENT, "by_hand_confluent", 100_000),
    Contender(BY_HAND_AIOKAFKA, "by_hand_aiokafka", 100_000),
    Contender(STOCK_FAUST, "stock_faust", 40_000),
    Contender(OURS, None, 150_000),
    Contender(OURS_BY_REFERENCE, None, 40_000, native=False),
    Contender(FASTSTREAM, "faststream_batches", 100_000, elsewhere=True),
    Contender(QUIX, "quix_streams", 50_000, elsewhere=True),
)
FILLED = 200_000


class ContenderError(Exception):
    """A contender did not do its work."""


async def measure(stage: Stage, budget: Budget) -> dict[str, Any]:
    """Run every contender in turn, several times, and return all runs."""
    topics = await asyncio.to_thread(stage.filled, budget.events(FILLED))
    contenders = [each for each in CONTENDERS if not each.elsewhere or _PEERS_ARE_HERE]
    if not _PEERS_ARE_HERE:
        tell("without the other frameworks: `make bench` installs them")
    runs: dict[str, list[dict[str, Any]]] = {}
    failures: dict[str, str] = {}
    began = CLOCK.monotonic()
    for number in range(budget.rounds):
        if CLOCK.monotonic() - began > _NO_NEW_ROUND_SECONDS:
            break  # what there is is worth more than nothing
        for contender in contenders:
            if contender.name in failures and contender.name not in runs:
                continue  # it never worked
            try:
                run = await once(stage, topics, contender, budget.events(contender.events))
                kept = {} if contender.script is None else await asyncio.to_thread(_kept, stage, contender)
            except Exception as error:  # noqa: BLE001  # what the others do is worth knowing all the same
                failures[contender.name] = repr(error)[-2000:]
                tell(f"{contender.name}: failed: {failures[contender.name]}")
                continue
            runs.setdefault(contender.name, []).append({**as_json(run), **kept})
            tell(f"round {number + 1}  {contender.name:36} {run.rate:9,.0f} events/s")
    return {"runs": runs, "failures": failures, "batch": BATCH}


async def once(stage: Stage, topics: TopicSettings, contender: Contender, events: int) -> Run:
    """Run a contender once on an empty table.

    Raises:
        ContenderError: It failed, or the table does not hold what it should.
    """
    if contender.script is None:
        return await platform_worker.everything(stage, topics, events, native=contender.native)
    return await asyncio.to_thread(run_script, stage, topics, contender, events, BATCH)


def _kept(stage: Stage, contender: Contender) -> dict[str, float]:
    """Return what share of rows has a value in the columns that are null now and then."""
    table = "bench.quix_memories" if contender.name == QUIX else TABLE
    with psycopg.connect(stage.dsn(), autocommit=True) as connection:
        row = connection.execute(
            f"SELECT count(*), count(subject), count(expires_at) FROM {table}".encode()  # noqa: S608  # from above
        ).fetchone()
    rows, subjects, expiries = row or (0, 0, 0)
    return {"rows": rows, "with_subject": subjects / rows, "with_expiry": expiries / rows}


def run_script(stage: Stage, topics: TopicSettings, contender: Contender, events: int, batch: int) -> Run:
    """Run a contender once on an empty table and wait for it.

    Raises:
        ContenderError: It failed.
    """
    stage.execute("DROP TABLE IF EXISTS bench.quix_memories", f"TRUNCATE {TABLE}, bench.watermarks")
    stage.settle_down()
    order = Order(
        bootstrap=stage.bootstrap,
        topic=MEMORY_EVENTS.full_name(topics),
        group=stage.new_group(),
        dsn=stage.dsn(),
        schema=stage.schema_of_events(),
        events=events,
        batch=batch,
        data=str(stage.folder / "scratch"),
    )
    python = str(PEERS_PYTHON) if contender.elsewhere else sys.executable
    script = Path(__file__).with_name("contenders") / f"{contender.script}.py"
    ended = subprocess.run(  # noqa: S603  # our own scripts
        [python, script, order.to_json()], capture_output=True, text=True, timeout=_RUN_SECONDS, check=False
    )
    lines = ended.stdout.splitlines()
    if ended.returncode != 0 or not lines:
        raise ContenderError(ended.stderr[-1500:])
    return Run(**json.loads(lines[-1]))
