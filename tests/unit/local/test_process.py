"""A child is apart from the terminal, watched, ended in order, and never left over."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from fakes import FakeClock
from soma_cli.local.child_process import ChildProcess, Launch, end_leftover, hold
from soma_cli.local.errors import HomeInUseError, PartError, PartSilentError
from soma_cli.local.home import Home
from soma_schemas.clock import SystemClock
from waiting import eventually_so

Launching = Callable[..., Launch]

SLEEP = "import time; print('here'); time.sleep(600)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('here'); time.sleep(600)"
)
CLOCK = SystemClock()


@pytest.fixture
async def started() -> AsyncIterator[Callable[[Launch], Awaitable[ChildProcess]]]:
    """Start children that the test's end ends."""
    children: list[ChildProcess] = []

    async def start(launch: Launch) -> ChildProcess:
        children.append(await ChildProcess.start(launch, CLOCK))
        return children[-1]

    yield start
    for child in children:
        await child.kill()


Started = Callable[[Launch], Awaitable[ChildProcess]]


def says_here(child: ChildProcess) -> Callable[[], bool]:
    return lambda: "here" in child.last_lines()


def last_log(home: Home) -> Path:
    return home.log("child").with_name("child.log.1")


def start_parent(code: Path, home: Home) -> "subprocess.Popen[str]":
    command = [sys.executable, str(code), str(home.path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def test_a_child_is_beyond_the_terminals_interrupts(started: Started, launching: Launching) -> None:
    child = await started(launching(SLEEP))

    assert os.getsid(child.pid) != os.getsid(0)
    assert os.getpgid(child.pid) != os.getpgid(0)


async def test_a_child_gets_no_variable_but_its_own(
    started: Started, launching: Launching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1g")

    child = await started(launching("import os; print(sorted(os.environ))"))
    await child.wait()

    assert child.last_lines() == ("['LANG']",)


async def test_a_child_that_is_asked_to_stop_ends_by_itself(started: Started, launching: Launching) -> None:
    child = await started(launching(SLEEP))
    await eventually_so(says_here(child))

    assert await child.stop(patience_seconds=10)
    assert child.exit_code == -signal.SIGTERM


async def test_a_child_is_asked_to_stop_in_its_own_way(started: Started, launching: Launching) -> None:
    child = await started(launching(SLEEP, stop_signal=signal.SIGQUIT))
    await eventually_so(says_here(child))

    await child.stop(patience_seconds=10)

    assert child.exit_code == -signal.SIGQUIT


async def test_a_child_that_does_not_stop_in_time_is_killed(started: Started, launching: Launching) -> None:
    child = await started(launching(STUBBORN))
    await eventually_so(says_here(child))

    assert not await child.stop(patience_seconds=0.05)
    assert child.exit_code == -signal.SIGKILL


async def test_a_killed_child_takes_its_own_children_along(started: Started, launching: Launching) -> None:
    code = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {SLEEP!r}]).pid); {SLEEP}"
    child = await started(launching(code))
    await eventually_so(says_here(child))
    grandchild = int(next(line for line in child.last_lines() if line.isdigit()))

    await child.kill()

    await eventually_so(lambda: not runs(grandchild))


async def test_stopping_what_has_ended_does_nothing(started: Started, launching: Launching) -> None:
    child = await started(launching("raise SystemExit(3)"))
    await child.wait()

    await child.stop(patience_seconds=1)

    assert child.exit_code == 3


async def test_waiting_ends_with_what_the_child_ended_with(started: Started, launching: Launching) -> None:
    child = await started(launching("raise SystemExit(7)"))

    assert await child.wait() == 7


async def test_a_child_that_ends_before_it_is_ready_is_an_error_with_its_last_words(
    started: Started, launching: Launching
) -> None:
    child = await started(launching("print('no room'); raise SystemExit(2)"))

    with pytest.raises(PartError) as caught:
        await child.watched(child.until(_never), 10)

    assert caught.value.exit_code == 2
    assert caught.value.last_lines == ("no room",)
    assert str(child.log) in str(caught.value.remedy)


