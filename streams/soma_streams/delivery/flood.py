"""A flood of dead letters is a broken deployment, not broken events: stop before the topic is drained."""

from collections import deque

from soma_streams.errors import DeadLetterFloodError
from soma_streams.settings import DeliverySettings


class FloodGuard:
    """Watches the share and the run length of dead letters among the last events."""

    def __init__(self, settings: DeliverySettings) -> None:
        self._longest_run = settings.max_consecutive_dead_letters
        self._largest_ratio = settings.max_dead_letter_ratio
        self._window: deque[bool] = deque(maxlen=settings.dead_letter_window)
        self._bad = 0
        self._run = 0

    @property
    def level(self) -> float:
        """How near a flood is, 0 to 1: the run, or the share of a full window, as part of what may be."""
        share = self._bad / (self._window.maxlen or 1)
        return min(1.0, max(self._run / self._longest_run, share / self._largest_ratio))

    def observe(self, *, dead_lettered: bool) -> None:
        """Count one event, before its dead letter is written.

        Raises:
            DeadLetterFloodError: Too many in a row, or too large a share of a full window.
        """
        if len(self._window) == self._window.maxlen:
            self._bad -= self._window[0]
        self._window.append(dead_lettered)
        self._bad += dead_lettered
        self._run = self._run + 1 if dead_lettered else 0
        if self._run >= self._longest_run:
            raise DeadLetterFloodError(f"{self._run} events in a row cannot be applied")
        if len(self._window) == self._window.maxlen and self._bad >= self._largest_ratio * len(self._window):
            raise DeadLetterFloodError(
                f"{self._bad} of the last {len(self._window)} events cannot be applied"
            )
