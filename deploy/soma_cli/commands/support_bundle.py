"""`soma support-bundle`: pack what somebody needs to know who is asked for help."""

import asyncio
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from soma_cli.commands.options import AsJson
from soma_cli.connection import find_settings
from soma_cli.diagnosis.bundle import collected, write_bundle
from soma_cli.diagnosis.facts import pieces
from soma_cli.diagnosis.redaction import secrets_of
from soma_cli.failures import UsageError
from soma_cli.invocation import invocation_of
from soma_cli.output import say, show, waiting_for
from soma_cli.settings import operator_settings
from soma_schemas.clock import SystemClock

app = typer.Typer(add_completion=False)


@app.command("support-bundle")
def support_bundle(
    context: typer.Context,
    output: Annotated[
        Path | None,
        typer.Argument(
            help="The archive to write. Default: `soma-support-TIME.tar.gz` here.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Pack facts about an installation into one archive, without secrets and memory content.

    Packs versions, settings with secrets redacted, what `soma doctor` finds, topics, consumer groups and
    their lag, sizes of tables, metrics; and the last log lines of the processes of a local stack. Prints
    what is in it, and `manifest.json` in the archive says the same. Only you can read the archive; names of
    hosts, topics and groups are in it. Never replaces a file.
    """
    root, clock = invocation_of(context), SystemClock()
    path = (output or Path(f"soma-support-{clock.now():%Y%m%dT%H%M%SZ}.tar.gz")).absolute()
    if path.exists():
        raise UsageError(f"{path} is there already", remedy="name another file, or remove it")
    environment, _ = find_settings(root)
    settings, local = operator_settings(root)
    with waiting_for("every part"):
        found = asyncio.run(collected(pieces(root, environment, settings, local, clock)))
    bundle = write_bundle(
        path,
        found,
        secrets=secrets_of(root, environment, local),
        made_at=clock.now(),
        version=version("somafractalmemory"),
    )
    show(bundle, as_json=as_json)
    say(f"\nWrote {path}, which only you can read. Look into it before you hand it on.")
