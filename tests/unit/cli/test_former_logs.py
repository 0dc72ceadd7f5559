"""What a restore applies of logs that are over."""

import pytest

from soma_cli.backups.backup_errors import NotRestorableError
from soma_cli.backups.former_logs import former_logs
from soma_cli.backups.log_positions import Continuation
from soma_cli.backups.manifest import TopicExtent
from soma_schemas.groups import SinkGroup
from soma_schemas.settings import TopicSettings
from soma_schemas.tables import HEAD
from unit.cli.test_log_positions import EVENTS, a_manifest, a_mark

_DECLARED = TopicSettings(partitions=1)
_NOW = _DECLARED.at(3, 4)
_MADE = a_manifest(a_mark(offset=40)).model_copy(update={"revision": HEAD})
_FIRST = (_DECLARED.at(1, 1), TopicExtent(id=f"id of {EVENTS}", starts={0: 10}, ends={0: 100}))
_SECOND = (_DECLARED.at(2, 2), TopicExtent(id="second", starts={0: 0, 1: 0}, ends={0: 5, 1: 0}))


def test_the_rest_of_the_backups_log_comes_first_and_then_all_of_the_next() -> None:
    first, second = former_logs(_MADE, {1: _FIRST, 2: _SECOND}, _NOW)

    assert (first.topics.epoch, second.topics.epoch) == (1, 2)
    assert first.tail == [Continuation(SinkGroup.POSTGRES, EVENTS, 0, 40, 0, 60)]
    assert second.tail == [
        Continuation(SinkGroup.POSTGRES, f"{EVENTS}.e2", 0, 0, 0, 5),
        Continuation(SinkGroup.POSTGRES, f"{EVENTS}.e2", 1, 0, 0, 0),
    ]


def test_what_the_log_has_no_more_is_lost() -> None:
    extent = TopicExtent(id=f"id of {EVENTS}", starts={0: 60}, ends={0: 100})

    (first, _) = former_logs(_MADE, {1: (_FIRST[0], extent), 2: _SECOND}, _NOW)

    assert [(each.offset, each.lost, each.ahead) for each in first.tail] == [(60, 20, 40)]


@pytest.mark.parametrize("found", [{2: _SECOND}, {1: _FIRST}, {1: (_FIRST[0], _SECOND[1]), 2: _SECOND}])
def test_a_log_that_was_dropped_or_made_anew_is_missed(
    found: dict[int, tuple[TopicSettings, TopicExtent]],
) -> None:
    with pytest.raises(NotRestorableError, match="is gone: what it had is in no log"):
        former_logs(_MADE, found, _NOW)


def test_where_an_operator_has_raised_the_epoch_nothing_is_missed() -> None:
    assert former_logs(_MADE, {}, TopicSettings(partitions=1, epoch=3)) == []
    assert former_logs(_MADE, {}, _DECLARED) == []


def test_tables_of_an_older_revision_are_restored_by_their_own_version() -> None:
    with pytest.raises(NotRestorableError, match="whose tables are of revision 0001"):
        former_logs(_MADE.model_copy(update={"revision": "0001"}), {1: _FIRST, 2: _SECOND}, _NOW)
