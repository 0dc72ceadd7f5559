"""`python -m benchmarks.replicas`: reads of 16 clients at one, two and four API processes, one PostgreSQL.

Clients keep one connection each, and send the next request as soon as they are answered. Each asks one
process. Searches are left out: the local stack's index lives in one process.
"""

import argparse
import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import urlencode

import httpx
import psutil

from benchmarks.load.local_stack import LoadError, LocalStack, running
from benchmarks.load.measuring import Log, batches_of
from benchmarks.load.mixtures import MANY, key_of, memories, namespace_of
from benchmarks.results import machine, write_page
from benchmarks.stage import CLOCK
from soma_cli.benchmark.figures import percentile
from soma_schemas.identity import memory_id_for_key

_HOME = Path("build/replicas/home")
_PAGE = Path("docs/performance/replicas.md")

_TENANT = "local"
_CLIENTS = 16
_PROCESSES = (1, 2, 4)
_WARM_SECONDS = 1.0
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0

Measured = dict[str, Any]


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replicas", description=__doc__)
    parser.add_argument("--memories", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=6.0, help="how long each kind is asked")
    parser.add_argument("--page", type=Path, default=_PAGE)
    arguments = parser.parse_args()
    shutil.rmtree(_HOME, ignore_errors=True)
    with running(_HOME.absolute()) as stack:
        rows = _measure(stack, arguments.memories, arguments.seconds)
    found = {
        "machine": machine(),
        "at": CLOCK.now().isoformat(timespec="seconds"),
        "memories": arguments.memories,
        "rows": rows,
    }
    write_page(arguments.page, found, _page(found))


def _measure(stack: LocalStack, count: int, seconds: float) -> list[Measured]:
    log = Log(stack)
    try:
        began = CLOCK.monotonic()
        log.publish(batches_of(list(memories(MANY, count, "many"))))
        log.drained(began)
        key = log.environment["SOMA_API_KEY"]
        rows: list[Measured] = []
        for processes in _PROCESSES:
            with _serving(stack, processes) as opened:
                for what, paths in _paths(count).items():
                    asyncio.run(_together(opened.ports, key, paths, _WARM_SECONDS))
                    before = opened.cpu_seconds()
                    took = asyncio.run(_together(opened.ports, key, paths, seconds))
                    rows.append(
                        {
                            "processes": processes,
                            "what": what,
                            "per_second": len(took) / seconds,
                            "p50_ms": percentile(took, 50) * 1000,
                            "p95_ms": percentile(took, 95) * 1000,
                            "cpu_us": (opened.cpu_seconds() - before) / len(took) * 1e6,
                        }
                    )
    finally:
        log.close()
    return rows


def _paths(count: int) -> dict[str, list[str]]:
    random = Random("ids")  # noqa: S311  # the same each time is what is wanted
    numbers = [random.randrange(count) for _ in range(1_000)]
    places = [namespace_of(MANY, "many", number) for number in numbers]
    ids = [
        memory_id_for_key(_TENANT, place, key_of(number))
        for place, number in zip(places, numbers, strict=True)
    ]
    return {
        "get by id": [f"/v1/memories/{each}" for each in ids],
        "a list of 50": [f"/v1/memories?{urlencode({'namespace': place})}" for place in places],
    }


class _Opened:
    """API processes that run.

    Args:
        processes: The processes.
        ports: Where each listens.
    """

    def __init__(self, processes: Sequence[subprocess.Popen[bytes]], ports: Sequence[int]) -> None:
        self.ports = ports
        self._processes = [psutil.Process(each.pid) for each in processes]

    def cpu_seconds(self) -> float:
        """Return the processor time of all so far."""
        return sum(sum(each.cpu_times()[:2]) for each in self._processes)


@contextmanager
def _serving(stack: LocalStack, count: int) -> Iterator[_Opened]:
    """Run so many API processes with the settings of the stack's own; no index answers them."""
    ours = next(
        each for each in stack.process.children() if "soma_cli.main serve" in " ".join(each.cmdline())
    )
    ports = [_free_port() for _ in range(count)]
    with (_HOME.parent / "replicas.log").open("ab") as output:
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "soma_cli.main", "serve"],
                env={**os.environ, **ours.environ(), "SOMA_API__PORT": str(port)},
                stdout=output,
                stderr=output,
            )
            for port in ports
        ]
        try:
            for port in ports:
                _until_alive(port)
            yield _Opened(processes, ports)
        finally:
            for each in processes:
                each.terminate()
            for each in processes:
                each.wait(_STOP_SECONDS)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def _until_alive(port: int) -> None:
    deadline = CLOCK.monotonic() + _START_SECONDS
    while CLOCK.monotonic() < deadline:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == HTTPStatus.OK:
                return
        except httpx.TransportError:
            CLOCK.block(0.2)
    raise LoadError(f"no API process listens on {port}: see {_HOME.parent / 'replicas.log'}")


async def _together(ports: Sequence[int], key: str, paths: Sequence[str], seconds: float) -> list[float]:
    """Return how long each answer took, in seconds.

    A client of two calls takes a tenth of what a library takes, which would measure itself on the same cores.
    """
    took: list[float] = []
    until = CLOCK.monotonic() + seconds

    async def ask(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", ports[number % len(ports)])
        turn = number * 31
        while CLOCK.monotonic() < until:
            path = paths[turn % len(paths)]
            turn += 1
            began = CLOCK.monotonic()
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n\r\n".encode()
            )
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            if f" {HTTPStatus.OK.value} " not in head.partition("\r\n")[0]:
                raise LoadError(f"{path} was answered with {head.partition(chr(13))[0]}")
            length = head.partition("content-length: ")[2].partition("\r\n")[0]
            await reader.readexactly(int(length))
            took.append(CLOCK.monotonic() - began)
        writer.close()

    await asyncio.gather(*(ask(number) for number in range(_CLIENTS)))
    return took


def _page(found: Measured) -> list[str]:
    where = found["machine"]
    introduction = (
        f"Written by `python -m benchmarks.replicas` on {found['at'][:10]}: {where['cores']} cores "
        f"({where['processor']}), {where['memory_gib']} GiB, which ran all of it. "
        f"{found['memories']:,} memories, {_CLIENTS} clients that ask as soon as they are "
        "answered, each of one process."
    )
    left_out = (
        "Searches are not measured so: the embedded index lives in one process. With a Qdrant server each "
        "process asks it."
    )
    head = "| processes | | answered | p50 | p95 | processor time of the API, each |"
    lines = ["# API processes, measured", "", introduction, "", head, "|-|-|-|-|-|-|"]
    lines += [
        f"| {each['processes']} | {each['what']} | {each['per_second']:,.0f}/s | {each['p50_ms']:.1f} ms | "
        f"{each['p95_ms']:.1f} ms | {each['cpu_us']:,.0f} us |"
        for each in found["rows"]
    ]
    return [*lines, "", left_out]


if __name__ == "__main__":
    main()
