"""Positions in the log, and the versions that are made of them."""

import re
from typing import NamedTuple, Self

OFFSET_BITS = 40
# The vector engine compares numbers as float64, which is exact only below this.
VERSION_LIMIT = 2**53
NO_VERSION = 0  # what compare-and-set expects of a memory that does not exist
FIRST_EPOCH = 1
MAX_EPOCH = VERSION_LIMIT // 2**OFFSET_BITS - 1

_POSITION = re.compile(r"(?:(\d{1,4}):)?(\d{1,5}):(\d{1,13})", re.ASCII)


class Position(NamedTuple):
    """Where an event lies in the log: what a producer gets back and a reader can wait for."""

    partition: int
    offset: int
    epoch: int = FIRST_EPOCH

    def __str__(self) -> str:
        place = f"{self.partition}:{self.offset}"
        return place if self.epoch == FIRST_EPOCH else f"{self.epoch}:{place}"

    @property
    def version(self) -> int:
        """The version of the event that lies here."""
        return pack_version(self.epoch, self.offset)

    @classmethod
    def of_version(cls, partition: int, version: int) -> Self:
        """Return where the event of a version lies in a partition."""
        epoch, offset = unpack_version(version)
        return cls(partition, offset, epoch)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `partition:offset`, or from the second epoch on `epoch:partition:offset`.

        Raises:
            ValueError: The text is not of that form, or the offset is beyond what a version can hold.
        """
        match = _POSITION.fullmatch(text)
        if match is None:
            raise ValueError("a position is `partition:offset`, for example `3:1042`")
        position = cls(int(match[2]), int(match[3]), int(match[1] or FIRST_EPOCH))
        if not FIRST_EPOCH <= position.epoch <= MAX_EPOCH:
            raise ValueError(f"an epoch is from {FIRST_EPOCH} to {MAX_EPOCH}")
        if position.offset >= 2**OFFSET_BITS:
            raise ValueError(f"an offset is below 2^{OFFSET_BITS}")
        return position


def pack_version(epoch: int, offset: int) -> int:
    """Return the version of the event at this offset: newer events of one key have larger ones.

    Args:
        epoch: Raised when the log begins a new topic, whose offsets start again; 1 to 8191, so that every
            version is above NO_VERSION.
        offset: The event's offset in its partition.

    Raises:
        ValueError: One of them is out of range.
    """
    if not 1 <= epoch <= MAX_EPOCH:
        raise ValueError(f"epoch {epoch} is not within 1 to {MAX_EPOCH}")
    if not 0 <= offset < 2**OFFSET_BITS:
        raise ValueError(f"offset {offset} is not within 0 to 2^{OFFSET_BITS}")
    return epoch << OFFSET_BITS | offset


def unpack_version(version: int) -> tuple[int, int]:
    """Return the epoch and the offset of a version."""
    return version >> OFFSET_BITS, version & (1 << OFFSET_BITS) - 1
