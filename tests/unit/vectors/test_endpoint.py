"""An OpenAI-compatible endpoint as embedder: what is asked, and what each answer means."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from soma_schemas.errors import MismatchError, SomaError
from soma_schemas.settings import EmbedderKind, EmbedderSettings
from soma_schemas.vectors.endpoint import EndpointEmbedder
from soma_schemas.vectors.index_errors import EmbedderError, EmbedderUnavailableError, EmbeddingRefusedError
from soma_streams.delivery.failures import FailureClass, classify

_SETTINGS = EmbedderSettings(
    kind=EmbedderKind.ENDPOINT,
    model="tiny",
    dimensions=2,
    url="http://embedder.test/v1/",
    api_key=SecretStr("sk-secret"),
)


def _embedder(answer: Callable[[httpx.Request], httpx.Response]) -> EndpointEmbedder:
    return EndpointEmbedder(_SETTINGS, transport=httpx.MockTransport(answer))


def _status(code: int, **headers: str) -> EndpointEmbedder:
    return _embedder(lambda _: httpx.Response(code, headers=headers, text="the text was: a secret"))


def _body(body: Any) -> EndpointEmbedder:
    return _embedder(lambda _: httpx.Response(200, content=json.dumps(body)))


def _length_and_one(request: httpx.Request) -> httpx.Response:
    """Answer each text with its length and a one, in reverse order."""
    texts = json.loads(request.content)["input"]
    data = [{"index": index, "embedding": [len(text), 1]} for index, text in enumerate(texts)]
    return httpx.Response(200, json={"data": data[::-1]})


def test_it_asks_for_the_model_with_the_key_at_the_path_of_openai() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return _length_and_one(request)

    _embedder(answer).embed_query("tea")

    [request] = seen
    assert str(request.url) == "http://embedder.test/v1/embeddings"
    assert request.headers["Authorization"] == "Bearer sk-secret"
    assert json.loads(request.content) == {"model": "tiny", "input": ["tea"], "encoding_format": "float"}


def test_many_texts_are_asked_for_in_parts_and_keep_their_order() -> None:
    sizes: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sizes.append(len(json.loads(request.content)["input"]))
        return _length_and_one(request)

    vectors = _embedder(answer).embed_documents(["x" * number for number in range(1, 151)])

    assert vectors == [[float(number), 1.0] for number in range(1, 151)]
    assert sizes == [64, 64, 22]


def test_no_texts_are_not_asked_for() -> None:
    assert _status(500).embed_documents([]) == []


@pytest.mark.parametrize(
    ("status", "error", "failure"),
    [
        (400, EmbeddingRefusedError, None),
        (413, EmbeddingRefusedError, None),
        (422, EmbeddingRefusedError, None),
        (408, EmbedderUnavailableError, FailureClass.TRANSIENT),
        (429, EmbedderUnavailableError, FailureClass.TRANSIENT),
        (500, EmbedderUnavailableError, FailureClass.TRANSIENT),
        (503, EmbedderUnavailableError, FailureClass.TRANSIENT),
        (401, EmbedderError, FailureClass.SYSTEMIC),
        (403, EmbedderError, FailureClass.SYSTEMIC),
        (404, EmbedderError, FailureClass.SYSTEMIC),
        (302, EmbedderError, FailureClass.SYSTEMIC),
    ],
)
def test_a_status_says_whose_task_it_is(
    status: int, error: type[SomaError], failure: FailureClass | None
) -> None:
    with pytest.raises(error) as raised:
        _status(status).embed_query("a secret")

    assert raised.value.status_code == status  # type: ignore[attr-defined]  # each of the three has it
    assert "a secret" not in str(raised.value)
    # A refusal becomes poison in the sink alone: for a search it is the question's fault.
    assert failure is None or classify(raised.value) is failure


def test_a_request_for_patience_says_how_long() -> None:
    with pytest.raises(EmbedderUnavailableError) as raised:
        _status(429, **{"Retry-After": "7"}).embed_query("tea")
    assert raised.value.retry_after_seconds == 7.0

    with pytest.raises(EmbedderUnavailableError) as raised:
        _status(503, **{"Retry-After": "Mon, 02 Mar 2026 09:00:00 GMT"}).embed_query("tea")
    assert raised.value.retry_after_seconds is None


@pytest.mark.parametrize("failure", [httpx.ConnectError("x"), httpx.ReadTimeout("x"), httpx.ReadError("x")])
def test_silence_is_waited_out(failure: httpx.TransportError) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise failure

    with pytest.raises(EmbedderUnavailableError) as raised:
        _embedder(answer).embed_query("tea")

    assert classify(raised.value) is FailureClass.TRANSIENT
    assert raised.value.status_code is None


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"data": None},
        {"data": []},
        {"data": [{"index": 1, "embedding": [1, 2]}]},
        {"data": [{"index": 0, "embedding": [1, 2]}, {"index": 1, "embedding": [1, 2]}]},
        {"data": [{"index": 0, "embedding": ["a", "b"]}]},
        {"data": [{"embedding": [1, 2]}]},
        {"data": [{"index": 0, "embedding": [1, float("nan")]}]},
    ],
)
def test_an_answer_of_another_form_stops_for_an_operator(body: Any) -> None:
    with pytest.raises(EmbedderError) as raised:
        _body(body).embed_query("tea")

    assert classify(raised.value) is FailureClass.SYSTEMIC


def test_vectors_of_another_size_are_a_mismatch_that_names_the_way_out() -> None:
    with pytest.raises(MismatchError, match="answers with 3 dimensions") as raised:
        _body({"data": [{"index": 0, "embedding": [1, 2, 3]}]}).embed_query("tea")

    assert "soma reindex" in str(raised.value.remedy)
