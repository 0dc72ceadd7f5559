"""A replay from its beginning to its end: in the order of the log, at a bounded rate, safe to run again."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from soma_schemas.clock import Clock
from soma_schemas.settings import TopicSettings
from soma_schemas.versions import Position
from soma_streams.replay.originals import Gone
from soma_streams.replay.outcomes import Outcome, Sent, State
from soma_streams.replay.republishing import Outgoing, Refusal, outgoing
from soma_streams.replay.stored_dead_letters import Deed, Filters, Original, Place, Status, StoredDeadLetter
from soma_streams.transport.records import Record

_PAGE_EVENTS = 2000
_CHUNK_EVENTS = 100
_EVENTS_TOLD = 1000
# Few at first: when they fail again, the cause is not mended, and hundreds in a row would stop the sinks.
_FIRST_EVENTS = 10


class Unpublished(StrEnum):
    """Why an original was not published."""

    TRIMMED = "trimmed"
    REPLACED = "replaced"
    NOT_IN_LOG = "not_in_log"
    UNREADABLE_RECORD = "unreadable_record"
    TOO_LARGE = "too_large"
    REFUSED = "refused"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast and how far a replay goes.

    Attributes:
        rate: Events a second.
        most: Events at most; None for all.
        stop_on_error: End after the first event that could not be published or failed again.
        keep_going: Go on although at least half of the events fail again.
        wait_seconds: How long to wait for the sinks each time; 0 tells no outcomes.
    """

    rate: float
    most: int | None = None
    stop_on_error: bool = False
    keep_going: bool = False
    wait_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one event.

    Attributes:
        dead_letters: The dead letters about it.
        position: Where it lies now; None when it was not published.
        unpublished: Why it was not.
        outcome: What the sinks did; None when nobody waited.
    """

    dead_letters: tuple[StoredDeadLetter, ...]
    position: Position | None
    unpublished: Unpublished | None
    outcome: Outcome | None

    @property
    def failed(self) -> bool:
        """Say whether somebody has to look at it again."""
        return self.unpublished is not None or (self.outcome is not None and self.outcome.dead_lettered)


class Stopped(StrEnum):
    """Why a replay ended before it had gone through everything."""

    AT_AN_ERROR = "at_an_error"  # as it was told
    HOPELESS = "hopeless"  # most events fail again


@dataclass
class Report:
    """What a replay did.

    Attributes:
        published: Events that the log has.
        dead_letters: Dead letters that are marked as replayed.
        unpublished: By reason, events that could not be published; their dead letters stay as they are.
        records: By what became of them, the events in PostgreSQL.
        vectors: The same in the vector index.
        events: The first thousand, one by one.
        failed_again: Events that a sink dead-lettered again.
        stopped: Why it ended early; None when it did not.
    """

    published: int = 0
    dead_letters: int = 0
    unpublished: Counter[Unpublished] = field(default_factory=Counter)
    records: Counter[State] = field(default_factory=Counter)
    vectors: Counter[State] = field(default_factory=Counter)
    failed_again: int = 0
    events: list[Replayed] = field(default_factory=list)
    stopped: Stopped | None = None

    def add(self, event: Replayed) -> None:
        """Count one event."""
        if event.position is not None:
            self.published += 1
            self.dead_letters += len(event.dead_letters)
        if event.unpublished is not None:
            self.unpublished[event.unpublished] += 1
        if event.outcome is not None:
            self.records[event.outcome.records] += 1
            self.vectors[event.outcome.vectors] += 1
            self.failed_again += event.outcome.dead_lettered
        if len(self.events) < _EVENTS_TOLD:
            self.events.append(event)


class Index(Protocol):
    """Where dead letters are found and decided."""

    async def originals(
        self, filters: Filters, ends: Mapping[int, int], after: Place | None, limit: int
    ) -> list[Original]:
        """Return events in the order of the log."""
        ...

    async def decide(
        self,
        dead_letters: Sequence[StoredDeadLetter],
        status: Status,
        deed: Deed,
        details: Sequence[Mapping[str, Any]],
    ) -> None:
        """Give dead letters a status and put it on record."""
        ...


class Reader(Protocol):
    """Where originals are read."""

    async def read(self, dead_letters: Sequence[StoredDeadLetter]) -> Mapping[UUID, Record | Gone]:
        """Return the record of every dead letter, or why it is gone."""
        ...


class Publisher(Protocol):
    """Where originals are published again."""

    async def publish(self, events: Sequence[Outgoing]) -> list[Position | Refusal]:
        """Return when all replicas have them."""
        ...


class Watcher(Protocol):
    """Who knows what became of events."""

    async def of(self, sent: Sequence[Sent], seconds: float) -> tuple[list[Outcome], bool]:
        """Wait, and return outcomes and whether everything was settled in time."""
        ...


class Replayer:
    """Publishes originals again and marks their dead letters.

    An event is published before its dead letters are marked: a run that was interrupted in between publishes
    it once more when it is run again, which changes nothing, because it keeps its version and its event id.

    Args:
        index: Where dead letters are found and decided.
        reader: Where originals are read.
        publisher: Where they are published.
        watcher: Who knows what became of them.
        topics: As they are now.
        clock: Keeps the rate.
    """

    def __init__(
        self,
        *,
        index: Index,
        reader: Reader,
        publisher: Publisher,
        watcher: Watcher,
        topics: TopicSettings,
        clock: Clock,
    ) -> None:
        self._index = index
        self._reader = reader
        self._publisher = publisher
        self._watcher = watcher
        self._topics = topics
        self._clock = clock

    async def replay(
        self,
        filters: Filters,
        ends: Mapping[int, int],
        deed: Deed,
        pace: Pace,
        advance: Callable[[int], None] = lambda _: None,
    ) -> Report:
        """Replay what fits, in the order of the log, and return what became of it.

        Args:
            filters: Which dead letters.
            ends: As the index had them when the run began: those that come later are left alone, above all
                those that the run itself makes.
            deed: What goes on record.
            pace: How fast and how far.
            advance: Hears of every event that is done.

        Raises:
            BrokerError: The brokers do not answer; what was published before is marked.
            psycopg.Error: The database does not answer or refuses; likewise.
        """
        report = Report()
        began = self._clock.monotonic()
        offered = 0
        wait_seconds = pace.wait_seconds
        why: Stopped | None = None
        async for chunk in self._chunks(filters, ends, pace):
            if why is not None:
                # Only now: a run that had come to its end was not stopped.
                report.stopped = why
                break
            await self._clock.sleep(max(0.0, began + offered / pace.rate - self._clock.monotonic()))
            offered += len(chunk)
            events, in_time = await self._replay_chunk(chunk, deed, wait_seconds)
            for event in events:
                report.add(event)
            advance(len(events))
            if not in_time:
                # A sink that is away is told once, not waited for again and again.
                wait_seconds = 0.0
            if pace.stop_on_error and any(event.failed for event in events):
                why = Stopped.AT_AN_ERROR
            elif not pace.keep_going and report.failed_again >= max(_FIRST_EVENTS, report.published / 2):
                why = Stopped.HOPELESS
        return report

    async def _chunks(
        self, filters: Filters, ends: Mapping[int, int], pace: Pace
    ) -> AsyncIterator[list[Original]]:
        most = max(1, min(_CHUNK_EVENTS, int(pace.rate)))
        size = min(most, _FIRST_EVENTS)
        left = pace.most
        after: Place | None = None
        while left is None or left > 0:
            wanted = _PAGE_EVENTS if left is None else min(left, _PAGE_EVENTS)
            page = await self._index.originals(filters, ends, after, wanted)
            if not page:
                return
            start = 0
            while start < len(page):
                yield page[start : start + size]
                start += size
                size = most
            after = page[-1].place
            left = None if left is None else left - len(page)

    async def _replay_chunk(
        self, chunk: Sequence[Original], deed: Deed, wait_seconds: float
    ) -> tuple[list[Replayed], bool]:
        records = await self._reader.read(
            [dead_letter for original in chunk for dead_letter in original.dead_letters]
        )
        prepared = [prepare(original, records, self._topics) for original in chunk]
        ready = [each for each in prepared if isinstance(each, Outgoing)]
        answers = await self._publisher.publish(ready)
        given = iter(answers)
        positions = [next(given) if isinstance(each, Outgoing) else each for each in prepared]
        await self._mark(chunk, positions, deed)
        sent = [
            Sent(answer, event.version, event.logged_at)
            for event, answer in zip(ready, answers, strict=True)
            if isinstance(answer, Position)
        ]
        outcomes = [Outcome()] * len(sent)
        in_time = True
        if wait_seconds > 0 and sent:
            outcomes, in_time = await self._watcher.of(sent, wait_seconds)
        by_position = dict(zip((event.position for event in sent), outcomes, strict=True))
        return [
            _replayed(original, position, by_position)
            for original, position in zip(chunk, positions, strict=True)
        ], in_time

    async def _mark(
        self, chunk: Sequence[Original], positions: Sequence[Position | Refusal | Unpublished], deed: Deed
    ) -> None:
        marked = [
            (dead_letter, {"position": str(position)})
            for original, position in zip(chunk, positions, strict=True)
            if isinstance(position, Position)
            for dead_letter in original.dead_letters
        ]
        if marked:
            dead_letters, details = zip(*marked, strict=True)
            await self._index.decide(dead_letters, Status.REPLAYED, deed, details)


def prepare(
    original: Original, records: Mapping[UUID, Record | Gone], topics: TopicSettings
) -> Outgoing | Unpublished:
    """Return an original as it is published again, from whichever of its dead letters is still there."""
    gone: list[Gone] = []
    for dead_letter in original.dead_letters:
        record = records[dead_letter.id]
        if isinstance(record, Gone):
            gone.append(record)
            continue
        try:
            return outgoing(dead_letter, record, topics)
        except ValueError:
            return Unpublished.UNREADABLE
    return Unpublished(gone[0].value)


def _replayed(
    original: Original,
    position: Position | Refusal | Unpublished,
    outcomes: Mapping[Position, Outcome],
) -> Replayed:
    match position:
        case Position():
            return Replayed(original.dead_letters, position, None, outcomes[position])
        case _:
            return Replayed(original.dead_letters, None, Unpublished(position.value), None)
