"""What a Qdrant server's refusals mean: every status of gRPC, as an error of ours."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse

from soma_schemas.errors import MismatchError, SomaError
from soma_schemas.refusals import VECTORS, tls_refusal
from soma_schemas.vectors.index_errors import (
    IndexAccessError,
    IndexRefusedError,
    IndexServerError,
    IndexUnavailableError,
)

# gRPC has one status for every connection that fails; only its words tell which will never succeed.
_NO_GRPC = (
    "what answers at SOMA_VECTORS__URL does not speak gRPC",
    "Name Qdrant's gRPC port, which is 6334 unless it was changed.",
)
_NEVER = {
    "Failed to create security handshaker": (
        "no connection with TLS can be made from SOMA_VECTORS__CA_FILE",
        "Name a PEM file of the authority that signed the server.",
    ),
    "http1.x server (HTTP status 400)": _NO_GRPC,
    "missing selected ALPN property": _NO_GRPC,
}


@contextmanager
def server_errors() -> Iterator[None]:
    """Turn what the client raises for a server into errors of ours; everything else passes as it is.

    Raises:
        IndexUnavailableError: The server does not answer for now.
        IndexRefusedError: It does not take what was sent.
        IndexServerError: It will not answer until an operator acts.
        MismatchError: It has no such collection.
    """
    try:
        yield
    except ResourceExhaustedResponse as error:
        raise IndexUnavailableError("the vector index asks for patience") from error
    except grpc.aio.AioRpcError as error:
        raise _meaning(error.code(), error.details() or "") from error


def _meaning(status: grpc.StatusCode, details: str) -> SomaError:
    """Return what a status means. The server's own words are left out where they could quote a point."""
    for part, (message, remedy) in _NEVER.items():
        if part in details:
            return IndexServerError(message, remedy=remedy)
    if status is grpc.StatusCode.UNAVAILABLE and (refusal := tls_refusal(VECTORS, details)) is not None:
        return IndexAccessError.of(refusal)
    match status:
        case grpc.StatusCode.UNAVAILABLE:
            return IndexUnavailableError(f"the vector index does not answer: {details}")
        case (
            grpc.StatusCode.DEADLINE_EXCEEDED
            | grpc.StatusCode.INTERNAL
            | grpc.StatusCode.RESOURCE_EXHAUSTED
            | grpc.StatusCode.ABORTED
            | grpc.StatusCode.CANCELLED
            | grpc.StatusCode.ALREADY_EXISTS  # somebody else does the same at this moment
            | grpc.StatusCode.UNKNOWN  # gRPC's own word for a stream that broke
        ):
            return IndexUnavailableError(f"the vector index does not answer: {status.name}")
        # OUT_OF_RANGE is how the server calls a request that is larger than it reads.
        case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.OUT_OF_RANGE:
            return IndexRefusedError(f"the vector index refuses what was sent: {status.name}")
        case grpc.StatusCode.NOT_FOUND:
            return MismatchError(
                "the vector index has no such collection",
                remedy="Start the vector worker (`soma work vectors`): it makes the collection.",
            )
        case grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.PERMISSION_DENIED:
            return IndexAccessError.of(VECTORS.credentials_refused())
        case grpc.StatusCode.UNIMPLEMENTED:
            return IndexServerError(
                "the vector index does not know a call of ours",
                remedy="Run a Qdrant server of the version that docker-compose.yml names, or a newer one.",
            )
        case grpc.StatusCode.FAILED_PRECONDITION | grpc.StatusCode.DATA_LOSS | grpc.StatusCode.OK:
            return IndexServerError(
                f"the vector index fails: {status.name}", remedy="Look into the log of the Qdrant server."
            )
