"""What an erasure reaches, what it leaves, and that it can be stopped and begun again anywhere."""

import asyncio
import json
from random import Random
from typing import Any
from uuid import UUID

import psycopg
import pytest

from builders import an_id, deleted, linked, patched, stored
from erasing import Place
from postgres_tables import rows
from soma_schemas.erasure_receipts import parse_receipt, selector_digest
from soma_schemas.events import (
    ErasureCompleted,
    ErasureScope,
    MemoryDeleted,
    MemoryEvent,
    MemoryUnlinked,
)
from soma_schemas.producer import DeliveryTimeoutError
from soma_schemas.topic_admin import BrokerError
from soma_streams.cancellation import end
from soma_streams.checks import Waiting
from soma_streams.delivery.retry import Retry
from soma_streams.erasure.erasure_state import ErasureState, WaitsFor
from soma_streams.settings import RetrySettings

ABOUT_MIRA = ErasureScope.SUBJECT, "mira"


def living(place: Place) -> set[UUID]:
    return {
        row["memory_id"] for row in rows(place.owner_dsn, "SELECT memory_id FROM memories WHERE NOT deleted")
    }


def contents(place: Place) -> dict[int, str | None]:
    """What the history has at each offset."""
    return {
        row["version"] % 2**40: row["text"]
        for row in rows(place.owner_dsn, "SELECT version, content ->> 'text' AS text FROM memory_history")
    }


async def test_every_memory_of_the_subject_goes_from_both_stores_and_no_other(place: Place) -> None:
    mira, more, other = (stored(subject="mira"), stored(subject="mira"), stored(subject="zoe"))
    elsewhere = stored(subject="mira", tenant="globex")
    await place.tell(mira, more, other, elsewhere)
    request = await place.request(*ABOUT_MIRA)

    await place.erase()

    assert living(place) == {other.memory_id, elsewhere.memory_id}
    row = place.row(request)
    assert (row["state"], row["memories"], row["index_points"], row["index_points_left"]) == (
        "completed",
        2,
        2,
        0,
    )
    assert [each.actor for each in place.published if isinstance(each, MemoryDeleted)] == [
        f"erasure/{request}"
    ] * 2


@pytest.mark.parametrize(
    ("scope", "selector", "left"),
    [
        (ErasureScope.NAMESPACE, "team", {"tea", "team/a", "team/a/b", "teams"} - {"team/a", "team/a/b"}),
        (ErasureScope.NAMESPACE, "team/a", {"tea", "teams"}),
        (ErasureScope.TENANT, None, set()),
    ],
)
async def test_a_namespace_goes_with_all_below_it_and_a_tenant_as_a_whole(
    scope: ErasureScope, selector: str | None, left: set[str], place: Place
) -> None:
    await place.tell(*(stored(namespace=each) for each in ("tea", "team/a", "team/a/b", "teams")))
    await place.tell(stored(namespace="team", tenant="globex"))
    await place.request(scope, selector)

    await place.erase()

    found = rows(place.owner_dsn, "SELECT tenant, namespace FROM memories WHERE NOT deleted")
    assert {row["namespace"] for row in found if row["tenant"] == "acme"} == left
    assert [row["namespace"] for row in found if row["tenant"] == "globex"] == ["team"]


async def test_one_memory_goes_with_its_history(place: Place) -> None:
    memory, other = stored(text="one"), stored(text="other")
    await place.tell(
        memory, other, patched(memory, text="two"), deleted(memory), stored(memory_id=memory.memory_id)
    )
    await place.request(ErasureScope.MEMORY, str(memory.memory_id))

    await place.erase()

    assert living(place) == {other.memory_id}
    assert {text for text in contents(place).values() if text} == {"other"}


