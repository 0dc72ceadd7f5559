"""Dead letters over HTTP: an operator's, of their own tenant, without content."""

from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from api_gateway import Gateway
from builders import A_MOMENT, A_TENANT, an_id
from soma_api.roles import Role


def as_operator(gateway: Gateway, **key: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {gateway.a_key(Role.OPERATOR, **key).reveal()}"}


def insert(connection: psycopg.Connection[Any], number: int, **fields: Any) -> UUID:
    """A letter of ours that failed so many minutes after the first; odd ones are the vector sink's."""
    odd = number % 2 == 1
    failed = A_MOMENT + timedelta(minutes=number)
    values: dict[str, Any] = {
        "id": an_id(),
        "tenant": A_TENANT,
        "memory_id": an_id(),
        "consumer_group": "soma-vectors" if odd else "soma-postgres",
        "topic": "memory.events",
        "partition": 3,
        "log_offset": number,
        "epoch": 1,
        "logged_at": failed,
        "dlq_partition": 0,
        "dlq_offset": number,
        "stage": "write" if odd else "decode",
        "code": "unindexable" if odd else "avro",
        "message": "why",
        "attempts": 1,
        "first_failed_at": failed,
        "status": "open",
    } | fields
    names = sql.SQL(", ").join(map(sql.Identifier, values))
    places = sql.SQL(", ").join(map(sql.Placeholder, values))
    connection.execute(sql.SQL("INSERT INTO dead_letters ({}) VALUES ({})").format(names, places), values)
    letter_id: UUID = values["id"]
    return letter_id


@pytest.fixture
def letters(worker_dsn: str) -> list[UUID]:
    """Ten letters of ours, oldest first, the last one unreadable; and one of somebody else."""
    special: dict[int, dict[str, Any]] = {4: {"status": "discarded"}, 9: {"first_failed_at": None}}
    with psycopg.connect(worker_dsn) as connection:
        insert(connection, 5, tenant="other")
        return [insert(connection, number, **special.get(number, {})) for number in range(10)]


async def test_open_letters_are_listed_newest_first_and_page_by_page(
    gateway: Gateway, letters: list[UUID]
) -> None:
    seen: list[UUID] = []
    cursor: str | None = None
    pages = 0
    while pages == 0 or cursor is not None:
        asked = {"limit": "4"} | ({} if cursor is None else {"cursor": cursor})
        answer = await gateway.client.get("/v1/dead-letters", params=asked, headers=as_operator(gateway))
        assert answer.status_code == 200, answer.text
        seen += [UUID(letter["id"]) for letter in answer.json()["dead_letters"]]
        cursor = answer.json()["next_cursor"]
        pages += 1

    # The one that cannot be read wants to be seen.
    assert seen == [letters[9], *(letters[number] for number in (8, 7, 6, 5, 3, 2, 1, 0))]
    assert pages == 3


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ({"status": "all"}, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        ({"status": "discarded"}, [4]),
        ({"status": "replayed"}, []),
        ({"consumer_group": "soma-vectors"}, [9, 7, 5, 3, 1]),
        ({"stage": "decode"}, [8, 6, 2, 0]),
        ({"code": "unindexable", "failed_before": (A_MOMENT + timedelta(minutes=5)).isoformat()}, [3, 1]),
        ({"failed_from": (A_MOMENT + timedelta(minutes=7)).isoformat()}, [8, 7]),
    ],
)
async def test_filters_choose_letters(
    gateway: Gateway, letters: list[UUID], asked: dict[str, str], numbers: list[int]
) -> None:
    answer = await gateway.client.get("/v1/dead-letters", params=asked, headers=as_operator(gateway))

    found = [letters.index(UUID(letter["id"])) for letter in answer.json()["dead_letters"]]
    assert found == numbers


async def test_a_letter_says_why_and_what_to_do_and_nothing_of_what_it_holds(
    gateway: Gateway, letters: list[UUID]
) -> None:
    answer = await gateway.client.get(f"/v1/dead-letters/{letters[1]}", headers=as_operator(gateway))

    letter = answer.json()
    assert (letter["code"], letter["position"], letter["status"]) == ("unindexable", "3:1", "open")
    assert "vector index" in letter["remedy"]
    assert set(letter) == {
        "id", "status", "status_changed_at", "first_failed_at", "consumer_group", "stage", "code", "message",
        "remedy", "attempts", "application_version", "memory_id", "position", "epoch", "logged_at",
    }  # fmt: skip


async def test_a_letter_of_another_tenant_is_not_there(
    gateway: Gateway, owner_dsn: str, letters: list[UUID]
) -> None:
    with psycopg.connect(owner_dsn) as owner:
        row = owner.execute("SELECT id FROM dead_letters WHERE tenant = 'other'").fetchone()
    assert row is not None

    answer = await gateway.client.get(f"/v1/dead-letters/{row[0]}", headers=as_operator(gateway))

    assert (answer.status_code, answer.json()["code"]) == (404, "dead_letter_not_found")
    assert row[0] not in letters


@pytest.mark.parametrize("path", ["/v1/dead-letters", f"/v1/dead-letters/{UUID(int=1)}"])
async def test_a_writer_may_not_look(gateway: Gateway, path: str) -> None:
    answer = await gateway.client.get(path)

    assert (answer.status_code, answer.json()["code"]) == (403, "role_too_low")


@pytest.mark.parametrize("path", ["/v1/dead-letters", f"/v1/dead-letters/{UUID(int=1)}"])
async def test_a_key_for_some_namespaces_may_not_look(gateway: Gateway, path: str) -> None:
    answer = await gateway.client.get(path, headers=as_operator(gateway, namespaces=["team"]))

    assert (answer.status_code, answer.json()["code"]) == (403, "namespace_forbidden")


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"limit": "100000"}, "invalid_input"),
        ({"stage": "soon"}, "invalid_input"),
        ({"nonsense": "1"}, "invalid_input"),
        ({"cursor": "made-up"}, "invalid_cursor"),
    ],
)
async def test_what_makes_no_sense_is_refused(gateway: Gateway, asked: dict[str, str], code: str) -> None:
    answer = await gateway.client.get("/v1/dead-letters", params=asked, headers=as_operator(gateway))

    assert answer.json()["code"] == code
