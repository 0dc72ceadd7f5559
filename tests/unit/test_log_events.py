"""Every line of the log has one constant name, and a name means one thing."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas/soma_schemas", "streams/soma_streams", "api/soma_api", "deploy/soma_cli")
LEVELS = {"debug", "info", "warning", "error", "critical", "exception"}
LOGGERS = {"log", "_log", "logger", "_logger"}
NAME = re.compile(r"[a-z]+(_[a-z]+)+")


def is_logger(node: ast.expr) -> bool:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in LOGGERS
        case ast.Call(func=ast.Attribute(attr="get_logger" | "bind", value=value)):
            return is_logger(value) or ast.unparse(node.func).startswith("structlog.get_logger")
        case _:
            return False


def lines() -> Iterator[tuple[str, ast.Call]]:
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                match node:
                    case ast.Call(func=ast.Attribute(attr=level, value=logger)) if level in LEVELS:
                        if is_logger(logger):
                            yield str(file.relative_to(ROOT)), node
                    case _:
                        pass


def name_of(call: ast.Call) -> str | None:
    match call.args:
        case [ast.Constant(value=str(name))]:
            return name
        case _:
            return None


def test_every_line_has_one_constant_name_and_says_the_rest_in_fields() -> None:
    odd = [
        f"{file}:{call.lineno}"
        for file, call in lines()
        if (name := name_of(call)) is None or not NAME.fullmatch(name)
    ]

    assert odd == []
    assert len(list(lines())) > 40


def test_a_name_is_used_in_one_package_alone() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for file, call in lines():
        places[name_of(call) or ""].add(str(Path(file).parent))

    assert {name: sorted(where) for name, where in places.items() if len(where) > 1} == {}


def test_no_line_writes_an_error_as_it_speaks() -> None:
    """Texts of foreign errors quote content and passwords; `told` passes on only our own."""
    speaking = [
        f"{file}:{call.lineno}"
        for file, call in lines()
        if any(keyword.arg == "exc_info" for keyword in call.keywords)
        or (isinstance(call.func, ast.Attribute) and call.func.attr == "exception")
    ]

    assert speaking == []
