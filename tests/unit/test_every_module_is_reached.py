"""Every module of the write side is reached from what is installed, not from tests or benchmarks alone."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).parents[2]
_PACKAGES = ("soma_api", "soma_cli", "soma_client", "soma_schemas", "soma_streams")
# What is found by an entry point: the command, and the transport that Faust looks up by its scheme.
_ENTRIES = ("soma_cli.main", "soma_streams.transport")


def modules() -> dict[str, Path]:
    """The modules of the product, by their names."""
    found = {}
    for folder in ("api", "deploy", "schemas", "streams"):
        for package in _PACKAGES:
            for path in (_REPOSITORY / folder / package).rglob("*.py"):
                parts = path.relative_to(_REPOSITORY / folder).with_suffix("").parts
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(module: str, path: Path) -> Iterator[str]:
    """The names that a module imports, wherever in it: of modules, and of what might be one.

    Commands are named in text, and imported when they are called.
    """
    package = module.split(".") if path.stem == "__init__" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)


@cache
def reached() -> set[str]:
    """The modules that an entry leads to."""
    known = modules()
    found: set[str] = set()
    ahead = list(_ENTRIES)
    while ahead:
        module = ahead.pop()
        if module in known and module not in found:
            found.add(module)
            ahead += imported(module, known[module])
            ahead.append(module.rpartition(".")[0])
    return found


@pytest.mark.parametrize("module", sorted(name for name in modules() if name.startswith("soma_streams")))
def test_a_module_of_the_write_side_is_reached_from_what_is_installed(module: str) -> None:
    assert module in reached()
