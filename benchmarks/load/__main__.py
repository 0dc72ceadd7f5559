"""`python -m benchmarks.load`: four loads to learn the costs from, and one to check what they predict."""

import argparse
import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

from benchmarks.load.local_stack import LocalStack, running
from benchmarks.load.measuring import Applied, Log, apply, cpu_between
from benchmarks.load.mixtures import CHANGING, CHECK, LONG, MIDDLE, SHORT, Mixture, text
from benchmarks.load.open_loop import Outcome, send
from benchmarks.load.page import changes_of, page_lines
from benchmarks.results import machine, write_page
from benchmarks.stage import CLOCK, tell
from soma_cli.benchmark.figures import percentile
from soma_cli.capacity_planning import costs as capacity_costs
from soma_cli.capacity_planning.costs import Cost, Costs
from soma_client import AsyncSomaClient, Retrying
from soma_schemas.producer import MemoryProducer, NewMemory

_HOME = Path("build/load/home")
_PAGE = Path("docs/capacity/measured.md")
_COSTS = Path(capacity_costs.__file__).with_name("costs.json")

_WARM = 2_000
_RATES = (10.0, 20.0, 40.0, 80.0, 160.0)
# A rate is no longer held when its slow requests take longer, or one in a hundred fails.
_SLOW_SECONDS = 1.0
_FAILED = 0.01

Measured = dict[str, Any]


