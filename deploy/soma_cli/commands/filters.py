"""Options that choose memories, for `list`, `search` and `export`."""

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any

import typer

from soma_cli.failures import UsageError
from soma_cli.naming import OfNamespace
from soma_cli.parsing import json_object_of
from soma_schemas.fields import Kind


def _filters(
    *,
    namespace: OfNamespace = None,
    prefix: Annotated[
        str | None,
        typer.Option("--prefix", "-p", help="This namespace and all below it.", show_default=False),
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option(help="Of this kind.", case_sensitive=False, show_default=False)
    ] = None,
    tags: Annotated[list[str] | None, typer.Option("--tag", "-t", help="With this tag.")] = None,
    subject: Annotated[str | None, typer.Option(help="About this person.", show_default=False)] = None,
    source: Annotated[str | None, typer.Option(help="From exactly this source.", show_default=False)] = None,
    where: Annotated[
        str | None,
        typer.Option(
            "--filter",
            help="What is true of the memories, as JSON in the filter language (docs/guides/search.md).",
            show_default=False,
        ),
    ] = None,
) -> dict[str, Any]:
    """Return the filters that were given, as the API names them for lists.

    Raises:
        UsageError: Both a namespace and a prefix were given, or the filter is no JSON object.
    """
    if namespace is not None and prefix is not None:
        raise UsageError("--namespace is one namespace, --prefix one with all below it: give one of them")
    given = {
        "namespace": namespace,
        "namespace_prefix": prefix,
        "kind": None if kind is None else kind.value,
        "tags": tags or None,
        "subject": subject,
        "source": source,
        "where": None if where is None else json_object_of("filter", where),
    }
    return {name: value for name, value in given.items() if value is not None}


def choosing_memories(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with these options instead of its argument `chosen`, which becomes what they say."""
    options = signature(_filters).parameters

    @wraps(command)
    def chosen_by_options(*arguments: Any, **given: Any) -> None:
        chosen = _filters(**{name: given.pop(name) for name in options})
        command(*arguments, **given, chosen=chosen)

    own = signature(command)
    parameters: list[Parameter] = []
    for each in own.parameters.values():
        parameters += options.values() if each.name == "chosen" else [each]
    chosen_by_options.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]  # see inspect
    chosen_by_options.__annotations__ = {each.name: each.annotation for each in parameters}
    return chosen_by_options
