"""`soma import`: store the memories of a file, or of a git history."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer
from rich.console import RenderableType
from rich.text import Text

from soma_cli.commands.options import ApiKey, AsJson, Url, open_client
from soma_cli.failures import FindingsError, UsageError
from soma_cli.formats.git_history import open_history
from soma_cli.formats.sources import GitSource, Source, open_lines, spooled
from soma_cli.importer import Importer, first_of
from soma_cli.invocation import Invocation, invocation_of
from soma_cli.output import Result, progress, show
from soma_cli.search_visibility import wait_until_searchable
from soma_cli.settings import operator_settings
from soma_schemas.clock import SystemClock
from soma_schemas.encryption.data_keys import open_data_keys
from soma_schemas.limits import Limits
from soma_schemas.producer import MemoryProducer
from soma_schemas.versions import Position

app = typer.Typer(add_completion=False)


class Format(StrEnum):
    """What is imported."""

    LINES = "lines"
    GIT = "git"


class Imported(Result):
    """What an import did.

    Attributes:
        refused: Commits that cannot be memories, and why.
        positions: The last ones in each partition.
    """

    source: str
    memories: int
    refused: list[str]
    sent: bool
    searchable: bool
    seconds: float
    positions: list[str]

    def drawn(self) -> RenderableType:
        """Return it in a sentence."""
        if not self.sent:
            return Text(f"{self.memories:,} memories of {self.source} are fit to be imported")
        state = "all are searchable" if self.searchable else "searches find them in a moment"
        return Text(f"imported {self.memories:,} memories of {self.source} in {self.seconds:.1f} s; {state}")


@app.command("import")
def import_(
    context: typer.Context,
    path: Annotated[
        Path,
        typer.Argument(
            help="File of lines, or `-` for standard input; with `--format git`, a folder in a repository.",
            metavar="FILE|-",
            allow_dash=True,
        ),
    ],
    *,
    format_: Annotated[Format, typer.Option("--format", help="What it holds.")] = Format.LINES,
    tenant: Annotated[
        str | None,
        typer.Option(help="Tenant of the memories. Default: that of the local stack.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Validate everything, send nothing.")] = False,
    anew: Annotated[
        bool,
        typer.Option("--anew", help="Store again what was imported before, replacing later changes."),
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until everything is searchable.")] = False,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Store the memories of a file, or of a git history.

    All lines are validated before any is sent: if one is wrong, the command names it and stores nothing.
    Memories are published to the log, in order. If an import is interrupted, run it again: the same line
    produces the same event, which is applied once. For the same reason, importing a line again does not undo
    later changes; with `--anew` it does.

    A line is a JSON object with `namespace`, `text`, and what else a memory has. From a git history, each
    commit becomes a memory in `git/NAME`: its message, its author as subject, its files as tags. Commits that
    cannot be memories, such as one of the year 10000, are skipped and named, and the exit code is 1.
    """
    root = invocation_of(context)
    clock = SystemClock()
    settings, local = operator_settings(root, wanted=not dry_run)
    tenant = tenant or (local.tenant if local is not None else None)
    if tenant is None and not dry_run:
        raise UsageError("the tenant of the memories is not known", remedy="give --tenant")
    importer = Importer(tenant or "local", settings.limits, clock, run=str(uuid4()) if anew else "")
    begin = clock.monotonic()
    last: dict[int, Position] = {}
    with _source(path, format_, root, settings.limits) as source:
        with progress(f"Checking {source.name}", source.size) as advance:
            checked = importer.check(source, advance)
        if not dry_run:
            # Found before anything is sent: a key that is missing must not be noticed afterwards.
            client = open_client(context, url, api_key) if wait else None
            with (
                open_data_keys(settings.postgres, settings.encryption) as keys,
                MemoryProducer(settings, tenant=importer.tenant, keys=keys) as producer,
                progress(f"Importing {checked.count:,} memories", checked.count) as advance,
            ):
                last = importer.publish(source, checked, producer, advance)
            if client is not None:
                with client:
                    wait_until_searchable(client, last, clock)
    show(
        Imported(
            source=source.name,
            memories=checked.count,
            refused=list(checked.refused),
            sent=not dry_run,
            searchable=wait and not dry_run,
            seconds=round(clock.monotonic() - begin, 3),
            positions=[str(position) for position in sorted(last.values())],
        ),
        as_json=as_json,
    )
    if refused := checked.refused:
        are = "is" if len(refused) == 1 else "are"
        raise FindingsError(
            f"{len(refused):,} of {source.name} {are} refused, and {are} not among these memories",
            first_of(refused, len(refused)),
        )


@contextmanager
def _source(path: Path, format_: Format, root: Invocation, limits: Limits) -> Iterator[Source]:
    if format_ is Format.GIT:
        yield GitSource(open_history(path, root.environment), limits)
    elif str(path) == "-":
        with spooled(sys.stdin.buffer, "standard input") as source:
            yield source
    else:
        with open_lines(path) as source:
            yield source
