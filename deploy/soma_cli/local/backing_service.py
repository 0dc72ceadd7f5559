"""A backing service of the local stack: how it starts, stops and crashes."""

import asyncio
import signal
from abc import abstractmethod
from collections.abc import Sequence

import structlog

from soma_cli.local.child_process import ChildProcess, Launch, in_words
from soma_cli.local.errors import PartError
from soma_cli.local.home import Home
from soma_cli.local.unit import Observer, PartState, Unit
from soma_cli.tasks import first_of
from soma_schemas.clock import Clock

_START_PATIENCE_SECONDS = 60.0
# A Java program that writes down its classes takes some seconds more.
_STOP_PATIENCE_SECONDS = 30.0

# What somebody sends from outside; a program that trips over a damaged file ends by another.
_SENT_SIGNALS = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGKILL, signal.SIGTERM}
_SHELL_SIGNALS = 128  # a Java program spells the signal that it took care of as a shell does

log = structlog.get_logger(__name__)


class BackingService(Unit):
    """One program of somebody else's, run by us.

    Args:
        name: What people call it.
        home: Where it keeps its things.
        clock: Measures how long it takes.
        observe: Hears of its changes.
        needs: See `Unit`.
        after: See `Unit`.
    """

    def __init__(
        self,
        name: str,
        home: Home,
        clock: Clock,
        observe: Observer,
        *,
        needs: Sequence[Unit] = (),
        after: Sequence[Unit] | None = None,
    ) -> None:
        super().__init__(name, observe, needs, after)
        self._home = home
        self._clock = clock
        self._child: ChildProcess | None = None
        self._watch: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    @property
    @abstractmethod
    def address(self) -> str:
        """Where it listens, for a person to read."""

    @property
    def pid(self) -> int | None:
        """Its process id, or None when it does not run."""
        return None if self._child is None else self._child.pid

    @abstractmethod
    async def prepare(self) -> Launch:
        """Put files in place, and say how the part is started."""

    @abstractmethod
    async def is_ready(self) -> bool:
        """Say whether the part does its work; looks only."""

    async def arrange(self) -> None:  # not every part has something to arrange
        """Do what can only be done once it works, and may be done again at every start."""

    async def conclude(self) -> None:  # not every part leaves something
        """Take up what the part left when it stopped in order."""

    def is_passing(self, failure: Exception) -> bool:
        """Say whether a failed start is worth another try because its cause goes away by itself."""
        if isinstance(failure, PartError) and failure.exit_code is not None:
            return was_told_to_end(failure.exit_code)
        return super().is_passing(failure)

    async def until_works(self) -> None:
        """Wait until the part does its work: not at once after one of its processes was killed.

        Raises:
            PartError: It ended, or does not get on.
        """
        if self._child is not None:
            await self._child.watched(self._child.until(self.is_ready), _START_PATIENCE_SECONDS, self.waits)

    async def start(self) -> None:
        """Start the part and wait until it works; does nothing when it does.

        Raises:
            LocalStackError: Something it needs could not be fetched, it ended, or did not get on; it does not
                run then.
        """
        async with self._turn:
            if self.state is PartState.READY:
                return
            try:
                await self._start()
            except asyncio.CancelledError:
                self.become(PartState.STOPPED)
                raise
            except Exception as error:
                self.fail(error)
                raise

    async def stop(self) -> None:
        """Stop the part in order; does nothing when it does not run."""
        async with self._turn:
            await self._stop()

    async def restart(self) -> None:
        """Stop the part if it runs, then start it on the same address and data."""
        await self.stop()
        await self.start()

    async def kill(self) -> None:
        """End the part at once, as a crash would; returns when it has been reported as one."""
        if self.state is PartState.READY and self._child is not None and self._watch is not None:
            watch = self._watch
            await self._child.kill()
            await watch

    def listens_on(self, port: int) -> bool:
        """Say whether it is this part, and nobody else, who accepts connections on a port."""
        return self._child is not None and self._child.listens_on(port)

    async def run_once(self, launch: Launch) -> None:
        """Run a helper program of the part to its end.

        Raises:
            PartError: It did not end well.
        """
        child = await ChildProcess.start(launch, self._clock)
        try:
            code = await first_of(child.wait(), child.silence(_START_PATIENCE_SECONDS))
        finally:
            await child.kill()
        if code != 0:
            raise child.failure(f"{launch.name} ended {in_words(code)}")

    async def _start(self) -> None:
        self.failure = None
        await self.fetch()
        self.become(PartState.STARTING)
        launch = await self.prepare()
        child = self._child = await ChildProcess.start(launch, self._clock)
        try:
            await child.watched(self._begin_work(child), _START_PATIENCE_SECONDS, self.waits)
        except BaseException:
            self._child = None
            await child.kill()
            raise
        self._watch = asyncio.create_task(self._notice_the_end(child), name=f"watch {self.name}")
        self.become(PartState.READY, self.address)

    async def _begin_work(self, child: ChildProcess) -> None:
        await child.until(self.is_ready)
        await self.arrange()

    async def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        self.become(PartState.STOPPING)
        if await child.stop(_STOP_PATIENCE_SECONDS):
            await self.conclude()
        self.become(PartState.STOPPED)

    async def _notice_the_end(self, child: ChildProcess) -> None:
        code = await child.wait()
        if self._child is child:  # otherwise it was we who ended it
            self._child = None
            log.error("part_ended", part=self.name, exit_code=code)
            self.fail(child.failure(f"{self.name} ended {in_words(code)}"))


def was_told_to_end(exit_code: int) -> bool:
    """Say whether a process ended because somebody wanted it to, and for no reason of its own."""
    return exit_code == 0 or (-exit_code if exit_code < 0 else exit_code - _SHELL_SIGNALS) in _SENT_SIGNALS
