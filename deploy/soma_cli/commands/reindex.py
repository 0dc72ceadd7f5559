"""`soma reindex`: build a second vector index beside the one in use, compare them, and switch."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from random import Random
from typing import Annotated, NamedTuple

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from soma_cli.administrative_acts import record_acts
from soma_cli.commands.options import AsJson
from soma_cli.connection import find_settings
from soma_cli.failures import UsageError
from soma_cli.invocation import Invocation, invocation_of
from soma_cli.output import Result, say, show
from soma_cli.processes.common import Embedders
from soma_cli.reindexing.index_place import IndexPlace, KeptIndex
from soma_cli.reindexing.progress_lines import ProgressLines
from soma_cli.reindexing.rebuilding import Rebuilding, Rebuilt, Wishes, alone
from soma_cli.reindexing.recall import Question, Recall
from soma_cli.settings import KNOWN
from soma_cli.standard_streams import log_to_standard_error
from soma_cli.tasks import in_thread
from soma_cli.topic_application import at_present
from soma_schemas.clock import SystemClock
from soma_schemas.configuration import load
from soma_schemas.languages import Language
from soma_schemas.metrics import MetricSet
from soma_schemas.postgres_pool import PostgresPool, open_pool
from soma_streams.audit.audited_tables import AuditedTables
from soma_streams.committed import delete_group
from soma_streams.garbage_collection import collect_rarely
from soma_streams.index_rebuild import rebuild_group
from soma_streams.settings import VectorWorkerSettings

app = typer.Typer(add_completion=False)


class OneIndex(Result):
    """An index that is there."""

    name: str
    model: str
    dimensions: int
    language: Language
    indexing: int

    @classmethod
    def of(cls, kept: KeptIndex) -> "OneIndex":
        """Return what is shown of an index."""
        of = kept.recorded
        return cls(
            name=kept.name,
            model=of.model,
            dimensions=of.dimensions,
            language=of.language,
            indexing=of.indexing,
        )


class ReindexStatus(Result):
    """Which index is which.

    Attributes:
        current: The one in use; null where there is none yet.
        following: One that is built, or was begun; null where none is.
        former: The one that was in use before; null where none is kept.
    """

    current: OneIndex | None
    following: OneIndex | None
    former: OneIndex | None

    def drawn(self) -> RenderableType:
        """Return a table of them."""
        table = Table("", "index", "model", "dimensions", "language", "indexing", box=None, pad_edge=False)
        named = (("in use", self.current), ("being built", self.following), ("before", self.former))
        for what, each in named:
            if each is not None:
                table.add_row(
                    what, each.name, each.model, str(each.dimensions), each.language, str(each.indexing)
                )
        hints = []
        if self.following is not None:
            hints.append("`soma reindex` goes on with what was begun.")
        if self.former is not None:
            hints.append("`soma reindex --rollback` brings the one before back, `--drop` deletes it.")
        return Group(table, *map(Text, hints))


class Recalled(Result):
    """How the answers compare.

    Attributes:
        questions: That found anything before.
        share: Of the ten best memories found before, the share that is found after.
        own_before: Share of the questions that found the memory they were taken from; null where they were
            taken from none.
        own_after: The same after.
    """

    questions: int
    share: float
    own_before: float | None
    own_after: float | None

    @classmethod
    def of(cls, recall: Recall) -> "Recalled":
        """Return what is shown of it."""
        return cls(**{name: value and round(value, 4) for name, value in recall._asdict().items()})

    def __str__(self) -> str:
        """Return it as a line or two."""
        lines = f"of what {self.questions:,} questions found before, {self.share:.1%} is found after"
        if self.own_before is not None and self.own_after is not None:
            lines += (
                f"\nthe memory that a question was taken from was among the ten best in "
                f"{self.own_before:.1%} before, and is in {self.own_after:.1%} after"
            )
        return lines


class Reindexed(Result):
    """What was built, and whether it is in use now.

    Attributes:
        built: The index.
        memories: How many memories and tombstones it was compared with, all of which it has.
        recall: How its answers compare with those of the one before; null where they were not compared.
        switched: Whether it is in use now.
        seconds: How long it took.
    """

    built: OneIndex
    memories: int
    recall: Recalled | None
    switched: bool
    seconds: float

    def drawn(self) -> RenderableType:
        """Return what was done, and what is left to do."""
        has = f"`{self.built.name}` for model {self.built.model} has what PostgreSQL has"
        lines = [f"{has}: {self.memories:,} memories and tombstones, in {self.seconds:.1f} s"]
        if self.recall is not None:
            lines.append(str(self.recall))
        if self.switched:
            lines.append(
                "It is in use: the API goes over to it within seconds.\n"
                "`soma reindex --rollback` brings the one before back, `--drop` deletes it."
            )
        else:
            lines.append(
                "It is not in use. `soma reindex --yes` catches up with the log, compares, and switches."
            )
        return Text("\n".join(lines))


class Dropped(Result):
    """Which indexes were deleted."""

    dropped: list[str]

    def drawn(self) -> RenderableType:
        """Return a line for each."""
        return Text("\n".join(f"deleted `{each}`" for each in self.dropped) or "there is nothing to delete")


class _Opened(NamedTuple):
    place: IndexPlace
    settings: VectorWorkerSettings
    embedders: Embedders
    pool: PostgresPool
    tenant: str | None
    alias: str


@app.command()
def reindex(
    context: typer.Context,
    *,
    yes: Annotated[
        bool, typer.Option("--yes", help="Switch without being asked, if the new index is good enough.")
    ] = False,
    no_switch: Annotated[
        bool, typer.Option("--no-switch", help="Build and compare alone; a later run goes on from there.")
    ] = False,
    status: Annotated[bool, typer.Option("--status", help="Only show which index is which.")] = False,
    rollback: Annotated[
        bool,
        typer.Option("--rollback", help="Bring the index before up to date, and put it back into use."),
    ] = False,
    drop: Annotated[
        bool, typer.Option("--drop", help="Delete the index before, or one that was begun.")
    ] = False,
    questions: Annotated[
        Path | None,
        typer.Option(
            help="Compare answers by these questions, one a line. Default: words of stored texts.",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            show_default=False,
        ),
    ] = None,
    sample: Annotated[
        int, typer.Option(help="How many questions are taken from stored texts.", min=1, max=10_000)
    ] = 200,
    tenant: Annotated[
        str | None,
        typer.Option(
            help="Whose memories questions are asked about. Default: those of all, or of the local stack.",
            metavar="TENANT",
            show_default=False,
        ),
    ] = None,
    least_recall: Annotated[
        float,
        typer.Option(
            "--recall",
            help="Share of the ten best answers of the index in use that the new one has to give too.",
            min=0.0,
            max=1.0,
        ),
    ] = 0.7,
    accept_recall: Annotated[
        bool, typer.Option("--accept-recall", help="Switch also where it gives fewer, or cannot be compared.")
    ] = False,
    embedded_vectors: Annotated[
        Path | None,
        typer.Option(
            help="Folder of an embedded index, as given to `soma serve`. Default: the local stack's, or the "
            "server that the settings name.",
            metavar="FOLDER",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Rebuild the vector index, for another model or because it may be damaged.

    Builds a second index from PostgreSQL and the log while the one in use goes on to be written and asked.
    Compares it with PostgreSQL, and what questions find in both. Then asks whether to switch, and switches in
    one step. Run it again after whatever interrupted it: it goes on where it was, and the index in use is
    untouched until the switch.

    For another model set SOMA_NEXT_EMBEDDER__MODEL and what belongs to it for the API, the vector worker and
    this command. Without it the new index is for the model of SOMA_EMBEDDER__MODEL.

    The language of its words is SOMA_INDEX__LANGUAGE of this command. API and vector worker take that of the
    index in use.
    """
    if status + rollback + drop > 1:
        raise UsageError("of --status, --rollback and --drop one is enough")
    root = invocation_of(context)
    clock = SystemClock()

    async def act() -> Result:
        async with _opened(root, embedded_vectors, tenant) as opened:
            if status:
                return await _status(opened)
            if drop:
                async with alone(opened.settings):
                    current = (await opened.place.indexes()).current
                    names = list(await opened.place.drop())
                # Of those that were begun by a process which was killed.
                in_use = [] if current is None else [current.name]
                for name in names + in_use:
                    group = rebuild_group(opened.settings.topics, name)
                    await in_thread(partial(delete_group, opened.settings.kafka, group))
                await _record(opened, "index.drop", names, {})
                return Dropped(dropped=names)
            target = None if rollback else opened.embedders.target(opened.alias)
            wishes = Wishes(
                target=target,
                questions=None if questions is None else _read(questions, opened.tenant),
                draw=sample,
                tenant=opened.tenant,
                least_recall=least_recall,
                accept_recall=accept_recall,
                switches=not no_switch,
            )
            began = clock.monotonic()
            collect_rarely()  # as workers do
            with ProgressLines(clock, as_json=as_json) as lines:
                rebuilding = Rebuilding(
                    opened.place,
                    opened.settings,
                    embedder_of=opened.embedders.of,
                    pool=opened.pool,
                    clock=clock,
                    random=Random(),  # noqa: S311  # spreads retries and draws questions
                    tell=lines,
                    agree=partial(_agree, lines, yes=yes, as_json=as_json),
                )
                rebuilt = await rebuilding.run(wishes)
            if rebuilt.switched:
                of = rebuilt.following.recorded
                details = {"model": of.model, "language": of.language.value, "indexing": of.indexing}
                action = "index.rollback" if rollback else "index.switch"
                await _record(opened, action, [rebuilt.following.name], details)
            return _reindexed(rebuilt, clock.monotonic() - began)

    show(asyncio.run(act()), as_json=as_json)


