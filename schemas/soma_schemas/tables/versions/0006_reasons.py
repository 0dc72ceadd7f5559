"""The reasons of superseded events under the names that this version writes."""

from collections.abc import Mapping

from soma_schemas.tables.statements import run

revision = "0006"
down_revision = "0005"

RENAMED = {"repeated": "duplicate", "conflict": "version_mismatch", "absent": "not_found"}


def upgrade() -> None:
    run(_renaming(RENAMED))


def downgrade() -> None:
    run(_renaming({new: old for old, new in RENAMED.items()}))


def _renaming(names: Mapping[str, str]) -> str:
    pairs = ", ".join(f"('{old}', '{new}')" for old, new in names.items())
    return f"""
    UPDATE memory_history SET reason = renamed.new_name
    FROM (VALUES {pairs}) AS renamed (old_name, new_name)
    WHERE memory_history.reason = renamed.old_name;
    """  # noqa: S608  # names of this file
