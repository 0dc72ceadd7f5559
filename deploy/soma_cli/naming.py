"""How a memory is named on a command line: by its id, or by its namespace and its key or coordinate."""

from shlex import quote
from typing import Annotated
from uuid import UUID

import typer

from soma_cli.failures import FindingsError, UsageError
from soma_cli.parsing import coordinate_of
from soma_client import SomaClient
from soma_schemas.memories import MemoryView


def memory_id_of(text: str) -> UUID:
    """Read the id of a memory.

    Raises:
        UsageError: It is none; perhaps it is a key.
    """
    try:
        return UUID(text)
    except ValueError:
        raise UsageError(
            f"`{text}` is not the id of a memory",
            remedy=f"if it is a key, write `--namespace NAMESPACE --key {quote(text)}`",
        ) from None


def memory_name(memory: MemoryView) -> str:
    """Return what a memory is called within its namespace."""
    if memory.key is not None:
        return memory.key
    if memory.coordinate is not None:
        return "(" + ", ".join(f"{number:g}" for number in memory.coordinate) + ")"
    return str(memory.memory_id)


OfMemory = Annotated[
    UUID | None, typer.Argument(help="Its id.", metavar="[ID]", show_default=False, parser=memory_id_of)
]
OfNamespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Namespace of the memory.", show_default=False)
]
OfKey = Annotated[str | None, typer.Option(help="Its key within the namespace.", show_default=False)]
OfCoordinate = Annotated[
    str | None,
    typer.Option(help="Its coordinate within the namespace, as `1,2.5`.", show_default=False),
]


def named_memory(
    client: SomaClient, memory_id: UUID | None, namespace: str | None, key: str | None, coordinate: str | None
) -> MemoryView:
    """Return the memory that is named.

    Raises:
        UsageError: The name is incomplete, or names twice.
        FindingsError: There is no such memory.
        ApiUnreachableError: The API gives no answer.
    """
    if [memory_id, key, coordinate].count(None) != 2:  # noqa: PLR2004  # one of three
        raise UsageError(
            "no memory is named", remedy="name it by its id, or by --namespace with --key or --coordinate"
        )
    if memory_id is not None:
        return client.read_memory(memory_id)
    if namespace is None:
        raise UsageError("a key or a coordinate needs a namespace", remedy="add --namespace")
    place = None if coordinate is None else coordinate_of(coordinate)
    found = client.list_memories(namespace=namespace, key=key, coordinate=place).memories
    if not found:
        raise FindingsError(
            f"there is no such memory in {namespace}",
            (),
            remedy=f"see `soma list --namespace {quote(namespace)}`",
        )
    return found[0]


OneEnd = Annotated[str, typer.Argument(help="Its id; or, with --namespace, its key.", metavar="MEMORY")]
OfEnds = Annotated[
    str | None,
    typer.Option(
        "--namespace", "-n", help="Namespace of memories that are named by key.", show_default=False
    ),
]


def id_or_key(client: SomaClient, named: str, namespace: str | None) -> UUID:
    """Return the id of a memory that is named by it or, within a namespace, by its key.

    Raises:
        UsageError: It is no id, and no namespace was given.
        FindingsError: There is no memory with this key.
        ApiUnreachableError: The API gives no answer.
    """
    try:
        return UUID(named)
    except ValueError:
        if namespace is None:
            raise UsageError(
                f"`{named}` is not the id of a memory", remedy="if it is a key, add --namespace"
            ) from None
    return named_memory(client, None, namespace, named, None).memory_id
