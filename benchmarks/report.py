"""The page about what was measured, and its pictures."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import quantiles
from typing import Any

from benchmarks import plots, road
from benchmarks.aims import Aim, aims
from benchmarks.results import Results, Run, middle, peer_versions, spread

_FINDINGS = Path(__file__).with_name("findings.md")
# Broker, registry and PostgreSQL take some percent when nobody wants anything of them.
_NOT_QUIET_PERCENT = 15.0
_INTRODUCTION = """\
# Performance

What is promised here is nothing in events per second: that depends on the machine. What can be
compared are ratios within one run, where everybody had the same machine, the same events and the
same PostgreSQL. `make bench` measures everything anew and writes this page; `python -m benchmarks
road` measures one thing, and `--quick` shows within minutes that it works.
"""
_ROAD = """\
Everybody reads one topic ({events} events of 600 to 900 bytes in Avro, 6 partitions, made up from a
seed) and brings it into one table of 15 columns: a batch of up to {batch:,} goes by COPY into a
temporary table, is merged under a guard by version, and is acknowledged after its transaction has
been committed. A run is timed from the first event in hand to the last one committed, in a process
of its own; contenders take turns. The loops by hand and stock Faust have the same versions of their
libraries as the platform.

Quix Streams brings its own sink and cannot do all of that: it upserts without a guard. "Everything
the platform does" is `soma work postgres` as it is installed: every event is checked against its
contract, folded onto the memory's state, recorded in the history, and its outcome counted, in
other, larger tables. It has the native extension (`make native`); beside it stands the same worker
without, which reads every event by fastavro and the model.
"""


def write(results: Results, page: Path) -> None:
    """Write the page of all that has been measured."""
    pictures = page.with_suffix("")
    pictures.mkdir(parents=True, exist_ok=True)
    sections = [_INTRODUCTION, *_where(results), *_aims(aims(results))]
    if found := results.load("road"):
        sections += _road(found, pictures)
    if found := results.load("latency"):
        sections += _latency(found)
    if found := results.load("batches"):
        sections += _batches(found, pictures)
    if found := results.load("scaling"):
        sections += _plain_runs("Two workers beside one", found, "workers")
    if found := results.load("vectors"):
        sections += _plain_runs("Into the vector index", found, "the vector worker")
    if found := results.load("producer"):
        sections += _producer(found)
    if found := results.load("outage"):
        sections += _outage(found, pictures)
    if found := results.load("memory"):
        sections += _memory(found, pictures)
    if _FINDINGS.exists():
        sections.append(_FINDINGS.read_text(encoding="utf-8").strip())
    page.write_text("\n\n".join(section.strip() for section in sections) + "\n", encoding="utf-8")


def runs_of(found: dict[str, Any], name: str) -> list[Run]:
    """Return the runs of one contender."""
    fields = ("events", "seconds", "cpu_seconds", "rss_mb")
    return [Run(**{field: run[field] for field in fields}) for run in found["runs"].get(name, ())]


def _where(results: Results) -> list[str]:
    found = results.all()
    if not found:
        return []
    machine = next(iter(found.values()))["machine"]
    versions = dict(machine["versions"])
    if road.PEERS_PYTHON.exists():
        versions |= peer_versions(road.PEERS_PYTHON)
    named = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    sections = [
        (
            f"This run: {machine['cores']} cores ({machine['processor']}), {machine['memory_gib']} GiB, "
            f"{machine['system']}, Python {machine['python']}; broker, registry, PostgreSQL and the "
            f"contender share them, with the settings of the local stack. {named}."
        )
    ]
    busy = {name: each.get("busy_percent", 0.0) for name, each in found.items()}
    sections += [
        f"**The machine was {percent:.0f} % busy with other things when `{name}` began.**"
        for name, percent in busy.items()
        if percent > _NOT_QUIET_PERCENT
    ]
    return sections


def _aims(found: Sequence[Aim]) -> list[str]:
    if not found:
        return []
    rows = [
        (each.what, each.aim, each.measured, "reached" if each.reached else "**not reached**")
        for each in found
    ]
    return ["## Aims", _table(("", "aim", "measured", ""), rows)]


def _road(found: dict[str, Any], pictures: Path) -> list[str]:
    measured = {name: runs_of(found, name) for name in found["runs"]}
    rates = {name: middle([run.rate for run in runs]) for name, runs in measured.items()}
    by_hand = max(rates.get(name, 0.0) for name in (road.BY_HAND_CONFLUENT, road.BY_HAND_AIOKAFKA))
    order = sorted(rates, key=lambda name: -rates[name])
    rows = [
        (
            name,
            f"{rates[name]:,.0f}",
            f"{spread([run.rate for run in measured[name]]):.0%}",
            f"{rates[name] / by_hand:.2f}",
            f"{middle([run.cpu_micros for run in measured[name]]):.1f}",
        )
        for name in order
    ]
    marked = [name for name in order if name.startswith("ours")]
    picture = plots.bars(
        "Events per second into PostgreSQL",
        [(name, rates[name], f"{rates[name] / by_hand:.2f} x  ({rates[name]:,.0f}/s)") for name in order],
        marked,
    )
    (pictures / "road.svg").write_text(picture, encoding="utf-8")
    count = max(len(runs) for runs in measured.values())
    sections = [
        "## Into PostgreSQL",
        _ROAD.format(events=f"{road.FILLED:,}", batch=found["batch"]),
        f"![Events per second into PostgreSQL]({pictures.name}/road.svg)",
        _table(("", "events/s, median", "spread", "times the best loop", "process, us/event"), rows),
        (
            f"Medians of {count}; the spread is between the largest and the smallest. Processor time is "
            f"that of the "
            "contender's own process, without the broker and PostgreSQL."
        ),
    ]
    sections += [f"{name} failed: {why}" for name, why in found["failures"].items()]
    return sections + _kept(found)


def _kept(found: dict[str, Any]) -> list[str]:
    """Say whose tables lack values that were in the events."""
    shares = {
        name: (runs[-1]["with_subject"], runs[-1]["with_expiry"])
        for name, runs in found["runs"].items()
        if "with_subject" in runs[-1]
    }
    if road.BY_HAND_CONFLUENT not in shares:
        return []
    wanted = shares[road.BY_HAND_CONFLUENT]
    return [
        f"{name} lost values without a word: {subjects:.0%} of its rows have a subject and {expiries:.0%} an "
        f"expiry, where {wanted[0]:.0%} and {wanted[1]:.0%} of the events had one."
        for name, (subjects, expiries) in shares.items()
        if abs(subjects - wanted[0]) > 0.05 or abs(expiries - wanted[1]) > 0.05  # noqa: PLR2004  # not by chance
    ]


def _latency(found: dict[str, Any]) -> list[str]:
    rows = [
        (name, *(f"{each * 1000:.1f} ms" for each in percentiles(found[key])))
        for name, key in (
            ("in PostgreSQL", "seconds"),
            ("of which: acknowledged by the broker", "acknowledged"),
        )
    ]
    return [
        "## One event on an idle system",
        (
            f"From calling the producer until a query sees the memory; {len(found['seconds'])} events, one "
            f"after the "
            "other with pauses."
        ),
        _table(("", "p50", "p95", "p99"), rows),
    ]


def percentiles(seconds: Sequence[float]) -> tuple[float, float, float]:
    """Return the 50th, 95th and 99th percentile."""
    cuts = quantiles(seconds, n=100, method="inclusive")
    return cuts[49], cuts[94], cuts[98]


def _batches(found: dict[str, Any], pictures: Path) -> list[str]:
    costs = {
        size: middle([run.seconds / run.events * 1e6 for run in runs_of(found, size)])
        for size in found["runs"]
    }
    picture = plots.bars(
        "Cost of an event by batch size",
        [(f"batches of {int(size):,}", cost, f"{cost:,.1f} us") for size, cost in costs.items()],
        [],
    )
    (pictures / "batches.svg").write_text(picture, encoding="utf-8")
    return [
        "## What an event costs as batches grow",
        (
            "The platform's worker, with the batch size held down. Batches are natural: as large as what "
            "arrived while the last one was written, so it is large ones under load and single events when "
            "idle."
        ),
        f"![Cost of an event by batch size]({pictures.name}/batches.svg)",
    ]


def _plain_runs(title: str, found: dict[str, Any], what: str) -> list[str]:
    rows = []
    first: float | None = None
    for name in found["runs"]:
        runs = runs_of(found, name)
        rates = [run.rate for run in runs]
        first = first or middle(rates)
        rows.append(
            (
                name,
                f"{middle(rates):,.0f}",
                f"{spread(rates):.0%}",
                f"{middle(rates) / first:.2f}",
                f"{middle([run.cpu_micros for run in runs]):.1f}",
                f"{max(run.rss_mb for run in runs):.0f}",
            )
        )
    head = (what, "events/s, median", "spread", "ratio", "processes, us/event", "MB at most")
    return [f"## {title}", _table(head, rows)]


def _producer(found: dict[str, Any]) -> list[str]:
    rows = [(name, f"{middle(rates):,.0f}", f"{spread(rates):.0%}") for name, rates in found["rates"].items()]
    return [
        "## Publishing",
        "`MemoryProducer` from one thread, every memory checked, every event acknowledged by the broker.",
        _table(("", "events/s, median", "spread"), rows),
    ]


def _outage(found: dict[str, Any], pictures: Path) -> list[str]:
    picture = plots.line(
        "Backlog during and after an outage",
        found["curve"],
        "seconds",
        "events behind",
        [(found["gone_at"], "PostgreSQL stops"), (found["back_at"], "is back")],
    )
    (pictures / "outage.svg").write_text(picture, encoding="utf-8")
    ended = found["caught_up_at"]
    went = "was not gone in time" if ended is None else f"was gone {ended - found['back_at']:.1f} s later"
    return [
        "## After an outage",
        (
            f"PostgreSQL was away for {found['back_at'] - found['gone_at']:.0f} s while "
            f"{found['rate_in']:,} events a "
            f"second kept coming. When it came back {found['backlog']:,} events waited; the backlog "
            f"{went}, at "
            f"{found['rate']:,.0f} events/s with those that kept coming."
        ),
        f"![Backlog during and after an outage]({pictures.name}/outage.svg)",
    ]


def _memory(found: dict[str, Any], pictures: Path) -> list[str]:
    curve = found["curve"]
    (pictures / "memory.svg").write_text(
        plots.line("Memory of a worker under full load", curve, "seconds", "MB"), encoding="utf-8"
    )
    return [
        "## Memory of a worker under full load",
        (
            f"{found['minutes']:g} minutes at {found['rate']:,.0f} events/s, without a pause: at most "
            f"{max(mb for _, mb in curve):.0f} MB. `python -m benchmarks memory --minutes 10` watches longer."
        ),
        f"![Memory of a worker under full load]({pictures.name}/memory.svg)",
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["-"] * len(head), *rows]
    return "\n".join("|" + "|".join(f" {cell} " if cell else " " for cell in line) + "|" for line in lines)
