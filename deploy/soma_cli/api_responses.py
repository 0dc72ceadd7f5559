"""Responses of the API as the commands show them. Unknown fields are kept and printed with --json."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import ConfigDict
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from soma_cli.output import Result, one_line, plain
from soma_cli.parsing import spelled_seconds
from soma_schemas.events import RetentionRule, SizeCap
from soma_schemas.memories import EQUAL, MemoryView
from soma_schemas.retention import faded_seconds

_TEXT_WIDTH = 100


class Answer(Result):
    """Part of an answer."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Memory(Answer, MemoryView):
    """A memory as it is."""

    def name(self) -> str:
        """Return what it is called within its namespace."""
        if self.key is not None:
            return self.key
        if self.coordinate is not None:
            return "(" + ", ".join(f"{number:g}" for number in self.coordinate) + ")"
        return str(self.memory_id)

    def drawn(self) -> RenderableType:
        """Return every field that says something, and the text below them."""
        table = Table.grid(padding=(0, 2))
        for name, value in self._facts():
            table.add_row(Text(name, "dim"), Text(plain(value)))
        return Group(table, Text(), Text(plain(self.text)))

    def _facts(self) -> Iterator[tuple[str, str]]:
        yield "memory", str(self.memory_id)
        yield "namespace", self.namespace
        if self.key is not None or self.coordinate is not None:
            yield ("key" if self.key is not None else "coordinate"), self.name()
        yield "kind", self.kind.value
        yield "importance", f"{self.importance:g}"
        if self.tags:
            yield "tags", ", ".join(self.tags)
        for name in EQUAL:
            if name not in {"key", "kind"} and (value := getattr(self, name)) is not None:
                yield name, value
        yield "occurred", f"{_moment(self.occurred_at)} by {self.actor}"
        yield "changed", f"{_moment(self.updated_at)}, version {self.version}"
        if self.ends_at is not None:
            yield "ends", _moment(self.ends_at) + ("" if self.expires_at else ", by policy")
        if self.payload:
            yield "payload", _json(self.payload)


class MemoryList(Answer):
    """Some memories; `next_cursor` is null when there are no more."""

    memories: list[Memory]
    next_cursor: str | None = None

    def drawn(self) -> RenderableType:
        """Return a row for each memory."""
        if not self.memories:
            return Text("no memories")
        table = Table("occurred", "namespace", "name", "text", box=None, header_style="bold", pad_edge=False)
        for memory in self.memories:
            table.add_row(
                Text(f"{memory.occurred_at:%Y-%m-%d}"),
                Text(plain(memory.namespace)),
                Text(one_line(memory.name(), 40)),
                Text(one_line(memory.text, _TEXT_WIDTH)),
            )
        return table


class Written(Answer):
    """A write that the log has; `outcome` is null while it is not known."""

    event_id: UUID
    memory_id: UUID
    position: str
    version: int
    outcome: str | None
    reason: str | None

    def drawn(self) -> RenderableType:
        """Return what became of it, in a sentence."""
        match self.outcome:
            case None:
                state = "the log has it; searches find it in a moment"
            case "applied":
                state = "done; reads and searches see it"
            case _:
                state = f"nothing changed: {self.reason or self.outcome}"
        return Text(f"{self.memory_id}  {state}  ({self.position})")


class Link(Answer):
    """An edge between two memories."""

    from_memory_id: UUID
    to_memory_id: UUID
    type: str
    weight: float


class Links(Answer):
    """Edges of a memory."""

    links: list[Link]

    def drawn(self) -> RenderableType:
        """Return a row for each link."""
        if not self.links:
            return Text("no links")
        table = Table("from", "type", "weight", "to", box=None, header_style="bold", pad_edge=False)
        for link in self.links:
            table.add_row(
                str(link.from_memory_id), Text(plain(link.type)), f"{link.weight:g}", str(link.to_memory_id)
            )
        return table


class LinkPage(Answer):
    """Some links; `next_cursor` is null when there are no more."""

    links: list[Link]
    next_cursor: str | None


class Neighbor(Answer):
    """A memory near another, and the links that lead to it."""

    depth: int
    way: list[Link]
    memory: Memory


class Neighbors(Answer):
    """Memories near another, the nearest first; `truncated` where there may be more."""

    neighbors: list[Neighbor]
    truncated: bool

    def drawn(self) -> RenderableType:
        """Return a row for each memory."""
        if not self.neighbors:
            return Text("no neighbors")
        table = Table("depth", "way", "memory", "text", box=None, header_style="bold", pad_edge=False)
        for each in self.neighbors:
            table.add_row(
                str(each.depth),
                Text(plain(" > ".join(f"{link.type} {link.weight:g}" for link in each.way))),
                Text(one_line(f"{each.memory.namespace} {each.memory.name()}", 60)),
                Text(one_line(each.memory.text, _TEXT_WIDTH)),
            )
        return Group(table, Text("there are more", "yellow")) if self.truncated else table


