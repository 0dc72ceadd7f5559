"""What the tables hold after a batch."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from builders import A_MOMENT, a_log, an_id, deleted, linked, logged, patched, stored
from postgres_tables import (
    A_GROUP,
    A_TOPIC,
    a_dead_letter,
    a_watermark,
    accessed,
    as_stored,
    deliver,
    expired,
    history,
    living_links,
    memories,
    rows,
    tables,
    unlinked,
)
from soma_schemas.events import MemoryEvent
from soma_schemas.outcomes import Outcome, SupersededReason
from soma_schemas.versions import Position
from soma_streams.delivery.failures import FailureClass, classify
from soma_streams.delivery.fold import fold
from soma_streams.delivery.settle import Sink
from soma_streams.delivery.state import (
    DeadLettered,
    EdgeName,
    LinkState,
    MemoryName,
    MemoryState,
)
from soma_streams.sinks.postgres import PostgresSink
from soma_streams.sinks.statements import statement

A_DEADLINE = datetime(2026, 5, 1, tzinfo=UTC)
Known = tuple[Mapping[MemoryName, MemoryState], Mapping[EdgeName, LinkState]]
APPLIED = (Outcome.APPLIED, None)
OLDER = (Outcome.SUPERSEDED, SupersededReason.OLDER)


def name_of(event: MemoryEvent) -> MemoryName:
    return MemoryName(event.tenant, event.memory_id)


def test_it_is_a_sink_that_the_settler_can_use(sink: PostgresSink) -> None:
    usable: Sink = sink

    assert usable.group == A_GROUP


async def test_a_stored_memory_is_there_whole(sink: PostgresSink, owner_dsn: str) -> None:
    memory = stored(
        coordinate=[1.5, -2.0],
        kind="SEMANTIC",
        text="tea at four",
        payload='{"a": [1, {"b": null}]}',
        tags=["x", "y"],
        importance=0.25,
        embedding=[0.5, -0.25],
        embedding_model="m",
        subject="mira",
        source="a file",
        expires_at=A_DEADLINE,
    )
    log = a_log([memory])

    await deliver(sink, log)

    (state,) = fold(log, {}).states
    assert memories(owner_dsn) == {name_of(memory): as_stored(state)}


async def test_what_is_read_back_is_what_was_written(sink: PostgresSink) -> None:
    memory = stored(key="a", payload='{"a": 1}', embedding=[0.5], embedding_model="m", expires_at=A_DEADLINE)
    log = a_log([memory])
    await deliver(sink, log)

    current, _ = await sink._read([name_of(memory), name_of(stored())], [])

    (state,) = fold(log, {}).states
    assert current == {name_of(memory): state}


async def test_a_patch_changes_what_it_names_and_leaves_the_rest(sink: PostgresSink, owner_dsn: str) -> None:
    memory = stored(key="a", payload='{"a": 1, "b": 2}', tags=["x"], embedding=[0.5], embedding_model="m")
    log = a_log([memory, patched(memory, payload='{"a": null}', importance=1.0)])

    for each in log:
        await deliver(sink, [each])

    (state,) = fold(log, {}).states
    assert memories(owner_dsn) == {name_of(memory): as_stored(state)}


async def test_accesses_are_counted(sink: PostgresSink, owner_dsn: str) -> None:
    memory = stored(key="a")
    later = A_MOMENT + timedelta(hours=1)

    await deliver(sink, a_log([memory, accessed(memory, 2, later)]))
    await deliver(sink, [logged(accessed(memory, 3), 2)])

    content = memories(owner_dsn)[name_of(memory)].content
    assert content is not None
    assert (content.access_count, content.last_accessed_at) == (5, later)


async def test_a_deleted_memory_leaves_a_tombstone_without_content(
    sink: PostgresSink, owner_dsn: str
) -> None:
    memory = stored(key="a", text="secret", subject="mira", source="a file")
    log = a_log([memory, deleted(memory)])

    for each in log:
        await deliver(sink, [each])

    (row,) = rows(owner_dsn, "SELECT * FROM memories")
    assert {column for column, value in row.items() if value is not None} == {
        "tenant",
        "memory_id",
        "version",
        "deleted",
        "deleted_version",
        "updated_at",
        "recent_event_ids",
    }
    assert row["deleted"]
    assert row["deleted_version"] == row["version"] == log[1].version
    assert row["updated_at"] == log[1].logged_at


async def test_an_expired_memory_leaves_a_tombstone_too(sink: PostgresSink, owner_dsn: str) -> None:
    memory = stored(key="a", expires_at=A_DEADLINE)
    await deliver(sink, [logged(memory, 0)])

    await deliver(sink, [logged(expired(memory, A_DEADLINE), 1)])

    assert memories(owner_dsn)[name_of(memory)].content is None


async def test_a_memory_that_was_never_seen_can_be_deleted(sink: PostgresSink, owner_dsn: str) -> None:
    memory = stored(key="a")
    await deliver(sink, [logged(deleted(memory), 5)])

    await deliver(sink, [logged(memory, 4)])

    assert memories(owner_dsn)[name_of(memory)].content is None


async def test_an_older_event_changes_nothing(sink: PostgresSink, owner_dsn: str) -> None:
    await deliver(sink, [logged(stored(key="a", text="new"), 7)])
    before = tables(owner_dsn)["memories"]

    await deliver(sink, [logged(stored(key="a", text="old"), 3)])

    assert tables(owner_dsn)["memories"] == before
    assert history(owner_dsn)[0, logged(stored(), 3).version] == OLDER


async def overtaken_write(sink: PostgresSink, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write a state that was folded before a newer one was written; return what the memory says then."""
    memory = stored(key="a", text="first")
    slow, quick = logged(patched(memory, text="slow"), 3), logged(stored(key="a", text="quick"), 7)
    await deliver(sink, [logged(memory, 0)])
    read, overtakes = sink._read, [quick]

    async def read_and_be_overtaken(names: Collection[MemoryName], edges: Collection[EdgeName]) -> Known:
        found = await read(names, edges)
        if overtakes:
            await deliver(sink, [overtakes.pop()])
        return found

    monkeypatch.setattr(sink, "_read", read_and_be_overtaken)
    await deliver(sink, [slow])
    found, _ = await read([slow.name], [])
    content = found[slow.name].content
    assert content is not None
    return content.text


