"""When an index that is built counts as having the log, while others write to it."""

from collections.abc import Iterator

import psycopg

from fakes import FakeClock
from soma_cli.reindexing.catching_up import caught_up
from soma_cli.reindexing.phases import Phase, Told
from soma_streams.index_rebuild import RebuildProgress

_ABSENT = RebuildProgress(0, None, {0: 100, 1: 50}, None)


async def told_of(seen: Iterator[RebuildProgress | Exception]) -> list[Told]:
    heard: list[Told] = []

    async def progress() -> RebuildProgress:
        found = next(seen)
        if isinstance(found, Exception):
            raise found
        return found

    await caught_up(progress, FakeClock(), heard.append)
    return heard


async def test_an_index_that_always_misses_the_newest_of_a_busy_log_comes_to_where_that_ended() -> None:
    # Each look finds ten events more, and the index further behind than at the look before.
    busy = (
        RebuildProgress(7, 7, {0: 100 + 10 * look, 1: 50}, {0: 60 + 9 * look, 1: 50}) for look in range(1000)
    )

    heard = await told_of(busy)

    assert [each.done for each in heard] == [0, 9, 18, 27, 36, 40]
    assert {(each.phase, each.total) for each in heard} == {(Phase.CATCHING_UP, 40)}


async def test_what_came_while_it_was_filled_is_waited_for_and_an_outage_is_waited_out() -> None:
    away = psycopg.OperationalError("away")
    filling = RebuildProgress(3, 9, {0: 150, 1: 50}, None)
    filled = RebuildProgress(9, 9, {0: 200, 1: 50}, {0: 150, 1: 40})
    done = RebuildProgress(9, 9, {0: 900, 1: 900}, {0: 200, 1: 50})

    heard = await told_of(iter([_ABSENT, away, filling, filled, done]))

    assert heard == [
        Told(Phase.FILLING, 0, 0),
        Told(Phase.FILLING, 0, 0, waits_for="OperationalError"),
        Told(Phase.FILLING, 3, 9),
        Told(Phase.CATCHING_UP, 0, 60),
        Told(Phase.CATCHING_UP, 60, 60),
    ]
