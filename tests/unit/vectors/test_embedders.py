"""The packaged model, and the choice of an embedder."""

import logging
import math
import threading
from pathlib import Path

import numpy as np
import pytest
import wordllama  # type: ignore[import-untyped]  # it has no types
from hypothesis import example, given
from hypothesis import strategies as st

from soma_schemas.errors import ConfigurationError
from soma_schemas.settings import EmbedderKind, EmbedderSettings
from soma_schemas.vectors.embedders import PackagedEmbedder, open_embedder
from soma_schemas.vectors.endpoint import EndpointEmbedder


@pytest.fixture(scope="module")
def embedder() -> PackagedEmbedder:
    """The packaged model."""
    return PackagedEmbedder()


def _cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_the_default_settings_open_the_packaged_model(embedder: PackagedEmbedder) -> None:
    opened = open_embedder(EmbedderSettings())

    assert isinstance(opened, PackagedEmbedder)
    assert opened.embed_query("tea") == embedder.embed_query("tea")


def test_vectors_have_length_one_and_the_declared_size(embedder: PackagedEmbedder) -> None:
    vectors = embedder.embed_documents(["green tea", "an invoice for the marina"])

    assert [len(vector) for vector in vectors] == [embedder.dimensions] * 2
    assert [math.hypot(*vector) for vector in vectors] == pytest.approx([1.0, 1.0], abs=1e-5)


def test_what_means_the_same_is_nearer_than_what_does_not(embedder: PackagedEmbedder) -> None:
    question = embedder.embed_query("When do we drink tea?")
    tea, invoice = embedder.embed_documents(["Tea is served at four.", "The invoice was paid twice."])

    assert _cosine(question, tea) > _cosine(question, invoice)


def test_every_text_keeps_its_place_whatever_the_lengths(embedder: PackagedEmbedder) -> None:
    texts = ["word " * length for length in (400, 1, 9000, 3, 50, 1, 7000)] + [f"text {n}" for n in range(99)]

    together = embedder.embed_documents(texts)

    for text, vector in zip(texts, together, strict=True):
        assert vector == pytest.approx(embedder.embed_documents([text])[0], abs=1e-6)


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


def test_no_texts_have_no_vectors(embedder: PackagedEmbedder) -> None:
    assert embedder.embed_documents([]) == []


def test_a_text_without_a_token_is_all_zeros_and_spoils_no_other(embedder: PackagedEmbedder) -> None:
    nothing, tea = embedder.embed_documents(["", "tea"])

    assert nothing == [0.0] * embedder.dimensions
    assert tea == embedder.embed_query("tea")


def test_threads_may_share_it(embedder: PackagedEmbedder) -> None:
    texts = [f"memory number {number} about tea" for number in range(50)]
    alone = embedder.embed_documents(texts)
    together: list[list[list[float]]] = []

    threads = [
        threading.Thread(target=lambda: together.append(embedder.embed_documents(texts))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert together == [alone] * 4


def test_opening_it_leaves_logging_as_it_was() -> None:
    root = logging.getLogger()
    before = (list(root.handlers), root.level)

    PackagedEmbedder()

    assert (list(root.handlers), root.level) == before


def test_another_model_under_the_packaged_kind_is_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigurationError, match="minilm-384") as refused:
        open_embedder(EmbedderSettings(model="minilm-384", dimensions=384))

    assert "SOMA_EMBEDDER__KIND=endpoint" in str(refused.value.remedy)


def test_the_kind_endpoint_opens_an_endpoint() -> None:
    settings = EmbedderSettings(
        kind=EmbedderKind.ENDPOINT, model="minilm-384", dimensions=384, url="http://127.0.0.1:1/v1"
    )

    opened = open_embedder(settings)

    assert isinstance(opened, EndpointEmbedder)
    assert (opened.name, opened.dimensions, opened.in_process) == ("minilm-384", 384, False)
    opened.close()
