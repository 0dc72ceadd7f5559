"""Looks at all groups and logs again and again, and has ready what was found."""

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import structlog

from soma_schemas.clock import Clock
from soma_schemas.lag import GroupLag, GroupMember, LagPoint, LagReport, PartitionLag
from soma_schemas.topic_admin import BrokerError
from soma_streams.lag.book import BEGINNING, GroupView, LagBook, PartitionView
from soma_streams.lag.estimates import Retention
from soma_streams.lag.facts import Found, GroupSource, GroupsSeen, LogSource, Place, TopicSeen

_QUESTIONS_PER_ROUND = 12
_RETENTION_AGAIN_SECONDS = 300.0
_POINTS = 120


class _Point(NamedTuple):
    at: datetime
    lag_records: int
    lag_seconds: float | None


class Collector:
    """One round after the other.

    What takes long with many groups is done in threads, so that whoever asks meanwhile is answered. All ages
    are measured on the monotonic clock; the time of day is read once, to tell the brokers' times, so that no
    later step of it moves a lag.

    Args:
        groups: Tells of groups.
        logs: Tells of logs.
        interval: Between two rounds.
        window: How far back the rules look.
        clock: Measures and sleeps.

    Attributes:
        views: Every group as the newest round has found it.
        rounds: How many rounds succeeded.
        failed_rounds: How many did not.
        round_seconds: How long the newest took.
    """

    def __init__(
        self,
        groups: GroupSource,
        logs: LogSource,
        *,
        interval: timedelta,
        window: timedelta,
        clock: Clock,
    ) -> None:
        self._groups = groups
        self._logs = logs
        self._interval = interval.total_seconds()
        self._clock = clock
        self._book = LagBook(window.total_seconds())
        self._since_1970 = clock.now().timestamp() - clock.monotonic()
        self._retention: dict[str, Retention] = {}
        self._retention_at = float("-inf")
        self._looked_seconds = 0.0
        self._began_at: float | None = None
        self._succeeded: tuple[float, datetime] | None = None
        self._failure: str | None = None
        self._history: dict[str, deque[_Point]] = {}
        # A question that is given up goes on in its thread, and the client must not be closed under it.
        self._asking = threading.Lock()
        self._log = structlog.get_logger("soma_streams.lag")
        self.views: tuple[GroupView, ...] = ()
        self.rounds = 0
        self.failed_rounds = 0
        self.round_seconds = 0.0

    @property
    def age_seconds(self) -> float | None:
        """How long ago the newest round that succeeded was; None before the first."""
        return None if self._succeeded is None else self._clock.monotonic() - self._succeeded[0]

    @property
    def begun_seconds(self) -> float:
        """How long ago the newest round began, whatever became of it."""
        return 0.0 if self._began_at is None else self._clock.monotonic() - self._began_at

    @property
    def failure(self) -> str | None:
        """Why the newest round failed; None when it did not."""
        return self._failure

    async def run(self, after_round: Callable[[], Awaitable[None]]) -> None:
        """Go round until cancelled, once in an interval.

        Args:
            after_round: Does something with what a round has found.
        """
        while True:
            began = self._clock.monotonic()
            await self.round()
            await after_round()
            await self._clock.sleep(max(0.0, self._interval - (self._clock.monotonic() - began)))

    async def round(self) -> None:
        """Look at everything once. What cannot be seen is told as that."""
        began = self._clock.monotonic()
        # Only time between two looks that saw counts for the rules: who was not seen has not stood still.
        step = 0.0
        if self._began_at is not None and self._failure is None:
            step = min(began - self._began_at, 2 * self._interval)
        self._began_at = began
        try:
            await self._look(self._looked_seconds + step)
        except BrokerError as error:
            await asyncio.to_thread(self._renew)
            self.failed_rounds += 1
            self._fail(str(error))
        else:
            self._looked_seconds += step
            self.rounds += 1
            self._succeed()
        self.round_seconds = self._clock.monotonic() - began
        self.views = await asyncio.to_thread(self._judge)
        if self._failure is None:
            self._remember()

    def report(self) -> LagReport:
        """Return what was found, for others."""
        return LagReport(
            at=None if self._succeeded is None else self._succeeded[1],
            age_seconds=self.age_seconds,
            failure=self._failure,
            groups=tuple(self._told(view) for view in self.views),
        )

    def close(self) -> None:
        """Return when no question is under way any more."""
        with self._asking:
            pass

    async def _look(self, at: float) -> None:
        seen = await self._groups.look()
        looked_at = await asyncio.to_thread(self._ask_logs, seen, at)
        questions = self._book.questions(looked_at)
        asked: dict[Place, float] = {}
        for _ in range(_QUESTIONS_PER_ROUND):
            # What did not become clearer by an answer does not by the same once more.
            questions = {place: since for place, since in questions.items() if asked.get(place) != since}
            if not questions:
                return
            asked |= questions
            answers = await asyncio.to_thread(
                self._ask_since, {place: self._as_ms(since) for place, since in questions.items()}
            )
            for place, found in answers.items():
                known = None if found is None else (found.offset, found.appended_ms / 1000 - self._since_1970)
                self._book.answer(place, questions[place], known)
            questions = self._book.questions(looked_at, answers.keys())

    def _ask_logs(self, seen: GroupsSeen, at: float) -> float:
        """Look at the logs of groups, and return when, in monotonic seconds."""
        with self._asking:
            read = self._book.places(seen)
            wanted = set().union(*read.values())
            names = {place.topic for place in wanted}
            topics = self._logs.topics(names)
            known = {name for name, topic in topics.items() if isinstance(topic, TopicSeen)}
            now = self._clock.monotonic()
            if now - self._retention_at >= _RETENTION_AGAIN_SECONDS or known - self._retention.keys():
                self._retention_at = now
                self._retention = dict(self._logs.retention(known))
            places = {
                place
                for place in wanted
                if isinstance(topic := topics.get(place.topic), TopicSeen)
                and place.partition < topic.partitions
            }
            looked_at = self._clock.monotonic()
            bounds = self._logs.bounds(places)
            self._book.note(seen, read, topics, bounds, at=at, now=looked_at)
            if any(isinstance(each, str) for each in bounds.values()):
                self._logs.renew()
            return looked_at

    def _ask_since(self, since_ms: Mapping[Place, int]) -> Mapping[Place, Found | None]:
        with self._asking:
            return self._logs.first_since(since_ms)

    def _renew(self) -> None:
        with self._asking:
            self._logs.renew()

    def _judge(self) -> tuple[GroupView, ...]:
        now = self._clock.monotonic()
        return tuple(self._book.judged(self._retention, at=self._looked_seconds, now=now))

    def _as_ms(self, since: float) -> int:
        return 0 if since == BEGINNING else max(0, int((since + self._since_1970) * 1000))

    def _succeed(self) -> None:
        if self._failure is not None:
            self._log.info("lag_seen_again")
        self._failure = None
        self._succeeded = self._clock.monotonic(), self._clock.now()

    def _fail(self, why: str) -> None:
        if self._failure is None:
            self._log.warning("lag_not_seen", reason=why)
        self._failure = why
        self._book.lost_sight(why)

    def _remember(self) -> None:
        now = self._clock.now()
        for name in self._history.keys() - {view.name for view in self.views}:
            del self._history[name]
        for view in self.views:
            if view.totals.lag_records is not None:
                points = self._history.setdefault(view.name, deque(maxlen=_POINTS))
                points.append(_Point(now, view.totals.lag_records, view.totals.lag_seconds))

    def _told(self, view: GroupView) -> GroupLag:
        return GroupLag(
            group=view.name,
            state=view.state,
            status=view.verdict.status,
            reason=view.verdict.reason,
            **view.totals._asdict(),
            members=tuple(
                GroupMember(
                    id=member.id,
                    client_id=member.client_id,
                    host=member.host,
                    partitions=len(member.places),
                )
                for member in view.members
            ),
            partitions=tuple(_partition(each) for each in view.partitions),
            history=tuple(LagPoint(**each._asdict()) for each in self._history.get(view.name, ())),
        )


def _partition(view: PartitionView) -> PartitionLag:
    sample = view.sample
    return PartitionLag(
        topic=view.place.topic,
        partition=view.place.partition,
        status=view.status,
        reason=view.reason,
        committed=None if sample is None else sample.committed,
        start=None if sample is None else sample.start,
        end=None if sample is None else sample.end,
        lag_records=view.lag_records,
        lag_seconds=view.lag_seconds,
        headroom_records=view.headroom_records,
        headroom_seconds=view.headroom_seconds,
        catch_up_seconds=view.catch_up_seconds,
        member=view.member,
    )
