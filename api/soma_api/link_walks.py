"""Walks along links: what is near a memory, and the shortest way between two. Bounded in what it reads.

Links are read for many memories at once, so that a walk asks as often as its longest way has links, and no
memory's links are read twice.
"""

import heapq
from collections.abc import Awaitable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from math import inf
from typing import NamedTuple, Protocol
from uuid import UUID

from soma_api.problems import PathTooCostlyError
from soma_api.queries.link_queries import Link, LinkOf

# Links that one question reads. A million ways have as many, and whoever asks waits for all of them.
MOST_READ = 10_000


class Cost(StrEnum):
    """How long a link is."""

    WEIGHT = "weight"
    INVERSE_WEIGHT = "inverse_weight"
    HOPS = "hops"

    def of(self, weight: float) -> float:
        """Return the length of a link; without end where nothing passes."""
        match self:
            case Cost.WEIGHT:
                return weight
            case Cost.INVERSE_WEIGHT:
                return 1.0 / weight if weight else inf
            case Cost.HOPS:
                return 1.0


class LinksRead(NamedTuple):
    """Links of some memories.

    Attributes:
        number: How many were read, also those that may not be walked.
        links: Those that may, in no order.
    """

    number: int
    links: list[LinkOf]


class Reading(Protocol):
    """Reads links of memories."""

    def __call__(self, memory_ids: Collection[UUID], most: int) -> Awaitable[LinksRead]:
        """Read at most so many of their links."""
        ...


@dataclass(frozen=True, slots=True)
class Reached:
    """A memory near another.

    Attributes:
        memory_id: Which.
        way: The links that lead there, the first one first; no other way has fewer.
    """

    memory_id: UUID
    way: tuple[Link, ...]


class Neighbourhood(NamedTuple):
    """What is near a memory, the nearest first; `truncated` where there may be more."""

    reached: list[Reached]
    truncated: bool


class Path(NamedTuple):
    """A way between two memories.

    Attributes:
        cost: How long it is.
        memory_ids: Those that it passes, both ends among them.
        links: One fewer than memories, in their order; each may be walked against its direction.
    """

    cost: float
    memory_ids: list[UUID]
    links: list[Link]


async def neighbourhood(
    start: UUID, links: Reading, *, depth: int, limit: int, most_read: int = MOST_READ
) -> Neighbourhood:
    """Return the memories within some links of a memory.

    Of those that are equally near, the one to which a heavier link leads comes first.

    Args:
        start: From where.
        links: Reads those that may be walked.
        depth: At most so many links away.
        limit: At most so many memories.
        most_read: At most so many links are read.
    """
    ways: dict[UUID, tuple[Link, ...]] = {start: ()}
    frontier, truncated = [start], False
    for _ in range(depth):
        number, found = await links(frontier, most_read + 1)
        truncated = number > most_read
        most_read -= number
        frontier = []
        for link, near, other, _namespace in sorted(found, key=_heaviest_first):
            if other in ways:
                continue
            if len(ways) > limit:
                truncated = True
                break
            ways[other] = (*ways[near], link)
            frontier.append(other)
        if truncated or not frontier:
            break
    del ways[start]
    return Neighbourhood([Reached(memory_id, way) for memory_id, way in ways.items()], truncated)


def _heaviest_first(found: LinkOf) -> tuple[float, UUID, str]:
    return -found.link.weight, found.other, found.link.type


async def shortest_path(
    start: UUID,
    goal: UUID,
    onward: Reading,
    backward: Reading,
    cost: Cost,
    *,
    most_read: int = MOST_READ,
) -> Path | None:
    """Return the shortest way between two memories, or None where there is none.

    Walks from both ends, always on the side with fewer memories at its edge, until no way that is not yet
    known can be shorter than the shortest known one. Lengths are never negative.

    Args:
        start: From where.
        goal: To where.
        onward: Reads links as they are walked from the start.
        backward: Reads links as they are walked from the goal.
        cost: How long a link is.
        most_read: At most so many links are read.

    Raises:
        PathTooCostlyError: It would read more.
    """
    ahead, behind = _Side(start, onward, cost), _Side(goal, backward, cost)
    while True:
        meeting, best = _shortest_meeting(ahead, behind)
        near, far = ahead.nearest_unread(), behind.nearest_unread()
        if best <= near + far:
            break
        side, others = min((ahead, far), (behind, near), key=lambda each: len(each[0].unread))
        number = await side.read(best - others, most_read)
        if number > most_read:
            raise PathTooCostlyError(f"the way is not found within {MOST_READ:,} links")
        most_read -= number
    if meeting is None:
        return None
    there, back = reversed(list(ahead.way(meeting))), list(behind.way(meeting))
    steps = [(each.link, each.other) for each in there] + [(each.link, each.near) for each in back]
    return Path(best, [start, *(memory_id for _, memory_id in steps)], [link for link, _ in steps])


def _shortest_meeting(ahead: "_Side", behind: "_Side") -> tuple[UUID | None, float]:
    fewer, more = sorted((ahead.length, behind.length), key=len)
    meetings = [(fewer[each] + more[each], each) for each in fewer if each in more]
    best, meeting = min(meetings, default=(inf, None))
    return meeting, best


@dataclass
class _Side:
    """What is known from one end of a way."""

    end: UUID
    links: Reading
    cost: Cost
    length: dict[UUID, float] = field(init=False)
    reached_by: dict[UUID, LinkOf] = field(init=False, default_factory=dict)
    unread: set[UUID] = field(init=False)
    known: dict[UUID, list[tuple[float, LinkOf]]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.length, self.unread = {self.end: 0.0}, {self.end}

    def nearest_unread(self) -> float:
        return min((self.length[each] for each in self.unread), default=inf)

    async def read(self, within: float, most: int) -> int:
        """Read the links of what is nearer than that, and return how many were read."""
        wanted = [each for each in self.unread if self.length[each] < within]
        # What lies farther than any shorter way can lead is not looked at again.
        self.unread.clear()
        number, found = await self.links(wanted, most + 1)
        self.known.update((each, []) for each in wanted)
        for step in found:
            length = self.cost.of(step.link.weight)
            if length < inf:
                self.known[step.near].append((length, step))
        self._shorten(wanted)
        return number

    def _shorten(self, changed: Iterable[UUID]) -> None:
        heap = [(self.length[each], each) for each in changed]
        heapq.heapify(heap)
        while heap:
            length, at = heapq.heappop(heap)
            if length > self.length[at]:
                continue
            for further, step in self.known.get(at, ()):
                if length + further < self.length.get(step.other, inf):
                    self.length[step.other] = length + further
                    self.reached_by[step.other] = step
                    if step.other not in self.known:
                        self.unread.add(step.other)
                    heapq.heappush(heap, (length + further, step.other))

    def way(self, to: UUID) -> Iterator[LinkOf]:
        """Yield the links from a memory back to this end."""
        while to != self.end:
            step = self.reached_by[to]
            yield step
            to = step.near
