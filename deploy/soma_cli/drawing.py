"""Draws what the API answers for people, and shows it."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial, singledispatch
from typing import Any

from pydantic import BaseModel
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from soma_cli.naming import memory_name
from soma_cli.output import one_line, plain, write_out
from soma_cli.parsing import spelled_seconds
from soma_schemas.events import RetentionRule, SizeCap
from soma_schemas.memories import EQUAL, MemoryView
from soma_schemas.responses.change_responses import AppliedChangeView
from soma_schemas.responses.health_responses import IndexView
from soma_schemas.responses.history_responses import HistoryEventView, HistoryPage, RevisionView
from soma_schemas.responses.link_responses import NeighborsView, PathView
from soma_schemas.responses.memory_responses import MemoryPage
from soma_schemas.responses.retention_responses import PlanView, PoliciesView, PolicyChangeView
from soma_schemas.responses.search_responses import HitsView, HitView
from soma_schemas.responses.write_responses import WriteView
from soma_schemas.retention import faded_seconds

_TEXT_WIDTH = 100


def show_answer(answer: BaseModel, *, as_json: bool) -> None:
    """Write an answer of the API to stdout."""
    write_out(answer, partial(drawn, answer), as_json=as_json)


@singledispatch
def drawn(answer: BaseModel) -> RenderableType:
    """Return an answer of the API for people."""
    raise TypeError(f"nobody has said how to draw {type(answer).__name__}")


def index_words(index: IndexView) -> str:
    """Return how complete the vector index is, as a sentence."""
    if index.complete:
        return "the index is complete"
    if index.filled is None:
        return "the index is not complete, and nobody knows yet what it lacks"
    # Never rounded up to what it is not.
    return f"the index is being filled, {int(index.filled * 100)} % are in it"


@drawn.register
def _(memory: MemoryView) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for name, value in _facts(memory):
        table.add_row(Text(name, "dim"), Text(plain(value)))
    return Group(table, Text(), Text(plain(memory.text)))


@drawn.register
def _(page: MemoryPage) -> RenderableType:
    if not page.memories:
        return Text("no memories")
    table = Table("occurred", "namespace", "name", "text", box=None, header_style="bold", pad_edge=False)
    for memory in page.memories:
        table.add_row(
            Text(f"{memory.occurred_at:%Y-%m-%d}"),
            Text(plain(memory.namespace)),
            Text(one_line(memory_name(memory), 40)),
            Text(one_line(memory.text, _TEXT_WIDTH)),
        )
    return table


@drawn.register
def _(written: WriteView) -> RenderableType:
    match written.outcome:
        case None:
            state = "the log has it; searches find it in a moment"
        case "applied":
            state = "done; reads and searches see it"
        case _:
            state = f"nothing changed: {written.reason or written.outcome}"
    return Text(f"{written.memory_id}  {state}  ({written.position})")


@drawn.register
def _(near: NeighborsView) -> RenderableType:
    if not near.neighbors:
        return Text("no neighbors")
    table = Table("depth", "way", "memory", "text", box=None, header_style="bold", pad_edge=False)
    for each in near.neighbors:
        table.add_row(
            str(each.depth),
            Text(plain(" > ".join(f"{link.type} {link.weight:g}" for link in each.way))),
            Text(one_line(f"{each.memory.namespace} {memory_name(each.memory)}", 60)),
            Text(one_line(each.memory.text, _TEXT_WIDTH)),
        )
    return Group(table, Text("there are more", "yellow")) if near.truncated else table


@drawn.register
def _(path: PathView) -> RenderableType:
    lines = [Text(f"cost {path.cost:g}", "dim")]
    for place, memory in enumerate(path.memories):
        if place:
            link = path.links[place - 1]
            against = link.to_memory_id != memory.memory_id
            arrow = "^" if against else "v"
            lines.append(Text(plain(f"  {arrow} {link.type} {link.weight:g}"), "dim"))
        name = one_line(f"{memory.namespace} {memory_name(memory)}", 60)
        lines.append(Text.assemble((name, "cyan"), "  ", one_line(memory.text, _TEXT_WIDTH)))
    return Group(*lines)


@drawn.register
def _(history: HistoryPage) -> RenderableType:
    lines = [line for event in history.events for line in _told(event)]
    return Group(*lines, *([Text("there are more", "yellow")] if history.next_cursor else []))


@drawn.register
def _(change: AppliedChangeView) -> RenderableType:
    memory = change.memory
    name = str(change.memory_id) if memory is None else memory_name(memory)
    said = "" if memory is None else f"  {one_line(memory.text, _TEXT_WIDTH)}"
    return Text.assemble(
        (f"{_moment(change.logged_at)}  ", "dim"),
        (plain(change.event_type), "cyan"),
        plain(f"  {change.namespace or '-'}  {one_line(name, 60)}{said}"),
        (plain(f"  by {change.actor}"), "dim"),
    )


@drawn.register
def _(revision: RevisionView) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_row(Text("memory", "dim"), Text(str(revision.memory_id)))
    table.add_row(Text("version", "dim"), Text(f"{revision.version}, {_moment(revision.logged_at)}"))
    for name, value in revision.memory.model_dump(mode="json").items():
        if name != "text" and value not in (None, [], {}):
            table.add_row(Text(name, "dim"), Text(plain(_spelled(value))))
    return Group(table, Text(), Text(plain(revision.memory.text)))


@drawn.register
def _(found: HitsView) -> RenderableType:
    lines = list(hit_lines(found.hits, exhaustive=found.exhaustive))
    if not found.index.complete:
        lines.append(Text(f"memories may be missing here: {index_words(found.index)}", "yellow"))
    return Group(*lines)


@drawn.register
def _(policies: PoliciesView) -> RenderableType:
    names = ("namespace", "kind", "kept", "notice", "archive", "set", "by")
    table = Table(*names, box=None, header_style="bold", pad_edge=False)
    for policy in policies.policies:
        caps: list[RetentionRule | SizeCap] = [] if policy.cap is None else [policy.cap]
        for said in (*policy.rules, *caps):
            table.add_row(
                Text(plain(policy.namespace or "(the whole tenant)")),
                *_reach_and_measure(said, alone=len(policy.rules) == 1),
                spelled_seconds(said.notice_seconds) if said.notice_seconds else "none",
                "yes" if said.archive else "no",
                _moment(policy.set_at),
                Text(plain(policy.actor)),
            )
    return table if policies.policies else Text("no policies: memories without `expires_at` are kept")


@drawn.register
def _(change: PolicyChangeView) -> RenderableType:
    of = "the whole tenant" if change.namespace is None else change.namespace
    said = "in force" if change.in_force else "in the log; `soma retention list` shows when it is in force"
    return Text(f"{plain(of)}  {said}  ({change.position})")


@drawn.register
def _(plan: PlanView) -> RenderableType:
    counts = Table("memories", "gone", box=None, header_style="bold", pad_edge=False)
    for number, when in (
        (plan.due_now, "at once"),
        (plan.due_within_1_day, "within 1 day"),
        (plan.due_within_7_days, "within 7 days"),
        (plan.due_within_30_days, "within 30 days"),
    ):
        counts.add_row(f"{number:,}", when)
    samples = Table("ends", "changed", "memory", "text", box=None, header_style="bold", pad_edge=False)
    for each in plan.samples:
        samples.add_row(
            _moment(each.ends_at),
            _moment(each.updated_at),
            Text(plain(f"{each.namespace} {each.key or each.memory_id}")),
            Text(one_line(each.text, _TEXT_WIDTH)),
        )
    drawn: list[RenderableType] = [counts]
    if plan.samples:
        drawn += [Text(), Text("first to go:"), samples]
    if plan.above_cap:
        drawn += [Text(), Text(f"above the cap: {plan.above_cap:,}, first to go:"), _least(plan)]
    return Group(*drawn)


def _facts(memory: MemoryView) -> Iterator[tuple[str, str]]:
    yield "memory", str(memory.memory_id)
    yield "namespace", memory.namespace
    if memory.key is not None or memory.coordinate is not None:
        yield ("key" if memory.key is not None else "coordinate"), memory_name(memory)
    yield "kind", memory.kind.value
    yield "importance", f"{memory.importance:g}"
    if memory.tags:
        yield "tags", ", ".join(memory.tags)
    for name in EQUAL:
        if name not in {"key", "kind"} and (value := getattr(memory, name)) is not None:
            yield name, value
    yield "occurred", f"{_moment(memory.occurred_at)} by {memory.actor}"
    yield "changed", f"{_moment(memory.updated_at)}, version {memory.version}"
    if memory.ends_at is not None:
        yield "ends", _moment(memory.ends_at) + ("" if memory.expires_at else ", by policy")
    if memory.payload:
        yield "payload", _json(memory.payload)


def _least(plan: PlanView) -> Table:
    least = Table("importance", "changed", "memory", "text", box=None, header_style="bold", pad_edge=False)
    for each in plan.above_cap_samples:
        least.add_row(
            f"{each.importance:g}",
            _moment(each.updated_at),
            Text(plain(f"{each.namespace} {each.key or each.memory_id}")),
            Text(one_line(each.text, _TEXT_WIDTH)),
        )
    return least


def hit_lines(hits: Sequence[HitView], *, exhaustive: bool | None) -> Iterator[RenderableType]:
    """Yield each hit with its rank, its name, and its text below; and what to know of them all."""
    if exhaustive is False:
        yield Text(
            "there may be more: no word of it is indexed, or too many memories had to be left out\n", "yellow"
        )
    if not hits:
        yield Text("nothing found")
    elif all(hit.weak for hit in hits):
        yield Text("nothing fits well; the nearest are\n", "yellow")
    for rank, hit in enumerate(hits, 1):
        yield from _hit(rank, hit)


def _hit(rank: int, hit: HitView) -> Iterator[RenderableType]:
    memory, why = hit.memory, hit.explanation
    parts = [
        ("meaning", why.dense),
        ("words", why.bm25),
        ("importance", why.importance_boost),
        ("recency", why.recency_boost),
    ]
    reasons = [f"{name} {value:.2f}" for name, value in parts if value is not None]
    # Good for comparing hits of this question alone: the best of few can have 0.
    reasons.append(f"score {hit.score:.2f}")
    if hit.weak:
        reasons.append("weak")
    yield Text.assemble(
        (f"{rank:4}  ", "bold"),
        (plain(f"{memory.namespace}  {one_line(memory_name(memory), 60)}"), "cyan"),
        (f"  {memory.occurred_at:%Y-%m-%d}  {', '.join(reasons)}", "dim"),
    )
    yield Padding(Text(plain(memory.text)), (0, 0, 1, 6))


def _told(event: HistoryEventView) -> Iterator[RenderableType]:
    became = event.reason or event.error_code
    yield Text.assemble(
        (f"{event.version}  ", "bold"),
        (plain(f"{event.event_type or 'unreadable'}  {event.outcome}"), "cyan"),
        plain(f" ({became})" if became else ""),
        (plain(f"  {_moment(event.logged_at)} by {event.actor or 'nobody knows'}"), "dim"),
    )
    for change in event.changes or ():
        words = [
            "-" if value is None else one_line(_spelled(value), 60) for value in (change.before, change.after)
        ]
        yield Text(plain(f"    {change.field}: {words[0]} > {words[1]}"))


def _reach_and_measure(said: RetentionRule | SizeCap, *, alone: bool) -> tuple[str, str]:
    """Return which memories a rule or a cap is about, and how long or how many are kept."""
    if isinstance(said, SizeCap):
        return "together", f"at most {said.max_memories:,}"
    kept = []
    if said.decay is None or said.ttl_seconds < faded_seconds(said.decay, 1.0):
        kept.append(spelled_seconds(said.ttl_seconds))
    if said.decay is not None:
        kept.append(f"half-life {spelled_seconds(said.decay.half_life_seconds)}, to {said.decay.floor:g}")
    return said.kind or ("all" if alone else "all others"), "; ".join(kept)


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}".rstrip()


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
