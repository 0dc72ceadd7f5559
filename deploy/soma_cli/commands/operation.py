"""`soma api`: ask any operation of the API."""

import json
import sys
from collections.abc import Callable
from functools import cache
from inspect import Parameter, getmembers, isfunction, signature
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict, ValidationError, validate_call
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from soma_cli.commands.options import ApiKey, AsJson, Url, open_client
from soma_cli.failures import UsageError
from soma_cli.output import Result, show
from soma_client.call import Call
from soma_client.calls import history_calls, link_calls, memory_calls, operation_calls, search_calls
from soma_client.request_types import MemoryState

app = typer.Typer(add_completion=False)

_MODULES = (memory_calls, search_calls, link_calls, history_calls, operation_calls)


class Operation(Result):
    """What the API can be asked."""

    name: str
    arguments: list[str]
    summary: str


class Operations(Result):
    """All that the API can be asked."""

    operations: list[Operation]

    def drawn(self) -> RenderableType:
        """Return a row for each."""
        table = Table("operation", "arguments", box=None, header_style="bold", pad_edge=False)
        for each in self.operations:
            table.add_row(Text(each.name), Text(" ".join(each.arguments)))
        return table


@app.command()
def api(
    context: typer.Context,
    operation: Annotated[
        str | None,
        typer.Argument(help="As the OpenAPI document names it; without, all are listed.", show_default=False),
    ] = None,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            help="NAME=VALUE is text, NAME:=VALUE is JSON.", metavar="[NAME=VALUE]...", show_default=False
        ),
    ] = None,
    *,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Ask any operation of the API, and print the answer as JSON.

    Arguments have the names that the Python client has (docs/guides/python-client.md). Other commands show
    the same for people; `soma tail` follows changes.
    """
    if operation is None:
        listed = [_described(name, describe) for name, describe in _calls().items()]
        show(Operations(operations=listed), as_json=as_json)
        return
    call = _call(operation, dict(map(_argument, arguments or ())))
    with open_client(context, url, api_key) as client:
        answer = client.answer(call).value
    sys.stdout.write(answer.model_dump_json(indent=2) + "\n" if isinstance(answer, BaseModel) else answer)
    sys.stdout.flush()


@cache
def _calls() -> dict[str, Callable[..., Call[Any]]]:
    return {
        name: describe
        for module in _MODULES
        for name, describe in getmembers(module, isfunction)
        if describe.__module__ == module.__name__ and describe is not history_calls.follow_changes
    }


def _described(name: str, describe: Callable[..., Call[Any]]) -> Operation:
    summary = (describe.__doc__ or "").partition("\n")[0]
    arguments: list[str] = []
    for each in signature(describe).parameters.values():
        arguments += MemoryState.__annotations__ if each.kind is Parameter.VAR_KEYWORD else [each.name]
    return Operation(name=name, arguments=arguments, summary=summary)


def _argument(given: str) -> tuple[str, Any]:
    name, equals, value = given.partition("=")
    if not equals:
        raise UsageError(f"`{given}` is not NAME=VALUE")
    if not name.endswith(":"):
        return name, value
    try:
        return name.removesuffix(":"), json.loads(value)
    except ValueError:
        raise UsageError(f"the value of `{name.removesuffix(':')}` is not JSON") from None


def _call(operation: str, arguments: dict[str, Any]) -> Call[Any]:
    describe = _calls().get(operation)
    if describe is None:
        raise UsageError(
            f"the API has no operation `{operation}` that answers once", remedy="`soma api` lists them all"
        )
    try:
        call: Call[Any] = validate_call(config=ConfigDict(extra="forbid"))(describe)(**arguments)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        name = ".".join(map(str, fault["loc"]))
        raise UsageError(
            f"`{name}` of `{operation}`: {fault['msg'].lower()}", remedy="`soma api` lists what it takes"
        ) from None
    return call
