"""What an open erasure selects is met by no search."""

from uuid import UUID

import pytest

from soma_api.queries.erasure_selection import ErasureSelection
from soma_api.queries.vectors.conditions import Condition, IsPoint, Not, OneOf
from soma_api.queries.vectors.unerased import unerased
from soma_schemas.erasure_receipts import selector_digest
from soma_schemas.events import ErasureScope
from soma_schemas.vectors import payload
from soma_schemas.vectors.points import point_id

AN_ID, AN_REQUEST = UUID(int=7), UUID(int=1)


def an_erasure(scope: ErasureScope, selector: str | None) -> ErasureSelection:
    return ErasureSelection(AN_REQUEST, scope, selector, selector_digest(AN_REQUEST, selector))


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
    assert unerased("acme", [an_erasure(scope, selector)]) == [Not([selected])]


def test_of_several_erasures_none_is_met() -> None:
    erasures = [an_erasure(ErasureScope.SUBJECT, each) for each in ("mira", "zoe")]

    assert len(unerased("acme", erasures)) == 2
    assert unerased("acme", []) == []


@pytest.mark.parametrize(
    ("scope", "selector", "others"),
    [
        (ErasureScope.SUBJECT, "mira", [(AN_ID, "team/a", "zoe"), (AN_ID, "mira", None)]),
        (ErasureScope.MEMORY, str(AN_ID), [(UUID(int=8), "team/a", "mira")]),
        (ErasureScope.NAMESPACE, "team/a", [(AN_ID, "team/ab", "mira"), (AN_ID, "team", "mira")]),
        (ErasureScope.TENANT, None, []),
    ],
)
@pytest.mark.parametrize("named", [True, False])
def test_a_memory_is_selected_by_name_and_by_digest_alike(
    *, scope: ErasureScope, selector: str | None, others: list[tuple[UUID, str, str | None]], named: bool
) -> None:
    erasure = an_erasure(scope, selector)
    if not named:
        erasure = erasure._replace(selector=None)

    assert erasure.selects(AN_ID, "team/a", "mira")
    assert erasure.selects(AN_ID, "team/a/notes", "mira")
    assert [each for each in others if erasure.selects(*each)] == []


def test_what_is_known_by_its_digest_alone_is_no_condition() -> None:
    unnamed = an_erasure(ErasureScope.SUBJECT, "mira")._replace(selector=None)

    assert (unnamed.is_named, unerased("acme", [unnamed])) == (False, [])
