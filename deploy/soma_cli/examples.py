"""Where the example memories are: inside an installed package, or in the checkout beside it."""

from pathlib import Path

from soma_schemas.errors import SomaError

_INSTALLED = Path(__file__).parent / "example_data"
_CHECKOUT = Path(__file__).parents[2]


class ExampleMissingError(SomaError):
    """This installation holds no example data."""

    code = "example_missing"


def example(name: str) -> Path:
    """Return an example file.

    Raises:
        ExampleMissingError: There is none of that name.
    """
    for folder in (_INSTALLED, _CHECKOUT / "docs" / "examples"):
        if (path := folder / name).is_file():
            return path
    raise ExampleMissingError(f"this installation holds no {name}", remedy="reinstall it from a wheel")


def checkout() -> Path | None:
    """Return the repository that this program runs from, or None when it was installed from a wheel."""
    return _CHECKOUT if (_CHECKOUT / ".git").exists() else None
