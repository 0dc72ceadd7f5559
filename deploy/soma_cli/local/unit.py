"""What a supervisor brings up and keeps up: a part, which runs, or a step, which is done once."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from soma_cli.local.errors import LocalStackError, PartSilentError


class PartState(StrEnum):
    """Where a part is in its life."""

    DOWNLOADING = "downloading"
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    RESTARTING = "restarting"
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


class Unit(ABC):
    """Something that is brought up once what it needs is ready.

    Args:
        name: What people call it.
        observe: Hears of its changes.
        needs: What it works with.
        after: Those of them that must be ready before it begins; all, when nothing else is said.

    Attributes:
        failure: Why it failed last; None when it did not since it was started.
    """

    def __init__(
        self,
        name: str,
        observe: Observer,
        needs: Sequence["Unit"] = (),
        after: Sequence["Unit"] | None = None,
    ) -> None:
        self.name = name
        self.needs = tuple(needs)
        self.after = self.needs if after is None else tuple(after)
        self.state = PartState.STOPPED
        self.failure: Exception | None = None
        self._observe = observe
        self._ready = asyncio.Event()
        self._failed = asyncio.Event()

    async def fetch(self) -> None:  # noqa: B027  # most units have nothing to fetch
        """Get from the network what is not here yet, which needs nobody."""

    @abstractmethod
    async def start(self) -> None:
        """Bring it up, and return when it is ready; does nothing when it is.

        Raises:
            Exception: It is not ready, and nothing of it runs.
        """

    def is_passing(self, failure: Exception) -> bool:
        """Say whether a failed start is worth another try because its cause goes away by itself."""
        match failure:
            case PartSilentError():
                return True
            case LocalStackError():
                return False
            case _:
                return is_transient(failure)

    async def until_works(self) -> None:
        """Wait until what was ready does its work, which it may not for a moment.

        Raises:
            Exception: It ended, or does not get on.
        """
        for need in self.needs:
            await need.until_works()

    def waits(self) -> bool:
        """Say whether something that it needs is not ready, directly or through others."""
        return any(need.state is not PartState.READY or need.waits() for need in self.needs)

    def fail(self, failure: Exception) -> None:
        """Say that it is not ready, and why."""
        self.failure = failure
        self.become(PartState.FAILED, str(failure))

    def become(self, state: PartState, detail: str = "") -> None:
        """Come into another state."""
        self.state = state
        for event, holds in ((self._ready, PartState.READY), (self._failed, PartState.FAILED)):
            if state is holds:
                event.set()
            else:
                event.clear()
        self._observe(PartChange(self.name, state, detail))

    async def until_ready(self) -> None:
        """Wait until it is ready."""
        await self._ready.wait()

    async def until_failed(self) -> Exception:
        """Wait until it fails, and return why."""
        await self._failed.wait()
        assert self.failure is not None  # noqa: S101  # `fail` sets both
        return self.failure


class Step(Unit):
    """Something that is done once, and may be done again when it failed.

    Args:
        name: What people call it.
        observe: Hears of its changes.
        act: Does it.
        needs: What must be ready.
    """

    def __init__(
        self, name: str, observe: Observer, act: Callable[[], Awaitable[None]], needs: Sequence[Unit]
    ) -> None:
        super().__init__(name, observe, needs)
        self._act = act

    async def start(self) -> None:
        """Do it.

        Raises:
            Exception: It could not be done.
        """
        self.become(PartState.STARTING)
        # A database that one of its own processes was killed in recovers, and refuses everyone meanwhile.
        await self.until_works()
        await self._act()
        self.become(PartState.READY)


def is_transient(failure: Exception) -> bool:
    """Say whether a failure is that of a server which is away, starts or stops."""
    # Loads the clients of all stores, which only a failure is worth.
    from soma_streams.delivery.failures import FailureClass, classify  # noqa: PLC0415  # see above

    return classify(failure) is FailureClass.TRANSIENT
