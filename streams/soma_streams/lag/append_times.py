"""When the records of a partition were appended, from what is known of some of them."""

from array import array
from bisect import bisect_left, bisect_right

_MOST_MARKS = 64


class AppendTimes:
    """Marks of one partition, each a fact about an offset and a time.

    What lies before the offset was appended no later than the time, and the rest no earlier. An end of the
    log that was seen is such a fact, and so is what the brokers answer when they are asked for the first
    record from a time on. The marks rise in both offset and time. Times are seconds of the process's
    monotonic clock, so that no step of the time of day moves them.
    """

    def __init__(self) -> None:
        self._offsets = array("q")
        self._times = array("d")

    def __len__(self) -> int:
        return len(self._offsets)

    def ended(self, end: int, now: float) -> None:
        """Note where the log ended just now, in the order of time."""
        offsets, times = self._offsets, self._times
        if offsets and end < offsets[-1]:
            # It was cut off; what is known of the old end says nothing of the new one.
            del offsets[:], times[:]
        now = max(now, times[-1]) if times else now
        if len(offsets) > 1 and offsets[-2] == offsets[-1] == end:
            # Idle: the first and the last sight of an end say all that those between could.
            times[-1] = now
            return
        offsets.append(end)
        times.append(now)
        self._thin_out()

    def found(self, offset: int, since: float, appended: float) -> None:
        """Note that a record is the first one that was appended from a time on, and when it was."""
        self._mark(offset, since)
        self._mark(offset, appended)
        self._mark(offset + 1, appended)

    def begins(self, offset: int, appended: float) -> None:
        """Note which record is the first that there is, and when it was appended."""
        self._mark(0, appended)
        self.found(offset, appended, appended)

    def none_since(self, end: int, since: float) -> None:
        """Note that nothing before an end that was seen was appended from a time on."""
        self._mark(end, since)

    def forget_before(self, offset: int) -> None:
        """Forget what only tells of records before an offset."""
        surplus = bisect_right(self._offsets, offset) - 1
        if surplus > 0:
            del self._offsets[:surplus], self._times[:surplus]

    def between(self, offset: int) -> tuple[float | None, float | None]:
        """Return since when and by when the record at an offset was appended; None where nobody knows."""
        right = bisect_right(self._offsets, offset)
        earliest = self._times[right - 1] if right else None
        return earliest, self._times[right] if right < len(self._offsets) else None

    def at(self, offset: int) -> float | None:
        """Return when the record at an offset was appended, as evenly as others around it.

        Returns:
            None when there is no mark on both sides of it.
        """
        right = bisect_right(self._offsets, offset)
        if right in {0, len(self._offsets)}:
            return None
        first, last = self._offsets[right - 1], self._offsets[right]
        begin, end = self._times[right - 1], self._times[right]
        return begin + (end - begin) * (offset - first + 1) / (last - first + 1)

    def _mark(self, offset: int, time: float) -> None:
        first, behind = bisect_left(self._offsets, offset), bisect_right(self._offsets, offset)
        place = bisect_left(self._times, time, first, behind)
        # Producers' clocks, where the topic keeps theirs, may contradict what was seen, which then holds.
        if place:
            time = max(time, self._times[place - 1])
        if place < len(self._times):
            time = min(time, self._times[place])
        if place < behind and self._times[place] == time:
            return
        self._offsets.insert(place, offset)
        self._times.insert(place, time)
        self._thin_out()

    def _thin_out(self) -> None:
        """Keep every other of the older half: how wide a gap may be grows with its age."""
        if len(self._offsets) > _MOST_MARKS:
            half = _MOST_MARKS // 2
            del self._offsets[1:half:2], self._times[1:half:2]
