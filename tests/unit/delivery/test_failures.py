"""Every failure has a class, chosen on purpose."""

from random import Random

import aiohttp
import httpx
import httpx2
import psycopg
import psycopg_pool
import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.schema_registry import SchemaRegistryError
from hypothesis import given
from hypothesis import strategies as st

from soma_schemas.errors import MismatchError
from soma_schemas.vectors.index_errors import IndexServerError, IndexUnavailableError
from soma_schemas.violations import ContractError, Violation, ViolationCode
from soma_streams.delivery.failures import FailureClass, classify
from soma_streams.delivery.retry import full_jitter
from soma_streams.errors import PoisonError, SystemicError

POISON, TRANSIENT, SYSTEMIC = FailureClass.POISON, FailureClass.TRANSIENT, FailureClass.SYSTEMIC


def by_state(state: str) -> psycopg.Error:
    error = psycopg.errors.lookup(state)("the server said so")
    assert error.sqlstate == state
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (by_state("22P02"), POISON),
        (by_state("22021"), POISON),
        (by_state("23514"), POISON),
        (by_state("23505"), POISON),
        (by_state("54000"), POISON),
        (psycopg.DataError("text cannot hold NUL"), POISON),
        (by_state("08006"), TRANSIENT),
        (by_state("53100"), TRANSIENT),
        (by_state("53300"), TRANSIENT),
        (by_state("57P01"), TRANSIENT),
        (by_state("57P03"), TRANSIENT),
        (by_state("57014"), TRANSIENT),
        (by_state("40001"), TRANSIENT),
        (by_state("40P01"), TRANSIENT),
        (by_state("55P03"), TRANSIENT),
        (psycopg.OperationalError("connection refused"), TRANSIENT),
        (psycopg.OperationalError("FATAL:  the database system is starting up"), TRANSIENT),
        (psycopg.OperationalError("FATAL:  sorry, too many clients already"), TRANSIENT),
        (psycopg.InterfaceError("the connection is closed"), TRANSIENT),
        (psycopg_pool.PoolTimeout("no connection within 30 s"), TRANSIENT),
        (psycopg_pool.TooManyRequests("queue is full"), TRANSIENT),
        (psycopg_pool.PoolClosed("the pool is closed"), SYSTEMIC),
        (by_state("42P01"), SYSTEMIC),
        (by_state("42501"), SYSTEMIC),
        (by_state("28P01"), SYSTEMIC),
        (by_state("3D000"), SYSTEMIC),
        (psycopg.OperationalError('FATAL:  password authentication failed for user "x"'), SYSTEMIC),
        (psycopg.OperationalError('FATAL:  database "x" does not exist'), SYSTEMIC),
        (psycopg.OperationalError('FATAL:  role "x" does not exist'), SYSTEMIC),
        (psycopg.OperationalError("fe_sendauth: no password supplied"), SYSTEMIC),
        (psycopg.ProgrammingError("a statement with no state"), SYSTEMIC),
        (SchemaRegistryError(503, 50301, ""), TRANSIENT),
        (SchemaRegistryError(429, 42900, ""), TRANSIENT),
        (SchemaRegistryError(401, 40101, ""), SYSTEMIC),
        (SchemaRegistryError(404, 40403, ""), SYSTEMIC),
        (IndexUnavailableError("busy"), TRANSIENT),
        (IndexServerError("wrong key"), SYSTEMIC),
        (MismatchError("another model"), SYSTEMIC),
        (KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT)), TRANSIENT),
        (KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN)), TRANSIENT),
        (KafkaException(KafkaError(KafkaError.NOT_ENOUGH_REPLICAS)), TRANSIENT),
        (KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)), SYSTEMIC),
        (KafkaException(KafkaError(KafkaError._UNKNOWN_TOPIC)), SYSTEMIC),
        (KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE)), SYSTEMIC),
        (httpx.ConnectTimeout("slow"), TRANSIENT),
        (httpx2.ConnectError("refused"), TRANSIENT),
        (TimeoutError(), TRANSIENT),
        (ConnectionResetError(), TRANSIENT),
        (PoisonError("x"), POISON),
        (ContractError([Violation("", ViolationCode.EMPTY, "x")]), POISON),
        (SystemicError("x"), SYSTEMIC),
        (ValueError("nobody foresaw this"), SYSTEMIC),
        (aiohttp.ClientError("nobody foresaw this"), SYSTEMIC),
        (MemoryError(), SYSTEMIC),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{type(value).__name__}: {value}",
)
def test_a_failure_has_its_class(error: Exception, expected: FailureClass) -> None:
    assert classify(error) is expected


@given(st.integers(0, 10**9), st.floats(0.01, 10), st.floats(0.01, 1000))
def test_a_pause_never_leaves_its_bounds(attempt: int, first: float, longest: float) -> None:
    pause = full_jitter(attempt, first, longest, Random(attempt))

    assert 0 <= pause <= longest


def test_pauses_of_waiting_workers_differ_also_at_the_cap() -> None:
    pauses = {full_jitter(1000, 0.1, 30.0, Random(worker)) for worker in range(100)}

    assert len(pauses) == 100
    assert max(pauses) > 15
