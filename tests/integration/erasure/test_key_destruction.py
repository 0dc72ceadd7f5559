"""An erasure destroys data keys: no sooner than nobody uses them, and never those of others."""

from typing import Any
from uuid import UUID

import psycopg
import pytest

from builders import an_id, deleted, patched, stored
from erasing import Place
from postgres_tables import rows
from soma_schemas.events import ErasureRequested, ErasureScope, MemoryStored
from soma_schemas.producer import Tombstone
from soma_streams.erasure.erasure_state import ErasureState, WaitsFor

_KEY = """
INSERT INTO data_keys (key_id, tenant, subject, memory_id, wrapped, master_key_id)
VALUES (%(key_id)s, %(tenant)s, %(subject)s, %(memory_id)s, 'wrapped', 'master')
"""
# As six seconds of waiting do.
_LONG_AGO = "UPDATE data_keys SET retired_at = retired_at - interval '6 s' WHERE retired_at IS NOT NULL"


def execute(place: Place, statement: str, **values: Any) -> None:
    with psycopg.connect(place.owner_dsn) as connection:
        connection.execute(statement.encode(), values)


def a_key(
    place: Place, *, subject: str | None = None, memory_id: UUID | None = None, tenant: str = "acme"
) -> UUID:
    key_id = an_id()
    execute(place, _KEY, key_id=key_id, tenant=tenant, subject=subject, memory_id=memory_id)
    return key_id


def destroyed(place: Place) -> set[UUID]:
    found = rows(place.owner_dsn, "SELECT key_id FROM data_keys WHERE destroyed_at IS NOT NULL")
    return {row["key_id"] for row in found}


def retired(place: Place) -> set[UUID]:
    found = rows(place.owner_dsn, "SELECT key_id FROM data_keys WHERE retired_at IS NOT NULL")
    return {row["key_id"] for row in found}


def memory_of(subject: str | None, key: str) -> MemoryStored:
    return stored(key=key, subject=subject)


async def complete(place: Place) -> None:
    """Carry out what is asked, with the time that publishers are given."""
    await place.erase()
    execute(place, _LONG_AGO)
    await place.erase()


async def test_erasing_a_subject_destroys_its_key_and_those_of_its_memories_patches(place: Place) -> None:
    of_ada, of_bob = memory_of("ada", "a"), memory_of("bob", "b")
    await place.tell(of_ada, of_bob, patched(of_ada, text="more"))
    gone = {a_key(place, subject="ada"), a_key(place, memory_id=of_ada.memory_id)}
    a_key(place, subject="bob")
    a_key(place, memory_id=of_bob.memory_id)
    a_key(place, subject="ada", tenant="other")

    request = await place.request(ErasureScope.SUBJECT, "ada")
    await complete(place)

    row = place.row(request)
    assert row["state"] == "completed"
    assert destroyed(place) == gone
    assert row["data_keys"] == 2
    assert "data keys destroyed: 2" in row["receipt"]


async def test_the_key_of_a_subject_is_retired_with_the_acceptance_and_destroyed_after_its_time(
    place: Place,
) -> None:
    await place.tell(memory_of("ada", "a"))
    old = a_key(place, subject="ada")

    request = await place.request(ErasureScope.SUBJECT, "ada")
    new = a_key(place, subject="ada")
    await place.erase()
    waiting = await place.erasure(request)

    assert retired(place) == {old}
    assert destroyed(place) == set()
    assert waiting is not None
    assert (waiting.state, waiting.waits_for) == (ErasureState.CLEARING, WaitsFor.PUBLISHERS)
    await complete(place)
    assert destroyed(place) == {old}
    assert new not in retired(place)


async def test_a_key_is_not_destroyed_before_the_sinks_have_applied_what_it_encrypted(place: Place) -> None:
    await place.tell(memory_of("ada", "a"))
    old = a_key(place, subject="ada")
    request = await place.request(ErasureScope.SUBJECT, "ada")
    await place.erase()
    execute(place, _LONG_AGO)
    place.holds_back = True
    late = memory_of("ada", "late")
    await place.tell(late)

    await place.erase()

    waiting = await place.erasure(request)
    assert waiting is not None
    assert waiting.waits_for == WaitsFor.SINKS
    assert destroyed(place) == set()
    place.holds_back = False
    await place.catch_up()
    await place.erase()
    assert destroyed(place) == {old}


