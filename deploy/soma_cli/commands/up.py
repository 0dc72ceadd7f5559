"""`soma up`: run everything on this machine, in the foreground."""

import asyncio
import logging
import signal
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from shlex import quote
from typing import Annotated, Any

import typer
from rich.console import Console, RenderableType
from rich.text import Text

from soma_cli.commands.options import AsJson
from soma_cli.demo import demonstrate
from soma_cli.drawing import index_words
from soma_cli.invocation import Invocation, invocation_of
from soma_cli.local.artifacts import Artifacts
from soma_cli.local.home import Home
from soma_cli.local.stack import Stack, open_stack
from soma_cli.output import Result, say, show
from soma_cli.status_table import StatusTable, started_again
from soma_client import Retrying, SomaClient
from soma_schemas.clock import Clock, SystemClock
from soma_schemas.errors import SomaError
from soma_schemas.logs import configure_logging
from soma_schemas.responses.health_responses import IndexView
from soma_schemas.settings import LogFormat, LogSettings

app = typer.Typer(add_completion=False)

_INTERRUPTED = 130  # as shells count a Ctrl-C
_UNITS = (
    "kafka", "topics", "postgres", "tables", "key", "registry", "schemas", "lag", "worker",
    "retention", "api",
)  # fmt: skip


class Ready(Result):
    """Where a stack that runs is found, and how its start went.

    Attributes:
        restarts: What was started again on the way, and how often.
        ca_file: Who signed the API, where that speaks HTTPS.
    """

    url: str
    home: Path
    client_file: Path
    key_file: Path
    seconds: float
    restarts: dict[str, int]
    index: IndexView | None
    ca_file: Path | None = None

    def drawn(self) -> RenderableType:
        """Return what somebody wants to know who has just started it."""
        lacking = "" if self.index is None or self.index.complete else index_words(self.index)
        return Text(
            f"""
ready after {self.seconds:.1f} s{self._restarted()}{_warning(lacking)}

  API    {self.url}   (what it can do: {self.url}/docs)
  key    {self.key_file}
  data   {self.home}

In another terminal{_preparation(self.home)}:

  soma store "Ada prefers tea at four." --namespace assistant/ada
  soma search "what does Ada drink?"
  {self._curl()} -H "Authorization: Bearer $(cat {quote(str(self.key_file))})" {self.url}/v1/stats

Programs of yours that are started after `eval "$(soma env)"` find it too.
Ctrl-C stops it; what is stored stays."""
        )

    def _curl(self) -> str:
        authority = "" if self.ca_file is None else f" --cacert {quote(str(self.ca_file))}"
        return f"curl --noproxy '*'{authority}"

    def _restarted(self) -> str:
        return "".join(f"; {name} {started_again(count)}" for name, count in self.restarts.items())


@app.command()
def up(
    context: typer.Context,
    *,
    demo: Annotated[
        bool, typer.Option("--demo", help="Import the example memories, run some searches, and stop.")
    ] = False,
    secure: Annotated[
        bool,
        typer.Option(
            "--secure",
            help="Encrypt the brokers, the registry and the API with certificates made on the spot, and give "
            "every process a user of its own with the rights that it needs.",
        ),
    ] = False,
    home: Annotated[
        Path | None,
        typer.Option(help="Folder for all data. Default: SOMA_HOME, or `~/.soma`.", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run everything on this machine, in the foreground.

    Starts Kafka, the schema registry, PostgreSQL, the workers, and the API with the vector index. The first
    start downloads the programs. Everything listens on loopback only, and other commands find it without
    options. A process that ends is restarted, up to five times within ten minutes, after 0.5 to 8 seconds.
    An error that a restart cannot fix, such as a wrong setting, stops everything at once. Ctrl-C stops
    everything in order without loss; a second Ctrl-C does not wait.
    """
    root = invocation_of(context)
    if home is not None:
        root = replace(root, environment={**root.environment, "SOMA_HOME": str(home)})
    finished = asyncio.run(
        _until_told_to_stop(_run(root, SystemClock(), demo=demo, secure=secure, as_json=as_json))
    )
    if demo and not finished:
        raise typer.Exit(_INTERRUPTED)
    say(f"stopped; what is stored stays in {root.home}")


async def _run(root: Invocation, clock: Clock, *, demo: bool, secure: bool, as_json: bool) -> None:
    begin = clock.monotonic()
    home = Home(root.home, Random())  # noqa: S311  # chooses ports
    _log_to(home.log("up"))
    with StatusTable(_UNITS, clock, Console(stderr=True, highlight=False)) as table:
        artifacts = Artifacts(root.cache, table.download)
        opening = open_stack(home, artifacts, clock, table.observe, root.environment, secure=secure)
        async with opening as stack:
            if demo:
                table.close()
                await _while_it_runs(stack, demonstrate(home.path, root.environment))
                say(f"\nGo on with `soma up{_home_option(root)}`, then ask your own questions.")
                return
            table.close()
            seconds = clock.monotonic() - begin
            show(_ready(stack, home, seconds, await asyncio.to_thread(_index, stack)), as_json=as_json)
            table.open()
            await stack.keep_running()


def _index(stack: Stack) -> IndexView | None:
    # The API may end in this very moment, and be started again: then nobody knows.
    left, once = stack.client_file, Retrying(total_seconds=0.0)
    with (
        suppress(SomaError),
        SomaClient(left.url, left.api_key, ca_file=left.ca_file, retrying=once) as client,
    ):
        return client.readyz().index
    return None


def _warning(lacking: str) -> str:
    return (
        f"\n\nSearches may miss memories for now: {lacking}. `soma status` tells how far." if lacking else ""
    )


def _ready(stack: Stack, home: Home, seconds: float, index: IndexView | None) -> Ready:
    return Ready(
        url=stack.api.address,
        home=home.path,
        client_file=home.path / "client.json",
        key_file=home.path / "secrets" / "api-key",
        seconds=seconds,
        restarts=stack.restarts,
        index=index,
        ca_file=None if stack.parts.security is None else stack.parts.security.ca_file,
    )


async def _while_it_runs(stack: Stack, work: Coroutine[Any, Any, None]) -> None:
    try:
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(stack.keep_running())
            await group.create_task(work)
            keeper.cancel()
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def _until_told_to_stop(work: Coroutine[Any, Any, None]) -> bool:
    """Run something until it ends; SIGINT and SIGTERM cancel it.

    It may take its time to end well, which a second signal cuts short.

    Returns:
        Whether it ended by itself.
    """
    working = asyncio.create_task(work)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, working.cancel)
    try:
        await working
    except asyncio.CancelledError:
        return False
    return True


def _log_to(path: Path) -> None:
    """Send the log of this process to a file: on the terminal the table tells the same."""
    configure_logging(LogSettings(format=LogFormat.JSON))
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(path.open("a", encoding="utf-8"))


def _preparation(home: Path) -> str:
    return "" if home == Path.home() / ".soma" else f", after `export SOMA_HOME={quote(str(home))}`"


def _home_option(root: Invocation) -> str:
    return "" if root.home == Path.home() / ".soma" else f" --home {quote(str(root.home))}"