async def test_a_state_that_was_overtaken_between_read_and_write_is_folded_anew(
    sink: PostgresSink, owner_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await overtaken_write(sink, monkeypatch) == "quick"
    assert sorted(history(owner_dsn).items()) == [
        ((0, logged(stored(), 0).version), APPLIED),
        ((0, logged(stored(), 3).version), OLDER),
        ((0, logged(stored(), 7).version), APPLIED),
    ]


async def test_without_the_guard_the_overtaken_state_would_win(
    sink: PostgresSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: it hangs on this one clause."""
    guard = "held.version < EXCLUDED.version"
    assert guard in statement("postgres/write_memories")
    monkeypatch.setattr(
        "soma_streams.sinks.postgres.postgres_sink.statement",
        lambda name: statement(name).replace(guard, "true"),
    )

    assert await overtaken_write(sink, monkeypatch) == "slow"


async def test_a_batch_that_is_delivered_again_changes_nothing(sink: PostgresSink, owner_dsn: str) -> None:
    memory, other = stored(key="a"), stored(key="b")
    batch = a_log(
        [memory, patched(memory, text="x"), linked(memory, other.memory_id), other, deleted(other), other]
    )
    dead = [a_dead_letter(logged(stored(), 6))]
    await deliver(sink, batch, dead)
    before = tables(owner_dsn)

    await deliver(sink, batch, dead)

    assert tables(owner_dsn) == before
    assert len(before["memory_history"]) == 7


async def test_an_empty_batch_moves_only_the_watermark(sink: PostgresSink, owner_dsn: str) -> None:
    await sink.write([], [], a_watermark(12))

    assert [len(found) for found in tables(owner_dsn).values()] == [0, 0, 0, 1]
    (row,) = rows(
        owner_dsn, "SELECT consumer_group, topic, partition, epoch, next_offset FROM sink_watermarks"
    )
    assert tuple(row.values()) == (A_GROUP, A_TOPIC, 0, 1, 12)


async def test_a_batch_of_nothing_but_superseded_and_dead_events_moves_the_watermark(
    sink: PostgresSink, owner_dsn: str
) -> None:
    batch = [logged(patched(an_id(), text="x"), 1)]

    await deliver(sink, batch, [a_dead_letter(logged(stored(), 2), code="avro")])

    assert tables(owner_dsn)["memories"] == []
    (watermark,) = rows(owner_dsn, "SELECT next_offset FROM sink_watermarks")
    assert watermark["next_offset"] == 3


async def test_a_watermark_never_falls_within_its_epoch_and_an_older_epoch_never_returns(
    sink: PostgresSink, owner_dsn: str
) -> None:
    seen = []
    for epoch, offset in [(1, 10), (1, 4), (2, 3), (1, 50), (2, 3), (2, 4)]:
        await sink.write([], [], a_watermark(offset, epoch=epoch))
        (row,) = rows(owner_dsn, "SELECT epoch, next_offset FROM sink_watermarks")
        seen.append((row["epoch"], row["next_offset"]))

    assert seen == [(1, 10), (1, 10), (2, 3), (2, 3), (2, 3), (2, 4)]


class TestHistory:
    async def test_every_event_has_a_row_with_what_became_of_it(
        self, sink: PostgresSink, owner_dsn: str
    ) -> None:
        memory = stored(key="a", text="tea")
        stale = stored(key="a", text="x", expected_version=3)
        log = a_log([memory, memory, stale, patched(an_id(), text="x")])

        await deliver(sink, log, [a_dead_letter(logged(stored(), 4), code="not_json")])

        found = rows(owner_dsn, "SELECT * FROM memory_history ORDER BY version")
        assert [(row["outcome"], row["reason"], row["error_code"]) for row in found] == [
            ("applied", None, None),
            ("superseded", "duplicate", None),
            ("superseded", "version_mismatch", None),
            ("superseded", "not_found", None),
            ("dead_lettered", None, "not_json"),
        ]
        assert [row["content"] is not None for row in found] == [True, False, False, False, False]
        assert [row["event_type"] for row in found] == [*["MemoryStored"] * 3, "MemoryPatched", None]
        first = found[0]
        assert (first["tenant"], first["memory_id"], first["event_id"]) == (
            memory.tenant,
            memory.memory_id,
            memory.event_id,
        )
        assert (first["namespace"], first["actor"]) == (memory.namespace, memory.actor)
        assert (first["occurred_at"], first["logged_at"]) == (memory.occurred_at, log[0].logged_at)
        assert (first["partition"], first["version"]) == (0, log[0].version)

    async def test_it_keeps_what_a_stored_event_said_but_its_embedding(
        self, sink: PostgresSink, owner_dsn: str
    ) -> None:
        memory = stored(
            key="a", text="tea", payload='{"a": 1}', tags=["x"], embedding=[0.5], embedding_model="m"
        )

        await deliver(sink, [logged(memory, 0)])

        (row,) = rows(owner_dsn, "SELECT content FROM memory_history")
        assert row["content"] == {
            "key": "a",
            "coordinate": None,
            "kind": "EPISODIC",
            "text": "tea",
            "payload": {"a": 1},
            "tags": ["x"],
            "importance": 0.5,
            "embedding_model": "m",
            "subject": None,
            "source": None,
            "expires_at": None,
        }

    async def test_it_keeps_the_fields_that_a_patch_names(self, sink: PostgresSink, owner_dsn: str) -> None:
        memory = stored(key="a")
        changes = patched(
            memory,
            payload='{"a": null}',
            expires_at=A_DEADLINE,
            subject=None,
            source="a file",
            embedding=[0.5],
            embedding_model="m",
        )

        await deliver(sink, a_log([memory, changes]))

        (row,) = rows(owner_dsn, "SELECT content FROM memory_history WHERE event_type = 'MemoryPatched'")
        assert row["content"] == {
            "payload": {"a": None},
            "expires_at": "2026-05-01T00:00:00+00:00",
            "subject": None,
            "source": "a file",
            "embedding_model": "m",
        }

    async def test_a_replayed_dead_letter_gets_its_final_outcome_at_its_first_place(
        self, sink: PostgresSink, owner_dsn: str
    ) -> None:
        original = logged(stored(key="a"), 3)
        replay = replace(original, position=Position(0, 9))
        await deliver(sink, [], [a_dead_letter(original)])

        await deliver(sink, [replay])
        await deliver(sink, [], [a_dead_letter(original)])

        (row,) = rows(owner_dsn, "SELECT * FROM memory_history")
        assert (row["version"], row["outcome"], row["error_code"]) == (original.version, "applied", None)
        assert row["event_id"] == original.event.event_id

    async def test_a_dead_letter_that_is_merely_delivered_again_stays_one_although_its_memory_has_moved_on(
        self, sink: PostgresSink, owner_dsn: str
    ) -> None:
        letter, newer = logged(stored(key="a"), 0), logged(stored(key="a"), 1)
        await deliver(sink, [newer], [a_dead_letter(letter)])

        await deliver(sink, [letter, newer])

        assert history(owner_dsn)[0, letter.version] == (Outcome.DEAD_LETTERED, None)

    async def test_a_dead_letter_that_is_applied_when_it_is_delivered_again_was_applied(
        self, sink: PostgresSink, owner_dsn: str
    ) -> None:
        letter = logged(stored(key="a"), 0)
        await deliver(sink, [], [a_dead_letter(letter)])

        await deliver(sink, [letter])

        assert history(owner_dsn)[0, letter.version] == (Outcome.APPLIED, None)

    async def test_a_letter_that_is_replayed_twice_in_one_batch_is_applied_once(
        self, sink: PostgresSink, owner_dsn: str
    ) -> None:
        original = logged(stored(key="a"), 3)
        replays = [replace(original, position=Position(0, offset)) for offset in (9, 10)]

        await deliver(sink, replays, [a_dead_letter(original)])

        assert history(owner_dsn) == {(0, original.version): APPLIED}

    async def test_an_event_of_whose_key_nothing_is_known_has_its_row(
        self, sink: PostgresSink, owner_dsn: str
    ) -> None:
        place = logged(stored(), 3)
        unreadable = DeadLettered(place.position, place.version, place.logged_at, None, None, "avro")

        await deliver(sink, [], [unreadable])

        (row,) = rows(owner_dsn, "SELECT tenant, memory_id, outcome FROM memory_history")
        assert tuple(row.values()) == (None, None, "dead_lettered")

    async def test_a_batch_across_months_lands_in_the_partition_of_each(
        self, sink: PostgresSink, owner_dsn: str
    ) -> None:
        last = datetime(2031, 1, 31, 23, 59, 59, 999999, tzinfo=UTC)
        batch = [
            replace(logged(stored(), 0), logged_at=last),
            replace(logged(stored(), 1), logged_at=last + timedelta(microseconds=1)),
        ]

        await deliver(sink, batch)

        found = rows(
            owner_dsn, "SELECT tableoid::regclass::text AS part FROM memory_history ORDER BY version"
        )
        assert [row["part"] for row in found] == ["memory_history_2031_01", "memory_history_2031_02"]


class TestLinks:
    async def test_a_link_is_made_changed_and_ended(self, sink: PostgresSink, owner_dsn: str) -> None:
        memory, other = stored(key="a"), an_id()
        seen = []
        for offset, event in enumerate(
            [linked(memory, other, weight=1.0), linked(memory, other, weight=2.5), unlinked(memory, other)]
        ):
            await deliver(sink, [logged(event, offset)])
            seen.append(living_links(owner_dsn))

        edge = (memory.memory_id, "about", other)
        assert seen == [{edge: 1.0}, {edge: 2.5}, {}]

    async def test_links_of_other_types_and_to_other_memories_are_other_links(
        self, sink: PostgresSink, owner_dsn: str
    ) -> None:
        memory, one, two = stored(key="a"), an_id(), an_id()

        await deliver(
            sink,
            a_log(
                [
                    linked(memory, one),
                    linked(memory, two),
                    linked(memory, one, "cites"),
                    unlinked(memory, one),
                ]
            ),
        )

        assert set(living_links(owner_dsn)) == {
            (memory.memory_id, "about", two),
            (memory.memory_id, "cites", one),
        }

    async def test_an_older_change_of_a_link_is_superseded(self, sink: PostgresSink, owner_dsn: str) -> None:
        memory, other = stored(key="a"), an_id()
        await deliver(sink, [logged(linked(memory, other, weight=2.0), 7)])

        late = logged(unlinked(memory, other), 3)
        await deliver(sink, [late])

        assert living_links(owner_dsn) == {(memory.memory_id, "about", other): 2.0}
        assert history(owner_dsn)[0, late.version] == OLDER

    @pytest.mark.parametrize("in_one_batch", [True, False])
    async def test_a_link_event_that_comes_again_after_another_change_of_its_edge_changes_nothing(
        self, sink: PostgresSink, owner_dsn: str, *, in_one_batch: bool
    ) -> None:
        memory, other = stored(key="a"), an_id()
        first = linked(memory, other, weight=1.0)
        log = a_log([memory, first, linked(memory, other, weight=2.0), first, unlinked(memory, other), first])

        for batch in [log] if in_one_batch else [[each] for each in log]:
            await deliver(sink, batch)

        assert living_links(owner_dsn) == {}
        again = (Outcome.SUPERSEDED, SupersededReason.DUPLICATE)
        assert [history(owner_dsn)[0, log[place].version] for place in (3, 5)] == [again, again]

    async def test_of_a_batch_the_older_change_of_a_link_alone_is_superseded(
        self, sink: PostgresSink
    ) -> None:
        memory, other = stored(key="a"), an_id()
        await deliver(sink, [logged(linked(memory, other), 7)])

        settled = await deliver(sink, [logged(unlinked(memory, other), 3), logged(memory, 8)])

        assert [each.reason for each in settled] == [SupersededReason.OLDER, None]

    @pytest.mark.parametrize("in_one_batch", [True, False])
    async def test_the_links_of_a_deleted_memory_end_with_it(
        self, sink: PostgresSink, owner_dsn: str, *, in_one_batch: bool
    ) -> None:
        memory, other = stored(key="a"), stored(key="b")
        log = a_log(
            [
                memory,
                other,
                linked(memory, other.memory_id),
                linked(other, memory.memory_id),
                deleted(memory),
            ]
        )

        for batch in [log] if in_one_batch else [[each] for each in log]:
            await deliver(sink, batch)

        assert list(living_links(owner_dsn)) == [(other.memory_id, "about", memory.memory_id)]

    @pytest.mark.parametrize("in_one_batch", [True, False])
    async def test_links_end_even_when_the_memory_is_born_again_in_the_same_batch(
        self, sink: PostgresSink, owner_dsn: str, *, in_one_batch: bool
    ) -> None:
        memory, old, new = stored(key="a"), an_id(), an_id()
        await deliver(sink, a_log([memory, linked(memory, old)]))
        log = [
            logged(deleted(memory), 2),
            logged(stored(key="a", text="again"), 3),
            logged(linked(memory, new), 4),
        ]

        for batch in [log] if in_one_batch else [[each] for each in log]:
            await deliver(sink, batch)

        assert list(living_links(owner_dsn)) == [(memory.memory_id, "about", new)]

    @pytest.mark.parametrize("in_one_batch", [True, False])
    async def test_a_link_that_comes_late_is_dead_when_its_memory_was_deleted_since(
        self, sink: PostgresSink, owner_dsn: str, *, in_one_batch: bool
    ) -> None:
        memory, other = stored(key="a"), an_id()
        late = logged(linked(memory, other), 1)
        log = [logged(memory, 0), logged(deleted(memory), 2), logged(stored(key="a", text="again"), 3)]
        for batch in [log] if in_one_batch else [[each] for each in log]:
            await deliver(sink, batch)

        await deliver(sink, [late])

        assert living_links(owner_dsn) == {}
        assert history(owner_dsn)[0, late.version] == APPLIED


class TestNamespaces:
    @pytest.mark.parametrize("in_one_batch", [True, False])
    async def test_an_event_from_another_namespace_leaves_memory_and_links_alone(
        self, sink: PostgresSink, owner_dsn: str, *, in_one_batch: bool
    ) -> None:
        memory, other = stored(namespace="team/theirs", text="theirs"), an_id()
        mine = {"namespace": "team/mine"}
        log = [
            logged(memory, 0),
            logged(linked(memory, other), 1),
            logged(stored(memory_id=memory.memory_id, text="mine").model_copy(update=mine), 2),
            logged(patched(memory, text="mine").model_copy(update=mine), 3),
            logged(unlinked(memory, other).model_copy(update=mine), 4),
            logged(deleted(memory).model_copy(update=mine), 5),
        ]

        for batch in [log] if in_one_batch else [[each] for each in log]:
            await deliver(sink, batch)

        (state,) = fold(log[:1], {}).states
        assert memories(owner_dsn) == {name_of(memory): as_stored(state)}
        assert list(living_links(owner_dsn)) == [(memory.memory_id, "about", other)]
        foreign = (Outcome.SUPERSEDED, SupersededReason.WRONG_NAMESPACE)
        assert list(history(owner_dsn).values()).count(foreign) == 4


class TestExtremeValues:
    async def test_odd_text_comes_back_as_it_was(self, sink: PostgresSink, owner_dsn: str) -> None:
        odd = "\N{PILE OF POO} e\u0301 \u202e\u2028\ufeff\uffff\U0010ffff \\N \t\r\n'\";-- {}(),\x01\x7f"
        memory = stored(
            namespace="\N{CJK UNIFIED IDEOGRAPH-4E00}/%2F%25",
            key=odd,
            text=odd,
            tags=[odd, "NULL", "null", ","],
            subject=odd,
            source=odd,
            actor=odd,
            payload='{"\N{PILE OF POO}": "\\u001f\\ud83d\\ude00", "": -0.0}',
        )
        log = a_log([memory])

        await deliver(sink, log)

        (state,) = fold(log, {}).states
        assert memories(owner_dsn) == {name_of(memory): as_stored(state)}

    async def test_numbers_at_their_limits_come_back_as_they_were(
        self, sink: PostgresSink, owner_dsn: str
    ) -> None:
        extremes = [1.7976931348623157e308, -1.7976931348623157e308, 5e-324, 2.2250738585072014e-308, 0.1]
        memory = stored(
            coordinate=extremes,
            importance=5e-324,
            payload='{"big": 12345678901234567890123456789, "small": 1e-300, "large": 1.5e300}',
        )
        log = a_log([memory, linked(memory, an_id(), weight=1.7976931348623157e308)])

        await deliver(sink, log)

        (state,) = fold(log, {}).states
        assert memories(owner_dsn) == {name_of(memory): as_stored(state)}
        assert list(living_links(owner_dsn).values()) == [1.7976931348623157e308]

    async def test_times_at_the_ends_of_the_calendar_come_back_as_they_were(
        self, sink: PostgresSink, owner_dsn: str
    ) -> None:
        first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
        memory = stored(key="a", occurred_at=first, expires_at=last)
        log = a_log([memory, patched(memory, text="x")])

        for each in log:
            await deliver(sink, [each])

        (state,) = fold(log, {}).states
        assert memories(owner_dsn) == {name_of(memory): as_stored(state)}

    async def test_an_embedding_is_kept_in_single_precision(self, sink: PostgresSink, owner_dsn: str) -> None:
        memory = stored(key="a", embedding=[3.4028234e38, 1e-45, 1e-60, -0.1], embedding_model="m")

        await deliver(sink, [logged(memory, 0)])

        (row,) = rows(owner_dsn, "SELECT embedding::float8[] FROM memories")
        assert row["embedding"] == [3.4028234663852886e38, 1.401298464324817e-45, 0.0, -0.10000000149011612]

    @pytest.mark.parametrize(
        "poison",
        [
            stored(key="a").model_copy(update={"embedding": [1e39], "embedding_model": "m"}),
            stored(key="a").model_copy(update={"text": "with \0 inside"}),
            stored(key="a").model_copy(update={"payload": '{"a": 1e-20000}'}),
            stored(key="a").model_copy(update={"payload": '{"a": '}),
            stored(key="a").model_copy(update={"payload": '{"a": "\\u0000"}'}),
        ],
        ids=["embedding", "nul", "tiny_number", "broken_json", "escaped_nul"],
    )
    async def test_what_the_database_cannot_keep_is_poison_and_leaves_nothing_behind(
        self, sink: PostgresSink, owner_dsn: str, poison: MemoryEvent
    ) -> None:
        with pytest.raises(psycopg.Error) as refusal:
            await deliver(sink, [logged(stored(key="b"), 0), logged(poison, 1)])

        assert classify(refusal.value) is FailureClass.POISON
        assert tables(owner_dsn) == {table: [] for table in tables(owner_dsn)}
        await deliver(sink, [logged(stored(key="b"), 0)])
        assert len(memories(owner_dsn)) == 1