@pytest.mark.parametrize("scope", [ErasureScope.MEMORY, ErasureScope.NAMESPACE])
async def test_erasing_a_memory_or_a_namespace_leaves_the_keys_of_subjects(
    place: Place, scope: ErasureScope
) -> None:
    memory = memory_of("ada", "a")
    await place.tell(memory)
    a_key(place, subject="ada")
    patches = a_key(place, memory_id=memory.memory_id)

    await place.request(scope, str(memory.memory_id) if scope is ErasureScope.MEMORY else memory.namespace)
    await complete(place)

    assert destroyed(place) == {patches}


async def test_erasing_a_tenant_destroys_all_its_keys(place: Place) -> None:
    await place.tell(memory_of("ada", "a"))
    own = {a_key(place, subject="ada"), a_key(place, subject="bob"), a_key(place, memory_id=an_id())}
    a_key(place, subject="ada", tenant="other")

    await place.request(ErasureScope.TENANT, None)
    await complete(place)

    assert destroyed(place) == own


async def test_the_patches_of_a_memory_that_was_about_the_subject_for_a_time_go_too(place: Place) -> None:
    memory = memory_of("ada", "a")
    await place.tell(memory, patched(memory, subject="bob"))
    key = a_key(place, memory_id=memory.memory_id)

    await place.request(ErasureScope.SUBJECT, "ada")
    await complete(place)

    assert destroyed(place) == {key}


async def test_a_sealed_dead_letter_is_found_by_its_key(place: Place) -> None:
    memory = memory_of("ada", "a")
    await place.tell(memory, deleted(memory))
    key = a_key(place, subject="ada")
    other = stored(key="unread")
    letter = place.dead_letter(other, stage="write", offset=1)
    place.letters[letter] = b"\0\0\0\0\x01 sealed " + str(key).encode()

    request = await place.request(ErasureScope.SUBJECT, "ada")
    await complete(place)

    assert place.row(request)["dead_letters"] == 1


async def test_no_receipt_is_signed_before_the_log_knows_that_the_keys_are_destroyed(place: Place) -> None:
    await place.tell(memory_of("ada", "a"))
    key = a_key(place, subject="ada")
    request = await place.request(ErasureScope.SUBJECT, "ada")
    await place.erase()
    execute(place, _LONG_AGO)
    for _ in range(4):
        await place.eraser().round()
        await place.witness.round()
    waiting = await place.erasure(request)

    await place.erase()

    assert waiting is not None
    assert (waiting.state, waiting.waits_for) == (ErasureState.VERIFYING, WaitsFor.KEY_LOG)
    tombstones = [each.key for each in place.published if isinstance(each, Tombstone)]
    assert tombstones == [f"acme/{key}".encode()]
    assert place.row(request)["state"] == "completed"


async def test_a_request_that_is_told_again_retires_no_new_key(place: Place) -> None:
    await place.tell(memory_of("ada", "a"))
    request = await place.request(ErasureScope.SUBJECT, "ada")
    new = a_key(place, subject="ada")

    await place.request(ErasureScope.SUBJECT, "ada", request_id=request)

    assert new not in retired(place)


async def test_a_restored_database_destroys_the_keys_again_when_it_hears_of_the_erasure(place: Place) -> None:
    await place.tell(memory_of("ada", "a"))
    request = await place.request(ErasureScope.SUBJECT, "ada")
    await complete(place)
    requested, completed = (
        next(each for each in place.published if isinstance(each, ErasureRequested)),
        place.published[-1],
    )
    execute(place, "DELETE FROM erasures")
    execute(place, "DELETE FROM data_keys")
    restored = a_key(place, subject="ada")

    await place.say(requested)
    await place.say(completed)  # type: ignore[arg-type]  # the last word is the eraser's
    await place.erase()

    assert destroyed(place) == {restored}
    assert place.row(request)["state"] == "completed"
