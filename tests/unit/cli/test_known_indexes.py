"""Which indexes a process works on: those of a model that it has settings of, and of its own indexing."""

from contextlib import closing
from dataclasses import replace

import pytest

from soma_cli.processes.common import Embedders
from soma_schemas.errors import MismatchError
from soma_schemas.languages import Language
from soma_schemas.metrics import MetricSet
from soma_schemas.settings import EmbedderKind, EmbedderSettings, IndexSettings, NextEmbedderSettings
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.embedders import PACKAGED_DIMENSIONS, PACKAGED_MODEL

_PRESENT = Collection("memories", PACKAGED_MODEL, PACKAGED_DIMENSIONS)
_FOLLOWING = Collection("memories", "tiny", 2)


@pytest.mark.parametrize("own", [_PRESENT, _FOLLOWING])
@pytest.mark.parametrize("other", [-1, 1])
def test_an_index_of_another_indexing_is_not_worked_on_whatever_its_model(
    own: Collection, other: int
) -> None:
    following = NextEmbedderSettings(
        kind=EmbedderKind.ENDPOINT, model="tiny", dimensions=2, url="http://embedder.test/v1"
    )
    indexed_otherwise = replace(own, indexing=own.indexing + other)
    with closing(Embedders(EmbedderSettings(), following, MetricSet())) as embedders:
        assert embedders.knows(own)
        assert embedders.of(own).name == own.model
        assert not embedders.knows(indexed_otherwise)
        with pytest.raises(
            MismatchError, match=f"indexed by version {indexed_otherwise.indexing} "
        ) as refused:
            embedders.of(indexed_otherwise)
        assert "soma reindex" in str(refused.value.remedy)


def test_an_index_stays_in_its_language_and_a_new_one_has_that_of_the_settings() -> None:
    german = replace(_PRESENT, language=Language.GERMAN)
    older = replace(_PRESENT, indexing=_PRESENT.indexing - 1)
    index = IndexSettings(language=Language.GERMAN)
    with closing(Embedders(EmbedderSettings(), NextEmbedderSettings(), MetricSet(), index)) as embedders:
        assert embedders.knows(_PRESENT)
        assert embedders.declared(_PRESENT, "memories") == _PRESENT
        assert embedders.declared(None, "memories") == german
        assert embedders.declared(older, "memories") == german
        assert embedders.target("memories") == german


def test_an_index_of_a_model_that_nobody_named_is_not_worked_on() -> None:
    with closing(Embedders(EmbedderSettings(), NextEmbedderSettings(), MetricSet())) as embedders:
        assert not embedders.knows(_FOLLOWING)
        with pytest.raises(MismatchError, match="has no settings of"):
            embedders.of(_FOLLOWING)
