"""A group of commands that imports a command only when it is called, for prompt help and completion."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from typer import BadParameter
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from soma_cli.arguments import text_of


@dataclass(frozen=True)
class Entry:
    """One line of the list of commands.

    Attributes:
        name: What people type.
        module: Holds the command, as a Typer application called `app`.
        summary: One sentence for `soma --help`; a test holds it equal to the command's own.
        panel: The heading under which it is listed.
    """

    name: str
    module: str
    summary: str
    panel: str

    def load(self) -> TyperCommand | TyperGroup:
        """Import the command."""
        application = import_module(self.module).app
        command = get_command(application)
        if not isinstance(command, TyperCommand | TyperGroup):
            raise TypeError(f"{self.module}.app gives no Typer command")
        command.name = self.name
        _require_text(command)
        return command

    def stub(self) -> TyperCommand:
        """Return something to list in its place."""
        return TyperCommand(self.name, help=self.summary, short_help=self.summary, rich_help_panel=self.panel)


def _require_text(command: TyperCommand | TyperGroup) -> None:
    """Have every value that is text refused when it is not; the name of a file may be any bytes."""
    for child in getattr(command, "commands", {}).values():
        _require_text(child)
    for parameter in command.params:
        parameter.callback = partial(_text, parameter.callback)


def _text(callback: Callable[..., Any] | None, context: Any, parameter: Any, value: Any) -> Any:
    if isinstance(value, str):
        value = _decoded(value, context, parameter)
    elif isinstance(value, list | tuple):
        value = type(value)(
            _decoded(each, context, parameter) if isinstance(each, str) else each for each in value
        )
    return value if callback is None else callback(context, parameter, value)


def _decoded(value: str, context: Any, parameter: Any) -> str:
    try:
        return text_of(value)
    except UnicodeDecodeError:
        raise BadParameter("it is not UTF-8", ctx=context, param=parameter) from None


def lazy_group(entries: tuple[Entry, ...]) -> type[TyperGroup]:
    """Return a group class whose commands are these entries."""
    by_name = {entry.name: entry for entry in entries}

    class LazyGroup(TyperGroup):
        """Lists stubs, runs the real thing."""

        def __init__(self, **arguments: Any) -> None:
            super().__init__(**arguments)
            self.commands = {entry.name: entry.stub() for entry in entries}

        def resolve_command(
            self, ctx: Any, args: list[str]
        ) -> tuple[str | None, TyperCommand | TyperGroup | None, list[str]]:
            name, _, rest = super().resolve_command(ctx, args)
            return name, None if name is None else by_name[name].load(), rest

    return LazyGroup
