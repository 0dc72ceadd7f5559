"""What goes on in a rebuild, and how far it has come, as it is told to whoever shows it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """What is going on."""

    FILLING = "filling"
    CATCHING_UP = "catching_up"
    COMPARING = "comparing"
    ASKING = "asking"


@dataclass(frozen=True, slots=True)
class Told:
    """How far a phase has come.

    Attributes:
        done: Memories, events, rows and points, or questions.
        total: How many there are, as far as is known.
        waits_for: What does not answer for now.
    """

    phase: Phase
    done: int
    total: int
    waits_for: str | None = None


Tell = Callable[[Told], None]
