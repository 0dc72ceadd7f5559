"""What a unit needs, and which of its failures pass."""

import psycopg
import pytest
from confluent_kafka import KafkaError, KafkaException

from soma_cli.local.errors import ChecksumMismatchError, DownloadError, PartSilentError
from soma_cli.local.unit import PartChange, PartState, Step, ignore
from soma_schemas.errors import MismatchError
from soma_schemas.registry import IncompatibleSchemaError, RegistryUnreachableError
from soma_schemas.topic_admin import BrokerError


async def nothing() -> None:
    """Act."""


def a_step(*needs: Step) -> Step:
    return Step("step", ignore, nothing, needs)


def brokers_away() -> BrokerError:
    error = BrokerError("no answer")
    error.__cause__ = KafkaException(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    return error


@pytest.mark.parametrize(
    "failure",
    [
        psycopg.OperationalError("connection refused"),
        psycopg.errors.AdminShutdown("terminating connection due to administrator command"),
        psycopg.errors.CannotConnectNow("the database system is starting up"),
        RegistryUnreachableError("no answer"),
        brokers_away(),
        TimeoutError(),
        PartSilentError("no sign of progress", part="registry"),
    ],
    ids=repr,
)
def test_what_a_server_says_that_is_away_starts_or_stops_passes(failure: Exception) -> None:
    assert a_step().is_passing(failure)


@pytest.mark.parametrize(
    "failure",
    [
        psycopg.errors.UndefinedObject("role does not exist"),
        psycopg.OperationalError("password authentication failed for user"),
        MismatchError("partitions is 3, declared is 4"),
        IncompatibleSchemaError("refused"),
        ChecksumMismatchError("another file"),
        DownloadError("no network"),
        OSError(28, "No space left on device"),
        ValueError(),
    ],
    ids=repr,
)
def test_what_is_wrong_does_not_pass(failure: Exception) -> None:
    assert not a_step().is_passing(failure)


async def test_a_step_is_ready_when_it_is_done() -> None:
    heard: list[PartChange] = []
    step = Step("tables", heard.append, nothing, [])

    await step.start()
    await step.until_ready()

    assert heard == [PartChange("tables", PartState.STARTING), PartChange("tables", PartState.READY)]


async def test_a_unit_waits_as_long_as_anything_behind_it_is_not_ready() -> None:
    server = a_step()
    tables = a_step(server)
    worker = a_step(tables)
    for unit in (server, tables):
        await unit.start()
    assert not worker.waits()

    server.fail(ValueError())

    assert worker.waits()
