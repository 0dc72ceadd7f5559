"""What the commands that decide about dead letters print: what they would do, and what they did."""

from collections.abc import Iterator
from typing import Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from rich.console import Group, RenderableType
from rich.text import Text

from soma_cli.dead_letters.output_models import GONE, ID_DIGITS, Count, drawn_counts, many
from soma_cli.output import Result
from soma_streams.replay.originals import Gone
from soma_streams.replay.outcomes import State
from soma_streams.replay.replaying import Replayed, Report, Stopped, Unpublished

_TROUBLES_SHOWN = 20

_UNPUBLISHED = {
    Unpublished.TRIMMED: "the dead-letter topic no longer keeps the original",
    Unpublished.REPLACED: "something else lies where the original was: the dead-letter topic was made anew",
    Unpublished.NOT_IN_LOG: "the dead letter could not keep the original, and the log no longer has it",
    Unpublished.UNREADABLE_RECORD: "the dead letter could not keep the original, and it is too large to read",
    Unpublished.REFUSED: "the brokers refuse it for what it is; its record can be edited",
    Unpublished.TOO_LARGE: "too large for the topic together with the headers that tell its place",
    Unpublished.UNREADABLE: "the headers of an earlier replay cannot be read",
}
_STOPPED = {
    Stopped.AT_AN_ERROR: "stopped there, as --stop-on-error asks",
    Stopped.HOPELESS: "stopped there: most events fail again, so the cause is not mended (or --keep-going)",
}
_STATES = {
    State.PENDING: "not settled yet",
    State.APPLIED: "applied",
    State.SUPERSEDED: "superseded",
    State.SETTLED: "settled",
    State.DEAD_LETTERED: "dead-lettered again",
}


class Planned(Result):
    """What a command would do; nothing was done.

    Attributes:
        events: Are chosen.
        most: Of these, at most so many would be published; null for all.
        dead_letters: Are about the events chosen, those of other groups included.
        without_place: Dead letters that cannot be replayed: their headers do not say where they belong.
        trimmed: Events whose original is gone.
    """

    action: str
    done: bool = False
    counts: list[Count]
    events: int
    most: int | None = None
    dead_letters: int
    without_place: int
    trimmed: int

    def drawn(self) -> RenderableType:
        """Return the counts by code, then what would happen in sentences."""
        if not self.counts:
            return Text("no dead letters: there is nothing to do")
        return Group(drawn_counts(self.counts), Text(), *(Text(line) for line in self._sentences()))

    def _sentences(self) -> Iterator[str]:
        if self.action == "discard":
            discarded = many(self.dead_letters, "dead letter")
            yield f"would discard {discarded}; their events stay in the dead-letter topic"
            return
        ready = self.events - self.trimmed
        limited = self.most is not None and self.most < self.events
        which = f"the first {self.most:,} of {many(ready, 'event')}" if limited else many(ready, "event")
        yield f"would publish {which} again, each with its first version,"
        marked = "their dead letters" if limited else many(self.dead_letters, "dead letter")
        yield f"and mark {marked} as replayed"
        if self.trimmed:
            yield f"{many(self.trimmed, 'event')} cannot be published: {GONE[Gone.TRIMMED]}"
        if self.without_place:
            yield f"{many(self.without_place, 'dead letter')} cannot be replayed: no header says where to"


class EventLine(BaseModel):
    """What became of one event."""

    model_config = ConfigDict(frozen=True)

    dead_letters: list[UUID]
    code: str
    position: str | None
    unpublished: Unpublished | None
    records: State | None
    reason: str | None
    vectors: State | None
    vectors_code: str | None

    @classmethod
    def of(cls, event: Replayed) -> Self:
        """Return what the replay reports."""
        outcome = event.outcome
        return cls(
            dead_letters=[dead_letter.id for dead_letter in event.dead_letters],
            code=event.dead_letters[0].code,
            position=None if event.position is None else str(event.position),
            unpublished=event.unpublished,
            records=None if outcome is None else outcome.records,
            reason=None if outcome is None else outcome.reason,
            vectors=None if outcome is None else outcome.vectors,
            vectors_code=None if outcome is None else outcome.vectors_code,
        )

    @property
    def trouble(self) -> str | None:
        """Return what went wrong with it, or None."""
        if self.unpublished is not None:
            return _UNPUBLISHED[self.unpublished]
        again = [
            f"{name} gave it up again ({code or '?'})"
            for name, state, code in (
                ("PostgreSQL", self.records, self.reason),
                ("the vector index", self.vectors, self.vectors_code),
            )
            if state is State.DEAD_LETTERED
        ]
        return "; ".join(again) or None


