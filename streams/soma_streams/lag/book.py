"""Keeps what was seen of all groups and logs, and judges it: pure, but for what it remembers."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from heapq import nsmallest
from math import sqrt
from typing import NamedTuple

from soma_schemas.lag import LagStatus
from soma_streams.lag.append_times import AppendTimes
from soma_streams.lag.estimates import Retention, catch_up_seconds, headroom_records, headroom_seconds
from soma_streams.lag.facts import Bounds, GroupsSeen, Member, Place, TopicSeen
from soma_streams.lag.rules import Sample, Trail, Verdict, evaluate, follow

# A record's age is known well enough when it is known to a tenth, or to a tenth of a second.
_PRECISION = 0.1
_PRECISION_SECONDS = 0.1
_QUESTIONS_AT_ONCE = 500

BEGINNING = float("-inf")


class PartitionView(NamedTuple):
    """A group in one partition, judged. What is None, nobody knows."""

    place: Place
    status: LagStatus
    reason: str
    sample: Sample | None = None
    lag_records: int | None = None
    lag_seconds: float | None = None
    headroom_records: int | None = None
    headroom_seconds: float | None = None
    catch_up_seconds: float | None = None
    member: str | None = None


class Totals(NamedTuple):
    """Of all partitions of a group: all records, the oldest age, the least headroom, the last to catch up."""

    lag_records: int | None
    lag_seconds: float | None
    headroom_records: int | None
    headroom_seconds: float | None
    catch_up_seconds: float | None


class GroupView(NamedTuple):
    """A group, judged; its partitions, the worst first."""

    name: str
    state: str
    verdict: Verdict
    totals: Totals
    members: tuple[Member, ...]
    partitions: tuple[PartitionView, ...]


class LagBook:
    """What is remembered from look to look, as little as the rules need: memory follows groups, not time.

    Args:
        window: How far back the rules look, in seconds.
    """

    def __init__(self, window: float) -> None:
        self._window = window
        self._trails: dict[str, dict[Place, Trail]] = {}
        self._times: dict[Place, AppendTimes] = {}
        # The ends that were seen last, and the positions of groups that are behind.
        self._ends: dict[Place, int] = {}
        self._behind: dict[Place, set[int]] = {}
        self._topic_ids: dict[str, str] = {}
        self._states: dict[str, str] = {}
        self._members: dict[str, tuple[Member, ...] | None] = {}
        # Why something is not known this time.
        self._unseen: dict[str, str] = {}
        self._unseen_places: dict[str, dict[Place, str]] = {}

    @property
    def times(self) -> Mapping[Place, AppendTimes]:
        """When records were appended, by partition."""
        return self._times

    def places(self, seen: GroupsSeen) -> dict[str, set[Place]]:
        """Return by group what it reads: what it committed, and what its members have.

        A group without members is held to what its last ones had.
        """
        found = {}
        for name, group in seen.groups.items():
            places = set(group.committed)
            if group.members:
                for member in group.members:
                    places.update(member.places)
            else:
                places.update(self._trails.get(name, ()))
            found[name] = places
        return found

    def note(
        self,
        seen: GroupsSeen,
        read: Mapping[str, Collection[Place]],
        topics: Mapping[str, TopicSeen | str],
        bounds: Mapping[Place, Bounds | str],
        *,
        at: float,
        now: float,
    ) -> None:
        """Take in one look.

        Args:
            seen: The groups.
            read: What each of them reads, see `places`.
            topics: The topics that they read.
            bounds: Where the partitions that they read start and end, asked after what is committed.
            at: When the groups were looked at, in the seconds of the rules.
            now: When the logs were looked at, in monotonic seconds.
        """
        self._forget_made_anew(topics)
        self._ends = {place: found.end for place, found in bounds.items() if isinstance(found, Bounds)}
        for place, found in bounds.items():
            if isinstance(found, Bounds):
                self._times.setdefault(place, AppendTimes()).ended(found.end, now)
        self._keep_unseen(seen)
        # Asked once for a partition, however many groups read it.
        known = {place: _bounds(place, topics, bounds) for place in set[Place]().union(*read.values())}
        for name, places in read.items():
            group = seen.groups[name]
            before = self._trails.get(name, {})
            trails: dict[Place, Trail] = {}
            unseen: dict[Place, str] = {}
            for place in places:
                found = known[place]
                if isinstance(found, Bounds):
                    sample = Sample(at, group.committed.get(place), found.start, found.end)
                    trails[place] = follow(before.get(place), sample, self._window)
                elif found:
                    unseen[place] = found
                    if place in before:
                        trails[place] = before[place]
            self._trails[name], self._unseen_places[name] = trails, unseen
            self._states[name], self._members[name] = group.state, group.members
        self._forget_read()

    def questions(self, now: float, among: Collection[Place] | None = None) -> dict[Place, float]:
        """Return from which times on the first records should be known, where ages are too rough.

        Args:
            now: In monotonic seconds, as the times are; BEGINNING asks for the first record that there is.
            among: Where to look; None looks everywhere.
        """
        asked: dict[Place, tuple[float, float]] = {}
        for place in self._behind if among is None else among:
            times = self._times[place]
            questions = [_question(times, position, now) for position in self._behind[place]]
            roughest = min((each for each in questions if each is not None), default=None)
            if roughest is not None:
                asked[place] = roughest
        chosen = nsmallest(_QUESTIONS_AT_ONCE, asked, key=lambda place: asked[place])
        return {place: asked[place][1] for place in chosen}

    def answer(self, place: Place, since: float, found: tuple[int, float] | None) -> None:
        """Take in the first record from a time on.

        Args:
            place: Where.
            since: The time, in monotonic seconds.
            found: Its offset, and when it was appended in monotonic seconds; None when there is none.
        """
        times = self._times[place]
        if found is not None and since == BEGINNING:
            times.begins(*found)
        elif found is not None:
            times.found(found[0], since, found[1])
        elif since != BEGINNING:
            times.none_since(self._ends[place], since)

    def judged(self, retention: Mapping[str, Retention], *, at: float, now: float) -> Iterator[GroupView]:
        """Return every group as it stands, the worst partition first.

        Args:
            retention: Of the topics; of those that are not in it nobody knows.
            at: In the seconds of the rules.
            now: In monotonic seconds.
        """
        for name in sorted(self._trails):
            members = self._members.get(name)
            owners = {place: member.id for member in members or () for place in member.places}
            unseen = self._unseen_places.get(name, {})
            views = [
                self._judged(
                    place,
                    trail,
                    None if members is None else owners.get(place, ""),
                    retention.get(place.topic),
                    at=at,
                    now=now,
                )
                for place, trail in self._trails[name].items()
                if name not in self._unseen and place not in unseen
            ]
            why = self._unseen.get(name)
            if why is not None:
                unseen = dict.fromkeys(self._trails[name], why) | unseen
            views.extend(
                PartitionView(place, LagStatus.UNKNOWN, because) for place, because in unseen.items()
            )
            views.sort(key=_worst_first)
            yield GroupView(
                name,
                self._states.get(name, "Unknown"),
                _worst(views, why),
                _totals(views),
                members or (),
                tuple(views),
            )

    def lost_sight(self, why: str) -> None:
        """Note that nothing could be seen."""
        self._unseen = dict.fromkeys(self._trails, why)

    def _judged(
        self,
        place: Place,
        trail: Trail,
        owner: str | None,
        retention: Retention | None,
        *,
        at: float,
        now: float,
    ) -> PartitionView:
        """Judge one partition; its owner is empty where nobody has it, and None where that is not told."""
        verdict = evaluate(trail, at, self._window, owned=None if owner is None else owner != "")
        seconds: float | None = 0.0
        if trail.lag:
            appended = self._times[place].at(trail.position)
            seconds = None if appended is None else max(0.0, now - appended)
        return PartitionView(
            place,
            verdict.status,
            verdict.reason,
            trail.latest,
            trail.lag,
            seconds,
            headroom_records(trail),
            None if retention is None else headroom_seconds(trail, seconds, retention),
            catch_up_seconds(trail),
            owner or None,
        )

    def _forget_made_anew(self, topics: Mapping[str, TopicSeen | str]) -> None:
        anew = set()
        for name, topic in topics.items():
            if isinstance(topic, TopicSeen):
                if self._topic_ids.get(name, topic.id) != topic.id:
                    anew.add(name)
                self._topic_ids[name] = topic.id
        if anew:
            self._times = {place: known for place, known in self._times.items() if place.topic not in anew}
            self._trails = {
                group: {place: trail for place, trail in trails.items() if place.topic not in anew}
                for group, trails in self._trails.items()
            }

    def _keep_unseen(self, seen: GroupsSeen) -> None:
        """Keep groups that somebody may still know; forget those that nobody does."""
        self._unseen = dict(seen.refused)
        for name in seen.refused:
            self._trails.setdefault(name, {})
        for name in [name for name in self._trails if name not in seen.groups and name not in seen.refused]:
            if seen.silent:
                self._unseen[name] = seen.silent[0]
                continue
            for kept in (self._trails, self._states, self._members, self._unseen_places):
                kept.pop(name, None)

    def _forget_read(self) -> None:
        needed: dict[Place, int] = {}
        behind: defaultdict[Place, set[int]] = defaultdict(set)
        for trails in self._trails.values():
            for place, trail in trails.items():
                position = trail.position
                if position < needed.get(place, position + 1):
                    needed[place] = position
                if trail.lag and place in self._ends:
                    behind[place].add(position)
        self._behind = dict(behind)
        self._times = {place: times for place, times in self._times.items() if place in needed}
        for place, times in self._times.items():
            times.forget_before(needed[place])


def _worst_first(view: PartitionView) -> tuple[int, Place]:
    return -view.status.severity, view.place


def _bounds(
    place: Place, topics: Mapping[str, TopicSeen | str], bounds: Mapping[Place, Bounds | str]
) -> Bounds | str:
    """Return a partition's bounds, or why they are not known; nothing when there is none to be known."""
    topic = topics.get(place.topic, "")
    if isinstance(topic, str):
        return topic
    if place.partition >= topic.partitions:
        return ""
    return bounds.get(place, "it was not asked for")


