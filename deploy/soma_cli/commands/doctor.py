"""`soma doctor`: look at everything, and say what to do about what fails."""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import typer
from rich.console import Console

from soma_cli.commands.options import AsJson
from soma_cli.diagnosis.check_list import open_checks
from soma_cli.diagnosis.examination import examine
from soma_cli.diagnosis.findings import Examination
from soma_cli.failures import FindingsError
from soma_cli.invocation import Invocation, invocation_of
from soma_cli.output import show
from soma_cli.settings import operator_settings
from soma_cli.standard_streams import log_to_standard_error
from soma_schemas.clock import SystemClock

app = typer.Typer(add_completion=False)


@app.command()
def doctor(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Check every part, and say what to do about what fails.

    Looks at brokers, topics, registry, database, vector index, API, consumer groups, clocks and permissions;
    and at the disk of a local stack. Changes nothing. Each check ends within ten seconds. Exit 1 if one
    fails; a warning is no failure.
    """
    found = asyncio.run(examined(invocation_of(context)))
    show(found, as_json=as_json)
    if failed := found.failed():
        raise FindingsError(
            f"{len(failed)} checks failed: {', '.join(failed)}"
            if len(failed) > 1
            else f"check {failed[0]} failed",
            (),
        )


async def examined(root: Invocation) -> Examination:
    """Return what was found in the local stack, or in what the environment names.

    Raises:
        UsageError: There is neither.
        ConfigurationError: The settings that say where everything is are wrong.
    """
    # What could not be seen is a finding; a line of a log would say it a second time.
    log_to_standard_error(logging.CRITICAL)
    settings, local = operator_settings(root)
    async with open_checks(root, settings, local, SystemClock()) as checks:
        with _seen_waiting() as under_way:
            return await examine(checks, under_way)


@contextmanager
def _seen_waiting() -> Iterator[Callable[[Sequence[str]], None]]:
    """Show on a terminal what is still being looked at."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield lambda _names: None
        return
    with console.status("Looking") as status:
        yield lambda names: status.update(f"Looking at {', '.join(names)}")
