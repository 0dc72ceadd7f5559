"""Where the indexes of an installation are, and which is which: on a server or in a folder."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol
from uuid import UUID

from soma_schemas.errors import SomaError
from soma_schemas.vectors.collection import Collection
from soma_streams.sinks.vectors.writer import PointWriter


class KeptIndex(NamedTuple):
    """An index that is there.

    Attributes:
        name: Its own.
        recorded: What it says that it holds.
    """

    name: str
    recorded: Collection


@dataclass(frozen=True, slots=True)
class Indexes:
    """Which index is which.

    Attributes:
        current: The one in use.
        following: One that is built to take its place.
        former: The one in whose place it is.
    """

    current: KeptIndex | None
    following: KeptIndex | None
    former: KeptIndex | None


# The memories that a question finds, best first.
Answers = Callable[[str, str], Awaitable[Sequence[UUID]]]


class OpenedIndex(NamedTuple):
    """The index that is built, open.

    Attributes:
        writer: Its engine.
        answers: Asks it.
    """

    writer: PointWriter
    answers: Answers


class IndexPlace(Protocol):
    """Keeps indexes. Every step can be done twice: a run that was killed is simply run again."""

    async def indexes(self) -> Indexes:
        """Return which index is which."""
        ...

    async def begin(self, declared: Collection) -> KeptIndex:
        """Make an empty index that is to take the place of the one in use."""
        ...

    async def follow_former(self) -> None:
        """Have the index before take the place of the one in use."""
        ...

    def open_following(self, following: KeptIndex) -> AbstractAsyncContextManager[OpenedIndex]:
        """Open the index that is built."""
        ...

    def present_answers(self, current: KeptIndex) -> Answers:
        """Return what asks the index in use.

        Raises:
            MismatchError: It is of a model that nobody has settings of.
        """
        ...

    async def switch(self) -> None:
        """Put the index that was built in the place of the one in use. Nobody has it open for this."""
        ...

    async def drop(self) -> Sequence[str]:
        """Delete the indexes that are not in use; return their names."""
        ...


class ReindexError(SomaError):
    """The index is not rebuilt, or not put in the place of the one in use, as things are."""

    code = "reindex"
