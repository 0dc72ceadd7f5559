"""The law of the log: what folding events onto state means."""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import ClassVar
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import A_MOMENT, a_log, an_id, deleted, linked, logged, patched, stored
from postgres_tables import accessed, expired, unlinked
from soma_schemas.events import MemoryEvent
from soma_schemas.limits import Limits
from soma_schemas.memories import Content
from soma_schemas.merge_patch import merge_patch
from soma_schemas.outcomes import Outcome, SupersededReason
from soma_streams.delivery.fold import fold
from soma_streams.delivery.state import LoggedEvent, MemoryName, MemoryState
from soma_streams.errors import PoisonError


def content_of(state: MemoryState) -> Content:
    assert state.content is not None
    return state.content


def after(events: Sequence[LoggedEvent]) -> dict[MemoryName, MemoryState]:
    return {state.name: state for state in fold(events, {}).states}


def reasons(events: Sequence[LoggedEvent]) -> list[SupersededReason | None]:
    return [settlement.reason for settlement in fold(events, {}).settlements]


def test_storing_again_at_a_key_replaces_the_memory_and_keeps_its_birthday() -> None:
    log = a_log([stored(key="a", text="old"), stored(key="a", text="new")])

    (state,) = after(log).values()

    assert content_of(state).text == "new"
    assert content_of(state).created_at == log[0].logged_at
    assert content_of(state).updated_at == log[1].logged_at


def test_a_deleted_memory_leaves_a_tombstone_that_an_older_event_cannot_pass() -> None:
    memory = stored(key="a")
    older, delete = logged(memory, 1), logged(deleted(memory), 2)

    folded = fold([older], {delete.name: after([delete])[delete.name]})

    assert folded.states == ()
    assert folded.settlements[0].reason is SupersededReason.OLDER


def test_a_memory_stored_after_its_deletion_is_born_again() -> None:
    memory = stored(key="a")
    log = a_log([memory, deleted(memory), stored(key="a", text="again")])

    (state,) = after(log).values()

    assert content_of(state).text == "again"
    assert content_of(state).created_at == log[2].logged_at


def test_a_repeated_event_changes_nothing_even_when_others_wrote_in_between() -> None:
    first = stored(key="a", text="first")
    log = a_log([first, stored(key="a", text="second"), first])

    assert reasons(log) == [None, None, SupersededReason.DUPLICATE]
    assert content_of(next(iter(after(log).values()))).text == "second"


def test_sixteen_events_are_remembered_and_the_seventeenth_is_forgotten() -> None:
    first = stored(key="a", text="first")
    others = [stored(key="a") for _ in range(16)]

    assert reasons(a_log([first, *others[:15], first]))[-1] is SupersededReason.DUPLICATE
    assert reasons(a_log([first, *others, first]))[-1] is None


def test_compare_and_set_applies_onto_the_expected_version_only() -> None:
    first = logged(stored(key="a"), 7)

    fits = logged(stored(key="a", text="b", expected_version=first.version), 8)
    late = logged(stored(key="a", text="c", expected_version=first.version), 9)

    assert reasons([first, fits, late]) == [None, None, SupersededReason.VERSION_MISMATCH]


def test_expecting_no_version_means_that_the_memory_must_not_be_there() -> None:
    memory = stored(key="a", expected_version=0)
    again = stored(key="a", expected_version=0)

    assert reasons(a_log([memory, again])) == [None, SupersededReason.VERSION_MISMATCH]
    assert reasons(a_log([memory, deleted(memory), again])) == [None, None, None]


def test_a_patch_changes_what_it_names_and_leaves_the_rest() -> None:
    memory = stored(
        key="a",
        text="tea",
        tags=["x"],
        subject="mira",
        source="a file",
        payload='{"a": 1, "b": {"c": 2, "d": 3}}',
    )
    change = patched(memory, tags=["y"], payload='{"a": null, "b": {"c": 5}}', subject=None)

    log = a_log([memory, change, patched(memory, source="another")])

    content = content_of(next(iter(after(log).values())))
    assert content.text == "tea"
    assert content.tags == ("y",)
    assert json.loads(content.payload) == {"b": {"c": 5, "d": 3}}
    assert content.subject is None
    assert content.source == "another"


