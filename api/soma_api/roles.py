"""The roles of whoever asks."""

from enum import StrEnum


class Role(StrEnum):
    """What a key may do; each may also do what those before it may."""

    READER = "reader"  # read and search
    WRITER = "writer"  # publish memories
    OPERATOR = "operator"  # see lag, metrics and dead letters; set how long memories are kept
    ADMIN = "admin"  # have memories erased with proof

    def covers(self, wanted: "Role") -> bool:
        """Say whether this role may do what another may."""
        return _ORDER.index(self) >= _ORDER.index(wanted)


_ORDER = tuple(Role)
