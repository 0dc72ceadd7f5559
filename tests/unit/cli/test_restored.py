"""What a restore says of what came back."""

from datetime import UTC, datetime

import pytest

from soma_cli.commands.restore import ContinuedPartition, Restored
from soma_cli.output import show
from soma_schemas.groups import SinkGroup


def shown(capsys: pytest.CaptureFixture[str], *continued: ContinuedPartition, erasures: int = 0) -> str:
    restored = Restored(
        made_at=datetime(2026, 3, 2, 12, tzinfo=UTC),
        tables=3,
        rows=1200,
        resumed=False,
        revision="0011",
        continued=list(continued),
        data_keys=4,
        erasures=erasures,
    )
    show(restored, as_json=False)
    return capsys.readouterr().out


def a_part(group: SinkGroup, partition: int = 0, ahead: int = 5) -> ContinuedPartition:
    return ContinuedPartition(
        group=group, topic="memory.events", partition=partition, offset=7, lost=0, ahead=ahead
    )


def test_partitions_of_a_group_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    out = shown(capsys, a_part(SinkGroup.POSTGRES), a_part(SinkGroup.POSTGRES, 1, 6))

    assert "restored 1,200 rows of 3 tables as of 2026-03-02 12:00:00 UTC" in out
    assert [line.split() for line in out.splitlines() if line.startswith("soma-postgres")] == [
        ["soma-postgres", "memory.events", "11", "0"]
    ]


@pytest.mark.parametrize(
    ("erasures", "said"), [(0, ""), (1, "\n1 erasure of which"), (1200, "\n1,200 erasures of which")]
)
def test_how_many_erasures_are_carried_out_again_is_told(
    capsys: pytest.CaptureFixture[str], erasures: int, said: str
) -> None:
    out = shown(capsys, a_part(SinkGroup.POSTGRES), erasures=erasures)

    assert "4 data keys from the log" in out
    assert ("carried out" in out) is bool(erasures)
    assert said in out