@asynccontextmanager
async def _opened(root: Invocation, folder: Path | None, tenant: str | None) -> AsyncIterator[_Opened]:
    log_to_standard_error(logging.WARNING)
    variables, local = find_settings(root)
    settings = load(VectorWorkerSettings, environment=variables, known=KNOWN).settings
    settings = await in_thread(partial(at_present, settings))
    async with open_pool(settings.postgres) as pool:
        policies = AuditedTables(pool).policies
        with closing(
            Embedders(settings.embedder, settings.next_embedder, MetricSet(), settings.index)
        ) as embedders:
            if local is None and folder is None:
                from soma_cli.reindexing.server_place import ServerPlace  # noqa: PLC0415  # its client is slow to load
                from soma_schemas.vectors.placement import Placement  # noqa: PLC0415  # see above
                from soma_schemas.vectors.server import open_client  # noqa: PLC0415  # see above

                alias = settings.vectors.collection
                async with open_client(settings.vectors) as client:
                    placement = Placement.of(settings.vectors)
                    place: IndexPlace = ServerPlace(client, alias, embedders, policies, placement)
                    yield _Opened(place, settings, embedders, pool, tenant, alias)
                return
            from soma_cli.local.index_folder import IndexFolder  # noqa: PLC0415  # see above
            from soma_cli.processes.api import EMBEDDED_ALIAS  # noqa: PLC0415  # see above
            from soma_cli.reindexing.folder_place import FolderPlace  # noqa: PLC0415  # see above
            from soma_client import SomaClient  # noqa: PLC0415  # loaded where it is used

            whose = tenant or (local.tenant if local is not None else None)
            if whose is None:
                raise UsageError(
                    "nobody says whose memories questions are to be asked about",
                    remedy="name the tenant of the key in SOMA_API_KEY with --tenant",
                )
            with SomaClient(environment=root.environment) as api:
                where = IndexFolder(folder or root.home / "vectors")
                place = FolderPlace(where, api, embedders, policies, SystemClock())
                yield _Opened(place, settings, embedders, pool, whose, EMBEDDED_ALIAS)


