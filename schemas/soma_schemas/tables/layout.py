"""The tables as the migrations make them: it tells somebody's change of a table from a row that is wrong."""

from collections.abc import Iterable
from importlib.resources import files
from typing import LiteralString

from soma_schemas.errors import MismatchError

_FILES = files("soma_schemas.tables")
_SHOWN = 3

# Fixed text: the file is part of the package.
READ_LAYOUT: LiteralString = _FILES.joinpath("layout.sql").read_text(encoding="utf-8")

# A test holds these lines to the newest revision.
DECLARED = frozenset(_FILES.joinpath("layout.txt").read_text(encoding="utf-8").splitlines())
_TABLES = frozenset(line.partition(" ")[0] for line in DECLARED)


def require_layout(found: Iterable[str]) -> None:
    """Return when our tables have all that is declared, and nothing that could refuse a row besides.

    Args:
        found: The lines of `READ_LAYOUT`. Tables of others are left out of account.

    Raises:
        MismatchError: They have not; the message names what differs.
    """
    ours = {line for line in found if line.partition(" ")[0] in _TABLES}
    differences = [f"missing: {line}" for line in sorted(DECLARED - ours)]
    differences += [f"not ours: {line}" for line in sorted(ours - DECLARED) if _may_refuse(line)]
    if differences:
        more = f"; and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        raise MismatchError(
            f"the tables are not as the migrations made them: {'; '.join(differences[:_SHOWN])}{more}",
            remedy="Undo what was changed in the database beside `soma migrate`; the worker then goes on.",
        )


def _may_refuse(line: str) -> bool:
    """Say whether what somebody added can refuse a row: a column that may be left empty cannot."""
    return line.split(" ")[1] != "column" or line.endswith((" not null", " generated"))
