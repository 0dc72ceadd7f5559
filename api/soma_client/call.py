"""One request and what it answers, as data: nothing here sends anything."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Generic, Self, TypeVar
from urllib.parse import quote
from uuid import UUID

AnswerT = TypeVar("AnswerT")

Moment = datetime | str
MemoryId = UUID | str


@dataclass(frozen=True)
class Call(Generic[AnswerT]):
    """A request to the API.

    Attributes:
        method: Of HTTP.
        path: Below the address of the API.
        answer: What a success is read as: a model, or `str` for plain text.
        query: Parameters; a list is repeated.
        body: What is sent as JSON; None sends nothing.
        headers: Besides those that every request has.
        keyed: Whether an `Idempotency-Key` makes it safe to send again; one is made where there is none.
        sees_writes: Whether it takes `Soma-Position`.
        bounds_staleness: Whether it takes `Soma-Max-Staleness`.
        reads: Whether it changes nothing, whatever its method.
        wait_seconds: How long the API may take on request.
        answering: Statuses of failures that have the answer all the same.
    """

    method: str
    path: str
    answer: type[AnswerT]
    query: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    keyed: bool = False
    sees_writes: bool = False
    bounds_staleness: bool = False
    reads: bool = False
    wait_seconds: int = 0
    answering: frozenset[int] = frozenset()

    @property
    def repeatable(self) -> bool:
        """Whether sending it twice does what sending it once does."""
        return self.keyed or self.reads or self.method in {"GET", "HEAD"}

    def at_cursor(self, cursor: str) -> Self:
        """Return the call for the page that begins there."""
        return replace(self, query={**self.query, "cursor": cursor})


def said(**given: Any) -> dict[str, Any]:
    """Return what was given as JSON takes it; what is None was not said, and the API decides."""
    return {name: plain(value) for name, value in given.items() if value is not None}


def plain(value: Any) -> Any:
    """Return a value as JSON takes it."""
    match value:
        case datetime():
            return value.isoformat()
        case UUID():
            return str(value)
        case Mapping():
            return {name: plain(each) for name, each in value.items()}
        case str():
            return str(value)
        case Sequence():
            return [plain(each) for each in value]
        case _:
            return value


def asked(**given: Any) -> dict[str, Any]:
    """Return what was given as query parameters; what is None was not said."""
    return {
        name: ("true" if value else "false") if isinstance(value, bool) else value
        for name, value in said(**given).items()
    }


def numbers(values: Iterable[float] | None) -> str | None:
    """Return a coordinate as a query parameter."""
    return None if values is None else ",".join(str(float(each)) for each in values)


def memory_path(memory_id: MemoryId, rest: str = "") -> str:
    """Return the path of a memory, or of something below it."""
    return f"/v1/memories/{segment(memory_id)}{rest}"


def segment(name: object) -> str:
    """Return a segment of a path."""
    return quote(str(name), safe="")


def write_headers(
    event_id: UUID | None, wait_seconds: int, expected_version: int | None = None
) -> dict[str, str]:
    """Return the headers of a write.

    Args:
        event_id: Names the event; None: one is made.
        wait_seconds: How long to wait until reads and searches see it; 0 does not.
        expected_version: Only onto this version of the memory, 0: only where there is none; None: onto any.
    """
    headers = {}
    if event_id is not None:
        headers["Idempotency-Key"] = str(event_id)
    if wait_seconds:
        headers["Prefer"] = f"wait={wait_seconds}"
    if expected_version == 0:
        headers["If-None-Match"] = "*"
    elif expected_version is not None:
        headers["If-Match"] = f'"{expected_version}"'
    return headers
