"""`soma store`: store a memory."""

import sys
from typing import Annotated, Any
from uuid import UUID

import typer

from soma_cli.commands.options import ApiKey, AsJson, Url, Wait, open_client
from soma_cli.drawing import show_answer
from soma_cli.failures import UsageError
from soma_cli.parsing import coordinate_of, json_object_of, spelled_moment_of
from soma_schemas.fields import Kind

app = typer.Typer(add_completion=False)

_DEFAULT_NAMESPACE = "notes"


@app.command()
def store(
    context: typer.Context,
    text: Annotated[str, typer.Argument(help="Text of the memory; `-` reads standard input.")],
    *,
    namespace: Annotated[
        str, typer.Option("--namespace", "-n", help="Namespace of the memory.")
    ] = _DEFAULT_NAMESPACE,
    key: Annotated[
        str | None,
        typer.Option(
            help="Key within the namespace; storing under the same key replaces the memory.",
            show_default=False,
        ),
    ] = None,
    coordinate: Annotated[
        str | None,
        typer.Option(help="Coordinate instead of a key, as `1,2.5`.", show_default=False),
    ] = None,
    memory_id: Annotated[
        UUID | None,
        typer.Option(
            help="Id of a memory that has neither key nor coordinate, to replace it.", show_default=False
        ),
    ] = None,
    kind: Annotated[
        Kind,
        typer.Option(
            help="EPISODIC: something that happened. SEMANTIC: something that is known.", case_sensitive=False
        ),
    ] = Kind.EPISODIC,
    payload: Annotated[str | None, typer.Option(help="A JSON object.", show_default=False)] = None,
    tags: Annotated[list[str] | None, typer.Option("--tag", "-t", help="A tag.")] = None,
    importance: Annotated[float, typer.Option(min=0.0, max=1.0, help="Importance, from 0 to 1.")] = 0.5,
    subject: Annotated[
        str | None, typer.Option(help="The person the memory is about.", show_default=False)
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(help="Where it comes from: a URI, a conversation, a file.", show_default=False),
    ] = None,
    occurred_at: Annotated[
        str | None,
        typer.Option(help="When it happened, as `2026-03-02T09:15:00Z`. Default: now.", show_default=False),
    ] = None,
    expires_at: Annotated[
        str | None,
        typer.Option(help="When the memory expires. Default: by the retention policy.", show_default=False),
    ] = None,
    expected_version: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Write only if the memory has this version; 0: only if it does not exist.",
            show_default=False,
        ),
    ] = None,
    event_id: Annotated[
        UUID | None,
        typer.Option(
            help="UUID of the event; an event with the same id changes nothing.", show_default=False
        ),
    ] = None,
    wait: Wait = 5,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Store a memory.

    Prints the id of the memory, the outcome of the write, and its position in the log.
    """
    if key is not None and coordinate is not None:
        raise UsageError("a memory has a key or a coordinate, not both")
    fields: dict[str, Any] = {
        "namespace": namespace,
        "text": _read_standard_input() if text == "-" else text,
        "kind": kind.value,
        "tags": tags or [],
        "importance": importance,
        "key": key,
        "coordinate": None if coordinate is None else coordinate_of(coordinate),
        "memory_id": None if memory_id is None else str(memory_id),
        "payload": {} if payload is None else json_object_of("payload", payload),
        "subject": subject,
        "source": source,
        "occurred_at": spelled_moment_of("--occurred-at", occurred_at),
        "expires_at": spelled_moment_of("--expires-at", expires_at),
        "expected_version": expected_version,
    }
    said = {name: value for name, value in fields.items() if value is not None}
    with open_client(context, url, api_key) as client:
        show_answer(client.store_memory(**said, event_id=event_id, wait_seconds=wait), as_json=as_json)


def _read_standard_input() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError:
        raise UsageError(
            "standard input is not UTF-8", remedy="convert it, for example with `iconv -f LATIN1 -t UTF-8`"
        ) from None
