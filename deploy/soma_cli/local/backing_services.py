"""All backing services of the local stack together: Kafka, the schema registry and PostgreSQL."""

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random

from pydantic import BaseModel

from soma_cli.invocation import Invocation
from soma_cli.local.artifacts import Artifacts
from soma_cli.local.backing_service import BackingService
from soma_cli.local.child_process import hold
from soma_cli.local.errors import PartError
from soma_cli.local.home import Home
from soma_cli.local.kafka import KafkaBroker, plan_nodes
from soma_cli.local.postgres import Login, Postgres
from soma_cli.local.registry import Registry
from soma_cli.local.security import DEPLOYER, RegistryUser, Security
from soma_cli.local.supervision import Supervisor
from soma_cli.local.unit import Observer, PartChange, ignore
from soma_cli.tasks import together
from soma_schemas.clock import Clock, SystemClock
from soma_schemas.errors import SomaError
from soma_schemas.logs import configure_logging
from soma_schemas.settings import KafkaSettings, LogSettings, PostgresSettings, RegistrySettings


class Places(BaseModel):
    """Where a process finds the parts."""

    kafka: KafkaSettings
    registry: RegistrySettings
    postgres: PostgresSettings


class BackingServices:
    """The parts of one home. Made by `open_backing_services`."""

    def __init__(
        self, home: Home, artifacts: Artifacts, clock: Clock, observe: Observer, *, secure: bool = False
    ) -> None:
        self.security = Security(home, clock) if secure else None
        nodes = plan_nodes(home, 1, secure=secure)
        self.kafka = KafkaBroker(
            home, artifacts, clock, observe, node=nodes[0], nodes=nodes, security=self.security
        )
        self.postgres = Postgres(home, clock, observe)
        self.registry = Registry(home, artifacts, clock, observe, self.postgres, security=self.security)
        self._clock = clock

    @property
    def all(self) -> tuple[BackingService, ...]:
        """Every part."""
        return self.registry, self.kafka, self.postgres

    def places(
        self, login: Login, user: str = DEPLOYER, reader: RegistryUser = RegistryUser.DEPLOYER
    ) -> Places:
        """Return where a process finds them.

        Args:
            login: Of PostgreSQL.
            user: Of the brokers.
            reader: Of the registry.
        """
        return Places(
            kafka=self.kafka.settings(user),
            registry=self.registry.settings(reader),
            postgres=self.postgres.settings(login),
        )

    async def start(self) -> None:
        """Start all parts, each as soon as what it needs is there.

        Raises:
            LocalStackError: The first that another start does not mend; the others are left as they are.
        """
        await Supervisor(self.all, self._clock).start()

    async def stop(self) -> None:
        """Stop all parts in order: whoever writes before what it writes to."""
        try:
            await together(self.registry.stop(), self.kafka.stop())
        finally:
            await self.postgres.stop()


@asynccontextmanager
async def open_backing_services(
    home: Home,
    artifacts: Artifacts,
    clock: Clock,
    observe: Observer = ignore,
    *,
    secure: bool = False,
) -> AsyncIterator[BackingServices]:
    """Run the parts of a home until the block ends; all are ready when it begins.

    Args:
        home: The folder with their data; locked meanwhile.
        artifacts: The cache with their programs.
        clock: Measures how long they take.
        observe: Hears of every change of every part, a crash too: once all are ready, nothing is restarted.
        secure: Whether the brokers and the registry speak TLS, and let in only whom they know.

    Raises:
        HomeInUseError: Another stack runs on this home.
        LocalStackError: A part could not be fetched or started; none is left running.
    """
    async with hold(home, clock):
        parts = BackingServices(home, artifacts, clock, observe, secure=secure)
        try:
            await parts.start()
            yield parts
        finally:
            await parts.stop()


async def _run(home: Path, cache: Path) -> None:
    def say(change: PartChange) -> None:
        sys.stderr.write(f"{change.part}: {change.state} {change.detail}\n")

    running = asyncio.current_task()
    assert running is not None  # noqa: S101  # asyncio.run made it
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        # The first stops the parts in order, also while they start; a second one while they stop kills them.
        asyncio.get_running_loop().add_signal_handler(signal_number, running.cancel)
    random = Random()  # noqa: S311  # chooses ports
    with suppress(asyncio.CancelledError):
        async with open_backing_services(Home(home, random), Artifacts(cache), SystemClock(), say) as parts:
            sys.stdout.write(json.dumps(_addresses(parts)) + "\n")
            sys.stdout.flush()
            await asyncio.Event().wait()


def _addresses(parts: BackingServices) -> dict[str, object]:
    return {
        "kafka": parts.kafka.bootstrap,
        "registry": parts.registry.url,
        "postgres": {login.value: parts.postgres.dsn(login) for login in Login},
    }


def main() -> None:
    """Run the parts in the foreground, and print where they are as one line of JSON once they are ready.

    For work on the platform itself: `soma up` runs our own processes too.
    """
    root = Invocation(os.environ)
    parser = argparse.ArgumentParser(
        prog="python -m soma_cli.local.backing_services", description=main.__doc__
    )
    parser.add_argument("--home", type=Path, default=root.home, help="folder for data, logs and secrets")
    parser.add_argument("--cache", type=Path, default=root.cache, help="folder for downloaded programs")
    arguments = parser.parse_args()
    configure_logging(LogSettings())
    try:
        asyncio.run(_run(arguments.home, arguments.cache))
    except SomaError as error:
        said = "".join(f"\n  {line}" for line in error.last_lines) if isinstance(error, PartError) else ""
        sys.exit(f"error: {error}{said}\n\nhint: {error.remedy}")


if __name__ == "__main__":
    main()
