"""A stack under load, three faults, the alerts that fired, and the page that each of them named."""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil

from background import repeated
from dead_letter_makers import Raw, RawLog, handover_settings
from prometheus_rules import ALERTS
from prometheus_server import FASTER, PrometheusServer
from soma_cli.local.home import ports_of
from soma_client.client_file import ClientFile, read_client_file
from soma_schemas.clock import SystemClock
from soma_up import Up, soma_up
from waiting import eventually_now

CLOCK = SystemClock()

ENVIRONMENT = {
    "SOMA_LAG__INTERVAL": "1",
    "SOMA_LAG__WINDOW": "10",
    # As many of the last events are looked at for their share of dead letters as the load has in a minute.
    "SOMA_DELIVERY__DEAD_LETTER_WINDOW": "1000",
    "SOMA_DELIVERY__MAX_DEAD_LETTER_RATIO": "0.95",
}
_JOBS = ("worker", "retention", "api-worker", "api", "lag")
_BATCH = 10
_PAUSE_SECONDS = 0.2
_POISON = 40


class Period(NamedTuple):
    """How long an alert fired; `until` is None where it still did at the end."""

    alert: str
    since: float
    until: float | None


def main(arguments: Sequence[str]) -> int:
    """Run the demonstration, and return 0 when every fault was told of."""
    parser = argparse.ArgumentParser(prog="operate", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("build/operate"), help="folder for what is left")
    output: Path = parser.parse_args(arguments).output
    if shutil.which("prometheus") is None:
        sys.stderr.write(
            "error: this needs Prometheus, which is not installed\n\n"
            "hint: apt-get install --no-install-recommends prometheus\n"
        )
        return 1
    output.mkdir(parents=True, exist_ok=True)
    say("Starting a stack, and Prometheus")
    with tempfile.TemporaryDirectory() as folder, soma_up(Path(folder) / "home", ENVIRONMENT) as up:
        local = read_client_file(up.home)
        assert local is not None
        with PrometheusServer(Path(folder) / "prometheus", targets(up.home)) as prometheus, load(local):
            began = CLOCK.now().timestamp()
            told = [strike(fault, up, local, prometheus) for fault in FAULTS]
            picture(up.home, output / "lag.png")
            periods = fired(prometheus, began)
    report(periods, began, output)
    return 0 if all(told) else 1


def say(line: str) -> None:
    """Write a line with the time of day."""
    sys.stdout.write(f"{CLOCK.now():%H:%M:%S}  {line}\n")
    sys.stdout.flush()


def targets(home: Path) -> dict[str, str]:
    """Return what there is to be scraped of a local stack."""
    ports = ports_of(home)
    return {f"soma-{job}": f"http://127.0.0.1:{ports[job]}" for job in _JOBS}


@contextmanager
def load(local: ClientFile) -> Iterator[None]:
    """Store memories over the API until the block ends."""
    with httpx.Client(
        base_url=local.url, headers={"Authorization": f"Bearer {local.api_key}"}, trust_env=False, timeout=30
    ) as client:

        def store() -> None:
            memories = [
                {"namespace": "load", "text": f"A note, number {number}."} for number in range(_BATCH)
            ]
            with suppress(httpx.TransportError):  # a fault is meant to be seen here, too
                client.post("/v1/memories:batch", json={"memories": memories})

        with repeated(store, _PAUSE_SECONDS):
            yield


@contextmanager
def stopped_worker(up: Up, local: ClientFile) -> Iterator[None]:
    """The worker for PostgreSQL stands still."""
    del local
    pid = up.pid("worker")
    assert pid is not None
    worker = psutil.Process(pid)
    worker.suspend()
    try:
        yield
    finally:
        worker.resume()


