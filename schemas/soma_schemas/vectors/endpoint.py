"""An embedder behind an OpenAI-compatible HTTP endpoint."""

import math
from collections.abc import Sequence
from typing import Any

import httpx

from soma_schemas.errors import ConfigurationError, MismatchError
from soma_schemas.http_clients import client_options, usable_environment
from soma_schemas.settings import EmbedderSettings
from soma_schemas.vectors.index_errors import EmbedderError, EmbedderUnavailableError, EmbeddingRefusedError

_TEXTS_PER_REQUEST = 64
_REFUSALS = frozenset({400, 413, 422})
_PASSING = frozenset({408, 429})
_SERVER_ERRORS = range(500, 600)


class EndpointEmbedder:
    """Asks `POST {url}/embeddings` for vectors, some texts at a time.

    Args:
        settings: Where it is, the model to ask for, and how many numbers its vectors have.
        transport: How requests are sent; a test's own.
    """

    in_process = False

    def __init__(self, settings: EmbedderSettings, transport: httpx.BaseTransport | None = None) -> None:
        if settings.url is None:
            raise ConfigurationError("the embedder of kind `endpoint` has no url")
        self.name = settings.model
        self.dimensions = settings.dimensions
        headers = {}
        if settings.api_key is not None:
            headers["Authorization"] = f"Bearer {settings.api_key.get_secret_value()}"
        self._url = settings.url.rstrip("/") + "/embeddings"
        options = client_options(settings.url)
        with usable_environment(httpx.InvalidURL):
            self._client = httpx.Client(
                headers=headers, timeout=settings.timeout.total_seconds(), transport=transport, **options
            )

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector per text, in order; errors as the protocol names them."""
        vectors: list[list[float]] = []
        for start in range(0, len(texts), _TEXTS_PER_REQUEST):
            vectors += self._embed(texts[start : start + _TEXTS_PER_REQUEST])
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a question; errors as the protocol names them."""
        return self._embed([text])[0]

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _embed(self, texts: Sequence[str]) -> list[list[float]]:
        try:
            response = self._client.post(
                self._url, json={"model": self.name, "input": list(texts), "encoding_format": "float"}
            )
        except httpx.TransportError as error:
            raise EmbedderUnavailableError(
                f"the embedding endpoint does not answer ({type(error).__name__})"
            ) from error
        _check_status(response)
        vectors = _vectors(response, len(texts))
        for vector in vectors:
            if len(vector) != self.dimensions:
                raise MismatchError(
                    f"model `{self.name}` answers with {len(vector)} dimensions, not {self.dimensions}",
                    remedy=f"Set SOMA_EMBEDDER__DIMENSIONS={len(vector)}; where there is an index of another "
                    "size, configure the model as SOMA_NEXT_EMBEDDER__MODEL instead, and run `soma reindex`.",
                )
        return vectors


def _check_status(response: httpx.Response) -> None:
    status = response.status_code
    if status == httpx.codes.OK:
        return
    # The body may quote the text: it is not repeated.
    message = f"the embedding endpoint answered with status {status}"
    if status in _REFUSALS:
        raise EmbeddingRefusedError(message, status_code=status)
    if status in _PASSING or status in _SERVER_ERRORS:
        raise EmbedderUnavailableError(
            message, status_code=status, retry_after_seconds=_seconds(response.headers.get("Retry-After"))
        )
    raise EmbedderError(message, status_code=status)


def _vectors(response: httpx.Response, count: int) -> list[list[float]]:
    try:
        body: Any = response.json()
        items = sorted(body["data"], key=lambda item: item["index"])
        vectors = [[float(number) for number in item["embedding"]] for item in items]
        indices = [item["index"] for item in items]
    except (ValueError, TypeError, KeyError) as error:
        raise EmbedderError("the embedding endpoint's answer is not of the OpenAI form") from error
    if indices != list(range(count)):
        raise EmbedderError(f"the embedding endpoint answered {len(vectors)} of {count} texts")
    if not all(math.isfinite(number) for vector in vectors for number in vector):
        raise EmbedderError("the embedding endpoint answered with a number that is not finite")
    return vectors


def _seconds(header: str | None) -> float | None:
    try:
        return max(0.0, float(header)) if header is not None else None
    except ValueError:
        return None  # an HTTP date: the caller's own pause will do
