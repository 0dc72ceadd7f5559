"""Waits until an index that is built has the records and, after them, the log."""

from collections.abc import Awaitable, Callable, Mapping

from soma_cli.reindexing.phases import Phase, Tell, Told
from soma_schemas.clock import Clock
from soma_schemas.errors import told
from soma_streams.delivery.failures import FailureClass, classify
from soma_streams.index_rebuild import RebuildProgress

_LOOK_SECONDS = 1.0


async def caught_up(progress: Callable[[], Awaitable[RebuildProgress]], clock: Clock, tell: Tell) -> None:
    """Return once the index has what the log had when it was first seen filled.

    The aim stands still: of a log that is written to all the while an index always misses the newest.

    Args:
        progress: Says how far the index is. What does not answer for now is waited for.
        clock: Paces the looking.
        tell: Hears how far it is.

    Raises:
        Exception: It says what no waiting mends.
    """
    aim: Mapping[int, int] | None = None
    most_behind = 0
    while True:
        try:
            now = await progress()
        except Exception as error:
            if classify(error) is not FailureClass.TRANSIENT:
                raise
            tell(Told(Phase.FILLING, 0, 0, waits_for=told(error) or type(error).__name__))
        else:
            if now.reached is None:
                tell(Told(Phase.FILLING, now.filled, now.total or 0))
            else:
                aim = aim or now.ends
                behind = now.behind(aim)
                most_behind = max(most_behind, behind)
                tell(Told(Phase.CATCHING_UP, most_behind - behind, most_behind))
                if not behind:
                    return
        await clock.sleep(_LOOK_SECONDS)
