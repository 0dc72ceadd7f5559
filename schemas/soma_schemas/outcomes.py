"""What can become of an event in a sink: the words that the sinks write and the API shows."""

from enum import StrEnum


class Outcome(StrEnum):
    """The final outcomes of an event in a sink. There is no fourth."""

    APPLIED = "applied"
    SUPERSEDED = "superseded"
    DEAD_LETTERED = "dead_lettered"


class SupersededReason(StrEnum):
    """Why a valid event changed nothing."""

    OLDER = "older"  # the memory has this version or a higher one
    DUPLICATE = "duplicate"  # this event was applied before
    VERSION_MISMATCH = "version_mismatch"  # the memory does not have the version that was expected
    NOT_FOUND = "not_found"  # there is no such memory to change
    DEADLINE_MOVED = "deadline_moved"  # an expiry that saw another deadline
    ERASED = "erased"  # its key was destroyed by an erasure: nobody can read it
    WRONG_NAMESPACE = "wrong_namespace"  # the living memory of this id lies in another namespace
