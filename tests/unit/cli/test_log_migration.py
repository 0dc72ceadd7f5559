"""What a migration decides: where the log goes, and when it is drained."""

import pytest

from soma_cli.log_layout import LogLayout
from soma_cli.log_migration import LogMigrationError, absent, drained, next_layout
from soma_schemas.groups import SinkGroup
from soma_schemas.settings import TopicSettings
from soma_schemas.topics import MEMORY_EVENTS
from soma_schemas.versions import MAX_EPOCH
from soma_streams.lag.facts import GroupSeen, Member, Place

_TOPICS = TopicSettings(partitions=2)
_MEMBER = Member("m", "soma", "here", ())


def group(committed: dict[int, int], *members: Member, topic: str = "memory.events") -> GroupSeen:
    return GroupSeen(
        "Stable", members, {Place(topic, number): offset for number, offset in committed.items()}
    )


def test_the_next_epoch_has_the_partitions_that_were_asked_for() -> None:
    following = next_layout(LogLayout(_TOPICS, (), closed=False), 5, recreate=False)

    assert (following.epoch, following.partitions) == (2, 5)
    assert MEMORY_EVENTS.full_name(following) == "memory.events.e2"
    assert following.declared == _TOPICS


@pytest.mark.parametrize(
    ("topics", "partitions", "why"),
    [
        (_TOPICS, 2, "has 2 partitions already"),
        (_TOPICS, 1, "never fewer"),
        (TopicSettings(partitions=2, epoch=MAX_EPOCH), 3, "is the last one"),
    ],
)
def test_what_is_not_needed_or_cannot_be_is_refused(topics: TopicSettings, partitions: int, why: str) -> None:
    with pytest.raises(LogMigrationError, match=why):
        next_layout(LogLayout(topics, (), closed=False), partitions, recreate=False)


def test_the_same_again_has_to_be_asked_for() -> None:
    assert next_layout(LogLayout(_TOPICS, (), closed=True), 2, recreate=True).epoch == 2


@pytest.mark.parametrize(
    ("postgres", "vectors", "left"),
    [
        ({0: 10, 1: 20}, {0: 10, 1: 20}, 0),
        ({0: 10, 1: 20}, {0: 9, 1: 20}, 1),
        ({0: 10, 1: 20}, {0: 10}, 17),  # of partition 1 the log begins at 3
        ({}, {0: 10, 1: 20}, 27),
    ],
)
def test_a_log_is_drained_when_both_sinks_have_passed_every_end(
    postgres: dict[int, int], vectors: dict[int, int], left: int
) -> None:
    groups = {SinkGroup.POSTGRES: group(postgres, _MEMBER), SinkGroup.VECTORS: group(vectors, _MEMBER)}

    found = drained(groups, {0: 0, 1: 3}, {0: 10, 1: 20}, _TOPICS)

    assert (found.left, found.absent) == (left, ())


def test_what_was_committed_in_another_epoch_says_nothing() -> None:
    former = group({0: 10, 1: 20}, _MEMBER, topic="memory.events.e2")
    groups = {SinkGroup.POSTGRES: former, SinkGroup.VECTORS: former}

    assert drained(groups, {0: 0, 1: 0}, {0: 10, 1: 20}, _TOPICS).left == 60


def test_a_group_without_members_is_away_and_so_is_one_that_nobody_knows() -> None:
    groups = {SinkGroup.POSTGRES: group({0: 10})}

    assert absent(groups, _TOPICS) == ("soma-postgres", "soma-vectors")
