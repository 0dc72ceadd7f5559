"""The page about a load, written from its results."""

from collections.abc import Iterator, Mapping
from typing import Any

from soma_cli.capacity_planning.costs import Costs
from soma_cli.capacity_planning.sizing import cpu_seconds

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
    yield "| load | events | text | published | applied to PostgreSQL | searchable |"
    yield "|-|-|-|-|-|-|"
    for name, load in found["loads"].items():
        events = load["events"]
        rates = [events / seconds for seconds in load["group_seconds"].values()]
        yield (
            f"| {name} | {events:,} | {load['text_bytes']:,.0f} bytes | "
            f"{events / load['published_seconds']:,.0f}/s | "
            + " | ".join(f"{rate:,.0f}/s" for rate in rates)
            + " |"
        )
    yield ""
    yield "One worker for each store, six partitions, everything on the same cores."
    yield ""
    yield "## Processor time of an event, and what is predicted"
    yield ""
    yield "Learnt from the loads `short` and `long`; `changing` shows how good a prediction is."
    yield ""
    check = found["loads"]["changing"]
    yield "| | short | long | changing, predicted | changing, measured | ratio |"
    yield "|-|-|-|-|-|-|"
    yield from _compared(found, costs, check)
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


def _compared(found: Mapping[str, Any], costs: Costs, check: Mapping[str, Any]) -> Iterator[str]:
    short, long = found["loads"]["short"], found["loads"]["long"]
    predicted = cpu_seconds(check["events"], check["text_bytes"], costs)
    for name, seconds in predicted.items():
        measured = check["cpu_seconds"][name]
        micros = [load["cpu_seconds"][name] / load["events"] * 1e6 for load in (short, long)]
        yield (
            f"| processor time, {name} | {micros[0]:,.0f} us | {micros[1]:,.0f} us | {seconds:,.2f} s | "
            f"{measured:,.2f} s | {measured / seconds if seconds else 0:.2f} |"
        )
    size = check["text_bytes"]
    for what, cost, place, of in (
        ("log, bytes", costs.log_bytes_per_event, "log", "events"),
        ("history, bytes", costs.history_bytes_per_event, "history", "events"),
        ("tables, bytes", costs.table_bytes_per_memory, "tables", "new"),
        ("index on disk, bytes", costs.index_bytes_per_memory, "index", "new"),
        ("index in memory, bytes", costs.index_memory_per_memory, "index_memory", "new"),
    ):
        each = [load["growth"][place] / load[of] for load in (short, long)]
        total, measured = cost.of(size) * check[of], check["growth"][place]
        yield (
            f"| {what} | {each[0]:,.0f} | {each[1]:,.0f} | {total:,.0f} | {measured:,.0f} | "
            f"{measured / total if total else 0:.2f} |"
        )
