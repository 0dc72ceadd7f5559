"""`soma reindex`: which index is meant, and that nothing happens unless it is said."""

import json
from contextlib import closing
from pathlib import Path

import pytest

from contract.vectors.build import A_COLLECTION
from soma_cli.local.embedded_index import EmbeddedIndex, is_discarded
from soma_command import Soma


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The index of a local stack."""
    folder = tmp_path / "home" / "vectors"
    EmbeddedIndex.open(folder, A_COLLECTION).close()
    return folder


def test_without_yes_nothing_is_changed(soma: Soma, folder: Path) -> None:
    ran = soma("reindex", environment={"SOMA_HOME": str(folder.parent)})

    assert ran.code == 0
    assert f"the vector index in {folder} would be made anew" in ran.out
    assert "--yes" in ran.out
    assert not is_discarded(folder)


def test_the_local_index_is_made_anew_also_while_a_process_has_it_open(soma: Soma, folder: Path) -> None:
    with closing(EmbeddedIndex.open(folder, A_COLLECTION)):
        # Settings that a local stack takes say nothing of a server.
        environment = {"SOMA_HOME": str(folder.parent), "SOMA_EMBEDDER__MODEL": "another"}
        ran = soma("reindex", "--yes", "--json", environment=environment)

    assert json.loads(ran.out) == {"index": f"the vector index in {folder}", "model": None, "done": True}
    assert is_discarded(folder)


def test_an_index_that_is_not_there_is_a_mistake(soma: Soma, tmp_path: Path) -> None:
    ran = soma("reindex", "--yes", "--embedded-vectors", str(tmp_path / "elsewhere"))

    assert ran.code == 2
    assert "there is no vector index in" in ran.err