def test_a_new_text_discards_the_embedding_of_the_old_one() -> None:
    memory = stored(key="a", embedding=[1.0, 2.0], embedding_model="m")

    log = a_log([memory, patched(memory, text="coffee")])

    assert content_of(next(iter(after(log).values()))).embedding is None


def test_a_new_text_with_its_embedding_keeps_it() -> None:
    memory = stored(key="a", embedding=[1.0, 2.0], embedding_model="m")

    log = a_log([memory, patched(memory, embedding=[3.0], embedding_model="n", text="coffee")])

    content = content_of(next(iter(after(log).values())))
    assert (content.text, content.embedding, content.embedding_model) == ("coffee", (3.0,), "n")


def test_a_patch_of_nothing_is_superseded() -> None:
    memory = stored(key="a")

    assert reasons(a_log([patched(memory, text="x")])) == [SupersededReason.NOT_FOUND]
    assert (
        reasons(a_log([memory, deleted(memory), patched(memory, text="x")]))[-1] is SupersededReason.NOT_FOUND
    )


def test_a_patch_that_outgrows_the_limit_is_poison() -> None:
    memory = stored(key="a", payload='{"a": "xxxxxxxxxxxxxxxxxxxx"}')
    log = a_log([memory, patched(memory, payload='{"b": "xxxxxxxxxxxxxxxxxxxx"}')])

    with pytest.raises(PoisonError):
        fold(log, {}, Limits(payload_bytes=50))


@pytest.mark.parametrize(("count", "fits"), [(6, True), (7, False)])
@pytest.mark.parametrize("number", ["1e300", "1" + "0" * 300, "1.0E+300"])
def test_how_a_store_writes_numbers_does_not_decide_whether_a_patched_payload_is_too_large(
    number: str,
    count: int,
    fits: bool,  # noqa: FBT001  # a column of the table
) -> None:
    memory = stored(key="a", payload=f'{{"a": [{", ".join([number] * count)}]}}')
    log = a_log([memory, patched(memory, payload='{"b": 1}')])

    with nullcontext() if fits else pytest.raises(PoisonError):
        fold(log, {}, Limits(payload_bytes=65))


A_DEADLINE = datetime(2026, 5, 1, tzinfo=UTC)


def test_an_expiry_that_saw_another_deadline_is_void() -> None:
    memory = stored(key="a", expires_at="2026-05-01T00:00:00Z")
    ended = expired(memory, memory.expires_at)
    prolonged = patched(memory, expires_at="2026-06-01T00:00:00Z")

    assert after(a_log([memory, ended])).popitem()[1].content is None
    assert reasons(a_log([memory, prolonged, ended]))[-1] is SupersededReason.DEADLINE_MOVED


def test_an_expiry_by_a_policy_is_void_when_the_memory_has_changed_or_has_a_deadline_of_its_own() -> None:
    memory = stored(key="a")
    (first,) = a_log([memory])
    ended = expired(memory, A_DEADLINE, updated_at=first.logged_at)
    of_own = stored(key="a", expires_at="2026-06-01T00:00:00Z")

    assert after(a_log([memory, ended])).popitem()[1].content is None
    assert reasons(a_log([memory, patched(memory, text="b"), ended]))[-1] is SupersededReason.DEADLINE_MOVED
    assert reasons(a_log([of_own, ended]))[-1] is SupersededReason.DEADLINE_MOVED


def test_an_expiry_by_a_cap_names_a_memory_s_own_deadline_and_is_void_when_either_has_moved() -> None:
    memory = stored(key="a", expires_at="2026-05-01T00:00:00Z")
    (first,) = a_log([memory])
    ended = expired(memory, A_DEADLINE, updated_at=first.logged_at)
    elsewhen = expired(memory, A_DEADLINE + timedelta(1), updated_at=first.logged_at)

    assert after(a_log([memory, ended])).popitem()[1].content is None
    assert reasons(a_log([memory, elsewhen]))[-1] is SupersededReason.DEADLINE_MOVED
    assert reasons(a_log([memory, patched(memory, text="b"), ended]))[-1] is SupersededReason.DEADLINE_MOVED


def test_only_the_last_word_on_an_edge_is_written() -> None:
    memory, other = stored(key="a"), an_id()

    folded = fold(a_log([linked(memory, other, weight=1.0), linked(memory, other, weight=2.0)]), {})

    assert [link.weight for link in folded.links] == [2.0]
    assert [each.outcome for each in folded.settlements] == [Outcome.APPLIED, Outcome.APPLIED]