@contextmanager
def store_away(up: Up, local: ClientFile) -> Iterator[None]:
    """PostgreSQL lets nobody in, and those who were in are thrown out."""
    del local
    pid = up.pid("postgres")
    assert pid is not None
    server = psutil.Process(pid)
    backends = [each for each in server.children() if "soma_" in " ".join(each.cmdline())]
    server.suspend()
    for each in backends:
        each.send_signal(signal.SIGTERM)
    try:
        yield
    finally:
        server.resume()


@contextmanager
def poison(up: Up, local: ClientFile) -> Iterator[None]:
    """Somebody writes to the topic what is no event."""
    del up
    log = RawLog(handover_settings(local.environment))
    with repeated(lambda: log.send([Raw(b"local/nobody", b"plain text")] * _POISON), 1.0):
        yield


class Fault(NamedTuple):
    """Something that is done to the stack.

    Attributes:
        strike: Does it, until the block ends.
        alerts: One of them has to fire, and to end afterwards.
    """

    name: str
    strike: Any
    alerts: frozenset[str]


FAULTS = (
    Fault("the worker stands still", stopped_worker, frozenset({"SomaGroupStalled", "SomaGroupStopped"})),
    Fault("PostgreSQL is away", store_away, frozenset({"SomaDatabaseAway"})),
    Fault("a burst of dead letters", poison, frozenset({"SomaDeadLetters", "SomaDeadLetterFlood"})),
)


def strike(fault: Fault, up: Up, local: ClientFile, prometheus: PrometheusServer) -> bool:
    """Bring a fault about until its alert fires, end it, and wait until the alert ends; say what was seen."""
    say(f"Fault: {fault.name}")
    try:
        with fault.strike(up, local):
            seen = eventually_now(prometheus.firing, lambda firing: firing & fault.alerts, seconds=120)
            for alert in sorted(seen):
                say(f"  fires: {alert}  {ALERTS[alert]['annotations']['runbook_url'].rpartition('/')[2]}")
        say("  the fault is mended")
        eventually_now(prometheus.firing, lambda firing: not firing & fault.alerts, seconds=400)
    except AssertionError as error:
        say(f"  not seen: {error}")
        return False
    say("  its alert has ended")
    return True


def picture(home: Path, path: Path) -> None:
    """Draw the lag of the last minutes."""
    subprocess.run(
        [sys.executable, "-m", "soma_cli.main", "lag", "plot", str(path)],
        env={"SOMA_HOME": str(home), "HOME": str(home)},
        check=True,
    )


def fired(prometheus: PrometheusServer, began: float) -> list[Period]:
    """Return when each alert fired, as Prometheus has it."""
    now = CLOCK.now().timestamp()
    series = prometheus.history('ALERTS{alertstate="firing"}', began, now)
    found = set()
    for each in series:
        times = [at for at, _ in each["values"]]
        gaps = [index for index in range(1, len(times)) if times[index] - times[index - 1] > 2]  # steps
        for first, last in zip([0, *gaps], [*gaps, len(times)], strict=True):
            until = None if now - times[last - 1] < 5 else times[last - 1]  # of the end
            found.add(Period(each["metric"]["alertname"], times[first], until))
    return sorted(found, key=lambda period: period.since)


def report(periods: Sequence[Period], began: float, output: Path) -> None:
    """Print when each alert fired, and the page that it named; and leave the same as JSON."""
    rows: list[Mapping[str, object]] = []
    sys.stdout.write(f"\n{'alert':<28}  {'fired after':>11}  {'for':>7}  runbook\n")
    for alert, since, until in periods:
        page = f"docs/runbooks/{ALERTS[alert]['annotations']['runbook_url'].rpartition('/')[2]}"
        lasted = "fires" if until is None else f"{until - since:.0f} s"
        sys.stdout.write(f"{alert:<28}  {since - began:>9.0f} s  {lasted:>7}  {page}\n")
        rows.append(
            {"alert": alert, "since": since - began, "until": until and until - began, "runbook": page}
        )
    (output / "alerts.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(
        f"\nA minute of the rules was {60 // FASTER} s here. In {output}: lag.png and alerts.json\n"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