class MemoryPath(Answer):
    """The shortest path between two memories: its links in order, and the memories that it passes."""

    cost: float
    links: list[Link]
    memories: list[Memory]

    def drawn(self) -> RenderableType:
        """Return each memory, and between two of them the link that is walked."""
        lines = [Text(f"cost {self.cost:g}", "dim")]
        for place, memory in enumerate(self.memories):
            if place:
                link = self.links[place - 1]
                against = link.to_memory_id != memory.memory_id
                arrow = "^" if against else "v"
                lines.append(Text(plain(f"  {arrow} {link.type} {link.weight:g}"), "dim"))
            name = one_line(f"{memory.namespace} {memory.name()}", 60)
            lines.append(Text.assemble((name, "cyan"), "  ", one_line(memory.text, _TEXT_WIDTH)))
        return Group(*lines)


class FieldChange(Answer):
    """A field that an event changed."""

    field: str
    before: Any
    after: Any


class HistoryEvent(Answer):
    """An event about a memory; `changes` is null where the history does not tell."""

    version: int
    event_type: str | None
    outcome: str
    reason: str | None
    error_code: str | None
    actor: str | None
    logged_at: datetime
    changes: list[FieldChange] | None


class History(Answer):
    """Events about a memory, the newest first; `next_cursor` is null when there are no more."""

    events: list[HistoryEvent]
    next_cursor: str | None

    def drawn(self) -> RenderableType:
        """Return each event in a line, and below it what it changed."""
        lines = [line for event in self.events for line in _told(event)]
        return Group(*lines, *([Text("there are more", "yellow")] if self.next_cursor else []))


class ChangePlace(Answer):
    """How far a stream of changes was told."""

    id: str


class AppliedChange(Answer):
    """An applied event, and its memory as it is now: null where it is gone, or a later change has it."""

    event_type: str
    memory_id: UUID
    namespace: str | None
    version: int
    position: str
    event_id: UUID
    actor: str
    logged_at: datetime
    memory: Memory | None

    def drawn(self) -> RenderableType:
        """Return it in a line."""
        memory = self.memory
        name = str(self.memory_id) if memory is None else memory.name()
        said = "" if memory is None else f"  {one_line(memory.text, _TEXT_WIDTH)}"
        return Text.assemble(
            (f"{_moment(self.logged_at)}  ", "dim"),
            (plain(self.event_type), "cyan"),
            plain(f"  {self.namespace or '-'}  {one_line(name, 60)}{said}"),
            (plain(f"  by {self.actor}"), "dim"),
        )


class MemoryRevision(Answer):
    """A memory as it was from an event on."""

    memory_id: UUID
    version: int
    logged_at: datetime
    actor: str | None
    memory: dict[str, Any]

    def drawn(self) -> RenderableType:
        """Return every field that says something, and the text below them."""
        table = Table.grid(padding=(0, 2))
        table.add_row(Text("memory", "dim"), Text(str(self.memory_id)))
        table.add_row(Text("version", "dim"), Text(f"{self.version}, {_moment(self.logged_at)}"))
        for name, value in self.memory.items():
            if name != "text" and value not in (None, [], {}):
                table.add_row(Text(name, "dim"), Text(plain(_spelled(value))))
        return Group(table, Text(), Text(plain(self.memory["text"])))


class WrittenMany(Answer):
    """Writes in the order of the request."""

    writes: list[Written]


class Explanation(Answer):
    """What a score is made of; null where the memory was not compared or no word matched."""

    dense: float | None
    bm25: float | None
    dense_z_score: float | None = None
    bm25_z_score: float | None = None
    importance_boost: float | None = None
    recency_boost: float | None = None


class Hit(Answer):
    """A memory that was found, and why; `weak` is null where the API cannot say."""

    score: float
    explanation: Explanation
    weak: bool | None
    memory: Memory


class IndexState(Answer):
    """How complete the vector index is; `filled` is null while nobody knows."""

    complete: bool
    filled: float | None

    def words(self) -> str:
        """Return it as a sentence."""
        if self.complete:
            return "the index is complete"
        if self.filled is None:
            return "the index is not complete, and nobody knows yet what it lacks"
        # Never rounded up to what it is not.
        return f"the index is being filled, {int(self.filled * 100)} % are in it"


class Hits(Answer):
    """The best hits, best first, and whether the index has everything that they could be among."""

    hits: list[Hit]
    exhaustive: bool | None = None
    index: IndexState

    def drawn(self) -> RenderableType:
        """Return each hit with its rank, its name, and its text below; and what to know of them all."""
        lines = list(hit_lines(self.hits, exhaustive=self.exhaustive))
        if not self.index.complete:
            lines.append(Text(f"memories may be missing here: {self.index.words()}", "yellow"))
        return Group(*lines)


class SearchAnswer(Answer):
    """What one search of several found."""

    hits: list[Hit]
    exhaustive: bool | None = None


