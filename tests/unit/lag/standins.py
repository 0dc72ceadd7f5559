"""Brokers that tell what a test has them tell: real ones refuse and fail too seldom."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from soma_schemas.topic_admin import BrokerError
from soma_streams.lag.estimates import Retention
from soma_streams.lag.facts import Bounds, Found, GroupSeen, GroupsSeen, Member, Place, TopicSeen

FOR_EVER = Retention(seconds=None, by_size=False)


@dataclass
class Brokers:
    """Both sources at once.

    Attributes:
        seen: The groups.
        known: The topics, or why they are not told.
        ends: Where partitions start and end, or why that is not told.
        away: Whether no broker answers.
        renewed: How often what was learnt of them was forgotten.
    """

    seen: GroupsSeen = field(default_factory=lambda: GroupsSeen({}, {}))
    known: dict[str, TopicSeen | str] = field(default_factory=dict)
    ends: dict[Place, Bounds | str] = field(default_factory=dict)
    away: bool = False
    renewed: int = 0

    async def look(self) -> GroupsSeen:
        if self.away:
            raise BrokerError("no broker answers: nobody is there")
        return self.seen

    def topics(self, names: Collection[str]) -> Mapping[str, TopicSeen | str]:
        return {name: self.known[name] for name in names if name in self.known}

    def retention(self, names: Collection[str]) -> Mapping[str, Retention]:
        return dict.fromkeys(names, FOR_EVER)

    def bounds(self, places: Collection[Place]) -> Mapping[Place, Bounds | str]:
        return {place: self.ends[place] for place in places}

    def first_since(self, since_ms: Mapping[Place, int]) -> Mapping[Place, Found | None]:
        return dict.fromkeys(since_ms)

    def renew(self) -> None:
        self.renewed += 1


def group(committed: Mapping[Place, int], *members: Member, state: str = "Stable") -> GroupSeen:
    return GroupSeen(state, members, committed)
