"""The page about a load, written from its results."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from soma_cli.capacity_planning.costs import Cost, Costs

_MILLION = 1e6


def page_lines(found: Mapping[str, Any], costs: Costs) -> Iterator[str]:
    """Return the page, line by line."""
    machine = found["machine"]
    yield "# Capacity, measured"
    yield ""
    yield (
        f"Written by `make load` on {found['at'][:10]}: {machine['cores']} cores ({machine['processor']}), "
        f"{machine['memory_gib']} GiB, which ran the local stack and the load together."
    )
    yield ""
    yield "## Events as fast as the log takes them"
    yield ""
    yield "| load | events | changes | text | published | applied to PostgreSQL | searchable |"
    yield "|-|-|-|-|-|-|-|"
    for name, load in found["loads"].items():
        events = load["events"]
        rates = [events / seconds for seconds in load["group_seconds"].values()]
        yield (
            f"| {name} | {events:,} | {changes_of(load):.0%} | {load['text_bytes']:,.0f} bytes | "
            f"{events / load['published_seconds']:,.0f}/s | "
            + " | ".join(f"{rate:,.0f}/s" for rate in rates)
            + " |"
        )
    yield ""
    yield "One worker for each store, six partitions, everything on the same cores."
    yield ""
    yield "## What an event costs, and what is predicted"
    yield ""
    yield "Learnt from the loads before `check`; `check` shows how good a prediction is."
    yield ""
    yield "| | short | middle | long | changing | check, predicted | check, measured | ratio |"
    yield "|-|-|-|-|-|-|-|-|"
    yield from _compared(found, costs)
    yield ""
    yield "## Requests at set times"
    yield ""
    yield (
        "Each request has its time beforehand, whether those before it were answered or not, and its latency "
        "counts from that time. `late` is how far behind its plan the generator was."
    )
    for title, steps in (
        ("Hybrid searches with a filter", found["searches"]),
        ("Writes until searchable", found["writes"]),
    ):
        yield ""
        yield f"| {title} | answered | p50 | p95 | p99 | late, p99 | failed | busiest |"
        yield "|-|-|-|-|-|-|-|-|"
        for step in steps:
            busiest, used = max(step["processors_used"].items(), key=lambda pair: pair[1])
            quantiles = " | ".join(f"{step['milliseconds'][p]:,.1f} ms" for p in ("p50", "p95", "p99"))
            yield (
                f"| {step['rate']:g}/s | {step['answered_per_second']:.1f}/s | {quantiles} | "
                f"{step['lateness_p99_ms']:.1f} ms | {sum(step['failures'].values())} | "
                f"{busiest}: {used:.0%} of a core |"
            )
    yield ""
    yield "## Of a million"
    yield ""
    yield "| of a million | with 200 bytes of text | with 1,000 | with 2,000 |"
    yield "|-|-|-|-|"
    for what, cost in (
        ("events in the log, one copy", costs.log_bytes_per_event),
        ("events in the history", costs.history_bytes_per_event),
        ("memories in PostgreSQL", costs.table_bytes_per_memory),
        ("memories in the index, on disk", costs.index_bytes_per_memory),
        ("memories in the index, in memory", costs.index_memory_per_memory),
    ):
        sizes = " | ".join(f"{cost.of(size) * _MILLION / 2**30:,.2f} GiB" for size in (200, 1000, 2000))
        yield f"| {what} | {sizes} |"


def changes_of(load: Mapping[str, Any]) -> float:
    """Return the share of events of a load that change a memory which is there."""
    return 1.0 - float(load["new"]) / float(load["events"])


def _compared(found: Mapping[str, Any], costs: Costs) -> Iterator[str]:
    """Return rows: of each cost what it was in each load, and what it would be in the last."""
    for name, cost in costs.cpu_micros_per_event.items():
        yield _row(
            found,
            f"processor time of an event, {name}, us",
            cost,
            lambda load, name=name: load["cpu_seconds"][name] / load["events"] * 1e6,
        )
    for group, cost in costs.worker_micros_per_event.items():
        yield _row(
            found,
            f"time of a worker of {group} for an event, us",
            cost,
            lambda load, group=group: load["group_seconds"][group] / load["events"] * 1e6,
        )
    for what, cost, place, of in (
        ("log, bytes of an event", costs.log_bytes_per_event, "log", "events"),
        ("history, bytes of an event", costs.history_bytes_per_event, "history", "events"),
        ("tables, bytes of a memory", costs.table_bytes_per_memory, "tables", "new"),
        ("index on disk, bytes of a memory", costs.index_bytes_per_memory, "index", "new"),
        ("index in memory, bytes of a memory", costs.index_memory_per_memory, "index_memory", "new"),
    ):
        yield _row(found, what, cost, lambda load, place=place, of=of: load["growth"][place] / load[of])


def _row(found: Mapping[str, Any], what: str, cost: Cost, of: Callable[..., float]) -> str:
    *learnt, check = found["loads"].values()
    predicted, measured = cost.of(check["text_bytes"], changes_of(check)), of(check)
    ratio = f"{measured / predicted:.2f}" if predicted else "-"
    told = " | ".join(f"{value:,.0f}" for value in (*map(of, learnt), predicted, measured))
    return f"| {what} | {told} | {ratio} |"
