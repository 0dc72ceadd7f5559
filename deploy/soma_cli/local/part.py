"""What the third-party parts of the local stack have in common: how they start, stop and crash."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import structlog

from soma_cli.local.errors import PartError
from soma_cli.local.home import Home
from soma_cli.local.process import ChildProcess, Launch
from soma_schemas.clock import Clock
from soma_schemas.errors import SomaError

_START_SECONDS = 120.0
# A Java program that writes down its classes takes some seconds more, and many on a busy machine.
_STOP_SECONDS = 30.0
_TRY_AGAIN_SECONDS = 0.25

log = structlog.get_logger(__name__)


class PartState(StrEnum):
    """Where a part is in its life."""

    DOWNLOADING = "downloading"
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True)
class PartChange:
    """A part came into another state.

    Attributes:
        part: Its name.
        state: What it is in now.
        detail: One line for a person: an address, a reason, or nothing.
    """

    part: str
    state: PartState
    detail: str = ""


class Observer(Protocol):
    """Hears of every change, in the event loop, at once."""

    def __call__(self, change: PartChange, /) -> None:
        """Take note of a change; raises nothing and does not wait."""
        ...


def ignore(change: PartChange) -> None:
    """Take no note."""


class Part(ABC):
    """One program of somebody else's, run by us.

    Args:
        name: What people call it.
        home: Where it keeps its things.
        clock: Measures how long it takes.
        observe: Hears of its changes.
    """

    def __init__(self, name: str, home: Home, clock: Clock, observe: Observer) -> None:
        self.name = name
        self.state = PartState.STOPPED
        self.failure: PartError | None = None
        self._home = home
        self._clock = clock
        self._observe = observe
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

    async def fetch(self) -> None:  # noqa: B027  # not every part has something to fetch
        """Get what the part needs from the network, if it is not here yet."""

    @abstractmethod
    async def prepare(self) -> Launch:
        """Put files in place, and say how the part is started."""

    @abstractmethod
    async def is_ready(self) -> bool:
        """Say whether the part does its work; looks only."""

    async def arrange(self) -> None:  # noqa: B027  # not every part has something to arrange
        """Do what can only be done once it works, and may be done again at every start."""

    async def conclude(self) -> None:  # noqa: B027  # not every part leaves something
        """Take up what the part left when it stopped in order."""

    def is_passing(self, failure: PartError) -> bool:  # noqa: ARG002  # most parts have no such failure
        """Say whether a failed start is worth another try because its cause goes away by itself."""
        return False

    async def start(self) -> None:
        """Start the part and wait until it works; does nothing when it does.

        Raises:
            LocalStackError: Something it needs could not be fetched, it ended, or was not ready in time; it
                does not run then.
        """
        async with self._turn:
            if self.state is PartState.READY:
                return
            try:
                await self._start()
            except asyncio.CancelledError:
                self._become(PartState.STOPPED)
                raise
            except Exception as error:
                self.failure = _as_failure(error, self.name)
                self._become(PartState.FAILED, str(error))
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
            async with asyncio.timeout(_START_SECONDS):
                code = await child.wait()
        except TimeoutError:
            raise child.failure(f"{launch.name} did not end within {_START_SECONDS:.0f} s") from None
        finally:
            await child.kill()
        if code != 0:
            raise child.failure(f"{launch.name} failed")

    async def _start(self) -> None:
        await self.fetch()
        self._become(PartState.STARTING)
        self.failure = None
        deadline = self._clock.monotonic() + _START_SECONDS
        launch = await self.prepare()
        while True:
            child = self._child = await ChildProcess.start(launch, self._clock)
            try:
                await child.ready(self.is_ready, deadline - self._clock.monotonic())
                await self.arrange()
                break
            except BaseException as error:
                self._child = None
                await child.kill()
                passing = isinstance(error, PartError) and self.is_passing(error)
                if not passing or self._clock.monotonic() > deadline:
                    raise
            await self._clock.sleep(_TRY_AGAIN_SECONDS)
        self._watch = asyncio.create_task(self._notice_the_end(child), name=f"watch {self.name}")
        self._become(PartState.READY, self.address)

    async def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        self._become(PartState.STOPPING)
        if await child.stop(_STOP_SECONDS):
            await self.conclude()
        self._become(PartState.STOPPED)

    async def _notice_the_end(self, child: ChildProcess) -> None:
        await child.wait()
        if self._child is child:  # otherwise it was we who ended it
            self._child = None
            self.failure = child.failure(f"{self.name} ended by itself, with exit code {child.exit_code}")
            log.error("part_ended", part=self.name, exit_code=child.exit_code)
            self._become(PartState.FAILED, str(self.failure))

    def _become(self, state: PartState, detail: str = "") -> None:
        self.state = state
        self._observe(PartChange(self.name, state, detail))


def _as_failure(error: Exception, part: str) -> PartError:
    if isinstance(error, PartError):
        return error
    return PartError(str(error), part=part, remedy=error.remedy if isinstance(error, SomaError) else None)


async def together(*steps: Coroutine[None, None, None]) -> None:
    """Do several things at once; the first that fails ends the others, and its error is the one raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
