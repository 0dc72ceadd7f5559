"""The packaged model, and the choice of an embedder."""

import logging
from pathlib import Path

import numpy as np
import pytest
import wordllama  # type: ignore[import-untyped]  # it has no types
from hypothesis import example, given
from hypothesis import strategies as st

from soma_schemas.errors import ConfigurationError
from soma_schemas.packaged_models import MINILM
from soma_schemas.settings import EmbedderKind, EmbedderSettings
from soma_schemas.vectors.embedders import PackagedEmbedder, open_embedder
from soma_schemas.vectors.endpoint import EndpointEmbedder
from soma_schemas.vectors.minilm import MiniLmEmbedder


@pytest.fixture(scope="module")
def embedder() -> PackagedEmbedder:
    """The packaged model."""
    return PackagedEmbedder()


def test_the_default_settings_open_the_packaged_model(embedder: PackagedEmbedder) -> None:
    opened = open_embedder(EmbedderSettings())

    assert isinstance(opened, PackagedEmbedder)
    assert opened.embed_query("tea") == embedder.embed_query("tea")


@example("two  spaces")
@example(" before and after ")
@example("a\u2581b")
@example("x" * 65 + " y")
@given(st.text(alphabet=st.sampled_from(" \u2581\n\tabcé語😀."), max_size=80))
def test_words_have_the_tokens_of_their_text(embedder: PackagedEmbedder, text: str) -> None:
    words = embedder._words(text) or [text]

    # Vectors hide small slips.
    assert [token for word in words for token in embedder._tokens(word)] == embedder._tokens(text)


def test_a_vector_is_the_same_however_many_words_came_before(embedder: PackagedEmbedder) -> None:
    texts = ["Tea is served at four.", "Ada moved the deadline to Friday"]
    before = embedder.embed_documents(texts)

    for start in range(0, 60_000, 500):
        embedder.embed_documents([" ".join(f"w{number}" for number in range(start, start + 500))])

    assert embedder.embed_documents(texts) == before


def test_vectors_are_the_models_own(embedder: PackagedEmbedder) -> None:
    texts = ["Tea is served at four.", "tea " * 5000, "Ada moved the deadline to Friday, 3 March."]
    folder = Path(wordllama.__file__).parent
    model = wordllama.WordLlama.load(dim=256, cache_dir=folder, disable_download=True)

    np.testing.assert_allclose(embedder.embed_documents(texts), model.embed(texts, norm=True), atol=1e-6)


def test_opening_it_leaves_logging_as_it_was() -> None:
    root = logging.getLogger()
    before = (list(root.handlers), root.level)

    PackagedEmbedder()

    assert (list(root.handlers), root.level) == before


def test_a_packaged_model_that_there_is_not_is_refused_with_the_way_out() -> None:
    with pytest.raises(
        ConfigurationError, match="there are `wordllama-256` and `minilm-l6-v2-int8`"
    ) as refused:
        open_embedder(EmbedderSettings(model="minilm-384"))

    assert "SOMA_EMBEDDER__KIND=endpoint" in str(refused.value.remedy)


def test_a_packaged_model_of_another_size_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigurationError, match="has 384 dimensions, the settings say 256") as refused:
        open_embedder(EmbedderSettings(model=MINILM, dimensions=256))

    assert refused.value.remedy == "Leave out SOMA_EMBEDDER__DIMENSIONS."


def test_the_name_alone_chooses_a_packaged_model() -> None:
    opened = open_embedder(EmbedderSettings(model=MINILM))

    assert isinstance(opened, MiniLmEmbedder)
    assert EmbedderSettings(model=MINILM).dimensions == opened.dimensions == 384


def test_the_kind_endpoint_opens_an_endpoint() -> None:
    settings = EmbedderSettings(
        kind=EmbedderKind.ENDPOINT, model="minilm-384", dimensions=384, url="http://127.0.0.1:1/v1"
    )

    opened = open_embedder(settings)

    assert isinstance(opened, EndpointEmbedder)
    assert (opened.name, opened.dimensions, opened.in_process) == ("minilm-384", 384, False)
    opened.close()
