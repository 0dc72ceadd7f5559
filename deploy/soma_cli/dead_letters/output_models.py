"""What the commands about dead letters print: one model each, as JSON or as a table."""

import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from soma_cli.output import Result, one_line, plain
from soma_schemas.remedies import remedy_of
from soma_streams.replay.originals import Gone
from soma_streams.replay.rendering import Content, hexdump
from soma_streams.replay.republishing import original_headers
from soma_streams.replay.stored_dead_letters import RecordedDeed, Status, StoredDeadLetter, Tally
from soma_streams.transport.records import Record

ID_DIGITS = 8

GONE = {
    Gone.TRIMMED: "the dead-letter topic no longer keeps it",
    Gone.REPLACED: "something else lies at its place: the dead-letter topic was made anew",
    Gone.NOT_IN_LOG: "the dead letter could not keep it, and the log no longer has it",
    Gone.UNREADABLE: "the dead letter could not keep it, and in the log it is too large to be read",
}


class DeadLetterLine(BaseModel):
    """A dead letter without what it holds."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: UUID
    status: Status
    status_changed_at: datetime | None
    first_failed_at: datetime | None
    consumer_group: str | None
    stage: str | None
    code: str
    message: str
    error_class: str | None
    attempts: int | None
    application_version: str | None
    tenant: str | None
    memory_id: UUID | None
    topic: str | None
    partition: int | None
    log_offset: int | None
    epoch: int | None
    logged_at: datetime | None
    dlq_partition: int
    dlq_offset: int

    @property
    def short_id(self) -> str:
        """Return as much of the id as a table shows."""
        return str(self.id)[:ID_DIGITS]


class Count(BaseModel):
    """How many dead letters failed alike; see `Tally`."""

    model_config = ConfigDict(frozen=True)

    code: str
    consumer_group: str | None
    stage: str | None
    dead_letters: int
    without_place: int
    trimmed: int

    @classmethod
    def of(cls, tally: Tally) -> Self:
        """Return what the index counted."""
        return cls(
            code=tally.code,
            consumer_group=tally.group,
            stage=tally.stage,
            dead_letters=tally.dead_letters,
            without_place=tally.dead_letters - tally.replayable,
            trimmed=tally.trimmed,
        )


class DeadLetters(Result):
    """Some dead letters, newest first, and how many there are by code."""

    dead_letters: list[DeadLetterLine]
    counts: list[Count]

    def drawn(self) -> RenderableType:
        """Return a row for each dead letter, then the counts."""
        if not self.dead_letters:
            return Text("no dead letters")
        # As many columns as a terminal of 80 characters shows; `show` and --json tell the rest.
        decided = any(dead_letter.status is not Status.OPEN for dead_letter in self.dead_letters)
        names = ["id", "failed", "group", "stage", "code", "tenant", *(["status"] if decided else [])]
        table = Table(*names, box=None, header_style="bold", pad_edge=False)
        for dead_letter in self.dead_letters:
            row = (
                dead_letter.consumer_group or "?",
                dead_letter.stage or "?",
                dead_letter.code,
                dead_letter.tenant or "?",
            )
            status = [dead_letter.status.value] if decided else []
            table.add_row(
                dead_letter.short_id,
                _minute(dead_letter.first_failed_at),
                *(Text(plain(cell)) for cell in row),
                *status,
            )
        return Group(table, Text(), drawn_counts(self.counts))


class Shown(Result):
    """One dead letter with everything that is known, and what it holds as far as it can be read.

    Attributes:
        event: With the schema that it was written with; null when the bytes cannot be decoded.
        event_fault: Why not, or what is odd about the bytes.
        value: The bytes, base64; null when the event has none or they are gone.
    """

    dead_letter: DeadLetterLine
    remedy: str
    missing: Gone | None
    key: str | None
    headers: list[tuple[str, str | None]]
    schema_id: int | None
    record: str | None
    schema_version: int | None
    event: dict[str, Any] | None
    event_fault: str | None
    value: str | None
    dump: str | None

    @classmethod
    def of(cls, dead_letter: StoredDeadLetter, record: Record, content: Content, most_bytes: int) -> Self:
        """Return a dead letter with its original."""
        return cls(
            dead_letter=DeadLetterLine.model_validate(dead_letter),
            remedy=_remedy(dead_letter),
            missing=None,
            key=_text(record.key),
            headers=[(name, _text(value)) for name, value in original_headers(record)],
            schema_id=content.schema_id,
            record=content.record,
            schema_version=content.schema_version,
            event=content.fields,
            event_fault=content.fault,
            value=base64_of(record.value),
            dump=hexdump(record.value, most_bytes) if record.value and content.fields is None else None,
        )

    @classmethod
    def without_original(cls, dead_letter: StoredDeadLetter, gone: Gone) -> Self:
        """Return a dead letter whose original is gone."""
        return cls(
            dead_letter=DeadLetterLine.model_validate(dead_letter),
            remedy=_remedy(dead_letter),
            missing=gone,
            key=None,
            headers=[],
            schema_id=None,
            record=None,
            schema_version=None,
            event=None,
            event_fault=None,
            value=None,
            dump=None,
        )

    def drawn(self) -> RenderableType:
        """Return the facts, then the event or its bytes."""
        table = Table.grid(padding=(0, 2))
        for name, value in self._facts():
            table.add_row(Text(name, "dim"), Text(plain(value)))
        parts: list[RenderableType] = [table]
        if self.event is not None:
            parts += [Text(), Text(plain(pretty(self.event)))]
        if self.dump is not None:
            parts += [Text(), Text(self.dump)]
        return Group(*parts)

    def _facts(self) -> Iterator[tuple[str, str]]:
        dead_letter = self.dead_letter
        yield "dead letter", str(dead_letter.id)
        decided = (
            ""
            if dead_letter.status_changed_at is None
            else f" since {_second(dead_letter.status_changed_at)}"
        )
        yield "status", dead_letter.status.value + decided
        times = f", after {dead_letter.attempts} attempts" if (dead_letter.attempts or 1) > 1 else ""
        yield (
            "failed",
            f"{_second(dead_letter.first_failed_at)} in {dead_letter.consumer_group or '?'}{times}",
        )
        yield "code", f"{dead_letter.code}, at stage {dead_letter.stage or '?'}"
        yield "message", dead_letter.message or "none"
        yield "remedy", self.remedy
        lay = (
            "?"
            if dead_letter.log_offset is None
            else f"{dead_letter.topic} {dead_letter.partition}:{dead_letter.log_offset}"
        )
        yield "event", f"{lay}, logged {_second(dead_letter.logged_at)}"
        if dead_letter.tenant is not None:
            yield "memory", f"{dead_letter.tenant}/{dead_letter.memory_id}"
        yield "key", self.key if self.key is not None else "none"
        if self.missing is not None:
            yield "original", GONE[self.missing]
        if self.record is not None:
            version = "" if self.schema_version is None else f" version {self.schema_version}"
            yield "schema", f"{self.record}{version}, id {self.schema_id}"
        if self.event_fault is not None:
            yield "value", self.event_fault
        for name, value in self.headers:
            yield f"header {name}", one_line(value or "", 200)


class Exported(Result):
    """What was written; `missing` dead letters have no original any more."""

    run: UUID
    dead_letters: int
    missing: int
    file: str

    def drawn(self) -> RenderableType:
        """Return it in a sentence."""
        gone = f"; of {self.missing:,} the original is gone" if self.missing else ""
        return Text(f"exported {many(self.dead_letters, 'dead letter')} to {self.file}{gone}")


class ExportLine(BaseModel):
    """A line of an export: the dead letter, and its original as it was, base64.

    Attributes:
        missing: Why there is no original; null when there is one.
        headers: Of the original, in order; names may repeat.
    """

    dead_letter: DeadLetterLine
    missing: Gone | None
    key: str | None
    value: str | None
    headers: list[tuple[str, str | None]]

    @classmethod
    def of(
        cls, dead_letter: StoredDeadLetter, record: Record | Gone, headers: Sequence[tuple[str, bytes | None]]
    ) -> Self:
        """Return the line of a dead letter."""
        line = DeadLetterLine.model_validate(dead_letter)
        if isinstance(record, Gone):
            return cls(dead_letter=line, missing=record, key=None, value=None, headers=[])
        return cls(
            dead_letter=line,
            missing=None,
            key=base64_of(record.key),
            value=base64_of(record.value),
            headers=[(name, base64_of(value)) for name, value in headers],
        )


class DeedLine(BaseModel):
    """One entry of the record."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    at: datetime
    actor: str
    action: str
    dead_letters: int
    reason: str | None
    run: UUID | None
    details: dict[str, Any]


