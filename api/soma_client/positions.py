"""Remembers the positions of writes, so that later reads see them."""

from collections.abc import Iterable
from threading import Lock

from soma_schemas.versions import Position

# As many as the API waits for at once; a topic with more partitions loses the oldest.
_MOST = 64


class Positions:
    """The last position on each partition. Thread-safe."""

    def __init__(self) -> None:
        self._last: dict[int, Position] = {}
        self._lock = Lock()

    def add(self, positions: Iterable[Position]) -> None:
        """Remember positions."""
        with self._lock:
            for position in positions:
                self._add(position)

    def all(self) -> list[Position]:
        """Return what to wait for: once reads see these, they see everything that was remembered."""
        with self._lock:
            return list(self._last.values())

    def _add(self, position: Position) -> None:
        known = self._last.get(position.partition)
        if known is not None and (known.epoch, known.offset) >= (position.epoch, position.offset):
            return
        # The newest is last.
        self._last.pop(position.partition, None)
        self._last[position.partition] = position
        if len(self._last) > _MOST:
            del self._last[next(iter(self._last))]
