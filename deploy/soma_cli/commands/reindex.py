"""`soma reindex`: have the vector index made anew and filled again."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.text import Text

from soma_cli.commands.options import AsJson
from soma_cli.failures import UsageError
from soma_cli.invocation import Invocation, invocation_of
from soma_cli.output import Result, show
from soma_cli.settings import KNOWN
from soma_schemas.configuration import load
from soma_schemas.settings import ENVIRONMENT_PREFIX
from soma_streams.settings import VectorWorkerSettings

app = typer.Typer(add_completion=False)

# Variables that say where a server is; without any, the index is the local stack's.
_PLACES = tuple(
    f"{ENVIRONMENT_PREFIX}{name}" for name in ("VECTORS__", "KAFKA__", "CONFIG_FILE", "SECRETS_DIR")
)


class Reindexed(Result):
    """Which index is made anew; `done` is false where it was only asked what would be."""

    index: str
    model: str | None
    done: bool

    def drawn(self) -> RenderableType:
        """Return what happens, and what it means for searches meanwhile."""
        made = f"{self.index} is made anew" if self.done else f"{self.index} would be made anew"
        vectors = "" if self.model is None else f" for model {self.model}"
        return Text(
            f"{made}{vectors}.\n"
            "The vector worker fills it: from the log where that has everything, else from PostgreSQL and "
            "the log's rest.\n"
            "Until then searches miss memories, and say so; `soma status` tells how far it is."
            + ("" if self.done else "\n\nNothing was changed. Say --yes to do it.")
        )


@app.command()
def reindex(
    context: typer.Context,
    *,
    embedded_vectors: Annotated[
        Path | None,
        typer.Option(
            help="Folder of an embedded index, as given to `soma serve`. Default: the server that the "
            "settings name, else the local stack's.",
            metavar="FOLDER",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it. Without it, only print what would be done.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Rebuild the vector index.

    Needed for another embedder, or if the index may be damaged. Nothing is lost: the log and PostgreSQL have
    everything. A running vector worker notices within seconds, exits, and fills the new index when
    its supervisor starts it, as `soma up` does.
    """
    root = invocation_of(context)
    folder = embedded_vectors or _local_folder(root)
    done = (
        asyncio.run(_on_server(root.environment, yes=yes)) if folder is None else _in_folder(folder, yes=yes)
    )
    show(done, as_json=as_json)


def _local_folder(root: Invocation) -> Path | None:
    return None if any(name.startswith(_PLACES) for name in root.environment) else root.home / "vectors"


def _in_folder(folder: Path, *, yes: bool) -> Reindexed:
    from soma_cli.local.embedded_index import discard, is_index  # noqa: PLC0415  # the engine loads where it is used

    if not is_index(folder):
        raise UsageError(
            f"there is no vector index in {folder}",
            remedy="name its folder with --embedded-vectors, or a server with SOMA_VECTORS__URL",
        )
    if yes:
        discard(folder)
    return Reindexed(index=f"the vector index in {folder}", model=None, done=yes)


async def _on_server(environment: Mapping[str, str], *, yes: bool) -> Reindexed:
    from soma_cli.processes.common import collection_of  # noqa: PLC0415  # see above
    from soma_schemas.vectors.server import open_client, renew_collection  # noqa: PLC0415  # see above

    settings = load(VectorWorkerSettings, environment=environment, known=KNOWN).settings
    collection = collection_of(settings.vectors.collection, settings.embedder)
    async with open_client(settings.vectors) as client:
        if not await client.collection_exists(collection.alias):
            raise UsageError(
                f"there is no collection `{collection.alias}` at {settings.vectors.url}",
                remedy="start the vector worker (`soma work vectors`): it makes and fills it",
            )
        if yes:
            await renew_collection(client, collection, keep_former=False)
    index = f"collection `{collection.alias}` at {settings.vectors.url}"
    return Reindexed(index=index, model=collection.model, done=yes)
