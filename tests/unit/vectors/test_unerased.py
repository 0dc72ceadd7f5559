"""What an open erasure selects is met by no search."""

from uuid import UUID

import pytest

from soma_api.queries.vectors.conditions import Condition, IsPoint, Not, OneOf
from soma_api.queries.vectors.unerased import unerased
from soma_schemas.events import ErasureScope
from soma_schemas.vectors import payload
from soma_schemas.vectors.points import point_id

AN_ID = UUID(int=7)


@pytest.mark.parametrize(
    ("scope", "selector", "selected"),
    [
        (ErasureScope.SUBJECT, "mira", OneOf([payload.equal_label("subject", "mira")])),
        (ErasureScope.MEMORY, str(AN_ID), IsPoint([point_id("acme", AN_ID)])),
        (ErasureScope.NAMESPACE, "team/a", OneOf([payload.prefix_label("acme", "team/a")])),
        (ErasureScope.TENANT, None, OneOf([payload.tenant_label("acme")])),
    ],
)
def test_what_is_selected_is_excluded(scope: ErasureScope, selector: str | None, selected: Condition) -> None:
    assert unerased("acme", [(scope, selector)]) == [Not([selected])]


def test_of_several_erasures_none_is_met() -> None:
    erasures = [(ErasureScope.SUBJECT, "mira"), (ErasureScope.SUBJECT, "zoe")]

    assert len(unerased("acme", erasures)) == 2
    assert unerased("acme", []) == []
