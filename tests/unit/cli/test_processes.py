"""What processes load, of which nothing that another one needs: it costs every start."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("process", "foreign"),
    [
        ("soma_cli.processes.api", {"qdrant_client", "alembic"}),
        ("soma_cli.commands.work", {"qdrant_client", "alembic", "fastapi"}),
        ("soma_cli.commands.lag", {"aiokafka"}),
        ("soma_cli.processes.lag_collector", {"faust", "fastavro", "psycopg"}),
    ],
)
def test_a_process_loads_nothing_that_only_others_need(process: str, foreign: set[str]) -> None:
    asked = f"import sys, {process}; print({foreign!r} & set(sys.modules))"

    answer = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "set()"
