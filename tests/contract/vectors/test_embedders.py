"""What every embedder promises, on each of them."""

import json
import math
import threading
from collections.abc import Iterator
from contextlib import closing

import httpx
import pytest

from soma_schemas.settings import EmbedderKind, EmbedderSettings
from soma_schemas.vectors.embedders import Embedder, PackagedEmbedder
from soma_schemas.vectors.endpoint import EndpointEmbedder
from soma_schemas.vectors.minilm import MiniLmEmbedder


def _cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


class EmbedderContract:
    """What every embedder promises; subclass once for each."""

    def test_vectors_have_length_one_and_the_declared_size(self, embedder: Embedder) -> None:
        vectors = embedder.embed_documents(["green tea", "an invoice for the marina"])

        assert [len(vector) for vector in vectors] == [embedder.dimensions] * 2
        assert [math.hypot(*vector) for vector in vectors] == pytest.approx([1.0, 1.0], abs=1e-5)

    def test_what_means_the_same_is_nearer_than_what_does_not(self, embedder: Embedder) -> None:
        question = embedder.embed_query("When do we drink tea?")
        tea, invoice = embedder.embed_documents(["Tea is served at four.", "The invoice was paid twice."])

        assert _cosine(question, tea) > _cosine(question, invoice)

    def test_every_text_keeps_its_place_whatever_the_lengths(self, embedder: Embedder) -> None:
        texts = ["word " * length for length in (400, 1, 9000, 3, 50, 1, 7000)]
        texts += [f"text {number}" for number in range(99)]

        together = embedder.embed_documents(texts)

        for text, vector in zip(texts, together, strict=True):
            assert vector == pytest.approx(embedder.embed_documents([text])[0], abs=1e-5)

    def test_no_texts_have_no_vectors(self, embedder: Embedder) -> None:
        assert embedder.embed_documents([]) == []

    def test_a_text_that_says_nothing_is_all_zeros_and_spoils_no_other(self, embedder: Embedder) -> None:
        nothing, tea = embedder.embed_documents(["", "tea"])

        assert nothing == [0.0] * embedder.dimensions
        assert tea == pytest.approx(embedder.embed_query("tea"), abs=1e-5)

    def test_threads_may_share_it(self, embedder: Embedder) -> None:
        texts = [f"memory number {number} about tea" for number in range(50)]
        alone = embedder.embed_documents(texts)
        together: list[list[list[float]]] = []

        threads = [
            threading.Thread(target=lambda: together.append(embedder.embed_documents(texts)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert together == [alone] * 4


class TestWordLlama(EmbedderContract):
    @pytest.fixture(scope="class")
    @classmethod
    def embedder(cls) -> PackagedEmbedder:
        """The light model."""
        return PackagedEmbedder()


class TestMiniLm(EmbedderContract):
    @pytest.fixture(scope="class")
    @classmethod
    def embedder(cls) -> MiniLmEmbedder:
        """The transformer."""
        return MiniLmEmbedder()

    def test_a_word_is_known_by_those_around_it(self, embedder: MiniLmEmbedder) -> None:
        money, water = embedder.embed_documents(
            ["The bank raised the interest on my loan.", "We sat on the bank and watched the boats."]
        )

        assert _cosine(embedder.embed_query("river"), water) > _cosine(embedder.embed_query("river"), money)
        assert _cosine(embedder.embed_query("credit"), money) > _cosine(embedder.embed_query("credit"), water)

    def test_the_end_of_a_text_counts_that_is_longer_than_the_model_reads_at_once(
        self, embedder: MiniLmEmbedder
    ) -> None:
        before = "The meeting was moved to another room. " * 60
        about_tea = embedder.embed_query("tea and scones")

        with_tea, without = embedder.embed_documents([before + "We drank tea with scones. " * 60, before])

        assert _cosine(about_tea, with_tea) > _cosine(about_tea, without) + 0.2

    def test_a_very_long_text_is_read_to_where_it_is_bounded(self, embedder: MiniLmEmbedder) -> None:
        read = "tea " * 2_032

        assert embedder.embed_query(read + "invoice " * 60_000) == pytest.approx(
            embedder.embed_query(read), abs=1e-5
        )

    def test_a_text_without_a_known_word_says_nothing(self, embedder: MiniLmEmbedder) -> None:
        assert embedder.embed_query("\U0001f642 \U0001f643") == [0.0] * embedder.dimensions

    def test_a_mark_of_the_model_in_a_text_is_a_word_like_others(self, embedder: MiniLmEmbedder) -> None:
        tokens = embedder._tokenizer.encode("[SEP] tea", add_special_tokens=False)

        assert tokens.tokens == ["[", "sep", "]", "tea"]


class TestEndpoint(EmbedderContract):
    @pytest.fixture(scope="class")
    @classmethod
    def embedder(cls) -> Iterator[EndpointEmbedder]:
        """A service that has the light model."""
        light = PackagedEmbedder()

        def answer(request: httpx.Request) -> httpx.Response:
            vectors = light.embed_documents(json.loads(request.content)["input"])
            return httpx.Response(
                200,
                json={"data": [{"index": at, "embedding": vector} for at, vector in enumerate(vectors)]},
            )

        settings = EmbedderSettings(kind=EmbedderKind.ENDPOINT, model="m", url="http://embedder.test/v1")
        with closing(EndpointEmbedder(settings, httpx.MockTransport(answer))) as opened:
            yield opened
