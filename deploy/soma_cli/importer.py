"""Imports memories: validates all of them, then publishes them in order and with bounded memory."""

import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Protocol

from soma_cli.failures import FindingsError
from soma_cli.formats.sources import Item, Source, SourceChangedError
from soma_schemas.clock import Clock
from soma_schemas.errors import SomaError
from soma_schemas.events import MemoryStored
from soma_schemas.limits import Limits
from soma_schemas.producer import ProducerError, Receipt
from soma_schemas.versions import Position
from soma_schemas.violations import ContractError

_FAULTS_SHOWN = 20
_GROUP = 500
_GROUPS_IN_FLIGHT = 10

Advance = Callable[[int], None]


class Publishes(Protocol):
    """What takes events to the log, such as `MemoryProducer`."""

    def publish(self, events: Sequence[MemoryStored]) -> "Future[list[Receipt]]":
        """Send events, in their order; the future ends when the log has them all."""
        ...


class ImportInterruptedError(SomaError):
    """The log did not take a memory; those before it are stored, and running again does no harm."""

    code = "import_interrupted"


@dataclass(frozen=True)
class Checked:
    """What a look at a source has found.

    Attributes:
        count: How many memories are fit to be stored.
        refused: The others, with their places and what is wrong: only of a source that nobody can mend.
        digest: Of those that are fit, in their order.
    """

    count: int
    refused: tuple[str, ...]
    digest: bytes


@dataclass(frozen=True)
class Importer:
    """How memories of one tenant become events.

    Attributes:
        run: Makes the events of this run differ from those of any other, so that memories are stored again;
            empty to make them the same each time.
    """

    tenant: str
    limits: Limits
    clock: Clock
    run: str = ""

    def check(self, source: Source, advance: Advance) -> Checked:
        """Look at all memories of a source.

        Raises:
            FindingsError: Some of a source that can be mended are not fit to be stored; the first of them
                are named with their places.
            SourceChangedError: It changed meanwhile.
        """
        count = fault_count = 0
        faults: list[str] = []
        refused: list[str] = []
        digest = sha256()
        for item in source.items():
            advance(item.size)
            try:
                self._event(item, lambda _canonical: 0)
            except ContractError as error:
                found = [f"{each.path or 'it'}: {each.message}" for each in error.violations]
                fault_count += len(found)
                if not source.correctable:
                    refused.append(f"{item.place}: {'; '.join(found)}")
                elif len(faults) < _FAULTS_SHOWN:
                    faults.extend(f"{item.place}: {fault}" for fault in found)
            else:
                count += 1
                digest.update(_spelled(item))
        _require_unchanged(source)
        if faults:
            raise FindingsError(
                f"{source.name} has {fault_count:,} fault{'s' * (fault_count > 1)}; nothing was sent",
                first_of(faults, fault_count),
                remedy="correct these lines and run it again; `soma import --dry-run` only validates",
            )
        return Checked(count, tuple(refused), digest.digest())

    def publish(
        self, source: Source, checked: Checked, log: Publishes, advance: Advance
    ) -> dict[int, Position]:
        """Send every memory that was found fit, and wait until the log has them all.

        Returns:
            The last position in each partition: once these are searchable, everything is.

        Raises:
            ImportInterruptedError: The log did not take one.
            SourceChangedError: They are no longer the memories that were checked.
        """
        _require_unchanged(source)
        count = 0
        digest = sha256()
        last: dict[int, Position] = {}
        in_flight: deque[_Group] = deque()

        def settle() -> None:
            for receipt in in_flight.popleft().receipts():
                position = receipt.position
                last[position.partition] = max(position, last.get(position.partition, position))
                advance(1)

        with _occurrences() as occurrence_of:
            prepared = self._prepared(source, occurrence_of, digest.update)
            while some := list(islice(prepared, _GROUP)):
                in_flight.append(_Group(source, some, log))
                count += len(some)
                if len(in_flight) == _GROUPS_IN_FLIGHT:
                    settle()
            while in_flight:
                settle()
        if digest.digest() != checked.digest:
            raise SourceChangedError(
                f"{source.name} changed while it was imported: {count:,} memories were sent, which are not "
                f"the {checked.count:,} that were checked"
            )
        return last

    def _prepared(
        self, source: Source, occurrence_of: Callable[[str], int], take: Callable[[bytes], None]
    ) -> Iterator[tuple[str, MemoryStored]]:
        """Yield the place and the event of each memory that is fit; `take` gets its spelling first."""
        for item in source.items():
            try:
                event = self._event(item, occurrence_of)
            except ContractError as error:
                if source.correctable:
                    raise _interrupted(source, item.place, error) from error
                continue
            take(_spelled(item))
            yield item.place, event

    def _event(self, item: Item, occurrence_of: Callable[[str], int]) -> MemoryStored:
        if isinstance(item.memory, ContractError):
            raise item.memory
        occurrence = occurrence_of(item.memory.canonical)
        return item.memory.event(self.tenant, f"{occurrence}{self.run}", self.clock.now(), self.limits)


def first_of(faults: Sequence[str], count: int) -> tuple[str, ...]:
    """Return the first of so many faults, and how many there are besides."""
    shown = tuple(faults[:_FAULTS_SHOWN])
    return (*shown, f"and {count - len(shown):,} more") if count > len(shown) else shown


def _require_unchanged(source: Source) -> None:
    if source.changed:
        raise SourceChangedError(f"{source.name} was written to while it was checked; nothing was sent")


def _spelled(item: Item) -> bytes:
    return b"" if isinstance(item.memory, ContractError) else item.memory.canonical.encode() + b"\n"


class _Group:
    """Memories that were sent together, with the places where they stand.

    Raises:
        ImportInterruptedError: None of them could be sent.
    """

    def __init__(self, source: Source, memories: Sequence[tuple[str, MemoryStored]], log: Publishes) -> None:
        self._source = source
        self._places = {event.event_id: place for place, event in memories}
        try:
            self._answer = log.publish([event for _, event in memories])
        except SomaError as error:
            raise _interrupted(source, memories[0][0], error) from error

    def receipts(self) -> list[Receipt]:
        """Wait until the log has them all.

        Raises:
            ImportInterruptedError: It did not take one.
        """
        try:
            return self._answer.result()
        except ProducerError as error:
            raise _interrupted(self._source, self._places[error.failed[0]], error) from error


def _interrupted(source: Source, place: str, error: SomaError) -> ImportInterruptedError:
    reason = f"{error.remedy} Then run" if error.remedy else "run"
    return ImportInterruptedError(
        f"stopped at {place} of {source.name}: {error}",
        remedy=f"{reason} the same import again: what is stored already stays as it is",
    )


@contextmanager
def _occurrences() -> Iterator[Callable[[str], int]]:
    """Count equal texts, on disk: a file of any length is imported with little memory."""
    counts = sqlite3.connect("")
    try:
        counts.execute("CREATE TABLE seen (digest BLOB PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID")

        def occurrence_of(text: str) -> int:
            row = counts.execute(
                "INSERT INTO seen VALUES (?, 0) ON CONFLICT DO UPDATE SET count = count + 1 RETURNING count",
                (sha256(text.encode()).digest()[:16],),
            ).fetchone()
            return int(row[0])

        yield occurrence_of
    finally:
        counts.close()