async def test_history_keeps_that_something_was_and_loses_what_it_said(place: Place) -> None:
    memory = stored(subject="mira", text="likes tea", namespace="people/mira")
    await place.tell(memory, patched(memory, text="likes coffee"))
    await place.request(*ABOUT_MIRA)

    await place.erase()

    found = rows(place.owner_dsn, "SELECT * FROM memory_history ORDER BY version")
    assert [(row["event_type"], row["outcome"]) for row in found] == [
        ("MemoryStored", "applied"),
        ("MemoryPatched", "applied"),
        ("MemoryDeleted", "applied"),
    ]
    assert {(row["content"], row["namespace"], row["actor"]) for row in found} == {(None, None, None)}


async def test_history_from_when_a_memory_was_about_the_subject_goes_and_the_memory_stays(
    place: Place,
) -> None:
    memory = stored(subject="zoe", text="0 of zoe")
    await place.tell(
        memory,
        patched(memory, subject="mira", text="1 of mira"),
        patched(memory, text="2 of mira"),
        patched(memory, subject=None, text="3 of nobody"),
        patched(memory, text="4 of nobody"),
    )
    await place.request(*ABOUT_MIRA)

    await place.erase()

    assert living(place) == {memory.memory_id}
    assert contents(place) == {0: "0 of zoe", 1: None, 2: None, 3: "3 of nobody", 4: "4 of nobody"}


async def test_what_a_memory_said_before_it_was_deleted_goes_too(place: Place) -> None:
    memory = stored(subject="mira", text="likes tea")
    await place.tell(memory, deleted(memory))
    request = await place.request(*ABOUT_MIRA)

    await place.erase()

    assert set(contents(place).values()) == {None}
    assert place.row(request)["history_rows"] == 2


async def test_links_to_what_is_gone_end_by_an_event_and_leave_nothing(place: Place) -> None:
    mira, friend, third = stored(subject="mira"), stored(), stored()
    await place.tell(
        mira,
        friend,
        third,
        linked(mira, friend.memory_id, "sister-of"),
        linked(friend, mira.memory_id, "loves"),
        linked(friend, third.memory_id, "knows"),
    )
    request = await place.request(*ABOUT_MIRA)

    await place.erase()

    found = rows(place.owner_dsn, "SELECT link_type FROM memory_links")
    assert [row["link_type"] for row in found] == ["knows"]
    assert [each.link_type for each in place.published if isinstance(each, MemoryUnlinked)] == ["loves"]
    assert place.row(request)["links"] == 2


async def test_last_states_on_their_way_and_notices_go(place: Place) -> None:
    mira, gone, other = stored(subject="mira"), stored(subject="mira"), stored(subject="zoe")
    await place.tell(mira, gone, other, deleted(gone))
    with psycopg.connect(place.owner_dsn) as connection:
        for memory in (gone, other):
            connection.execute(
                "INSERT INTO outbox (tenant, memory_id, event_id, content) VALUES ('acme', %s, %s, %s)",
                (memory.memory_id, an_id(), json.dumps({"subject": memory.subject})),
            )
        for memory in (mira, other):
            connection.execute(
                "INSERT INTO retention_notices VALUES ('acme', %s, now(), now())", (memory.memory_id,)
            )
    request = await place.request(*ABOUT_MIRA)

    await place.erase()

    assert [row["memory_id"] for row in rows(place.owner_dsn, "SELECT memory_id FROM outbox")] == [
        other.memory_id
    ]
    assert [row["memory_id"] for row in rows(place.owner_dsn, "SELECT memory_id FROM retention_notices")] == [
        other.memory_id
    ]
    assert (place.row(request)["outbox_rows"], place.row(request)["notices"]) == (1, 1)


def letters_seen_by_operators(place: Place) -> set[UUID]:
    with psycopg.connect(place.owner_dsn) as connection:
        connection.execute("SET ROLE soma_operators")
        return {row[0] for row in connection.execute("SELECT id FROM dead_letters").fetchall()}