class TestNamespaces:
    """Who may write one namespace alone cannot reach a memory of another by its id."""

    MEMORY = stored(namespace="team/secrets", text="theirs", expires_at="2026-05-01T00:00:00Z")
    HERE: ClassVar = {"namespace": "team/mine"}

    @pytest.mark.parametrize(
        "event",
        [
            stored(memory_id=MEMORY.memory_id, text="mine now"),
            patched(MEMORY, text="mine now"),
            deleted(MEMORY),
            expired(MEMORY, MEMORY.expires_at or A_MOMENT),
            accessed(MEMORY, 3),
            linked(MEMORY, an_id()),
            unlinked(MEMORY, an_id()),
        ],
        ids=lambda event: type(event).__name__,
    )
    def test_an_event_from_another_namespace_changes_nothing(self, event: MemoryEvent) -> None:
        foreign = event.model_copy(update=self.HERE)

        folded = fold(a_log([self.MEMORY, foreign]), {})

        assert folded.settlements[1].reason is SupersededReason.WRONG_NAMESPACE
        assert [content_of(state).text for state in folded.states] == ["theirs"]
        assert folded.links == ()

    def test_an_expected_version_is_no_way_around(self) -> None:
        first = logged(self.MEMORY, 0)
        foreign = deleted(self.MEMORY, expected_version=first.version).model_copy(update=self.HERE)

        assert reasons([first, logged(foreign, 1)])[-1] is SupersededReason.WRONG_NAMESPACE

    def test_a_key_is_not_kept_from_its_own_namespace_by_whoever_guessed_its_id_first(self) -> None:
        rightful = stored(namespace="team/secrets", key="a", expected_version=0)
        squatter = stored(namespace="team/mine", memory_id=rightful.memory_id)
        log = a_log([squatter, rightful])

        (state,) = after(log).values()

        assert reasons(log) == [None, None]
        assert content_of(state).namespace == "team/secrets"
        assert content_of(state).created_at == log[1].logged_at

    def test_a_tombstone_remembers_no_namespace(self) -> None:
        again = stored(memory_id=self.MEMORY.memory_id, text="another life").model_copy(update=self.HERE)

        (state,) = after(a_log([self.MEMORY, deleted(self.MEMORY), again])).values()

        assert content_of(state).namespace == "team/mine"


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ('{"a":"b"}', '{"a":"c"}', {"a": "c"}),
        ('{"a":"b"}', '{"b":"c"}', {"a": "b", "b": "c"}),
        ('{"a":"b","b":"c"}', '{"a":null}', {"b": "c"}),
        ('{"a":["b"]}', '{"a":"c"}', {"a": "c"}),
        ('{"a":"c"}', '{"a":["b"]}', {"a": ["b"]}),
        ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', {"a": {"b": "d"}}),
        ('{"a":[{"b":"c"}]}', '{"a":[1]}', {"a": [1]}),
        ('{"e":null}', '{"a":1}', {"e": None, "a": 1}),
        ("{}", '{"a":{"bb":{"ccc":null}}}', {"a": {"bb": {}}}),
    ],
)
def test_a_payload_is_patched_as_the_appendix_of_rfc_7396_shows(
    target: str, patch: str, result: object
) -> None:
    assert json.loads(merge_patch(target, patch)) == result


KEYS = ["a", "b"]


@st.composite
def event_sequences(draw: st.DrawFn) -> list[LoggedEvent]:
    memories = {key: stored(key=key) for key in KEYS}
    events: list[MemoryEvent] = []
    for number in range(draw(st.integers(1, 25))):
        memory = memories[draw(st.sampled_from(KEYS))]
        match draw(st.sampled_from(["store", "patch", "delete", "repeat", "cas"])):
            case "store":
                events.append(stored(key=memory.key, text=f"text {number}"))
            case "patch":
                events.append(patched(memory, payload=json.dumps({f"n{number}": number})))
            case "delete":
                events.append(deleted(memory))
            case "repeat" if events:
                events.append(draw(st.sampled_from(events)))
            case _:
                expected = draw(st.integers(0, number)) + (1 << 40)
                events.append(stored(key=memory.key, text=f"cas {number}", expected_version=expected))
    return a_log(events)