async def _record(
    opened: _Opened, action: str, indexes: Sequence[str], details: Mapping[str, str | int]
) -> None:
    await in_thread(partial(record_acts, opened.settings.postgres.conninfo(), action, indexes, details))


async def _status(opened: _Opened) -> ReindexStatus:
    indexes = await opened.place.indexes()
    current, following, former = (
        each and OneIndex.of(each) for each in (indexes.current, indexes.following, indexes.former)
    )
    return ReindexStatus(current=current, following=following, former=former)


def _read(questions: Path, tenant: str | None) -> list[Question]:
    if tenant is None:
        raise UsageError("nobody says whose memories are asked about", remedy="name them with --tenant")
    lines = questions.read_text(encoding="utf-8").splitlines()
    return [Question(tenant, line.strip(), None) for line in lines if line.strip()]


async def _agree(lines: ProgressLines, recall: Recall | None, *, yes: bool, as_json: bool) -> bool:
    if yes:
        return True
    if as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    lines.pause()
    if recall is not None:
        say(str(Recalled.of(recall)))
    return await in_thread(partial(typer.confirm, "Put the new index into use?", err=True))


def _reindexed(rebuilt: Rebuilt, seconds: float) -> Reindexed:
    return Reindexed(
        built=OneIndex.of(rebuilt.following),
        memories=rebuilt.memories,
        recall=None if rebuilt.recall is None else Recalled.of(rebuilt.recall),
        switched=rebuilt.switched,
        seconds=round(seconds, 3),
    )
