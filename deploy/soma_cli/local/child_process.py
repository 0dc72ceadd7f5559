"""A child process of the local stack: apart from the terminal, watched, stopped in order, never left over."""

import asyncio
import errno
import json
import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Self, TypeVar

import psutil
import structlog

from soma_cli.local.errors import PartError, PartSilentError
from soma_cli.local.home import LOOPBACK, Home, write_private
from soma_cli.local.progress import until_silent
from soma_cli.tasks import first_of
from soma_schemas.clock import Clock

_BOOTSTRAP = Path(__file__).with_name("child_bootstrap.py")
_LOOK_EVERY_SECONDS = 0.05
_LOOK_EVERY_SHARE = 0.01  # of the time that was waited
_LOG_BYTES_MAX = 16 * 1024 * 1024
_LOG_CHECK_EVERY_SECONDS = 10.0
_LAST_LINES = 12
_LAST_LINES_BYTES = 64 * 1024
# A Java program logs its shutdown step by step after its cause; one of ours begins with all its settings.
_REASON = re.compile(r" ERROR |^Caused by: |^(error|hint): ")
_LEFTOVER_STOP_SECONDS = 10.0

T = TypeVar("T")

log = structlog.get_logger(__name__)


class _Identity(NamedTuple):
    """What tells a process from any other that ever had its id: when it was born, and in which boot."""

    pid: int
    born: int
    boot: str


class _Record(NamedTuple):
    """What a pid file says: which process, and what makes it stop in order."""

    identity: _Identity
    stop_signal: int


@dataclass(frozen=True)
class Account:
    """The user and group of the machine that a child runs as."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Launch:
    """How to start one child.

    Attributes:
        name: What people call it.
        command: Absolute path of a program, and its arguments.
        folder: Its working directory.
        environment: Its whole environment: nothing of ours leaks in.
        log: Where its output goes. The last run's is kept beside it, as `.1`.
        pid_file: Where its process is written down while it lives.
        stop_signal: What makes it stop in order.
        account: Whom it runs as, when not as ourselves.
    """

    name: str
    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    log: Path
    pid_file: Path
    stop_signal: signal.Signals = signal.SIGTERM
    account: Account | None = None


class ChildProcess:
    """A running child. Made by `start`."""

    def __init__(self, launch: Launch, process: asyncio.subprocess.Process, clock: Clock) -> None:
        self._launch = launch
        self._process = process
        self._clock = clock
        self._log_keeper = asyncio.create_task(self._bound_the_log(), name=f"log of {launch.name}")

    @classmethod
    async def start(cls, launch: Launch, clock: Clock) -> Self:
        """Start a child in a session of its own, so that Ctrl-C in a terminal reaches only us.

        It ends when this process does, however that happens: on Linux at once, by a signal from the kernel;
        elsewhere at the latest here, when the next one with its pid file starts.
        """
        await end_leftover(launch.pid_file, clock)
        _keep_last_log(launch.log)
        account = "-" if launch.account is None else f"{launch.account.uid}:{launch.account.gid}"
        with launch.log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                str(_BOOTSTRAP),
                str(os.getpid()),
                str(int(launch.stop_signal)),
                account,
                *launch.command,
                cwd=launch.folder,
                env=dict(launch.environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        identity = _identity(process.pid)
        if identity is not None:
            write_private(launch.pid_file, json.dumps(_Record(identity, launch.stop_signal)) + "\n")
        return cls(launch, process, clock)

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self._launch.log

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """What the child ended with, negative for a signal; None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait until the child has ended, and return its exit code."""
        code = await self._process.wait()
        self._log_keeper.cancel()
        _forget(self._launch.pid_file)
        return code

    async def until(self, is_ready: Callable[[], Awaitable[bool]]) -> None:
        """Ask again and again until the child does its work.

        Args:
            is_ready: Looks, and changes nothing.
        """
        begun = asked = self._clock.monotonic()
        while not await is_ready():
            now = self._clock.monotonic()
            # Where looking costs something, it takes that from what starts; and what answers is no sign of
            # progress.
            await self._clock.sleep(max(_LOOK_EVERY_SECONDS, now - asked, (now - begun) * _LOOK_EVERY_SHARE))
            asked = self._clock.monotonic()

    async def watched(
        self,
        work: Coroutine[Any, Any, T],
        patience_seconds: float,
        waits: Callable[[], bool] = lambda: False,
    ) -> T:
        """Return what comes of work with the child, as long as the child runs and gets on.

        Args:
            work: Needs the child.
            patience_seconds: How long the child may show no sign of progress.
            waits: Whether it waits for others, and has nothing to show.

        Raises:
            PartError: The child ended; its end tells why.
            PartSilentError: The child was silent for too long; it still runs.
            Exception: What the work raises.
        """
        return await first_of(self._end(), work, self.silence(patience_seconds, waits))

    async def stop(self, patience_seconds: float) -> bool:
        """Ask the child to stop, wait, and kill it when it does not get on, or when nobody waits any longer.

        Returns:
            Whether it ended by itself.
        """
        with suppress(ProcessLookupError):
            self._process.send_signal(self._launch.stop_signal)
        try:
            await first_of(self.wait(), self.silence(patience_seconds))
        except PartSilentError:
            log.warning("part_killed_while_stopping", part=self._launch.name, seconds=patience_seconds)
            await self.kill()
            return False
        except asyncio.CancelledError:
            # A second Ctrl-C: the parts keep what they acknowledged through this too.
            self._kill()
            raise
        return True

    async def silence(self, seconds: float, waits: Callable[[], bool] = lambda: False) -> NoReturn:
        """Wait until the child has shown no sign of progress for that long.

        Raises:
            PartSilentError: It has.
        """
        await until_silent(self.pid, self._launch.log, self._clock, seconds, waits)
        raise self.failure(
            f"{self._launch.name} showed no sign of progress for {seconds:.0f} s", PartSilentError
        )

    async def kill(self) -> None:
        """End the child at once, as a crash would, and what it started in its session."""
        self._kill()
        await self.wait()

    def listens_on(self, port: int) -> bool:
        """Say whether it is the child, and nobody else, who accepts connections on this loopback port."""
        with socket.socket() as probe:
            # Cheap, and mostly the answer while we wait: looking up who listens takes a hundred times longer.
            # Whoever listens and accepts nobody would hold up everything here once its queue is full.
            probe.settimeout(_LOOK_EVERY_SECONDS)
            if probe.connect_ex((LOOPBACK, port)) == errno.ECONNREFUSED:
                return False
        try:
            connections = psutil.Process(self.pid).net_connections("tcp")
        except psutil.Error:
            return False
        return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in connections)

    def last_lines(self) -> tuple[str, ...]:
        """Return the end of the child's log."""
        return _end_of(self._launch.log)[-_LAST_LINES:]

    def reason(self) -> tuple[str, ...]:
        """Return what the child's log says about why it ended: the end, or what went wrong before that."""
        lines = _end_of(self._launch.log)
        wrong = [line for line in lines if _REASON.search(line)] if (self.exit_code or 0) > 0 else []
        return tuple(wrong or lines)[-_LAST_LINES:]

    def failure(self, message: str, kind: type[PartError] = PartError) -> PartError:
        """Return an error about this child, with what it said last."""
        return kind(
            message,
            part=self._launch.name,
            exit_code=self.exit_code,
            last_lines=self.reason(),
            remedy=f"read {self._launch.log}",
        )

    async def _end(self) -> NoReturn:
        code = await self.wait()
        raise self.failure(f"{self._launch.name} ended {in_words(code)}")

    def _kill(self) -> None:
        if self.exit_code is None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    async def _bound_the_log(self) -> None:
        # The child appends, so a file cut to nothing under it grows again from its start.
        while True:
            await self._clock.sleep(_LOG_CHECK_EVERY_SECONDS)
            with suppress(FileNotFoundError):
                if self._launch.log.stat().st_size > _LOG_BYTES_MAX:
                    shutil.copyfile(self._launch.log, _last_log(self._launch.log))
                    os.truncate(self._launch.log, 0)


