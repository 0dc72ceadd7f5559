"""Namespaces are compared by segments."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soma_schemas.namespaces import ancestors, contains, decode_segment, encode_segment, namespace_fault


@pytest.mark.parametrize(
    ("prefix", "namespace", "inside"),
    [
        ("team/a", "team/a", True),
        ("team/a", "team/a/notes", True),
        ("team/a", "team/ab", False),
        ("team/a", "team", False),
        ("team/a", "team/b/a", False),
    ],
)
def test_a_prefix_never_matches_a_longer_sibling(prefix: str, namespace: str, inside: bool) -> None:  # noqa: FBT001  # a table's column
    assert contains(prefix, namespace) is inside
    assert (prefix in ancestors(namespace)) is inside


@given(st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=128))
def test_any_text_can_be_a_segment(text: str) -> None:
    segment = encode_segment(text)

    assert namespace_fault(f"before/{segment}") is None
    assert decode_segment(segment) == text