async def test_dead_letters_about_the_subject_are_out_of_every_operators_reach(place: Place) -> None:
    mira, other = stored(subject="mira"), stored(subject="zoe")
    await place.tell(mira, other)
    of_its_memory = place.dead_letter(patched(mira, text="she"))
    never_stored = place.dead_letter(stored(subject="mira"))
    unreadable = place.dead_letter(stored(), stage="decode")
    place.letters[unreadable] = b'{"subject": "mira"'
    kept = {place.dead_letter(stored(subject="mirabel")), place.dead_letter(stored(text="admire"))}
    kept.add(place.dead_letter(stored(subject="mira"), offset=50))  # newer than the request
    request = await place.request(*ABOUT_MIRA)

    await place.erase()

    assert letters_seen_by_operators(place) == kept
    assert place.row(request)["dead_letters"] == 3
    statuses = rows(place.owner_dsn, "SELECT id FROM dead_letters WHERE status = 'erased'")
    assert {row["id"] for row in statuses} == {of_its_memory, never_stored, unreadable}


async def test_a_dead_letter_of_a_selected_memory_that_comes_late_is_found_before_the_receipt(
    place: Place,
) -> None:
    mira = stored(subject="mira")
    await place.tell(mira)
    request = await place.request(*ABOUT_MIRA)
    while (erasure := await place.erasure(request)) is not None:
        if erasure.state is ErasureState.CLEARING:
            break
        await place.eraser().step(erasure)
    late = place.dead_letter(patched(mira, text="she"))

    await place.erase()

    assert late not in letters_seen_by_operators(place)
    assert (place.row(request)["state"], place.row(request)["dead_letters"]) == ("completed", 1)


async def test_an_operator_cannot_bring_an_erased_dead_letter_back(place: Place) -> None:
    letter = place.dead_letter(stored(subject="mira"))
    await place.request(*ABOUT_MIRA)
    await place.erase()

    with psycopg.connect(place.owner_dsn) as connection:
        connection.execute("SET ROLE soma_operators")
        changed = connection.execute("UPDATE dead_letters SET status = 'open' WHERE id = %s", (letter,))

    assert changed.rowcount == 0


# The race with whoever stores.


async def test_what_was_in_the_log_before_the_request_goes_although_the_sinks_come_to_it_later(
    place: Place,
) -> None:
    place.holds_back = True
    await place.tell(stored(subject="mira"))
    request = await place.request(*ABOUT_MIRA)
    await place.erase()
    assert (place.row(request)["state"], place.row(request)["waits_for"]) == ("accepted", WaitsFor.SINKS)

    place.holds_back = False
    await place.catch_up()
    await place.erase()

    assert living(place) == set()
    assert place.row(request)["state"] == "completed"


async def test_what_is_stored_after_the_request_is_another_memory_and_stays(place: Place) -> None:
    before, same_key = stored(subject="mira", key="a"), stored(subject="mira", key="a", text="anew")
    await place.tell(before)
    request = await place.request(*ABOUT_MIRA)
    await place.tell(same_key, later := stored(subject="mira", text="later"))

    await place.erase()

    assert living(place) == {same_key.memory_id, later.memory_id}
    assert contents(place) == {0: None, 1: "anew", 2: "later"}
    assert place.row(request)["state"] == "completed"


async def test_a_memory_that_is_stored_again_while_its_deletion_is_on_its_way_stays(place: Place) -> None:
    await place.tell(stored(subject="mira", key="a"))
    await place.request(*ABOUT_MIRA)
    again = stored(subject="mira", key="a", text="anew")
    await place.eraser().step((await place.store.open())[0])
    place.before_publishing = [again]

    await place.erase()

    assert living(place) == {again.memory_id}
    assert {text for text in contents(place).values() if text} == {"anew"}


