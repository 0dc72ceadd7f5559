"""Our own processes as operating-system processes, to be killed and started again."""

import os
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

import httpx
from pydantic import BaseModel

from conftest import LocalParts
from soma_cli.local.home import LOOPBACK, is_free
from soma_cli.local.postgres import Login
from soma_cli.settings import WatermarkLogin
from soma_schemas.configuration import as_environment
from soma_schemas.http_clients import client_options
from soma_schemas.settings import (
    KafkaSettings,
    PostgresSettings,
    PublishingSettings,
    RegistrySettings,
    TopicSettings,
)
from waiting import eventually_now

_STOP_SECONDS = 90.0
_START_SECONDS = 90.0


class _Places(BaseModel):
    kafka: KafkaSettings
    registry: RegistrySettings
    topics: TopicSettings
    postgres: PostgresSettings


class _Watermarks(BaseModel):
    watermarks: WatermarkLogin


class SomaProcess:
    """`soma` with some arguments, or another module, ready once its /readyz says so."""

    def __init__(
        self,
        arguments: list[str],
        environment: Mapping[str, str],
        port: int,
        log: Path,
        *,
        module: str = "soma_cli.main",
        ca_file: Path | None = None,
    ) -> None:
        self._module = module
        self._arguments = arguments
        self._environment = environment
        self._ca_file = ca_file
        self.url = f"{'http' if ca_file is None else 'https'}://{LOOPBACK}:{port}"
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.terminate()

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.launch()
        self.wait()

    def wait(self) -> None:
        """Wait until it is ready."""
        eventually_now(self._readiness, lambda status: status == httpx.codes.OK, seconds=_START_SECONDS)

    def launch(self) -> None:
        """Start it."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module, *self._arguments],
                env={**os.environ, **self._environment},
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None, "it was not started, or was ended"
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """What it ended with; None while it runs."""
        assert self._process is not None, "it was not started, or was ended"
        return self._process.poll()

    def kill(self) -> None:
        """End it without warning."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """Ask it to end; return its exit code."""
        return self._end(signal.SIGTERM)

    def end_if_it_runs(self) -> None:
        """Ask it to end, unless it has."""
        if self._process is not None and self._process.poll() is None:
            self.terminate()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, such as SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> int:
        assert self._process is not None, "it does not run"
        self._process.send_signal(number)
        code = eventually_now(self._process.poll, lambda code: code is not None, seconds=_STOP_SECONDS)
        assert code is not None
        self._process = None
        return code

    def _readiness(self) -> int | str:
        assert self._process is not None
        assert self._process.poll() is None, f"it ended by itself; see {self._log.read_text()[-3000:]}"
        try:
            options = client_options(self.url, self._ca_file)
            return httpx.get(f"{self.url}/readyz", timeout=30, **options).status_code
        except httpx.TransportError as error:
            return type(error).__name__


def a_free_port(above: int = 0) -> int:
    """A port that nobody listens on now; above another one that nobody listens on yet."""
    first = max(20_000 + os.getpid() % 10_000, above + 1)
    return next(port for port in range(first, 65_000) if is_free(port))


def postgres_worker(
    local_parts: LocalParts,
    settings: PublishingSettings,
    folder: Path,
    more: Mapping[str, str] = MappingProxyType({}),
    *,
    without: Collection[str] = (),
) -> SomaProcess:
    """`soma work postgres` on a test's topics, with more settings, and without others."""
    port = a_free_port()
    settled = as_environment(_places(local_parts, settings, Login.WORKER))
    environment = {
        **{name: value for name, value in settled.items() if name not in without},
        "SOMA_WORKER__PORT": str(port),
        **more,
    }
    return SomaProcess(["work", "postgres"], environment, port, folder / "worker.log")


def retention_worker(
    local_parts: LocalParts,
    settings: PublishingSettings,
    folder: Path,
    more: Mapping[str, str] = MappingProxyType({}),
) -> SomaProcess:
    """`soma work retention` on a test's topics, with more settings."""
    port = a_free_port()
    environment = {
        **as_environment(_places(local_parts, settings, Login.WORKER)),
        "SOMA_WORKER__PORT": str(port),
        **more,
    }
    return SomaProcess(["work", "retention"], environment, port, folder / "retention.log")


def api_with_vectors(
    local_parts: LocalParts,
    settings: PublishingSettings,
    folder: Path,
    more: Mapping[str, str] = MappingProxyType({}),
) -> SomaProcess:
    """`soma serve --embedded-vectors` on a test's topics; the index is in `folder/vectors`."""
    port = a_free_port()
    watermarks = _Watermarks(watermarks=WatermarkLogin.of(local_parts.parts.postgres.settings(Login.WORKER)))
    environment = {
        **as_environment(_places(local_parts, settings, Login.API)),
        **as_environment(watermarks),
        "SOMA_API__PORT": str(port),
        "SOMA_WORKER__PORT": "0",
        **more,
    }
    arguments = ["serve", "--embedded-vectors", str(folder / "vectors")]
    return SomaProcess(arguments, environment, port, folder / "api.log")


def api_alone(
    local_parts: LocalParts, settings: PublishingSettings, log: Path, more: Mapping[str, str]
) -> SomaProcess:
    """`soma serve` on a test's topics, with no vector index behind it."""
    port = a_free_port()
    environment = {
        **as_environment(_places(local_parts, settings, Login.API)),
        "SOMA_API__PORT": str(port),
        **more,
    }
    return SomaProcess(["serve"], environment, port, log)


def _places(local_parts: LocalParts, settings: PublishingSettings, login: Login) -> _Places:
    return _Places(
        kafka=settings.kafka,
        registry=settings.registry,
        topics=settings.topics,
        postgres=local_parts.parts.postgres.settings(login),
    )