class Audit(Result):
    """What was done, newest first: the commands that were run, or what they did about one dead letter."""

    deeds: list[DeedLine]

    @classmethod
    def of(cls, deeds: Sequence[RecordedDeed]) -> Self:
        """Return what the record has."""
        return cls(deeds=[DeedLine.model_validate(deed) for deed in deeds])

    def drawn(self) -> RenderableType:
        """Return a row for each entry."""
        if not self.deeds:
            return Text("nothing was done yet")
        names = ("when", "who", "did", "dead letters", "run", "position", "reason")
        table = Table(*names, box=None, header_style="bold", pad_edge=False)
        for deed in self.deeds:
            table.add_row(
                _second(deed.at),
                Text(plain(deed.actor)),
                deed.action.removeprefix("dead_letter."),
                f"{deed.dead_letters:,}",
                "" if deed.run is None else str(deed.run)[-ID_DIGITS:],
                Text(plain(str(deed.details.get("position", "")))),
                Text(one_line(deed.reason or "", 80)),
            )
        return table


def drawn_counts(counts: Sequence[Count]) -> RenderableType:
    """Return a row for each code."""
    gone = any(count.trimmed for count in counts)
    names = ["code", "group", "stage", "dead letters", *(["trimmed"] if gone else [])]
    table = Table(*names, box=None, header_style="bold", pad_edge=False)
    for count in counts:
        row = [count.code, count.consumer_group or "?", count.stage or "?", f"{count.dead_letters:,}"]
        table.add_row(*(Text(plain(cell)) for cell in [*row, *([f"{count.trimmed:,}"] if gone else [])]))
    return table


def many(count: int, noun: str) -> str:
    """Return a count with its noun."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def pretty(fields: dict[str, Any]) -> str:
    """Return an event as JSON over several lines."""
    return json.dumps(fields, ensure_ascii=False, indent=2)


def base64_of(value: bytes | None) -> str | None:
    """Return bytes as base64 text."""
    return None if value is None else b64encode(value).decode("ascii")


def _remedy(dead_letter: StoredDeadLetter) -> str:
    # Ready to be pasted.
    return remedy_of(dead_letter.code).replace(" ID ", f" {str(dead_letter.id)[:ID_DIGITS]} ")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="backslashreplace")


def _second(moment: datetime | None) -> str:
    return "?" if moment is None else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _minute(moment: datetime | None) -> str:
    return "?" if moment is None else f"{moment:%m-%d %H:%M:%S}"
