"""The examples of docs/examples/consumers on a stack that runs: what `make demo-retention` shows."""

from pathlib import Path

import pytest

from retention_demo.play import play
from soma_client.client_file import read_client_file
from soma_up import Up


# It watches a policy of half a minute.
@pytest.mark.long
def test_a_policy_ends_what_nobody_uses_saves_what_somebody_reads_and_fills_the_archive(
    stack: Up, tmp_path: Path
) -> None:
    local = read_client_file(stack.home)
    assert local is not None
    said: list[str] = []

    play(local, tmp_path / "archive", said.append)

    assert said[-1].startswith("Searches find only")