def main() -> None:
    """Measure, and write results, costs and page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--events", type=int, default=60_000, help="of the first load; the others have fewer")
    parser.add_argument("--seconds", type=float, default=15.0, help="how long each rate is held")
    parser.add_argument("--quick", action="store_true", help="see that it works, and write nothing")
    arguments = parser.parse_args()
    events, seconds = (4_000, 3.0) if arguments.quick else (arguments.events, arguments.seconds)
    shutil.rmtree(_HOME, ignore_errors=True)
    with running(_HOME.absolute()) as stack:
        found = _measure(stack, events, seconds)
    found = {"machine": machine(), "at": CLOCK.now().isoformat(timespec="seconds"), **found}
    costs = costs_of(found)
    if arguments.quick:
        return
    write_page(_PAGE, found, list(page_lines(found, costs)))
    _COSTS.write_text(costs.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _measure(stack: LocalStack, events: int, seconds: float) -> Measured:
    log = Log(stack)
    try:
        tell("warming up")
        apply(stack, log, SHORT, min(_WARM, events), "warm")
        idle = {name: usage.rss_mb for name, usage in stack.usage().items()}
        loads = {
            name: _load(stack, log, mixture, count, name)
            for name, mixture, count in (
                ("short", SHORT, events),
                ("middle", MIDDLE, events // 2),
                ("long", LONG, events // 3),
                ("changing", CHANGING, events // 2),
                ("check", CHECK, events // 2),
            )
        }
        idle_processors = _idle(stack, seconds)
        searches = asyncio.run(_steps(stack, log, _searching, seconds))
        writes = asyncio.run(_steps(stack, log, _writing, seconds))
        published = asyncio.run(_published(stack, log, _at_half(writes)["rate"], seconds))
    finally:
        log.close()
    return {
        "idle_megabytes": idle,
        "idle_processors": idle_processors,
        "loads": {name: load.as_json() for name, load in loads.items()},
        "searches": searches,
        "writes": writes,
        "published": published,
    }


def _idle(stack: LocalStack, seconds: float) -> Mapping[str, float]:
    """Return how many processors each component uses while nobody asks anything."""
    used, began = stack.usage(), CLOCK.monotonic()
    CLOCK.block(seconds)
    took = CLOCK.monotonic() - began
    return {name: cpu / took for name, cpu in cpu_between(used, stack.usage()).items()}


def _load(stack: LocalStack, log: Log, mixture: Mixture, events: int, name: str) -> Applied:
    tell(f"{name}: {events:,} events")
    applied = apply(stack, log, mixture, events, name)
    for group, seconds in applied.group_seconds.items():
        tell(f"  {group}: {events / seconds:,.0f} events/s")
    return applied


async def _steps(stack: LocalStack, log: Log, request: Any, seconds: float) -> list[Measured]:
    found: list[Measured] = []
    async with AsyncSomaClient(
        environment={**log.environment}, read_your_writes=False, retrying=Retrying(total_seconds=0.0)
    ) as client:
        ask = request(client)
        await send(ask, 5.0, 2.0, CLOCK)
        for rate in _RATES:
            found.append(await _step(stack, ask, rate, seconds))
            if not found[-1]["held"]:
                break
    return found


async def _step(stack: LocalStack, ask: Any, rate: float, seconds: float) -> Measured:
    used = stack.usage()
    began = CLOCK.monotonic()
    outcome = await send(ask, rate, seconds, CLOCK)
    took = CLOCK.monotonic() - began
    step = _told(outcome, cpu_between(used, stack.usage()), took)
    tell(
        f"  {rate:g}/s: {step['answered_per_second']:.1f}/s answered,"
        f" p99 {step['milliseconds']['p99']:.0f} ms, late by {step['lateness_p99_ms']:.1f} ms"
    )
    return step


async def _published(stack: LocalStack, log: Log, rate: float, seconds: float) -> Measured:
    """Publish straight into the log: what a write costs beside what it costs in the API."""
    texts, run = _texts_to_write(), uuid4().hex
    with MemoryProducer(log.settings, tenant="local") as producer:

        async def publish(number: int) -> object:
            memory = NewMemory(
                namespace=f"load/published/{number % 50}",
                key=f"{run}-{number}",
                text=texts[number % len(texts)],
            )
            return await producer.store_async(memory)

        await send(publish, 5.0, 2.0, CLOCK)
        return await _step(stack, publish, rate, seconds)


def _searching(client: AsyncSomaClient) -> Any:
    random = Random("questions")  # noqa: S311  # the same each time is what is wanted
    questions = [text(random, 6) for _ in range(500)]

    async def ask(number: int) -> object:
        return await client.search(
            questions[number % len(questions)], filter={"namespace_prefix": f"load/short/{number % 50}"}
        )

    return ask


def _writing(client: AsyncSomaClient) -> Any:
    texts, run = _texts_to_write(), uuid4().hex

    async def store(number: int) -> object:
        return await client.store_memory(
            texts[number % len(texts)],
            namespace=f"load/written/{number % 50}",
            key=f"{run}-{number}",
            wait_seconds=10,
        )

    return store


def _texts_to_write() -> list[str]:
    random = Random("writes")  # noqa: S311  # the same each time is what is wanted
    return [text(random, 24) for _ in range(500)]


def _told(outcome: Outcome, cpu: Mapping[str, float], took: float) -> Measured:
    answered = outcome.latencies
    quantiles = {
        f"p{percent:g}": percentile(answered, percent) * 1000 if answered else float("inf")
        for percent in (50, 95, 99, 100)
    }
    failed = sum(outcome.failures.values()) / outcome.planned
    return {
        "rate": outcome.rate,
        "planned": outcome.planned,
        "answered": len(answered),
        "answered_per_second": outcome.answered_per_second,
        "milliseconds": quantiles,
        "lateness_p99_ms": percentile(outcome.lateness, 99) * 1000,
        "failures": outcome.failures,
        "cpu_seconds": dict(cpu),
        "seconds": took,
        "processors_used": {name: seconds / took for name, seconds in cpu.items()},
        "held": quantiles["p99"] <= _SLOW_SECONDS * 1000 and failed <= _FAILED,
    }


def costs_of(found: Mapping[str, Any]) -> Costs:
    """Return the costs that all loads but the last, and the steps, tell."""
    new = [found["loads"][name] for name in ("short", "middle", "long")]
    changing = found["loads"]["changing"]

    def learnt(of: Any) -> Cost:
        return Cost.measured(
            [(load["text_bytes"], of(load)) for load in new],
            (changing["text_bytes"], of(changing), changes_of(changing)),
        )

    searched = _at_half(found["searches"])
    written = _at_half(found["writes"])

    def of_one(step: Measured, name: str) -> float:
        idle: float = found["idle_processors"][name] * step["seconds"]
        used: float = step["cpu_seconds"][name]
        return max(0.0, used - idle) / int(step["answered"]) * 1e6

    return Costs(
        measured={
            "at": found["at"],
            "machine": f"{found['machine']['cores']} cores, {found['machine']['processor']}, "
            f"{found['machine']['memory_gib']} GiB",
        },
        cpu_micros_per_event={
            name: learnt(lambda load, name=name: load["cpu_seconds"][name] / load["events"] * 1e6)
            for name in changing["cpu_seconds"]
        },
        worker_micros_per_event={
            group: learnt(lambda load, group=group: load["group_seconds"][group] / load["events"] * 1e6)
            for group in changing["group_seconds"]
        },
        cpu_micros_per_search={name: of_one(searched, name) for name in ("api", "postgres")},
        cpu_micros_per_api_write=max(0.0, of_one(written, "api") - of_one(found["published"], "api")),
        log_bytes_per_event=learnt(lambda load: load["growth"]["log"] / load["events"]),
        history_bytes_per_event=learnt(lambda load: load["growth"]["history"] / load["events"]),
        table_bytes_per_memory=learnt(lambda load: load["growth"]["tables"] / load["new"]),
        index_bytes_per_memory=learnt(lambda load: load["growth"]["index"] / load["new"]),
        index_memory_per_memory=learnt(lambda load: load["growth"]["index_memory"] / load["new"]),
        process_megabytes=found["idle_megabytes"],
    )


def _at_half(steps: list[Measured]) -> Measured:
    """Return the step whose rate is nearest to half of the highest that was held."""
    held = [step for step in steps if step["held"]] or steps[:1]
    return min(held, key=lambda step: abs(step["rate"] - held[-1]["rate"] / 2))


if __name__ == "__main__":
    main()
