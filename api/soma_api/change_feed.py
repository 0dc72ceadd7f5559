"""Follows what is applied to the memories of a tenant, from any place in the log on."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from soma_api.problems import InvalidInputError, OverloadedError
from soma_api.queries.change_queries import AppliedChange, ChangeQueries, Span
from soma_api.watermark_waiter import WatermarkWaiter
from soma_schemas.groups import SinkGroup
from soma_schemas.versions import FIRST_EPOCH, Position

# What one question reads at most: rows of others in a span are passed over, and must not hold it up.
_SPAN_OFFSETS = 5_000
_SPANS = 16
_CHANGES_OF_SPAN = 200
_MAX_PARTITIONS = 10_000


class Beginning(StrEnum):
    """Where to begin without a place of before."""

    NOW = "now"
    FIRST = "beginning"


@dataclass(frozen=True)
class Place:
    """How far somebody has followed: what comes next in each partition.

    Attributes:
        following: By partition. One that is missing has told nothing yet.
    """

    following: Mapping[int, Position]

    def __str__(self) -> str:
        return ",".join(str(self.following[partition]) for partition in sorted(self.following))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` has made.

        Raises:
            InvalidInputError: It was made by nobody here.
        """
        try:
            found = [Position.parse(each) for each in text.split(",")[: _MAX_PARTITIONS + 1]]
        except ValueError as error:
            raise InvalidInputError(f"`since` is no id of a change: {error}") from error
        following = {each.partition: each for each in found}
        if len(following) != len(found) or len(found) > _MAX_PARTITIONS:
            raise InvalidInputError(
                "`since` is no id of a change: a partition comes twice, or there are too many"
            )
        return cls(following)

    @property
    def epoch(self) -> int:
        """Of the log, when somebody was here."""
        return max((each.epoch for each in self.following.values()), default=FIRST_EPOCH)


@dataclass(frozen=True)
class Batch:
    """What was applied, and the place behind it. Without changes it says how far others' were passed.

    Attributes:
        at_end: Whether nothing more was settled.
    """

    changes: tuple[AppliedChange, ...]
    place: Place
    at_end: bool


class ChangeFeed:
    """Gives those who follow what is applied, each at their own pace. Nothing is kept for them.

    Args:
        queries: Where the changes are.
        waiter: Wakes who has come to the end.
        most: How many may follow at the same time.
    """

    def __init__(self, queries: ChangeQueries, waiter: WatermarkWaiter, most: int) -> None:
        self._queries = queries
        self._waiter = waiter
        self._most = most
        self._following = 0
        self._closed = asyncio.Event()

    @property
    def closed(self) -> bool:
        """Whether the process is stopping."""
        return self._closed.is_set()

    def close(self) -> None:
        """Have everybody who follows end now."""
        self._closed.set()

    def require_room(self) -> None:
        """Return when one more may follow.

        Raises:
            OverloadedError: As many as may follow do already.
        """
        if self._following >= self._most:
            raise OverloadedError(f"{self._most} clients follow changes already")

    @contextmanager
    def follower(self) -> Iterator[None]:
        """Count somebody who follows, as long as the block lasts."""
        self._following += 1
        try:
            yield
        finally:
            self._following -= 1

    async def begin(self, at: Beginning) -> Place:
        """Return the place of the present, or of the first change that there is.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        ends = await self._queries.ends()
        if at is Beginning.FIRST:
            return Place(
                {partition: Position(partition, 0) for partition in {0, *(each.partition for each in ends)}}
            )
        epoch = max((each.epoch for each in ends), default=FIRST_EPOCH)
        newest = {each.partition: each for each in ends if each.epoch == epoch}
        return Place({0: Position(0, 0, epoch)} | newest)

    async def next(self, tenant: str, place: Place, seconds: float) -> Batch:
        """Return what was applied behind a place, at the latest after some seconds.

        Args:
            tenant: Whose changes.
            place: How far they were told.
            seconds: How long to wait at the end for something to be settled.

        Raises:
            StoreUnavailableError: The database does not answer.
        """
        seen = self._waiter.settled(SinkGroup.POSTGRES)
        ends = await self._queries.ends()
        following = dict(_on_the_way(place, ends))
        spans = _spans(following, ends)
        if not spans:
            if seconds:
                await self._settled_beyond(seen, seconds)
            return Batch((), Place(following), at_end=True)
        changes = await self._queries.applied(tenant, spans, _CHANGES_OF_SPAN)
        for span in spans:
            told = [each for each in changes if each.partition == span.partition]
            # A span that had more than may be told goes on behind the last one.
            behind = told[-1].at_version + 1 if len(told) >= _CHANGES_OF_SPAN else span.ends
            following[span.partition] = Position.of_version(span.partition, behind)
        return Batch(tuple(changes), Place(following), at_end=False)

    async def _settled_beyond(self, seen: Mapping[int, int], seconds: float) -> None:
        """Wait until something is settled that was not, the process stops, or the time is over."""
        waits = [
            asyncio.ensure_future(self._waiter.wait_beyond(SinkGroup.POSTGRES, seen)),
            asyncio.ensure_future(self._closed.wait()),
        ]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()


def _on_the_way(place: Place, ends: Iterable[Position]) -> Mapping[int, Position]:
    """Return a place with the partitions that came since, and in the epoch in which each goes on."""
    by_partition: dict[int, list[Position]] = {}
    for end in ends:
        by_partition.setdefault(end.partition, []).append(end)
    following = dict(place.following)
    for partition, of_partition in by_partition.items():
        next_one = following.get(partition, Position(partition, 0, place.epoch))
        # An epoch begins when everything of the one before is settled.
        later = [end.epoch for end in of_partition if end.epoch > next_one.epoch]
        own = [end for end in of_partition if end.epoch == next_one.epoch]
        if later and all(next_one.offset >= end.offset for end in own):
            next_one = Position(partition, 0, min(later))
        following[partition] = next_one
    return following


def _spans(following: Mapping[int, Position], ends: Iterable[Position]) -> list[Span]:
    """Return what is to be read next: of the partitions that are furthest behind.

    A memory can lie in another partition in the next epoch, so none goes over while another is behind.
    """
    settled = {(end.partition, end.epoch): end.offset for end in ends}
    behind = []
    for partition, place in following.items():
        records = settled.get((partition, place.epoch), 0) - place.offset
        if records > 0:
            behind.append((records, partition, place))
    epoch = min((place.epoch for _, _, place in behind), default=FIRST_EPOCH)
    of_epoch = [each for each in behind if each[2].epoch == epoch]
    of_epoch.sort(reverse=True, key=lambda each: each[:2])
    return [
        Span(partition, place.version, place.version + min(records, _SPAN_OFFSETS))
        for records, partition, place in of_epoch[:_SPANS]
    ]
