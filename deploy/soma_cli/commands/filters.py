"""Options that choose memories, for `list`, `search` and `export`."""

from typing import Annotated, Any

import typer

from soma_cli.failures import UsageError
from soma_schemas.fields import Kind

OfPrefix = Annotated[
    str | None,
    typer.Option("--prefix", "-p", help="This namespace and all below it.", show_default=False),
]
OfKind = Annotated[Kind | None, typer.Option(help="Of this kind.", case_sensitive=False, show_default=False)]
OfTags = Annotated[list[str] | None, typer.Option("--tag", "-t", help="With this tag.")]
OfSubject = Annotated[str | None, typer.Option(help="About this person.", show_default=False)]


def filters(
    namespace: str | None, prefix: str | None, kind: Kind | None, tags: list[str] | None, subject: str | None
) -> dict[str, Any]:
    """Return the filters that were given, as the API names them.

    Raises:
        UsageError: Both a namespace and a prefix were given.
    """
    if namespace is not None and prefix is not None:
        raise UsageError("--namespace is one namespace, --prefix one with all below it: give one of them")
    given = {
        "namespace": namespace,
        "namespace_prefix": prefix,
        "kind": None if kind is None else kind.value,
        "tags": tags or None,
        "subject": subject,
    }
    return {name: value for name, value in given.items() if value is not None}
