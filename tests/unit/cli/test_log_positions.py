"""Where the log goes on after a dump."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from soma_cli.backups.backup_errors import NotRestorableError
from soma_cli.backups.log_positions import Continuation, changed_offsets, continuations
from soma_cli.backups.manifest import DumpFile, Manifest, StoredWatermark, TopicExtent
from soma_schemas.groups import SinkGroup
from soma_schemas.settings import TopicSettings
from soma_schemas.topics import TOPICS
from soma_streams.lag.facts import GroupSeen, Place

EVENTS = "memory.events"


def extents(
    ids: Mapping[str, str] | None = None, start: int = 0, end: int = 100, epoch: int = 1
) -> dict[str, TopicExtent]:
    return {
        topic.full_name(TopicSettings(epoch=epoch)): TopicExtent(
            id=(ids or {}).get(topic.name, f"id of {topic.name}"), starts={0: start}, ends={0: end}
        )
        for topic in TOPICS
    }


def a_mark(group: SinkGroup = SinkGroup.POSTGRES, offset: int = 40, epoch: int = 1) -> StoredWatermark:
    return StoredWatermark(group=group, topic=EVENTS, partition=0, epoch=epoch, next_offset=offset)


def a_manifest(*marks: StoredWatermark, epoch: int = 1) -> Manifest:
    return Manifest(
        made_at=datetime(2026, 3, 2, 12, tzinfo=UTC),
        seconds=1.0,
        product="0.1.0",
        postgres="18.4",
        revision="0008",
        tables={},
        watermarks=marks,
        epoch=epoch,
        topics=extents(),
        schemas=[],
        model="wordllama-256",
        dimensions=256,
        dump=DumpFile(bytes=0, sha256=""),
    )


def committed(group: SinkGroup, topic: str, offset: int) -> dict[SinkGroup, GroupSeen]:
    return {group: GroupSeen("Empty", (), {Place(topic, 0): offset})}


def test_a_group_goes_on_at_the_dumps_watermark_whatever_it_has_committed_since() -> None:
    groups = committed(SinkGroup.POSTGRES, EVENTS, 90)

    decided = continuations(a_manifest(a_mark()), extents(), groups, TopicSettings())

    assert decided == [Continuation(SinkGroup.POSTGRES, EVENTS, 0, 40, 0, 60)]
    assert changed_offsets(decided) == {SinkGroup.POSTGRES: {(EVENTS, 0): 40}}


def test_a_group_that_began_after_the_backup_begins_anew() -> None:
    groups = committed(SinkGroup.DEAD_LETTERS, "memory.events.dlq", 7)

    decided = continuations(a_manifest(a_mark()), extents(), groups, TopicSettings())

    assert Continuation(SinkGroup.DEAD_LETTERS, "memory.events.dlq", 0, 0, 0, 100) in decided


def test_a_backup_from_before_there_was_a_topic_fits() -> None:
    manifest = a_manifest(a_mark())
    older = {name: extent for name, extent in manifest.topics.items() if name != "memory.keys"}

    decided = continuations(manifest.model_copy(update={"topics": older}), extents(), {}, TopicSettings())

    assert decided == [Continuation(SinkGroup.POSTGRES, EVENTS, 0, 40, 0, 60)]


def test_the_vector_index_is_left_to_itself() -> None:
    groups = committed(SinkGroup.VECTORS, EVENTS, 90)

    assert continuations(a_manifest(a_mark(SinkGroup.VECTORS)), extents(), groups, TopicSettings()) == []


def test_what_retention_has_deleted_since_the_backup_is_lost() -> None:
    (decided,) = continuations(a_manifest(a_mark()), extents(start=55), {}, TopicSettings())

    assert decided == Continuation(SinkGroup.POSTGRES, EVENTS, 0, 55, 15, 45)


def test_a_log_that_ends_before_the_backup_is_refused() -> None:
    with pytest.raises(NotRestorableError, match="up to 40, and the log ends at 39"):
        continuations(a_manifest(a_mark()), extents(end=39), {}, TopicSettings())


def test_a_log_that_was_made_anew_wants_a_higher_epoch_and_is_read_from_its_beginning() -> None:
    anew, manifest = extents({EVENTS: "another"}, start=3), a_manifest(a_mark())
    raised = extents(start=3, epoch=2)

    with pytest.raises(NotRestorableError, match="was made anew") as told:
        continuations(manifest, anew, {}, TopicSettings())
    groups = committed(SinkGroup.POSTGRES, f"{EVENTS}.e2", 9)
    decided = continuations(manifest, raised, groups, TopicSettings(epoch=2))

    assert "SOMA_TOPICS__EPOCH to 2" in (told.value.remedy or "")
    assert decided == [Continuation(SinkGroup.POSTGRES, f"{EVENTS}.e2", 0, 3, 0, 97)]


def test_an_older_epoch_than_the_backups_is_refused() -> None:
    with pytest.raises(NotRestorableError, match="the epoch is 1, and 2 in the backup"):
        continuations(a_manifest(epoch=2), extents(), {}, TopicSettings())


def test_a_watermark_of_an_earlier_epoch_says_nothing_of_this_log() -> None:
    manifest = a_manifest(a_mark(epoch=1, offset=90), epoch=2)
    manifest = manifest.model_copy(update={"topics": extents(epoch=2)})
    groups = committed(SinkGroup.POSTGRES, f"{EVENTS}.e2", 20)

    (decided,) = continuations(manifest, extents(epoch=2), groups, TopicSettings(epoch=2))

    assert decided.offset == 0


def test_topics_under_other_names_are_refused() -> None:
    other = {f"x.{name}": extent for name, extent in extents().items()}

    with pytest.raises(NotRestorableError, match="beside other topics"):
        continuations(a_manifest(a_mark()), other, {}, TopicSettings(prefix="x."))
