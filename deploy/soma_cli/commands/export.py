"""`soma export`: write memories as lines that `soma import` reads."""

from collections.abc import Collection, Iterator
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import RenderableType
from rich.text import Text

from soma_cli.arguments import text_of
from soma_cli.commands.filters import choosing_memories
from soma_cli.commands.options import ApiKey, AsJson, Url, open_client
from soma_cli.destinations import (
    ToOutput,
    is_standard_output,
    open_destination,
    require_place_for_result,
)
from soma_cli.formats.graphml import graphml_to
from soma_cli.formats.json_lines import MemoryLine, format_line
from soma_cli.output import Result, say, show
from soma_client import SomaClient
from soma_schemas.memories import SAID, MemoryView
from soma_schemas.responses.link_responses import LinkView

app = typer.Typer(add_completion=False)

_PAGE = 500


class ExportFormat(StrEnum):
    """What is written of the memories."""

    MEMORIES = "memories"
    LINKS = "links"
    GRAPHML = "graphml"


class Exported(Result):
    """What was written; `without_embedding` came with vectors of their own, which are not in the file."""

    memories: int
    links: int
    without_embedding: int
    file: str

    def drawn(self) -> RenderableType:
        """Return it in a sentence."""
        counts = [(self.memories, "memories"), (self.links, "links")]
        written = " and ".join(f"{number:,} {name}" for number, name in counts if number) or "nothing"
        return Text(f"exported {written} to {self.file}")


@app.command()
@choosing_memories
def export(
    context: typer.Context,
    output: ToOutput = None,
    *,
    export_format: Annotated[
        ExportFormat,
        typer.Option(
            "--format",
            help="`memories` is for `soma import`; `links` has a line for each link between them; "
            "`graphml` has both, for graph tools.",
        ),
    ] = ExportFormat.MEMORIES,
    chosen: dict[str, Any],
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Export memories as lines that `soma import` reads, or as a graph.

    One JSON object per line, oldest first. An import restores each memory with the same identity and content,
    without links, history and access counts. A file is written completely or not at all, and an existing one
    keeps its mode; devices and pipes are written to directly.
    """
    require_place_for_result(output, as_json=as_json)
    asked = chosen | {"sort": "created_at", "limit": _PAGE}
    memories = links = without_embedding = 0
    with open_client(context, url, api_key) as client, open_destination(output) as lines:
        match export_format:
            case ExportFormat.MEMORIES:
                for memory in client.iter_memories(**asked, embeddings=True):
                    lines.write(format_line(line_of(memory)))
                    memories += 1
                    without_embedding += memory.embedding_model is not None and memory.embedding is None
            case ExportFormat.LINKS:
                ids = {memory.memory_id for memory in client.iter_memories(**asked)}
                for link in _links_between(client, ids):
                    lines.write(link.model_dump_json() + "\n")
                    links += 1
            case ExportFormat.GRAPHML:
                with graphml_to(lines) as graph:
                    ids = set()
                    for memory in client.iter_memories(**asked):
                        graph.node(memory)
                        ids.add(memory.memory_id)
                    for link in _links_between(client, ids):
                        graph.edge(link)
                        links += 1
                memories = len(ids)
    if without_embedding:
        say(
            f"note: {without_embedding:,} memories have embeddings of their own, which are not exported: "
            "an import embeds their texts"
        )
    if not is_standard_output(output):
        file = text_of(str(output), "replace")
        exported = Exported(memories=memories, links=links, without_embedding=without_embedding, file=file)
        show(exported, as_json=as_json)


def _links_between(client: SomaClient, memory_ids: Collection[UUID]) -> Iterator[LinkView]:
    for link in client.iter_links(limit=_PAGE):
        if link.from_memory_id in memory_ids and link.to_memory_id in memory_ids:
            yield link


def line_of(memory: MemoryView) -> MemoryLine:
    """Return a memory as it is imported again."""
    named = memory.key is not None or memory.coordinate is not None
    return MemoryLine(
        **{name: getattr(memory, name) for name in SAID if name != "embedding_model"},
        memory_id=None if named else memory.memory_id,
        embedding_model=None if memory.embedding is None else memory.embedding_model,
    )
