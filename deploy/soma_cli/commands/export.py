"""`soma export`: write memories as lines that `soma import` reads."""

from typing import Any

import typer
from rich.console import RenderableType
from rich.text import Text

from soma_cli.api_responses import Memory
from soma_cli.arguments import text_of
from soma_cli.commands.filters import choosing_memories
from soma_cli.commands.options import ApiKey, AsJson, Url, open_client
from soma_cli.destinations import (
    ToOutput,
    is_standard_output,
    open_destination,
    require_place_for_result,
)
from soma_cli.formats.json_lines import MemoryLine, format_line
from soma_cli.output import Result, say, show
from soma_schemas.memories import SAID

app = typer.Typer(add_completion=False)

_PAGE = 500


class Exported(Result):
    """What was written; `without_embedding` came with vectors of their own, which are not in the file."""

    memories: int
    without_embedding: int
    file: str

    def drawn(self) -> RenderableType:
        """Return it in a sentence."""
        return Text(f"exported {self.memories:,} memories to {self.file}")


@app.command()
@choosing_memories
def export(
    context: typer.Context,
    output: ToOutput = None,
    *,
    chosen: dict[str, Any],
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Export memories as lines that `soma import` reads.

    One JSON object per line, oldest first. An import restores each memory with the same identity and content,
    without links, history and access counts. A file is written completely or not at all, and an existing one
    keeps its mode; devices and pipes are written to directly.
    """
    require_place_for_result(output, as_json=as_json)
    asked = chosen | {
        "sort": "created_at",
        "limit": _PAGE,
        "embeddings": "true",
    }
    written = without_embedding = 0
    with open_client(context, url, api_key) as client, open_destination(output) as lines:
        for memory in client.every(asked):
            lines.write(format_line(line_of(memory)))
            written += 1
            without_embedding += memory.embedding_model is not None and memory.embedding is None
    if without_embedding:
        say(
            f"note: {without_embedding:,} memories have embeddings of their own, which are not exported: "
            "an import embeds their texts"
        )
    if not is_standard_output(output):
        file = text_of(str(output), "replace")
        exported = Exported(memories=written, without_embedding=without_embedding, file=file)
        show(exported, as_json=as_json)


def line_of(memory: Memory) -> MemoryLine:
    """Return a memory as it is imported again."""
    named = memory.key is not None or memory.coordinate is not None
    return MemoryLine(
        **{name: getattr(memory, name) for name in SAID if name != "embedding_model"},
        memory_id=None if named else memory.memory_id,
        embedding_model=None if memory.embedding is None else memory.embedding_model,
    )
