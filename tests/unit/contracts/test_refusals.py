"""A connection that will not come about says what is wrong and what to do, whichever library met it."""

import asyncio
import socket
import ssl
from pathlib import Path

import httpx2
import psycopg
import pytest
from confluent_kafka import KafkaError

from soma_schemas.broker_access import refusal_of
from soma_schemas.errors import SomaError
from soma_schemas.postgres_access import DatabaseAccessError, database_refusal
from soma_schemas.refusals import (
    API,
    BROKERS,
    POSTGRES,
    REGISTRY,
    TOKENS,
    VECTORS,
    AccessError,
    Hop,
    tls_refusal,
)
from soma_schemas.registry import RegistryAccessError, open_registry, registry_error
from soma_schemas.settings import KafkaSettings, PostgresSettings, RegistrySettings, VectorSettings
from soma_schemas.tls import RotatingContext, TlsFiles
from soma_schemas.tls_probe import refusal_at
from soma_schemas.vectors.index_errors import IndexAccessError
from soma_schemas.vectors.server import open_client
from soma_schemas.vectors.server_errors import server_errors
from soma_streams.delivery.failures import FailureClass, classify
from tls_server import Fault, issued_with, serving

CODES = {
    Fault.UNKNOWN_AUTHORITY: "tls_unknown_authority",
    Fault.EXPIRED: "tls_certificate_expired",
    Fault.WRONG_HOST: "tls_wrong_host",
}
FAULTS = pytest.mark.parametrize("fault", list(Fault))


def asked(port: int, context: ssl.SSLContext | None) -> str | None:
    refusal = refusal_at(BROKERS, "127.0.0.1", port, context)
    return None if refusal is None else refusal.code


@FAULTS
def test_a_look_at_a_service_tells_what_is_wrong_with_its_certificate(fault: Fault, tmp_path: Path) -> None:
    trusted, shown = issued_with(fault, tmp_path)

    with serving(shown) as port:
        assert asked(port, RotatingContext.of_client(TlsFiles(trusted.file))) == CODES[fault]


def test_a_look_at_a_service_that_is_in_order_tells_nothing(tmp_path: Path) -> None:
    trusted, shown = issued_with(None, tmp_path)

    with serving(shown) as port:
        assert asked(port, RotatingContext.of_client(TlsFiles(trusted.file))) is None


def test_a_look_at_a_service_tells_that_it_speaks_no_tls(tmp_path: Path) -> None:
    trusted, _ = issued_with(None, tmp_path)

    with serving(None, answer=b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        assert asked(port, RotatingContext.of_client(TlsFiles(trusted.file))) == "tls_not_spoken"


def test_a_look_at_a_service_tells_that_it_speaks_tls_alone(tmp_path: Path) -> None:
    _, shown = issued_with(None, tmp_path)

    with serving(shown) as port:
        assert asked(port, None) == "tls_wanted"


def test_a_look_at_a_service_tells_that_it_wants_a_certificate_or_another_one(tmp_path: Path) -> None:
    trusted, shown = issued_with(None, tmp_path)
    _, foreign = issued_with(Fault.UNKNOWN_AUTHORITY, tmp_path)
    ours = TlsFiles(trusted.file), TlsFiles(trusted.file, foreign.certificate, foreign.key)

    with serving(shown, clients=trusted) as port:
        told = [asked(port, RotatingContext.of_client(each)) for each in ours]

    assert told == ["tls_client_certificate", "tls_client_certificate"]


def test_a_service_that_is_away_or_hangs_up_is_no_refusal(tmp_path: Path) -> None:
    trusted, _ = issued_with(None, tmp_path)
    context = RotatingContext.of_client(TlsFiles(trusted.file))

    assert asked(1, context) is None
    assert asked(1, None) is None
    with serving(None) as port, socket.create_connection(("127.0.0.1", port)):
        assert asked(port, context) is None


@FAULTS
def test_the_registrys_certificate(fault: Fault, tmp_path: Path) -> None:
    trusted, shown = issued_with(fault, tmp_path)

    with serving(shown) as port:
        settings = RegistrySettings(url=f"https://127.0.0.1:{port}", ca_file=trusted.file)
        with (
            open_registry(settings, retries=False) as registry,
            pytest.raises(httpx2.ConnectError) as refused,
        ):
            registry.get_subjects()

    is_told(registry_error(refused.value, "x"), RegistryAccessError, CODES[fault], REGISTRY)


def test_a_registry_without_tls_and_one_with_tls_alone(tmp_path: Path) -> None:
    trusted, shown = issued_with(None, tmp_path)
    with serving(None, answer=b"HTTP/1.1 400 Bad Request\r\n\r\n") as plain, serving(shown) as encrypted:
        for url, code in (
            (f"https://127.0.0.1:{plain}", "tls_not_spoken"),
            (f"http://127.0.0.1:{encrypted}", "tls_wanted"),
        ):
            settings = RegistrySettings(url=url, ca_file=trusted.file)
            with (
                open_registry(settings, retries=False) as registry,
                pytest.raises(httpx2.HTTPError) as refused,
            ):
                registry.get_subjects()
            is_told(registry_error(refused.value, "x"), RegistryAccessError, code, REGISTRY)


@FAULTS
async def test_the_vector_indexs_certificate(fault: Fault, tmp_path: Path) -> None:
    trusted, shown = issued_with(fault, tmp_path)

    with serving(shown) as port:
        settings = VectorSettings(url=f"https://127.0.0.1:{port}", ca_file=trusted.file)
        async with open_client(settings) as client:
            with pytest.raises(IndexAccessError) as refused, server_errors():
                await client.get_aliases()

    is_told(refused.value, IndexAccessError, CODES[fault], VECTORS)


@FAULTS
async def test_postgres_certificate(fault: Fault, tmp_path: Path) -> None:
    trusted, shown = issued_with(fault, tmp_path)

    with serving(shown, preamble=b"S") as port:
        settings = PostgresSettings(
            port=port, sslmode="verify-full", ca_file=trusted.file, user="somebody", database="any"
        )

        def connect() -> None:
            psycopg.connect(settings.conninfo()).close()

        with pytest.raises(psycopg.OperationalError) as refused:
            await asyncio.to_thread(connect)
        told = database_refusal(settings, refused.value)

    is_told(told, DatabaseAccessError, CODES[fault], POSTGRES)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ('FATAL:  password authentication failed for user "soma_worker"', "credentials_refused"),
        ('FATAL:  role "somebody" does not exist', "credentials_refused"),
        ('FATAL:  database "soma" does not exist', "credentials_refused"),
        ("fe_sendauth: no password supplied", "credentials_refused"),
        ('FATAL:  no pg_hba.conf entry for host "x", user "y", SSL encryption', "credentials_refused"),
        ('FATAL:  no pg_hba.conf entry for host "x", user "y", no encryption', "tls_wanted"),
        ("FATAL:  connection requires a valid client certificate", "tls_client_certificate"),
        ('FATAL:  permission denied for database "soma"', "not_allowed"),
        ("server does not support SSL, but SSL was required", "tls_not_spoken"),
        ('root certificate file "/nowhere/ca.pem" does not exist', "tls_unknown_authority"),
        ('server certificate for "db" does not match host name "127.0.0.1"', "tls_wrong_host"),
        ("SSL error: certificate verify failed", "tls_failed"),
    ],
)  # fmt: skip
def test_what_postgres_says(words: str, code: str) -> None:
    told = database_refusal(PostgresSettings(host="/nowhere"), psycopg.OperationalError(words))

    is_told(told, DatabaseAccessError, code, POSTGRES)


