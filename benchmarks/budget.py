"""How much is measured: enough for figures that are shown, or just enough to see that it works."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Budget:
    """How much a measurement may take.

    Attributes:
        rounds: How often each thing is measured.
        share: Of the events and seconds that a full measurement takes.
        minutes: How long memory is watched.
    """

    rounds: int = 3
    share: float = 1.0
    minutes: float = 1.5

    def events(self, full: int) -> int:
        """Return how many events to measure with."""
        return max(2000, int(full * self.share))

    def seconds(self, full: float) -> float:
        """Return how long to measure."""
        return max(2.0, full * self.share)


QUICK = Budget(rounds=1, share=0.1, minutes=0.2)
