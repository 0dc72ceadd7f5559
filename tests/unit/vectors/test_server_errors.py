"""Every status of gRPC has a meaning, and so a class."""

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse

from soma_schemas.errors import SomaError
from soma_schemas.vectors.index_errors import IndexRefusedError, IndexServerError, IndexUnavailableError
from soma_schemas.vectors.server_errors import server_errors
from soma_streams.delivery.failures import FailureClass, classify
from soma_streams.sinks.vectors.points import poison_named

POISON, TRANSIENT, SYSTEMIC = FailureClass.POISON, FailureClass.TRANSIENT, FailureClass.SYSTEMIC
_CLASSES = {
    grpc.StatusCode.OK: SYSTEMIC,
    grpc.StatusCode.CANCELLED: TRANSIENT,
    grpc.StatusCode.UNKNOWN: TRANSIENT,
    grpc.StatusCode.INVALID_ARGUMENT: POISON,
    grpc.StatusCode.DEADLINE_EXCEEDED: TRANSIENT,
    grpc.StatusCode.NOT_FOUND: SYSTEMIC,
    grpc.StatusCode.ALREADY_EXISTS: TRANSIENT,
    grpc.StatusCode.PERMISSION_DENIED: SYSTEMIC,
    grpc.StatusCode.RESOURCE_EXHAUSTED: TRANSIENT,
    grpc.StatusCode.FAILED_PRECONDITION: SYSTEMIC,
    grpc.StatusCode.ABORTED: TRANSIENT,
    grpc.StatusCode.OUT_OF_RANGE: POISON,
    grpc.StatusCode.UNIMPLEMENTED: SYSTEMIC,
    grpc.StatusCode.INTERNAL: TRANSIENT,
    grpc.StatusCode.UNAVAILABLE: TRANSIENT,
    grpc.StatusCode.DATA_LOSS: SYSTEMIC,
    grpc.StatusCode.UNAUTHENTICATED: SYSTEMIC,
}


def _raised(error: Exception) -> SomaError:
    with pytest.raises(SomaError) as raised, server_errors():
        raise error
    return raised.value


def _status(code: grpc.StatusCode, details: str = "") -> AioRpcError:
    return AioRpcError(code, Metadata(), Metadata(), details)


@pytest.mark.parametrize("code", grpc.StatusCode)
def test_every_status_has_its_class(code: grpc.StatusCode) -> None:
    with pytest.raises(SomaError) as raised, poison_named():  # as the sink calls it
        raise _raised(_status(code, "secret"))

    assert classify(raised.value) is _CLASSES[code]


@pytest.mark.parametrize("code", grpc.StatusCode)
def test_every_status_is_told_in_words_without_what_the_server_quotes(code: grpc.StatusCode) -> None:
    error = _raised(_status(code, "point with text `secret`"))

    assert error.remedy or isinstance(error, IndexRefusedError)
    assert ("secret" in str(error)) is (code is grpc.StatusCode.UNAVAILABLE)  # gRPC's own words on the way


def test_a_server_that_asks_for_patience_gets_it() -> None:
    error = _raised(ResourceExhaustedResponse("busy", 1))

    assert isinstance(error, IndexUnavailableError)
    assert classify(error) is TRANSIENT


# As gRPC 1.85 words them; the tests of the client meet each of them for real.
@pytest.mark.parametrize(
    ("details", "remedy"),
    [
        ("Tls handshake failed (TSI_PROTOCOL_FAILURE): CERTIFICATE_VERIFY_FAILED", "SOMA_VECTORS__CA_FILE"),
        ("Failed to create security handshaker.", "PEM file"),
        ("Trying to connect an http1.x server (HTTP status 400)", "6334"),
    ],
)
def test_a_connection_that_can_never_succeed_is_not_waited_for(details: str, remedy: str) -> None:
    error = _raised(_status(grpc.StatusCode.UNAVAILABLE, details))

    assert isinstance(error, IndexServerError)
    assert remedy in str(error.remedy)


def test_what_is_no_answer_of_a_server_passes_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError), server_errors():
        raise ZeroDivisionError