def in_words(exit_code: int) -> str:
    """Say how a process ended."""
    if exit_code < 0:
        return f"by {signal.Signals(-exit_code).name}"
    return f"by itself, with exit code {exit_code}"


@asynccontextmanager
async def hold(home: Home, clock: Clock) -> AsyncIterator[None]:
    """Keep every other stack out of a home, after ending what an earlier one left running in it.

    Raises:
        HomeInUseError: Another process holds the home; the message names it.
    """
    with home.lock():
        # Before anybody asks for a port: what was left running still listens on the ones that clients know.
        async with asyncio.TaskGroup() as ending:
            for pid_file in home.pid_files():
                ending.create_task(end_leftover(pid_file, clock))
        yield


async def end_leftover(pid_file: Path, clock: Clock) -> bool:
    """End the process that an earlier stack left behind, if there is one.

    A process counts as left over only when it is the very one that was written down: same id, same boot, same
    instant of birth. Somebody else's process that was given the id since is left alone.

    Returns:
        Whether there was one.
    """
    record = _read_record(pid_file)
    if record is None:
        return False
    identity = record.identity
    found = _identity(identity.pid) == identity
    if found:
        log.warning("leftover_process_ended", pid=identity.pid, file=pid_file.name)
        with suppress(ProcessLookupError):
            os.kill(identity.pid, record.stop_signal)
        deadline = clock.monotonic() + _LEFTOVER_STOP_SECONDS
        while _identity(identity.pid) == identity:
            if clock.monotonic() > deadline:
                with suppress(ProcessLookupError):
                    os.kill(identity.pid, signal.SIGKILL)
            await clock.sleep(_LOOK_EVERY_SECONDS)
    _forget(pid_file)
    return found


def _read_record(pid_file: Path) -> _Record | None:
    try:
        identity, stop_signal = json.loads(pid_file.read_text(encoding="utf-8"))
        return _Record(_Identity(*identity), signal.Signals(stop_signal))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _forget(pid_file: Path) -> None:
    pid_file.unlink(missing_ok=True)


def _identity(pid: int) -> _Identity | None:
    """Return a process's identity, or None when it does not run."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        if sys.platform == "linux":
            # In clock ticks since boot: unlike a time of day, it does not move when the clock is set.
            after_name = (
                Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
            )
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            return _Identity(pid, int(after_name.split()[19]), boot)
        return _Identity(pid, round(process.create_time()), "")
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return None


def _last_log(path: Path) -> Path:
    return path.with_name(path.name + ".1")


def _keep_last_log(path: Path) -> None:
    with suppress(FileNotFoundError):
        path.replace(_last_log(path))


def _end_of(path: Path) -> tuple[str, ...]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LAST_LINES_BYTES))
            return tuple(file.read().decode("utf-8", "replace").splitlines())
    except FileNotFoundError:
        return ()
