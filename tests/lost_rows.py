"""Takes a row out of the tables of a local stack, past everything that guards it."""

from pathlib import Path
from uuid import UUID

import psycopg

from soma_cli.settings import KNOWN, OperatorSettings
from soma_client.client_file import read_client_file
from soma_schemas.configuration import load


def lose_a_row(home: Path, namespace: str) -> UUID:
    """Delete the row of a living memory of a namespace as the owner of the database, and return its id."""
    local = read_client_file(home)
    assert local is not None
    settings = load(OperatorSettings, environment=local.environment, known=KNOWN).settings
    with psycopg.connect(settings.postgres.conninfo()) as owner:
        lost = owner.execute(
            "DELETE FROM memories WHERE memory_id = ("
            "SELECT memory_id FROM memories WHERE namespace = %s AND NOT deleted ORDER BY memory_id LIMIT 1) "
            "RETURNING memory_id",
            (namespace,),
        ).fetchall()
    [(memory_id,)] = lost
    assert isinstance(memory_id, UUID)
    return memory_id
