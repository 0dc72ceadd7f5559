"""An index that differs from the rows is refused, and the refusal names a memory to look at."""

from uuid import UUID

import pytest

from soma_cli.reindexing.index_place import ReindexError
from soma_cli.reindexing.rebuilding import require_agreement
from soma_streams.audit.drift import Drift, Findings
from soma_streams.delivery.state import MemoryName

NAME = MemoryName("acme", UUID("4f4ae278-2631-5710-a254-7deabf832417"))


def test_a_difference_is_told_with_an_example() -> None:
    findings = Findings()
    findings.add(Drift.POINT_MISSING, NAME)
    findings.add(Drift.POINT_MISSING, NAME)

    with pytest.raises(ReindexError) as refused:
        require_agreement(findings)

    assert f"2 point_missing (acme/{NAME.memory_id})" in str(refused.value)


def test_what_the_sweeper_has_still_to_do_is_no_difference() -> None:
    findings = Findings()
    findings.add(Drift.OVERDUE, NAME)

    require_agreement(findings)
