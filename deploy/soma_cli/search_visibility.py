"""Waits until searches see what was written."""

from collections.abc import Iterable, Mapping

from soma_cli.failures import FindingsError
from soma_cli.output import progress
from soma_client import SomaClient
from soma_schemas.clock import SystemClock
from soma_schemas.versions import Position

_ASK_EVERY_SECONDS = 0.1
_WAIT_SECONDS = 600.0


def last_positions(positions: Iterable[Position]) -> dict[int, Position]:
    """Return the last position in each partition: once these are searchable, all are."""
    last: dict[int, Position] = {}
    for position in positions:
        last[position.partition] = max(position, last.get(position.partition, position))
    return last


def wait_until_searchable(client: SomaClient, last: Mapping[int, Position], clock: SystemClock) -> None:
    """Return when searches see everything up to these positions.

    Raises:
        FindingsError: None more became searchable for ten minutes.
        RefusedError: The API says no.
        UnreachableError: It gives no answer.
    """
    with progress("Waiting until they are searchable", len(last)) as advance:
        for position in last.values():
            deadline = clock.monotonic() + _WAIT_SECONDS  # from the last that became searchable
            while not client.read_write(position).searchable:
                if clock.monotonic() > deadline:
                    raise FindingsError(
                        f"stored, but position {position} is not searchable after {_WAIT_SECONDS:.0f} s more",
                        (),
                        remedy="`soma status` shows how far the workers are",
                    )
                clock.block(_ASK_EVERY_SECONDS)
            advance(1)
