from hypothesis import given
from hypothesis import strategies as st

from soma_api.queries.overview_queries import NamespaceCount, tree

PATHS = st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map("/".join)


def test_every_level_counts_what_lies_below_it() -> None:
    assert tree([("a", 1), ("a/b", 2), ("a/b/c", 4), ("d/e", 8)]).nodes == (
        NamespaceCount("a", 7),
        NamespaceCount("a/b", 6),
        NamespaceCount("a/b/c", 4),
        NamespaceCount("d", 8),
        NamespaceCount("d/e", 8),
    )


def test_nothing_above_the_prefix_is_told() -> None:
    assert [node.namespace for node in tree([("a/b", 1), ("a/b/c", 1)], "a/b").nodes] == ["a/b", "a/b/c"]


def test_parents_come_before_children_and_children_before_the_next_sibling() -> None:
    found = [node.namespace for node in tree([("a/b", 1), ("a-b", 1), ("a", 1)]).nodes]

    assert found == ["a", "a/b", "a-b"]


@given(st.dictionaries(PATHS, st.integers(1, 9)))
def test_the_roots_count_everything(counts: dict[str, int]) -> None:
    nodes = tree(list(counts.items())).nodes

    assert sum(node.memories for node in nodes if "/" not in node.namespace) == sum(counts.values())
