"""`soma consolidate`: find near-duplicates of a namespace, and have one memory stand for several."""

import sys
from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import typer
from rich.console import Group as Lines
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from soma_cli.commands.options import ApiKey, AsJson, Url, open_client
from soma_cli.consolidation import merge
from soma_cli.naming import memory_name
from soma_cli.near_duplicates import Compared, Group, compare
from soma_cli.output import Result, one_line, plain, progress, say, show
from soma_client import SomaClient

app = typer.Typer(add_completion=False)

_WIDTH = 80


class Duplicate(Result):
    """A memory that another would stand for."""

    memory_id: UUID
    version: int
    likeness: float
    text: str


class Proposal(Result):
    """Memories that say nearly the same."""

    kept: UUID
    name: str
    version: int
    text: str
    merged: list[Duplicate]


class Proposals(Result):
    """What could be merged; `compared_all` says whether everything was looked at."""

    namespace: str
    compared: int
    compared_all: bool
    groups: list[Proposal]

    def drawn(self) -> RenderableType:
        """Return each group with the one that is kept first."""
        if not self.groups:
            return Text(f"no near-duplicates among {self.compared:,} memories")
        table = Table("like", "memory", "text", box=None, header_style="bold", pad_edge=False)
        for group in self.groups:
            table.add_row("kept", Text(one_line(group.name, 40)), Text(one_line(group.text, _WIDTH)))
            for each in group.merged:
                table.add_row(f"{each.likeness:.3f}", str(each.memory_id), Text(one_line(each.text, _WIDTH)))
        return table


class Left(Result):
    """A memory that was left alone."""

    memory_id: UUID
    reason: str


class Consolidated(Result):
    """What was merged."""

    merged: list[UUID]
    left: list[Left]

    def drawn(self) -> RenderableType:
        """Return how many, and what was left alone."""
        lines = [Text(f"merged {len(self.merged):,} memories")]
        lines += [Text(f"left alone: {each.memory_id}: {plain(each.reason)}", "yellow") for each in self.left]
        return Lines(*lines)


@app.command()
def consolidate(
    context: typer.Context,
    namespace: Annotated[str, typer.Argument(help="Exactly this namespace.")],
    *,
    threshold: Annotated[
        float, typer.Option(min=0.5, max=1.0, help="How much alike by meaning, from 0.5 to 1.")
    ] = 0.95,
    limit: Annotated[
        int,
        typer.Option(min=2, max=10_000, help="Compare at most so many memories, those that changed last."),
    ] = 1000,
    yes: Annotated[bool, typer.Option("--yes", help="Merge without asking.")] = False,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Find near-duplicates of a namespace, and have one memory stand for several.

    Shows what could be merged, and does it with --yes, or when a person at a terminal says so. The kept
    memory gets the tags of all and the highest importance, its payload says in `consolidated_from` for which
    it stands, links move to it, and the others are deleted. Memories of another kind, subject or deadline
    stay apart. One that has a key or a coordinate is never deleted. What changes meanwhile is left alone.
    """
    merged: list[UUID] = []
    left: dict[UUID, str] = {}
    with open_client(context, url, api_key) as client:
        while True:
            with progress("Comparing memories", limit) as more:
                found = compare(client, namespace, threshold=threshold, most=limit, tick=more)
            if not yes or not as_json:
                show(_proposals(namespace, found), as_json=as_json)
            _say_what_is_missing(found)
            if not found.groups or not (yes or (not as_json and _agreed())):
                break
            gone, left = _merged(client, found.groups)
            merged += gone
            # Tags that were united can bring others together; what was left alone is for another time.
            if left or not gone:
                break
    if merged or left or (yes and as_json):
        named = [Left(memory_id=each, reason=why) for each, why in left.items()]
        show(Consolidated(merged=merged, left=named), as_json=as_json)


def _merged(client: SomaClient, groups: Sequence[Group]) -> tuple[list[UUID], dict[UUID, str]]:
    merged: list[UUID] = []
    left: dict[UUID, str] = {}
    with progress("Merging", len(groups)) as more:
        for group in groups:
            gone, refused = merge(client, group)
            merged += gone
            left |= refused
            more(1)
    return merged, left


def _proposals(namespace: str, found: Compared) -> Proposals:
    return Proposals(
        namespace=namespace,
        compared=found.memories,
        compared_all=not found.more and found.complete,
        groups=list(map(_proposal, found.groups)),
    )


def _proposal(group: Group) -> Proposal:
    return Proposal(
        kept=group.kept.memory_id,
        name=memory_name(group.kept),
        version=group.kept.version,
        text=group.kept.text,
        merged=[
            Duplicate(memory_id=memory.memory_id, version=memory.version, likeness=like, text=memory.text)
            for memory, like in group.merged
        ],
    )


def _say_what_is_missing(found: Compared) -> None:
    if found.more:
        say(f"only the {found.memories:,} memories that changed last were compared; --limit compares more")
    if not found.complete:
        say("the index is not complete: there may be more near-duplicates")


def _agreed() -> bool:
    return sys.stdin.isatty() and typer.confirm("Merge them?", err=True)