async def test_what_went_wrong_is_told_although_much_was_logged_after_it(
    started: Started, launching: Launching
) -> None:
    code = (
        "print('[main] INFO Server - begins')\n"
        "print('[main] ERROR Server - Exiting due to fatal exception')\n"
        "print('Caused by: java.net.BindException: Address already in use')\n"
        "for number in range(50): print(f'[main] INFO Server - stops {number}')\n"
        "raise SystemExit(1)"
    )
    child = await started(launching(code))

    with pytest.raises(PartError) as caught:
        await child.watched(child.until(_never), 10)

    assert caught.value.last_lines == (
        "[main] ERROR Server - Exiting due to fatal exception",
        "Caused by: java.net.BindException: Address already in use",
    )


async def test_a_child_that_is_never_ready_is_an_error_after_its_time(
    started: Started, launching: Launching
) -> None:
    child = await started(launching(SLEEP))

    with pytest.raises(PartSilentError, match="no sign of progress"):
        await child.watched(child.until(_never), 0.1)

    assert child.exit_code is None


async def test_a_child_that_takes_long_is_waited_for_while_it_shows_progress(
    started: Started, launching: Launching
) -> None:
    code = "import time\nfor number in range(6): print(number); time.sleep(0.2)\nprint('here'); " + SLEEP
    child = await started(launching(code))

    await child.watched(child.until(_as_async(says_here(child))), 0.8)

    assert "here" in child.last_lines()


async def test_a_child_that_waits_for_others_may_be_silent(started: Started, launching: Launching) -> None:
    child = await started(launching(SLEEP))
    looks: list[bool] = []

    def waits() -> bool:
        looks.append(len(looks) < 3)
        return looks[-1]

    with pytest.raises(PartSilentError):
        await child.watched(child.until(_never), 0.05, waits)

    assert looks == [True, True, True, False]


async def test_a_child_is_ready_when_it_says_so(started: Started, launching: Launching) -> None:
    child = await started(launching(SLEEP))

    await child.watched(child.until(_as_async(says_here(child))), 10)

    assert "here" in child.last_lines()


async def test_only_the_one_who_listens_is_said_to_listen(started: Started, launching: Launching) -> None:
    code = (
        "import socket, time; server = socket.create_server(('127.0.0.1', 0)); "
        "print(server.getsockname()[1], flush=True); time.sleep(600)"
    )
    listener = await started(launching(code))
    await eventually_so(listener.last_lines)
    port = int(listener.last_lines()[0])

    assert listener.listens_on(port)
    assert not listener.listens_on(port + 1)


async def test_a_stranger_who_accepts_nobody_holds_up_no_look(started: Started, launching: Launching) -> None:
    child = await started(launching(SLEEP))
    with ExitStack() as opened:
        stranger = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = stranger.getsockname()[1]
        for _ in range(4):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))

        before = CLOCK.monotonic()
        assert not child.listens_on(port)
        assert CLOCK.monotonic() - before < 30  # the system tries for two minutes


async def test_the_log_of_the_last_run_is_kept(started: Started, launching: Launching, home: Home) -> None:
    for word in ("first", "second", "third"):
        await (await started(launching(f"print('{word}')"))).wait()

    assert home.log("child").read_text() == "third\n"
    assert last_log(home).read_text() == "second\n"


