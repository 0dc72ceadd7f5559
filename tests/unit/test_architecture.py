"""The page about the architecture says what the packages import, and names what exists."""

import re
from collections import Counter, defaultdict
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name

import grimp
import pytest

PAGE = (Path(__file__).parents[2] / "docs/internals/architecture.md").read_text(encoding="utf-8")
ROOTS = ("soma_schemas", "soma_streams", "soma_api", "soma_client", "soma_cli")
_ROW = re.compile(r"^\| `(soma_[\w.]+)` \|[^|]+\|([^|]*)\|$", re.MULTILINE)
DECLARED = {package: set(re.findall(r"`([\w.]+)`", imports)) for package, imports in _ROW.findall(PAGE)}
NAMES = sorted(set(re.findall(r"`(soma_[\w.]+)`", PAGE)))


@pytest.fixture(scope="module")
def imports() -> dict[str, set[str]]:
    """What each package imports of the others."""
    graph = grimp.build_graph(*ROOTS)
    found: dict[str, set[str]] = defaultdict(set)
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            found[package_of(module)].add(package_of(imported))
    return {package: others - {package} for package, others in found.items()}


def package_of(module: str) -> str:
    """The distribution, or the package right below it, to which a module belongs."""
    parts = module.split(".")
    below = ".".join(parts[:2])
    return below if len(parts) > 1 and hasattr(import_module(below), "__path__") else parts[0]


def test_the_page_lists_every_package() -> None:
    packages = {
        package_of(f"{root}.{each.name}.x")
        for root in ROOTS
        for folder in import_module(root).__path__
        for each in Path(folder).iterdir()
        if (each / "__init__.py").exists()
    }

    assert set(DECLARED) == packages | set(ROOTS)


def test_every_package_imports_what_the_page_says(imports: dict[str, set[str]]) -> None:
    assert {package: imports.get(package, set()) for package in DECLARED} == DECLARED


def test_no_package_imports_one_of_its_own_layer_or_above() -> None:
    layers = {"soma_schemas": 0, "soma_streams": 1, "soma_api": 1, "soma_client": 1, "soma_cli": 2}
    upwards = [
        (package, imported)
        for package, others in DECLARED.items()
        for imported in others
        if (here := package.split(".")[0]) != (there := imported.split(".")[0])
        and layers[there] >= layers[here]
    ]

    assert upwards == []


@pytest.mark.parametrize("root", ROOTS)
def test_no_two_modules_of_a_distribution_share_a_name(root: str) -> None:
    modules = [module for module in grimp.build_graph(*ROOTS).modules if module.split(".")[0] == root]

    names = Counter(module.rsplit(".", 1)[-1] for module in modules)

    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_name_on_the_page_exists(name: str) -> None:
    assert resolve_name(name) is not None