async def test_a_memory_that_only_changes_after_the_request_is_still_the_old_one_and_goes(
    place: Place,
) -> None:
    memory = stored(subject="mira")
    await place.tell(memory)
    await place.request(*ABOUT_MIRA)
    await place.tell(patched(memory, text="changed"))

    await place.erase()

    assert living(place) == set()
    assert set(contents(place).values()) == {None}


async def test_a_change_while_its_deletion_is_on_its_way_does_not_save_a_memory(place: Place) -> None:
    memory = stored(subject="mira")
    await place.tell(memory)
    await place.request(*ABOUT_MIRA)
    await place.eraser().step((await place.store.open())[0])
    place.before_publishing = [patched(memory, text="changed")]

    await place.erase()

    assert living(place) == set()


async def test_the_same_subject_can_be_erased_twice(place: Place) -> None:
    await place.tell(stored(subject="mira"))
    first, second = await place.request(*ABOUT_MIRA), await place.request(*ABOUT_MIRA)
    await place.erase()
    await place.tell(again := stored(subject="mira"))
    third = await place.request(*ABOUT_MIRA)
    await place.erase()

    assert again.memory_id not in living(place)
    assert [place.row(each)["state"] for each in (first, second, third)] == ["completed"] * 3
    assert [place.row(each)["memories"] for each in (first, second, third)] == [1, 0, 1]


# Faults.