async def test_a_log_that_grows_too_large_begins_anew(
    launching: Launching, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soma_cli.local.child_process._LOG_BYTES_MAX", 1000)
    clock = FakeClock(skips=False)
    child = await ChildProcess.start(launching("print('x' * 2000); " + SLEEP), clock)
    await eventually_so(says_here(child))

    clock.advance(60)
    await eventually_so(lambda: home.log("child").stat().st_size == 0)
    await child.kill()

    assert last_log(home).stat().st_size > 2000


async def test_a_child_dies_with_its_parent_whatever_ended_that(home: Home, tmp_path: Path) -> None:
    parent_code = tmp_path / "parent.py"
    parent_code.write_text(
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from soma_cli.local.child_process import ChildProcess, Launch\n"
        "from soma_schemas.clock import SystemClock\n"
        "home = Path(sys.argv[1])\n"
        "async def main():\n"
        f"    command = [sys.executable, '-I', '-S', '-u', '-c', {SLEEP!r}]\n"
        "    launch = Launch('child', command, home, {}, home / 'log', home / 'pid')\n"
        "    child = await ChildProcess.start(launch, SystemClock())\n"
        "    print(child.pid, flush=True)\n"
        "    await child.wait()\n"
        "asyncio.run(main())\n"
    )
    with start_parent(parent_code, home) as parent:
        assert parent.stdout is not None
        child = int(await asyncio.to_thread(parent.stdout.readline))
        await eventually_so(lambda: (home.path / "log").read_text() == "here\n")
        assert runs(child)

        parent.kill()

        await eventually_so(lambda: not runs(child))


async def test_what_an_earlier_stack_left_behind_is_ended(
    started: Started, launching: Launching, home: Home
) -> None:
    child = await started(launching(SLEEP))

    assert await end_leftover(home.pid_file("child"), CLOCK)
    assert not runs(child.pid)
    assert not home.pid_file("child").exists()


async def test_what_was_left_behind_and_does_not_stop_is_killed(
    started: Started, launching: Launching, home: Home
) -> None:
    child = await started(launching(STUBBORN))
    await eventually_so(says_here(child))

    assert await end_leftover(home.pid_file("child"), FakeClock())
    assert await child.wait() == -signal.SIGKILL


async def test_another_process_that_was_given_the_same_id_is_left_alone(
    started: Started, launching: Launching, home: Home
) -> None:
    child = await started(launching(SLEEP))
    (pid, born, boot), stop_signal = json.loads(home.pid_file("child").read_text())
    home.pid_file("child").write_text(json.dumps([[pid, born - 1, boot], stop_signal]))

    assert not await end_leftover(home.pid_file("child"), CLOCK)
    assert runs(child.pid)


async def test_a_process_of_an_earlier_boot_is_no_leftover(
    started: Started, launching: Launching, home: Home
) -> None:
    child = await started(launching(SLEEP))
    (pid, born, _), stop_signal = json.loads(home.pid_file("child").read_text())
    home.pid_file("child").write_text(json.dumps([[pid, born, "another"], stop_signal]))

    assert not await end_leftover(home.pid_file("child"), CLOCK)
    assert runs(child.pid)


@pytest.mark.parametrize(
    "text", ["", "{", '"pid"', "{}", "[[1, 2, 3], 15, 4]", "[[1], 15]", "[[1, 2, 3], 0]"]
)
async def test_an_unreadable_pid_file_names_nobody(home: Home, text: str) -> None:
    home.pid_file("child").write_text(text)

    assert not await end_leftover(home.pid_file("child"), CLOCK)


async def test_what_was_left_behind_is_asked_to_stop_in_its_own_way(
    started: Started, launching: Launching, home: Home
) -> None:
    child = await started(launching(SLEEP, stop_signal=signal.SIGQUIT))
    await eventually_so(says_here(child))

    await end_leftover(home.pid_file("child"), CLOCK)

    assert await child.wait() == -signal.SIGQUIT


async def test_a_stack_takes_its_home_over_before_it_asks_for_ports(
    started: Started, launching: Launching, home: Home
) -> None:
    port = home.port("part")
    child = await started(
        launching(f"import socket; s = socket.create_server(('127.0.0.1', {port})); {SLEEP}")
    )
    await eventually_so(says_here(child))

    async with hold(home, CLOCK):
        assert home.port("part") == port
        assert not runs(child.pid)


async def test_nothing_is_ended_in_a_home_that_another_stack_holds(
    started: Started, launching: Launching, home: Home
) -> None:
    child = await started(launching(SLEEP))

    with home.lock(), pytest.raises(HomeInUseError):
        async with hold(home, CLOCK):
            pass

    assert runs(child.pid)


async def test_a_second_child_of_one_pid_file_ends_the_first(started: Started, launching: Launching) -> None:
    first = await started(launching(SLEEP))

    second = await started(launching(SLEEP))

    assert not runs(first.pid)
    assert runs(second.pid)


async def _never() -> bool:
    return False


def _as_async(is_true: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return is_true()

    return ask