class Answers(Answer):
    """What several searches found, in their order."""

    answers: list[SearchAnswer]
    index: IndexState


class NamespaceCount(Answer):
    """A namespace, and how many memories it holds with all below it."""

    namespace: str
    memories: int


class Namespaces(Answer):
    """Namespaces that hold memories."""

    namespaces: list[NamespaceCount]


class WriteState(Answer):
    """Where a write stands."""

    readable: bool
    searchable: bool
    state: str


class PartHealth(Answer):
    """How one part behind the API answered; `error` is the class of its failure."""

    ready: bool
    milliseconds: float
    error: str | None


class Readiness(Answer):
    """Whether the API can answer: `ready`, `degraded` or `not_ready`."""

    status: str
    parts: dict[str, PartHealth]
    index: IndexState | None


class Stats(Answer):
    """How much there is; null where the key does not see it or nobody knows."""

    memories: int
    memories_by_kind: dict[str, int]
    namespaces: int
    links: int | None
    dead_letters: int | None
    staleness_seconds: dict[str, float | None]


def _told(event: HistoryEvent) -> Iterator[RenderableType]:
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


def hit_lines(hits: Sequence[Hit], *, exhaustive: bool | None) -> Iterator[RenderableType]:
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


def _hit(rank: int, hit: Hit) -> Iterator[RenderableType]:
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
        (plain(f"{memory.namespace}  {one_line(memory.name(), 60)}"), "cyan"),
        (f"  {memory.occurred_at:%Y-%m-%d}  {', '.join(reasons)}", "dim"),
    )
    yield Padding(Text(plain(memory.text)), (0, 0, 1, 6))


class Policy(Answer):
    """A retention policy in force."""

    namespace: str | None
    rules: list[RetentionRule]
    cap: SizeCap | None
    actor: str
    set_at: datetime


class Policies(Answer):
    """The retention policies in force."""

    policies: list[Policy]

    def drawn(self) -> RenderableType:
        """Return a row for each rule and cap."""
        names = ("namespace", "kind", "kept", "notice", "archive", "set", "by")
        table = Table(*names, box=None, header_style="bold", pad_edge=False)
        for policy in self.policies:
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
        return table if self.policies else Text("no policies: memories without `expires_at` are kept")


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


class PolicyChange(Answer):
    """A retention policy that was set or lifted."""

    namespace: str | None
    position: str
    in_force: bool | None

    def drawn(self) -> RenderableType:
        """Return what is so now."""
        of = "the whole tenant" if self.namespace is None else self.namespace
        said = "in force" if self.in_force else "in the log; `soma retention list` shows when it is in force"
        return Text(f"{plain(of)}  {said}  ({self.position})")


class EndingMemory(Answer):
    """A memory that a policy would end, with the beginning of its text."""

    memory_id: UUID
    namespace: str
    key: str | None
    text: str
    updated_at: datetime
    ends_at: datetime


class SurplusMemory(Answer):
    """A memory above the cap of its namespace, with the beginning of its text."""

    memory_id: UUID
    namespace: str
    key: str | None
    text: str
    updated_at: datetime
    importance: float


class RetentionPlan(Answer):
    """What a retention policy would end if it were set now."""

    due_now: int
    due_within_1_day: int
    due_within_7_days: int
    due_within_30_days: int
    samples: list[EndingMemory]
    above_cap: int
    above_cap_samples: list[SurplusMemory]

    def drawn(self) -> RenderableType:
        """Return how many end when, and those that go first."""
        counts = Table("memories", "gone", box=None, header_style="bold", pad_edge=False)
        for number, when in (
            (self.due_now, "at once"),
            (self.due_within_1_day, "within 1 day"),
            (self.due_within_7_days, "within 7 days"),
            (self.due_within_30_days, "within 30 days"),
        ):
            counts.add_row(f"{number:,}", when)
        samples = Table("ends", "changed", "memory", "text", box=None, header_style="bold", pad_edge=False)
        for each in self.samples:
            samples.add_row(
                _moment(each.ends_at),
                _moment(each.updated_at),
                Text(plain(f"{each.namespace} {each.key or each.memory_id}")),
                Text(one_line(each.text, _TEXT_WIDTH)),
            )
        drawn: list[RenderableType] = [counts]
        if self.samples:
            drawn += [Text(), Text("first to go:"), samples]
        if self.above_cap:
            drawn += [Text(), Text(f"above the cap: {self.above_cap:,}, first to go:"), self._least()]
        return Group(*drawn)

    def _least(self) -> Table:
        least = Table(
            "importance", "changed", "memory", "text", box=None, header_style="bold", pad_edge=False
        )
        for each in self.above_cap_samples:
            least.add_row(
                f"{each.importance:g}",
                _moment(each.updated_at),
                Text(plain(f"{each.namespace} {each.key or each.memory_id}")),
                Text(one_line(each.text, _TEXT_WIDTH)),
            )
        return least


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S %Z}".rstrip()


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