class Replay(Result):
    """What a replay did.

    Attributes:
        dead_letters: Marked as replayed.
        records: By what became of them in PostgreSQL, events.
        vectors: The same in the vector index, which does not tell applied from superseded.
        events: The first thousand, one by one.
        stopped: Why it ended early; null when it did not.
    """

    action: str = "replay"
    done: bool = True
    run: UUID
    published: int
    dead_letters: int
    unpublished: dict[Unpublished, int]
    records: dict[State, int]
    vectors: dict[State, int]
    dead_lettered_again: int
    stopped: Stopped | None
    events: list[EventLine]

    @classmethod
    def of(cls, report: Report, run: UUID) -> Self:
        """Return a report as it is printed."""
        return cls(
            run=run,
            published=report.published,
            dead_letters=report.dead_letters,
            unpublished=dict(report.unpublished),
            records=dict(report.records),
            vectors=dict(report.vectors),
            dead_lettered_again=report.failed_again,
            stopped=report.stopped,
            events=[EventLine.of(event) for event in report.events],
        )

    def drawn(self) -> RenderableType:
        """Return what was done in sentences, then what went wrong."""
        verb = "is" if self.dead_letters == 1 else "are"
        marked = f"{many(self.dead_letters, 'dead letter')} {verb} marked as replayed"
        lines: list[RenderableType] = [Text(f"published {many(self.published, 'event')} again; {marked}")]
        if self.published:
            lines.append(Text(f"  PostgreSQL     {_states(self.records)}"))
            lines.append(Text(f"  vector index   {_states(self.vectors)}"))
        lines += [
            Text(f"{many(count, 'event')} not published: {_UNPUBLISHED[why]}")
            for why, count in self.unpublished.items()
        ]
        troubles = [(event, event.trouble) for event in self.events if event.trouble is not None]
        if troubles:
            lines.append(Text())
        for event, trouble in troubles[:_TROUBLES_SHOWN]:
            lines.append(Text(f"{str(event.dead_letters[0])[:ID_DIGITS]}  {event.code}: {trouble}"))
        if len(troubles) > _TROUBLES_SHOWN:
            lines.append(Text(f"... and {len(troubles) - _TROUBLES_SHOWN:,} more"))
        if self.stopped is not None:
            lines.append(Text(_STOPPED[self.stopped]))
        return Group(*lines)


class Edited(Result):
    """A new event in place of that of a dead letter; `published` is false when nothing was done."""

    action: str = "edit"
    done: bool
    run: UUID | None
    dead_letter: UUID
    event_id: UUID
    memory_id: UUID
    record: str
    position: str | None
    records: State | None
    reason: str | None
    vectors: State | None

    def drawn(self) -> RenderableType:
        """Return it in a sentence."""
        named = f"{self.record} of memory {self.memory_id} as event {self.event_id}"
        if not self.done:
            return Text(f"would publish {named}")
        lines = [f"published {named} at {self.position}; what it mends is marked as replayed"]
        if self.records is not None and self.vectors is not None:
            why = f" ({self.reason})" if self.reason else ""
            lines.append(f"  PostgreSQL     {_STATES[self.records]}{why}")
            lines.append(f"  vector index   {_STATES[self.vectors]}")
        return Text("\n".join(lines))


class Discarded(Result):
    """What was discarded."""

    action: str = "discard"
    done: bool = True
    run: UUID
    dead_letters: int

    def drawn(self) -> RenderableType:
        """Return it in a sentence."""
        return Text(f"discarded {many(self.dead_letters, 'dead letter')}")


def _states(states: dict[State, int]) -> str:
    return (
        ", ".join(f"{states[state]:,} {_STATES[state]}" for state in State if states.get(state)) or "nothing"
    )
