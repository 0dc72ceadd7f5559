"""What the brokers tell about groups and logs, and who can be asked for it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from soma_streams.lag.estimates import Retention


class Place(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Member(NamedTuple):
    """One consumer of a group.

    Attributes:
        id: Given by the brokers.
        client_id: Its own name for itself.
        host: Where it is.
        places: What it has to read.
    """

    id: str
    client_id: str
    host: str
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class GroupSeen:
    """A group as its coordinator tells it.

    Attributes:
        state: In Kafka's words.
        members: Those that read now; None where the coordinator does not tell.
        committed: The next offset to read, for each place that was committed.
    """

    state: str
    members: tuple[Member, ...] | None
    committed: Mapping[Place, int]


@dataclass(frozen=True, slots=True)
class GroupsSeen:
    """One look at all groups.

    Attributes:
        groups: Those that were told, by name.
        refused: Why others that there are were not told, by name.
        silent: Why brokers did not answer at all: there may be groups that only they know.
    """

    groups: Mapping[str, GroupSeen]
    refused: Mapping[str, str]
    silent: tuple[str, ...] = ()

    @property
    def untold(self) -> list[str]:
        """Why this is not all that there is; empty where it is."""
        return [*self.silent, *(f"{name}: {why}" for name, why in self.refused.items())]


class TopicSeen(NamedTuple):
    """A topic.

    Attributes:
        id: Another one when it is made anew under its name.
        partitions: How many there are.
    """

    id: str
    partitions: int


class Bounds(NamedTuple):
    """Where a partition starts, and the next offset that it will have."""

    start: int
    end: int


class Found(NamedTuple):
    """The first record of a partition from a time on, and when it was appended in milliseconds since 1970."""

    offset: int
    appended_ms: int


class GroupSource(Protocol):
    """Knows the groups."""

    async def look(self) -> GroupsSeen:
        """Return what there is now.

        Raises:
            BrokerError: No broker answers.
        """
        ...


class LogSource(Protocol):
    """Knows the topics. What is refused comes as a reason in words; its methods block."""

    def topics(self, names: Collection[str]) -> Mapping[str, TopicSeen | str]:
        """Return each topic; those that do not exist are left out.

        Raises:
            BrokerError: The brokers do not answer.
        """
        ...

    def retention(self, names: Collection[str]) -> Mapping[str, Retention]:
        """Return how topics are cleaned up, where that is told."""
        ...

    def bounds(self, places: Collection[Place]) -> Mapping[Place, Bounds | str]:
        """Return where partitions start and end."""
        ...

    def first_since(self, since_ms: Mapping[Place, int]) -> Mapping[Place, Found | None]:
        """Return the first record from a time on, None where there is none; what is refused is left out."""
        ...

    def renew(self) -> None:
        """Forget what was learnt of the brokers: something went wrong with it."""
        ...
