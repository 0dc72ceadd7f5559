"""The one classification of failures, by cause: the event's fault, a passing state, or an operator's task."""

from enum import StrEnum

import httpx
import httpx2
import psycopg
import psycopg_pool
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.schema_registry import SchemaRegistryError

from soma_schemas.postgres_access import refusal_in_words
from soma_schemas.producer import DeliveryTimeoutError, LogClosedError
from soma_schemas.refusals import AccessError
from soma_schemas.registry import RegistryUnreachableError
from soma_schemas.topic_admin import BrokerError
from soma_schemas.violations import ContractError
from soma_streams.errors import PoisonError


class FailureClass(StrEnum):
    """What a failure means for the event at hand."""

    POISON = "poison"  # it can never succeed: dead-letter it
    TRANSIENT = "transient"  # it will succeed later: try again in place
    SYSTEMIC = "systemic"  # nothing will succeed until an operator acts: stop


def classify(error: BaseException) -> FailureClass:
    """Return the class of any error.

    One that nobody foresaw is systemic: it must neither be dead-lettered nor retried in silence.
    """
    match error:
        case PoisonError() | ContractError():
            return FailureClass.POISON
        case RegistryUnreachableError() | DeliveryTimeoutError() | LogClosedError():
            return FailureClass.TRANSIENT
        case AccessError():
            return FailureClass.SYSTEMIC
        case BrokerError(__cause__=KafkaException() as cause):
            return classify(cause)
        case BrokerError() | DeliveryTimeoutError():
            return FailureClass.TRANSIENT
        case psycopg_pool.PoolClosed():
            return FailureClass.SYSTEMIC
        case psycopg_pool.PoolTimeout() | psycopg_pool.TooManyRequests():
            return FailureClass.TRANSIENT
        case psycopg.Error():
            return _by_postgres(error)
        case SchemaRegistryError():
            return _by_http_status(error.http_status_code)
        case KafkaException():
            return _by_kafka(error.args[0])
        case httpx.HTTPStatusError():
            return _by_http_status(error.response.status_code)
        case httpx.TransportError() | httpx2.TransportError() | ConnectionError() | TimeoutError():
            return FailureClass.TRANSIENT
        case _:
            return FailureClass.SYSTEMIC


_TOO_MANY_REQUESTS = 429
_REQUEST_TIMEOUT = 408
_SERVER_ERRORS = range(500, 600)


def _by_http_status(status: int | None) -> FailureClass:
    if status is None or status in {_TOO_MANY_REQUESTS, _REQUEST_TIMEOUT} or status in _SERVER_ERRORS:
        return FailureClass.TRANSIENT
    return FailureClass.SYSTEMIC


# SQLSTATE classes, https://www.postgresql.org/docs/18/errcodes-appendix.html
_POSTGRES_POISON = (
    "22",  # the value does not fit its type
    "23",  # a constraint refuses the row
    "54",  # the row is too large for an index or too deep to parse
)
_POSTGRES_TRANSIENT = (
    "08",  # connection
    "53",  # out of memory, disk or connections
    "57P",  # shutting down or starting up
    "57014",  # statement timeout
    "40001",  # serialization
    "40P01",  # deadlock
    "55P03",  # lock timeout
    "25P03",  # our own transaction sat idle for too long
    "25P04",  # our own transaction took too long
)


def _by_postgres(error: psycopg.Error) -> FailureClass:
    state = error.sqlstate
    if state is None:
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
            # A failed connection carries no SQLSTATE, whatever the cause.
            return FailureClass.TRANSIENT if refusal_in_words(error) is None else FailureClass.SYSTEMIC
        # psycopg itself could not put the value on the wire.
        return FailureClass.POISON if isinstance(error, psycopg.DataError) else FailureClass.SYSTEMIC
    if state.startswith(_POSTGRES_POISON):
        return FailureClass.POISON
    if state.startswith(_POSTGRES_TRANSIENT):
        return FailureClass.TRANSIENT
    return FailureClass.SYSTEMIC


# What brokers, or the client for them, say to one record because of what it is.
RECORD_REFUSALS = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.RECORD_LIST_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.INVALID_TIMESTAMP,
        KafkaError.INVALID_MSG,
        KafkaError.POLICY_VIOLATION,
        KafkaError._INVALID_ARG,  # noqa: SLF001  # librdkafka's own codes are spelt so
    }
)
_KAFKA_SYSTEMIC = RECORD_REFUSALS | frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.SASL_AUTHENTICATION_FAILED,
        KafkaError._AUTHENTICATION,  # noqa: SLF001  # librdkafka's own codes are spelt so
        KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
        KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
        KafkaError.INVALID_REQUIRED_ACKS,
    }
)
_KAFKA_TRANSIENT = frozenset(
    {
        KafkaError._MSG_TIMED_OUT,  # noqa: SLF001
        KafkaError._TIMED_OUT,  # noqa: SLF001
        KafkaError._TRANSPORT,  # noqa: SLF001
        KafkaError._ALL_BROKERS_DOWN,  # noqa: SLF001
        KafkaError._QUEUE_FULL,  # noqa: SLF001
        KafkaError._RESOLVE,  # noqa: SLF001
        KafkaError.UNKNOWN_TOPIC_OR_PART,  # also while a topic's new leader is not known everywhere
    }
)


def _by_kafka(error: KafkaError) -> FailureClass:
    if error.code() in _KAFKA_SYSTEMIC or error.fatal():
        return FailureClass.SYSTEMIC
    if error.retriable() or error.code() in _KAFKA_TRANSIENT:
        return FailureClass.TRANSIENT
    # Broker codes that librdkafka gave up on after its own retries, such as NOT_ENOUGH_REPLICAS.
    return FailureClass.TRANSIENT if error.code() > 0 else FailureClass.SYSTEMIC
