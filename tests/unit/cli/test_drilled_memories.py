"""The memories of a backup beside those of the live database."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from soma_cli.backups.drilling import Beside, compared

names = st.tuples(st.sampled_from(["acme", "b.c", "globex"]), st.integers(0, 5).map(lambda n: UUID(int=n)))
versions = st.dictionaries(names, st.integers(1, 3), max_size=12)


@given(backup=versions, live=versions)
def test_each_memory_is_counted_once_for_what_it_is(
    backup: dict[tuple[str, UUID], int], live: dict[tuple[str, UUID], int]
) -> None:
    seen: list[int] = []

    found = compared(
        iter(sorted((*name, version) for name, version in backup.items())),
        iter(sorted((*name, version) for name, version in live.items())),
        seen.append,
    )

    both = [(backup[name], live[name]) for name in backup.keys() & live.keys()]
    assert found == Beside(
        same=sum(ours == theirs for ours, theirs in both),
        newer=sum(ours < theirs for ours, theirs in both),
        older=sum(ours > theirs for ours, theirs in both),
        added=len(live.keys() - backup.keys()),
        missing=len(backup.keys() - live.keys()),
    )
    assert sum(seen) == len(backup)