@pytest.mark.parametrize("state", list(ErasureState)[:-1])
async def test_an_erasure_that_was_interrupted_in_any_state_goes_on_with_another_eraser(
    state: ErasureState, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    mira, friend = stored(subject="mira"), stored()
    await place.tell(mira, friend, linked(friend, mira.memory_id))
    place.dead_letter(stored(subject="mira"))
    request = await place.request(*ABOUT_MIRA)

    class KilledError(Exception):
        pass

    async def killed(*_: object) -> None:
        raise KilledError

    # Dies when it would note the end of this step: all its work is done, and nobody knows.
    with monkeypatch.context() as dying:
        for _ in range(12):
            erasure = await place.erasure(request)
            assert erasure is not None
            if erasure.state is state:
                for note in ("advance", "sign", "get"):
                    dying.setattr(place.store, note, killed)
                dying.setattr("soma_streams.erasure.erasure_store._advance", killed)
                with pytest.raises(KilledError):
                    await place.eraser().step(erasure)
                break
            await place.eraser().step(erasure)
            await place.witness.round()
    await place.erase()

    row = place.row(request)
    counts = [row[each] for each in ("state", "memories", "links", "dead_letters")]
    assert counts == ["completed", 1, 1, 1]
    assert living(place) == {friend.memory_id}


@pytest.mark.parametrize(
    ("part", "error"),
    [
        ("store.open", psycopg.OperationalError("the connection is lost")),
        ("store.clear", psycopg.errors.AdminShutdown("terminating")),
        ("publish", BrokerError("the brokers do not answer")),
        ("publish", DeliveryTimeoutError("no broker acknowledged it in time")),
    ],
)
async def test_an_erasure_waits_for_what_is_away_and_goes_on(
    part: str, error: Exception, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    await place.tell(stored(subject="mira"))
    request = await place.request(*ABOUT_MIRA)
    holder, _, name = part.rpartition(".")
    away = getattr(place, holder) if holder else place
    answers, failures = getattr(away, name), iter([error, error])

    async def fails_twice(*arguments: Any) -> Any:
        if (failure := next(failures, None)) is not None:
            raise failure
        return await answers(*arguments)

    monkeypatch.setattr(away, name, fails_twice)
    erasing = asyncio.create_task(
        place.eraser().run(Retry(RetrySettings(), place.clock, Random(1), Waiting()))
    )
    while place.row(request)["state"] != "completed" and not erasing.done():
        await place.witness.round()
    await end(erasing)

    assert next(failures, None) is None
    assert place.row(request)["state"] == "completed"


async def test_two_erasers_at_once_do_no_harm(place: Place) -> None:
    await place.tell(stored(subject="mira"))
    request = await place.request(*ABOUT_MIRA)
    (seen,) = await place.store.open()
    while (erasure := await place.erasure(request)) is not None:
        await place.eraser().step(erasure)
        await place.eraser().step(seen)
        await place.witness.round()

    assert place.row(request)["state"] == "completed"
    assert place.row(request)["memories"] == 1


async def test_without_a_key_nothing_begins_and_the_request_says_why(place: Place) -> None:
    await place.tell(memory := stored(subject="mira"))
    signer, place.signer = place.signer, None
    request = await place.request(*ABOUT_MIRA)

    await place.erase()
    assert (place.row(request)["state"], place.row(request)["waits_for"]) == (
        "accepted",
        WaitsFor.SIGNING_KEY,
    )
    assert living(place) == {memory.memory_id}

    place.signer = signer
    await place.erase()
    assert place.row(request)["state"] == "completed"


async def test_what_the_index_still_holds_keeps_the_erasure_open(place: Place) -> None:
    await place.tell(stored(subject="mira"))
    request = await place.request(*ABOUT_MIRA)
    await place.eraser().round()
    held = dict(place.points.held)
    for point, payload in held.items():
        place.points.held[point] = {**payload, "labels": "still found"}
    await place.witness.round()
    assert place.row(request)["index_points_left"] == 1

    await place.eraser().round()

    assert place.row(request)["state"] == "verifying"
    unconditional = [
        each for each in place.published if isinstance(each, MemoryDeleted) and each.expected_version is None
    ]
    assert len(unconditional) == 1


async def test_an_index_that_is_kept_beside_the_one_in_use_keeps_the_erasure_open(place: Place) -> None:
    await place.tell(stored(subject="mira"))
    request = await place.request(*ABOUT_MIRA)
    place.kept_indexes.append("memories--before")
    await place.erase()
    waiting = place.row(request)

    place.kept_indexes.clear()
    await place.erase()

    assert (waiting["state"], waiting["index_points"]) == ("verifying", None)
    assert place.row(request)["state"] == "completed"


# The receipt.


async def test_the_receipt_names_what_is_gone_and_nobody(place: Place) -> None:
    await place.tell(stored(subject="mira"))
    request = await place.request(*ABOUT_MIRA)

    await place.erase()

    row = place.row(request)
    receipt = parse_receipt(row["receipt"])
    assert "mira" not in row["receipt"]
    assert row["selector"] is None
    assert receipt["selector_sha256"] == selector_digest(request, "mira")
    assert receipt["erased"]["memories"] == 1
    assert receipt["log_expires_at"] == max(
        each["until"] for each in receipt["remaining_copies"] if each["where"].startswith("memory.events")
    )
    assert rows(place.owner_dsn, "SELECT * FROM erasure_targets") == []


async def test_what_the_log_says_of_a_complete_erasure_is_enough_for_a_new_database(place: Place) -> None:
    request = await place.request(*ABOUT_MIRA)
    await place.erase()
    before = place.row(request)
    (completed,) = [each for each in place.published if isinstance(each, ErasureCompleted)]
    with psycopg.connect(place.owner_dsn) as connection:
        connection.execute("DELETE FROM erasures")

    await place.say(completed)
    await place.erase()

    kept = ("scope", "selector_sha256", "actor", "requested_at", "completed_at", "receipt", "state")
    assert [place.row(request)[each] for each in kept] == [before[each] for each in kept]


def lose_tables(place: Place) -> None:
    with psycopg.connect(place.owner_dsn) as connection:
        connection.execute(
            "TRUNCATE memories, memory_history, memory_links, namespace_counts, sink_watermarks, erasures"
            " CASCADE"
        )


@pytest.mark.parametrize(
    ("scope", "selector"),
    [ABOUT_MIRA, (ErasureScope.NAMESPACE, "team"), (ErasureScope.MEMORY, ""), (ErasureScope.TENANT, None)],
)
@pytest.mark.parametrize("caught_up", [True, False], ids=["the log deletes again", "the sinks are behind"])
async def test_tables_that_came_back_from_before_an_erasure_carry_it_out_again(
    place: Place, scope: ErasureScope, selector: str | None, *, caught_up: bool
) -> None:
    memory = stored(subject="mira", namespace="team/a", text="of mira")
    before = stored(namespace="other", text="kept")
    story = [memory, before, patched(memory, text="more of mira"), linked(before, memory.memory_id)]
    await place.tell(*story)
    request = await place.request(scope, str(memory.memory_id) if selector == "" else selector)
    await place.erase()
    (completed,) = [each for each in place.published if isinstance(each, ErasureCompleted)]
    done = place.row(request)
    deletions = [each for each in place.published if isinstance(each, MemoryEvent)]
    lose_tables(place)
    place.offset = 0
    again = stored(subject="mira", namespace="team/a", text="new of mira")
    await place.tell(*story)

    # The request is in the log no more, and who was erased with it.
    await place.say(completed)
    hidden = seen(place)[0]
    await place.tell(*deletions, again) if caught_up else None
    await place.erase()

    assert hidden == (set() if scope is ErasureScope.TENANT else {"kept"})
    assert [place.row(request)[each] for each in ("state", "receipt")] == ["completed", done["receipt"]]
    left = set(contents(place).values()) - {None}
    assert "of mira" not in left
    assert "more of mira" not in left
    assert memory.memory_id not in living(place)
    assert ("new of mira" in seen(place)[0]) == caught_up
    assert (before.memory_id in living(place)) == (scope is not ErasureScope.TENANT)


async def test_a_request_that_is_read_again_opens_nothing_that_is_complete(place: Place) -> None:
    request = await place.request(*ABOUT_MIRA)
    await place.erase()

    await place.request(*ABOUT_MIRA, request_id=request)

    assert place.row(request)["state"] == "completed"


# Readers.


def seen(place: Place, tenant: str = "acme") -> tuple[set[str], set[str]]:
    """The texts and the counted namespaces that a reader of the tenant sees."""
    with psycopg.connect(place.reader_dsn) as connection:
        connection.execute("SELECT set_config('soma.tenant', %s, false)", (tenant,))
        texts = {
            row[0] for row in connection.execute("SELECT text FROM memories WHERE NOT deleted").fetchall()
        }
        counted = "SELECT namespace FROM namespace_counts GROUP BY 1 HAVING sum(number) > 0"
        return texts, {row[0] for row in connection.execute(counted).fetchall()}


async def test_readers_see_nothing_of_a_request_from_its_acceptance_on(place: Place) -> None:
    mira, one = stored(subject="mira", text="of mira"), stored(text="one")
    await place.tell(mira, one, stored(text="kept"), stored(namespace="team/a/b", text="below"))
    await place.tell(stored(namespace="team/ab", text="beside"), stored(subject="mira", tenant="globex"))
    place.signer = None  # nothing begins

    await place.request(*ABOUT_MIRA)
    assert seen(place)[0] == {"one", "kept", "below", "beside"}

    await place.request(ErasureScope.MEMORY, str(one.memory_id))
    await place.request(ErasureScope.NAMESPACE, "team/a")
    assert seen(place) == ({"kept", "beside"}, {"team/notes", "team/ab"})

    await place.request(ErasureScope.TENANT, None)
    assert seen(place) == (set(), set())
    assert seen(place, "globex") == ({"tea at four"}, {"team/notes"})


async def test_what_was_stored_after_the_request_is_shown_once_it_is_complete(place: Place) -> None:
    await place.request(*ABOUT_MIRA)
    await place.tell(stored(subject="mira", text="new"))
    assert seen(place)[0] == set()

    await place.erase()

    assert seen(place)[0] == {"new"}
