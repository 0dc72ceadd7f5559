"""Whether a group gets on in a partition: Burrow's rules, as pure functions of samples and a given time."""

from typing import NamedTuple

from soma_schemas.lag import LagStatus


class Sample(NamedTuple):
    """One look at a group in a partition.

    Attributes:
        at: When, in seconds that count only while somebody looks: in an outage nobody could have moved.
        committed: The next offset that the group will read; None when it has committed none.
        start: The first offset that the partition still has.
        end: The next offset that it will have.
    """

    at: float
    committed: int | None
    start: int
    end: int

    @property
    def position(self) -> int:
        """The next offset that the group can get."""
        committed, start = self.committed, self.start
        return start if committed is None or committed < start else committed

    @property
    def lag(self) -> int:
        """How many offsets are still to be read."""
        lag = self.end - self.position
        return max(lag, 0)

    @property
    def lost(self) -> int:
        """How many offsets were deleted before the group came to them."""
        return 0 if self.committed is None else max(0, self.start - self.committed)


class Trail(NamedTuple):
    """What the samples so far have told, however many they were.

    Attributes:
        latest: The newest sample.
        position: Of that, as its lag: both are asked for often.
        lag: See above.
        seen_since: When the first was taken.
        moved_at: When the committed offset last changed, or was first seen.
        caught_up_at: When there was last nothing to read.
        shrunk_at: When the lag was last smaller than one sample before.
        rewound_from: The position from which it went back, until it is there again.
        rewound_at: When it went back.
        anchor: An older sample, from which speeds are measured.
        next_anchor: What becomes the anchor.
    """

    latest: Sample
    position: int
    lag: int
    seen_since: float
    moved_at: float
    caught_up_at: float | None
    shrunk_at: float | None
    rewound_from: int | None
    rewound_at: float
    anchor: Sample
    next_anchor: Sample


class Verdict(NamedTuple):
    """A status, and why."""

    status: LagStatus
    reason: str


def follow(trail: Trail | None, sample: Sample, window: float) -> Trail:
    """Return what is known after one more sample.

    Args:
        trail: What was known before; None begins anew, as for a topic that was made anew.
        sample: Taken later than those before.
        window: How far back counts, in seconds; speeds are measured up to twice as far back.
    """
    at, position, lag = sample.at, sample.position, sample.lag
    if trail is None:
        return Trail(sample, position, lag, at, at, None if lag else at, None, None, at, sample, sample)
    before = trail.latest
    rewound_from, rewound_at = trail.rewound_from, trail.rewound_at
    if position < trail.position:
        earlier = rewound_from if rewound_from is not None and at - rewound_at < window else 0
        rewound_from, rewound_at = max(trail.position, earlier), at
    elif rewound_from is not None and position >= rewound_from:
        rewound_from = None
    anchor, next_anchor = trail.anchor, trail.next_anchor
    if at - next_anchor.at >= window:
        anchor, next_anchor = next_anchor, sample
    return Trail(
        latest=sample,
        position=position,
        lag=lag,
        seen_since=trail.seen_since,
        moved_at=trail.moved_at if sample.committed == before.committed else at,
        caught_up_at=trail.caught_up_at if lag else at,
        shrunk_at=at if lag < trail.lag else trail.shrunk_at,
        rewound_from=rewound_from,
        rewound_at=rewound_at,
        anchor=anchor,
        next_anchor=next_anchor,
    )


def evaluate(trail: Trail, now: float, window: float, *, owned: bool | None) -> Verdict:
    """Say whether the group gets on.

    Args:
        trail: What the samples have told.
        now: In the seconds of the samples.
        window: How far back counts, in seconds. Shorter tells of trouble earlier, and of what is none.
        owned: Whether a member of the group has the partition; None when that is not known.
    """
    latest = trail.latest
    # One that nobody reads has stopped; one that a member has, and does not get on with, is stalled.
    still = LagStatus.STOP if owned is False else LagStatus.STALL
    if latest.committed is not None and latest.committed > latest.end:
        return Verdict(
            still,
            f"waits for offset {latest.committed}, but the log ends at {latest.end}: "
            "it was cut off or made anew",
        )
    if not trail.lag:
        return Verdict(LagStatus.OK, "has read everything" if latest.end else "there is nothing to read")
    # Before the lag of zero: a group that was at the end and is thrown back to the beginning would look well
    # until its memory of the end fades, and then well again because it gets on.
    if trail.rewound_from is not None and now - trail.rewound_at < window:
        return Verdict(
            LagStatus.REWIND,
            f"went back from offset {trail.rewound_from} to {trail.position} {_ago(now - trail.rewound_at)}",
        )
    if trail.caught_up_at is not None and now - trail.caught_up_at < window:
        return Verdict(LagStatus.OK, f"had read everything {_ago(now - trail.caught_up_at)}")
    stood = now - trail.moved_at
    if stood >= window:
        return Verdict(still, f"{_who(owned)}, and {_place(latest)} for {stood:.0f} s")
    if latest.lost:
        return Verdict(LagStatus.WARN, f"{latest.lost} offsets were deleted before it came to them")
    if now - trail.seen_since < window:
        if trail.moved_at > trail.seen_since:
            return Verdict(LagStatus.OK, f"moved {_ago(stood)}")
        return Verdict(
            LagStatus.UNKNOWN, f"looked at for {stood:.0f} s only, and it has not moved in that time"
        )
    if trail.shrunk_at is not None and now - trail.shrunk_at < window:
        return Verdict(LagStatus.OK, f"the lag shrank {_ago(now - trail.shrunk_at)}")
    return Verdict(LagStatus.WARN, f"reads, but the lag has not shrunk for {window:.0f} s")


def _who(owned: bool | None) -> str:  # noqa: FBT001  # one of three values
    match owned:
        case True:
            return "a member has the partition"
        case False:
            return "no member of the group has the partition"
        case None:
            return "nobody knows whether a member has the partition"


def _place(sample: Sample) -> str:
    if sample.committed is None:
        return "nothing was committed"
    return f"offset {sample.committed} has not moved"


def _ago(seconds: float) -> str:
    return "just now" if seconds < 1 else f"{seconds:.0f} s ago"