def _question(times: AppendTimes, position: int, now: float) -> tuple[float, float] | None:
    """Return how much is known of a record's age, and which time to ask about to know more."""
    earliest, latest = times.between(position)
    if earliest is None:
        return -1.0, BEGINNING
    youngest = max(0.0, now - (now if latest is None else latest))
    oldest = now - earliest
    if oldest - youngest <= max(_PRECISION * youngest, _PRECISION_SECONDS):
        return None
    # Halved as ages are compared, by their ratio: from a second to a month it takes eight steps.
    return youngest / oldest, now - sqrt(max(youngest, _PRECISION_SECONDS / 2) * oldest)


def _worst(views: Iterable[PartitionView], why: str | None) -> Verdict:
    worst = next(iter(views), None)
    if worst is None:
        return Verdict(LagStatus.OK, "reads nothing") if why is None else Verdict(LagStatus.UNKNOWN, why)
    if worst.status is LagStatus.OK:
        return Verdict(LagStatus.OK, "gets on everywhere")
    return Verdict(worst.status, f"{worst.place.topic}/{worst.place.partition} {worst.reason}")


def _totals(views: Iterable[PartitionView]) -> Totals:
    seen = [view for view in views if view.sample is not None]
    if not seen:
        return Totals(None, None, None, None, None)
    ends = [view.catch_up_seconds for view in seen if view.catch_up_seconds is not None]
    return Totals(
        sum([view.lag_records for view in seen if view.lag_records is not None]),
        max([view.lag_seconds for view in seen if view.lag_seconds is not None], default=None),
        min([view.headroom_records for view in seen if view.headroom_records is not None]),
        min([view.headroom_seconds for view in seen if view.headroom_seconds is not None], default=None),
        max(ends) if len(ends) == len(seen) else None,
    )
