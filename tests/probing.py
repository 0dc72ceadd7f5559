"""Asks servers how they are, over and over, and tells how long they take on a machine that is busy.

Asking is done in processes of its own, and so is a little work that nobody disturbs but the machine: how much
longer it takes than the processor works on it is how much longer everything takes.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Event

_PAUSE_SECONDS = 0.02
_WORK_SECONDS = 0.05
_BETWEEN_WORK_SECONDS = 0.15
_NEAR_SECONDS = 0.5
_TIMEOUT_SECONDS = 60
_OK = 200


@dataclass(frozen=True)
class Span:
    """Something that was done: from when to when, and how often longer than it should take, or in seconds."""

    began: float
    ended: float
    measure: float


@dataclass
class Probes:
    """What was found, once asking has ended.

    Attributes:
        waits: For each answer, in seconds.
        work: How many times longer than alone.
        failures: Answers that did not come, or were others than 200.
    """

    waits: list[Span] = field(default_factory=list)
    work: list[Span] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def longest(self) -> float:
        """Return the longest wait, each divided by how much longer everything took at that time."""
        return max(wait.measure / self._slowness(wait) for wait in self.waits)

    def _slowness(self, wait: Span) -> float:
        near = [
            work.measure
            for work in self.work
            if work.began < wait.ended + _NEAR_SECONDS and work.ended > wait.began - _NEAR_SECONDS
        ]
        return max([1.0, *near])


class Prober:
    """Asks until it is told to end. Made by `probing`."""

    def __init__(self, ports: Sequence[int]) -> None:
        context = get_context("spawn")
        self._ending = context.Event()
        self._answers = context.SimpleQueue()
        self.processes = [
            *(context.Process(target=_ask, args=(port, self._ending, self._answers)) for port in ports),
            context.Process(target=_work, args=(self._ending, self._answers)),
        ]

    def end(self) -> Probes:
        """Return what was found."""
        self._ending.set()
        found = Probes()
        for _ in self.processes:
            waits, work, failures = self._answers.get()
            found.waits += waits
            found.work += work
            found.failures += failures
        return found


@contextmanager
def probing(ports: Sequence[int]) -> Iterator[Prober]:
    """Ask `/healthz` of servers of this machine, each from its first answer on."""
    prober = Prober(ports)
    for process in prober.processes:
        process.start()
    try:
        yield prober
    finally:
        for process in prober.processes:
            process.kill()
            process.join()


def _ask(port: int, ending: Event, answers: "SimpleQueue[object]") -> None:
    waits: list[Span] = []
    failures: list[str] = []
    while not ending.wait(_PAUSE_SECONDS):
        began = time.monotonic()
        connection = HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request("GET", "/healthz")
            status = connection.getresponse().status
        except (OSError, HTTPException) as error:
            if waits:
                failures.append(f"{port}: {error!r}")
            continue
        finally:
            connection.close()
        if status != _OK:
            failures.append(f"{port} says {status}")
        ended = time.monotonic()
        waits.append(Span(began, ended, ended - began))
    if not waits:
        failures.append(f"{port} never answered")
    answers.put((waits, [], failures))


def _work(ending: Event, answers: "SimpleQueue[object]") -> None:
    work = []
    while not ending.wait(_BETWEEN_WORK_SECONDS):
        began, worked = time.monotonic(), time.process_time()
        while time.process_time() < worked + _WORK_SECONDS:
            pass
        ended = time.monotonic()
        work.append(Span(began, ended, (ended - began) / (time.process_time() - worked)))
    answers.put(([], work, []))