@pytest.mark.parametrize(
    "words",
    [
        'connection to server at "127.0.0.1", port 1 failed: Connection refused',
        "FATAL:  the database system is starting up",
        "FATAL:  sorry, too many clients already",
        "server closed the connection unexpectedly",
        "timeout expired",
    ],
)
def test_a_database_that_is_away_is_no_refusal(words: str) -> None:
    error = psycopg.OperationalError(words)

    assert database_refusal(PostgresSettings(), error) is None
    assert classify(error) is FailureClass.TRANSIENT


@pytest.mark.parametrize(
    ("number", "words", "code"),
    [
        (KafkaError._AUTHENTICATION, "", "credentials_refused"),
        (KafkaError.SASL_AUTHENTICATION_FAILED, "", "credentials_refused"),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, "", "not_allowed"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, "", "not_allowed"),
        (KafkaError.CLUSTER_AUTHORIZATION_FAILED, "", "not_allowed"),
        (KafkaError._SSL, "SSL handshake failed: certificate verify failed", "tls_failed"),
        (KafkaError._SSL, "", "tls_failed"),
        (KafkaError._TRANSPORT, "", None),
        (KafkaError._ALL_BROKERS_DOWN, "", None),
    ],
)  # fmt: skip
def test_what_kafka_clients_say(number: int, words: str, code: str | None) -> None:
    told = refusal_of(KafkaError(number, words), KafkaSettings())

    assert (None if told is None else told.code) == code


def test_a_login_that_failed_with_unknown_settings_names_none_that_may_be_unused() -> None:
    told = refusal_of(KafkaError(KafkaError._AUTHENTICATION), None)

    assert told is not None
    assert told.code == "credentials_refused"
    assert "soma doctor" in str(told.remedy)
    assert "SOMA_KAFKA" not in f"{told} {told.remedy}"


@pytest.mark.parametrize("hop", [BROKERS, TOKENS, REGISTRY, POSTGRES, VECTORS, API], ids=lambda hop: hop.name)
def test_every_refusal_of_every_service_names_it_and_says_what_to_do(hop: Hop) -> None:
    refusals = [
        hop.unknown_authority(),
        hop.expired(),
        hop.wrong_host(),
        hop.no_tls(),
        hop.tls_wanted(),
        hop.client_certificate(),
        hop.failed(),
        hop.credentials_refused(),
        hop.not_allowed("to read `x`"),
    ]

    assert len({each.code for each in refusals}) == len(refusals)
    for each in refusals:
        assert hop.name in str(each) or hop.address in str(each)
        assert each.remedy
        assert each.remedy.endswith(".")
        assert classify(each) is FailureClass.SYSTEMIC


def test_words_that_say_nothing_of_tls_are_no_refusal() -> None:
    assert tls_refusal(BROKERS, "Connection refused") is None


def is_told(error: SomaError | None, kind: type[AccessError], code: str, hop: Hop) -> None:
    assert isinstance(error, kind)
    assert error.code == code
    assert hop.name in f"{error} {error.remedy}" or hop.address in f"{error} {error.remedy}"
    assert classify(error) is FailureClass.SYSTEMIC
