"""Decides whether a request is sent again, and when."""

from dataclasses import dataclass
from http import HTTPStatus
from random import Random

from soma_client.errors import RefusedError, SomaClientError, UnreachableError

# The API answered, and did nothing; or a proxy did because the API was away.
_PASSING = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
_FIRST_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 8.0


def passes(error: SomaClientError) -> bool:
    """Say whether what went wrong is the kind that passes by itself."""
    match error:
        case RefusedError():
            return error.retryable and error.status in _PASSING
        case UnreachableError():
            return True
        case _:
            return False


@dataclass(frozen=True)
class Retrying:
    """How long a request is tried.

    Attributes:
        total_seconds: After the first attempt began, none begins later than this; 0 tries once.
        unreachable: Whether an address where nobody takes connections is tried again too.
    """

    total_seconds: float = 15.0
    unreachable: bool = True

    def pause_seconds(
        self,
        error: SomaClientError,
        *,
        repeatable: bool,
        failures: int,
        elapsed_seconds: float,
        random: Random,
    ) -> float | None:
        """Return how long to wait before the next attempt, or None: there is none.

        Args:
            error: What became of the last attempt.
            repeatable: Whether the request does the same when it is done twice.
            failures: How many attempts failed before.
            elapsed_seconds: Since the first attempt began.
            random: Spreads those who try again.
        """
        if not passes(error):
            return None
        least = 0.0
        match error:
            case RefusedError(status=status, retry_after_seconds=retry_after_seconds):
                # What was limited was not begun; what a proxy could not pass on may have been.
                if not repeatable and status != HTTPStatus.TOO_MANY_REQUESTS:
                    return None
                least = retry_after_seconds or 0.0
            case UnreachableError(sent=sent):
                if not (repeatable if sent else self.unreachable):
                    return None
        longest = min(_FIRST_PAUSE_SECONDS * 2.0**failures, _LONGEST_PAUSE_SECONDS)
        pause = least + random.uniform(longest / 2, longest)
        return pause if elapsed_seconds + pause <= self.total_seconds else None
