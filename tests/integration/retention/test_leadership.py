"""Of several processes one works; when it ends, another does."""

import asyncio
from random import Random

import psycopg

from soma_schemas.clock import SystemClock
from soma_streams.checks import Waiting
from soma_streams.delivery.retry import Retry
from soma_streams.retention.leadership import Leadership
from soma_streams.settings import RetrySettings
from soma_streams.sinks.sessions import Connection
from waiting import eventually_so


class Process:
    """One that leads when it may."""

    def __init__(self, dsn: str) -> None:
        clock = SystemClock()
        self.turns = 0
        self.leads = False
        self.session: Connection | None = None
        leadership = Leadership(
            dsn,
            retry=Retry(RetrySettings.model_validate({}), clock, Random(1), Waiting()),
            clock=clock,
            pause_seconds=0.01,
            tell=self._told,
        )
        self.task = asyncio.create_task(leadership.run(self._turn))

    def _told(self, leads: bool) -> None:  # noqa: FBT001  # a callback
        self.leads = leads

    async def _turn(self, session: Connection) -> None:
        self.session = session
        await session.execute("SELECT 1")
        self.turns += 1

    async def end(self) -> None:
        """End it as a stop does."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_one_works_and_the_other_takes_over_when_it_ends(worker_dsn: str) -> None:
    first = Process(worker_dsn)
    await eventually_so(lambda: first.turns > 2)
    second = Process(worker_dsn)
    so_far = first.turns
    await eventually_so(lambda: first.turns > so_far + 20)
    assert (first.leads, second.leads, second.turns) == (True, False, 0)

    await first.end()

    await eventually_so(lambda: second.turns > 2)
    assert (first.leads, second.leads) == (False, True)
    await second.end()


async def test_whoever_loses_its_session_leads_no_more_until_it_has_the_lock_again(
    worker_dsn: str,
) -> None:
    first, second = Process(worker_dsn), Process(worker_dsn)
    await eventually_so(lambda: first.leads or second.leads)
    leader = first if first.leads else second
    await eventually_so(lambda: leader.session is not None)
    assert leader.session is not None

    with psycopg.connect(worker_dsn) as another:
        another.execute("SELECT pg_terminate_backend(%s)", [leader.session.info.backend_pid])

    before = first.turns + second.turns
    await eventually_so(lambda: first.turns + second.turns > before + 5)
    assert first.leads != second.leads
    await first.end()
    await second.end()
