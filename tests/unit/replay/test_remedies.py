"""Every code that a dead letter can have tells an operator what to do."""

import ast
import inspect
from collections.abc import Iterator
from types import SimpleNamespace

import psycopg
import pytest

import soma_streams.sinks.vectors.vector_sink_errors  # noqa: F401  # defines errors that become codes
from soma_schemas.remedies import UNREADABLE_HEADERS, kind_of, knows, remedy_of
from soma_schemas.violations import ViolationCode
from soma_streams.delivery import decode
from soma_streams.delivery.failures import FailureClass, classify
from soma_streams.delivery.settle import write_code
from soma_streams.errors import PoisonError


def codes_of_decoding() -> list[str]:
    """The first argument of every `UndecodableError(...)`."""
    return [
        str(ast.literal_eval(call.args[0]))
        for call in ast.walk(ast.parse(inspect.getsource(decode)))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "UndecodableError"
    ]


def poison(error: type[PoisonError] = PoisonError) -> Iterator[type[PoisonError]]:
    yield error
    for each in error.__subclasses__():
        yield from poison(each)


def codes_of_postgres() -> list[str]:
    """A code for every SQLSTATE that is poison."""
    errors = [
        each
        for each in vars(psycopg.errors).values()
        if isinstance(each, type) and issubclass(each, psycopg.Error) and each.sqlstate is not None
    ]
    return [write_code(error()) for error in errors if classify(error()) is FailureClass.POISON]


CODES = {
    *codes_of_decoding(),
    *(code.value for code in ViolationCode),
    *(error.code for error in poison()),
    *codes_of_postgres(),
    *(write_code(SimpleNamespace(status_code=status)) for status in (400, 413, 422)),  # type: ignore[arg-type]  # all that is looked at
    write_code(psycopg.DataError()),
    UNREADABLE_HEADERS,
}


def test_the_codes_are_found() -> None:
    assert {"avro", "key_mismatch", "replay_headers"} <= set(codes_of_decoding())
    assert "embedding_dimensions" in CODES
    assert {"sqlstate_22001", "sqlstate_23505", "sqlstate_54000"} <= CODES
    assert "refused" in CODES


@pytest.mark.parametrize("code", sorted(CODES))
def test_a_code_has_a_remedy(code: str) -> None:
    assert knows(code)


def test_a_code_of_another_version_has_one_too() -> None:
    assert not knows("invented_tomorrow")
    assert "discard" in remedy_of("invented_tomorrow")


def test_the_longest_beginning_counts() -> None:
    assert "constraint" in remedy_of("sqlstate_23514")
    assert "constraint" not in remedy_of("sqlstate_22001")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("too_long", "too_long"),
        ("sqlstate_23514", "sqlstate_23"),
        ("http_400", "http"),
        ("of_tomorrow", "unknown"),
    ],
)
def test_codes_come_in_a_bounded_number_of_kinds(code: str, kind: str) -> None:
    assert kind_of(code) == kind