def apply_in_batches(log: Sequence[LoggedEvent], sizes: Sequence[int]) -> dict[MemoryName, MemoryState]:
    states: dict[MemoryName, MemoryState] = {}
    rest = list(log)
    for size in [*sizes, len(rest)]:
        batch, rest = rest[:size], rest[size:]
        states |= {state.name: state for state in fold(batch, states).states}
    return states


@given(event_sequences(), st.lists(st.integers(1, 5)))
def test_any_batching_of_a_log_gives_the_same_states(log: list[LoggedEvent], sizes: list[int]) -> None:
    assert apply_in_batches(log, sizes) == apply_in_batches(log, [1] * len(log))


@given(event_sequences(), st.data())
def test_a_redelivered_stretch_changes_nothing(log: list[LoggedEvent], data: st.DataObject) -> None:
    end = data.draw(st.integers(1, len(log)))
    start = data.draw(st.integers(0, end))
    once = apply_in_batches(log, [])

    again = apply_in_batches([*log[:end], *log[start:]], [end])

    assert again == once


@given(event_sequences())
def test_versions_only_ever_grow(log: list[LoggedEvent]) -> None:
    states: dict[MemoryName, MemoryState] = {}
    for event in log:
        for state in fold([event], states).states:
            before = states.get(state.name)
            assert before is None or before.version < state.version
            states[state.name] = state


def test_events_of_other_tenants_with_the_same_id_are_other_memories() -> None:
    shared = UUID(int=77)
    log = a_log(
        [stored(memory_id=shared, tenant="acme"), stored(memory_id=shared, tenant="beta", text="theirs")]
    )

    assert len(after(log)) == 2


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["store", "patch", "extend", "clear", "access", "look", "expire"]), st.integers(1, 3)
    ),
    max_size=14,
)


@given(STEPS)
def test_a_memory_ends_exactly_when_the_deadline_that_was_seen_still_stands(
    steps: list[tuple[str, int]],
) -> None:
    """A sweeper looks now and publishes later, under a policy of one hour; anything may come in between."""
    memory = stored(key="a")
    log: list[MemoryEvent] = []
    own: datetime | None = None
    changed = 0  # the offset of the last change
    alive = False
    seen: tuple[datetime | None, int] | None = None
    ends: list[bool] = []
    for step, hours in steps:
        deadline = A_DEADLINE + timedelta(hours=hours)
        match step:
            case "store":
                event: MemoryEvent = stored(key="a", expires_at=deadline if hours > 1 else None)
                own, changed, alive = (deadline if hours > 1 else None), len(log), True
            case "patch":
                event = patched(memory, tags=[f"n{len(log)}"])
                changed = len(log) if alive else changed
            case "extend" | "clear":
                moved = deadline if step == "extend" else None
                event = patched(memory, expires_at=moved)
                own, changed = (moved, len(log)) if alive else (own, changed)
            case "access":
                event = accessed(memory)
            case "look":
                seen = (own, changed) if alive else seen
                continue
            case _ if seen is None:
                continue
            case _:
                since = logged(memory, seen[1]).logged_at
                event = (
                    expired(memory, seen[0])
                    if seen[0] is not None
                    else expired(memory, since + timedelta(hours=1), updated_at=since)
                )
                stands = alive and (own == seen[0] if seen[0] is not None else (own, changed) == seen)
                ends.append(stands)
                alive = alive and not stands
        log.append(event)

    folded = fold(a_log(log), {})

    outcomes = [
        each.outcome for each in folded.settlements if type(each.logged.event).__name__ == "MemoryExpired"
    ]
    assert [outcome is Outcome.APPLIED for outcome in outcomes] == ends
    assert [state.content is not None for state in folded.states] == ([alive] if folded.states else [])


def test_an_archive_gets_what_was_there_just_before_the_end() -> None:
    memory = stored(key="a", expires_at="2026-05-01T00:00:00Z")
    changed = patched(memory, text="newer")
    ended = expired(memory, memory.expires_at, archive=True)

    *others, end = fold(a_log([memory, changed, ended]), {}).settlements

    assert end.last_state is not None
    assert end.last_state.content is not None
    assert end.last_state.content.text == "newer"
    assert [each.last_state for each in others] == [None, None]
    assert fold(a_log([memory, expired(memory, memory.expires_at)]), {}).settlements[-1].last_state is None
