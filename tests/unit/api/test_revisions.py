"""The history of a memory as revisions: what it was after each event, and what had changed."""

import json
from datetime import timedelta
from typing import Any

import pytest

from builders import A_MOMENT, an_id
from soma_api.queries.history_queries import HistoryEvent
from soma_api.revisions import UNKNOWN, Unknown, revision_after, revisions
from soma_schemas.outcomes import Outcome

SAID: dict[str, Any] = {
    "key": "tea",
    "coordinate": None,
    "kind": "SEMANTIC",
    "text": "Tea at four.",
    "payload": {"cups": 1, "nested": {"a": 1}},
    "tags": ["tea"],
    "importance": 0.5,
    "embedding_model": "own",
    "subject": None,
    "source": None,
    "expires_at": None,
}


def an_event(
    version: int, event_type: str, said: dict[str, Any] | None = None, outcome: Outcome = Outcome.APPLIED
) -> HistoryEvent:
    return HistoryEvent(
        version=version,
        logged_at=A_MOMENT + timedelta(seconds=version),
        occurred_at=A_MOMENT,
        event_id=an_id(),
        event_type=event_type,
        namespace="team",
        actor="ada",
        outcome=outcome,
        reason=None,
        error_code=None,
        content=None if said is None else json.dumps(said),
    )


STORED = an_event(1, "MemoryStored", SAID)


def test_a_memory_begins_with_all_that_was_said() -> None:
    (revision,) = revisions([STORED], None)

    assert isinstance(revision.state, dict)
    assert revision.state | {"payload": None} == SAID | {
        "namespace": "team",
        "occurred_at": A_MOMENT,
        "payload": None,
    }
    assert revision.changes is not None
    assert {change.field for change in revision.changes} == {
        name for name, value in revision.state.items() if value is not None
    }
    assert {change.before for change in revision.changes} == {None}


def test_a_patch_changes_what_it_names_and_merges_the_payload() -> None:
    patch = an_event(2, "MemoryPatched", {"importance": 0.9, "payload": {"cups": None, "nested": {"b": 2}}})

    *_, revision = revisions([STORED, patch], None)

    assert revision.changes is not None
    changed = {change.field: (change.before, change.after) for change in revision.changes}
    assert changed["importance"] == (0.5, 0.9)
    assert json.loads(changed["payload"][1]) == {"nested": {"a": 1, "b": 2}}
    assert set(changed) == {"importance", "payload"}


def test_a_new_text_has_lost_the_embedding_of_the_old_one() -> None:
    *_, revision = revisions([STORED, an_event(2, "MemoryPatched", {"text": "Tea at five."})], None)

    assert revision.changes is not None
    assert {(change.field, change.after) for change in revision.changes} == {
        ("text", "Tea at five."),
        ("embedding_model", None),
    }


def test_true_is_not_one_in_a_payload() -> None:
    *_, revision = revisions([STORED, an_event(2, "MemoryPatched", {"payload": {"cups": True}})], None)

    assert revision.changes is not None
    assert [change.field for change in revision.changes] == ["payload"]


@pytest.mark.parametrize("ends", ["MemoryDeleted", "MemoryExpired"])
def test_after_its_end_nothing_is_left(ends: str) -> None:
    events = [STORED, an_event(2, ends)]

    *_, revision = revisions(events, None)

    assert revision.state is None
    assert revision_after(events) is None
    assert revision.changes is not None
    assert {change.after for change in revision.changes} == {None}


@pytest.mark.parametrize(
    "event",
    [
        an_event(2, "MemoryPatched", None, Outcome.SUPERSEDED),
        an_event(2, "MemoryLinked"),
        an_event(2, "MemoryAccessed"),
    ],
)
def test_what_was_refused_and_what_says_nothing_of_it_changes_nothing(event: HistoryEvent) -> None:
    first, second = revisions([STORED, event], None)

    assert second.state == first.state
    assert second.changes == ()


def test_what_the_history_has_lost_is_not_made_up() -> None:
    patch = an_event(7, "MemoryPatched", {"importance": 0.9})

    (revision,) = revisions([patch], None)
    later = revision_after([patch, an_event(8, "MemoryPatched", {"importance": 0.1})])

    assert isinstance(revision.state, Unknown)
    assert revision.changes is None
    assert isinstance(later, Unknown)
    assert [each.changes for each in revisions([STORED], UNKNOWN)] == [None]
