"""Why brokers do not let this process in: the Kafka clients call most reasons a connection that broke."""

import socket
import ssl
import struct
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from soma_schemas.broker_tokens import not_accepted, refusal_of_token
from soma_schemas.clock import SystemClock
from soma_schemas.refusals import BROKERS, AccessError, tls_refusal
from soma_schemas.settings import KafkaSettings, SecurityProtocol
from soma_schemas.tls import RotatingContext, TlsFiles
from soma_schemas.tls_probe import refusal_at

_LOOK_SECONDS = 5.0
_POLL_SECONDS = 0.1
# A request for the versions of the protocol, which every broker answers to anybody.
_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)
_LARGEST_ANSWER = 1024 * 1024

_AUTHORIZATION = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
# For who does not know whether a password or a token is shown.
_SOME_LOGIN = BROKERS._replace(credentials="the credentials for the brokers, which `soma doctor` tests")
_AUTHENTICATION = frozenset(
    {
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,  # noqa: SLF001  # librdkafka's own codes are spelt so
    }
)


def tls_context(kafka: KafkaSettings) -> ssl.SSLContext | None:
    """Return what encrypts connections of clients written in Python; None where nothing does.

    Raises:
        OSError: A file cannot be read, or holds no PEM that fits.
    """
    if kafka.security_protocol is SecurityProtocol.PLAINTEXT:
        return None
    return RotatingContext.of_client(
        TlsFiles(kafka.ssl_ca_file, kafka.ssl_certificate_file, kafka.ssl_key_file)
    )


def login_refusal(kafka: KafkaSettings) -> AccessError:
    """Return what it means that brokers refuse who we say we are; blocks where a token endpoint is asked."""
    if kafka.oauth_token_url is None:
        return BROKERS.credentials_refused()
    return refusal_of_token(kafka) or not_accepted()


def refusal_of(error: KafkaError, kafka: KafkaSettings | None) -> AccessError | None:
    """Return what an error of a Kafka client means where it tells that we are not let in; otherwise None.

    Args:
        error: What the client raised, or told.
        kafka: With which it was made, where that is known. Where tokens are shown, their endpoint is asked,
            which takes seconds.
    """
    if error.code() in _AUTHENTICATION:
        return login_refusal(kafka) if kafka is not None else _SOME_LOGIN.credentials_refused()
    if error.code() in _AUTHORIZATION:
        return BROKERS.not_allowed(f"what it asked for ({error.name()})")
    if error.code() == KafkaError._SSL:  # noqa: SLF001  # see above
        return tls_refusal(BROKERS, error.str()) or BROKERS.failed()
    return None


def broker_refusal(kafka: KafkaSettings) -> AccessError | None:
    """Connect to the brokers anew, and return why they do not let us in; blocks for seconds.

    Returns:
        None where they let us in, or where none of them answers.
    """
    try:
        context = tls_context(kafka)
    except OSError:
        return BROKERS.failed()  # no file of ours can be used
    for each in kafka.bootstrap_servers.split(","):
        host, _, port = each.strip().rpartition(":")
        refusal = refusal_at(BROKERS, host.strip("[]"), int(port), context, speaks_plainly=_is_plain_broker)
        if refusal is not None:
            return refusal
    if kafka.oauth_token_url is not None and (refusal := refusal_of_token(kafka)) is not None:
        return refusal
    return _refusal_when_asked(kafka)


def _is_plain_broker(connection: socket.socket) -> bool:
    connection.sendall(_VERSIONS)
    head = connection.recv(8, socket.MSG_WAITALL)
    if len(head) < struct.calcsize(">ii"):
        return False
    size, correlation = struct.unpack(">ii", head)
    return bool(correlation == 1 and 0 < size < _LARGEST_ANSWER)


def _refusal_when_asked(kafka: KafkaSettings) -> AccessError | None:
    told: list[AccessError] = []

    def note(error: KafkaError) -> None:
        refusal = refusal_of(error, kafka)
        if refusal is not None:
            told.append(refusal)

    config: dict[str, Any] = kafka.librdkafka(silent=True) | {"client.id": "soma-access", "error_cb": note}
    clock = SystemClock()
    deadline = clock.monotonic() + _LOOK_SECONDS
    with AdminClient(config) as admin:
        while not told and clock.monotonic() < deadline:
            try:
                admin.list_topics(timeout=_POLL_SECONDS)
            except KafkaException as error:
                note(error.args[0])
                admin.poll(0)
            else:
                return None
    return told[0] if told else None
