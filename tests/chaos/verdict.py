"""Compares, record by record, what the stores and the dead-letter topic hold with what the log says."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import qdrant_edge as edge

from chaos.vector_worker import COLLECTION
from chaos.workload import TENANTS
from oracle import Expected, Model, Place, expected_of, read_letters, version_of
from postgres_tables import as_stored, memories, rows
from soma_cli.local.vectors import EmbeddedIndex
from soma_schemas.groups import SinkGroup
from soma_schemas.settings import PublishingSettings
from soma_schemas.vectors.payload import TENANT
from soma_streams.delivery.state import MemoryName, MemoryState, Outcome
from soma_streams.sinks.vectors.states import id_of, state_of

_EXAMPLES = 5


@dataclass(frozen=True)
class Compared:
    """What a store holds beside what it must hold.

    Attributes:
        expected: How many there must be.
        missing: Not there at all.
        behind: There in an older version.
        wrong: There in the right version or a newer one, with another content.
        unexpected: There, and should not be.
        examples: The first few that are not right.
    """

    expected: int
    missing: int
    behind: int
    wrong: int
    unexpected: int
    examples: tuple[str, ...] = ()

    @property
    def lost(self) -> int:
        """What the log has and the store has not."""
        return self.missing + self.behind

    @property
    def right(self) -> bool:
        """Whether the store holds exactly what it must."""
        return self.missing == self.behind == self.wrong == self.unexpected == 0


@dataclass(frozen=True)
class Letters:
    """The dead letters of one group.

    Attributes:
        expected: Records of the log that this sink can never apply.
        found: Of those, how many lie in the dead-letter topic, with the right code.
        unexpected: Letters about something that can be applied, or with another code.
        twice: Letters that were written more than once; each is one by its id.
    """

    expected: int
    found: int
    unexpected: int
    twice: int

    @property
    def right(self) -> bool:
        """Whether exactly the right records are dead letters."""
        return self.found == self.expected and self.unexpected == 0


@dataclass(frozen=True)
class Verdict:
    """What the judge found.

    Attributes:
        events: Records in the log.
        memories: Memories and tombstones that they make.
        outcomes: What became of the records in Postgres, by outcome.
        postgres: Memories in Postgres.
        vectors: Points in the index.
        links: Edges in Postgres.
        history: Outcomes of every record in Postgres.
        letters: By consumer group.
        indexed: Rows of the table that indexes dead letters.
        missing_from_log: Acknowledged records that the log does not have.
    """

    events: int
    memories: int
    outcomes: Mapping[str, int]
    postgres: Compared
    vectors: Compared
    links: Compared
    history: Compared
    letters: Mapping[str, Letters]
    indexed: Compared
    missing_from_log: int

    @property
    def lost(self) -> int:
        """Records that were acknowledged and are not to be seen in a store that must show them."""
        compared = (self.postgres, self.vectors, self.links, self.history, self.indexed)
        letters = sum(each.expected - each.found for each in self.letters.values())
        return self.missing_from_log + letters + sum(each.lost for each in compared)

    @property
    def right(self) -> bool:
        """Whether everything is as the log says."""
        compared = (self.postgres, self.vectors, self.links, self.history, self.indexed)
        return (
            all(each.right for each in compared)
            and all(each.right for each in self.letters.values())
            and self.missing_from_log == 0
        )

    def as_json(self) -> dict[str, Any]:
        """Return it for a file."""
        return asdict(self) | {"lost": self.lost, "right": self.right}


def judge(
    settings: PublishingSettings, owner_dsn: str, index: Path, acknowledged: Mapping[int, int]
) -> Verdict:
    """Read everything and compare; the workers must have stopped.

    Args:
        settings: Where the log is.
        owner_dsn: Where the tables are.
        index: The folder of the index.
        acknowledged: The highest offset that a broker acknowledged, by partition.
    """
    expected = expected_of(settings)
    letters, unique = _letters(settings, expected)
    return Verdict(
        events=expected.events,
        memories=len(expected.postgres.states),
        outcomes=dict(Counter(outcome.value for outcome, _ in expected.postgres.outcomes.values())),
        postgres=_compared(
            {name: as_stored(state) for name, state in expected.postgres.states.items()}, _tables(owner_dsn)
        ),
        vectors=_compared(expected.vectors.states, points_of(index, expected.vectors)),
        links=_compared(
            expected.postgres.living_links,
            {
                (row["tenant"], row["from_memory_id"], row["link_type"], row["to_memory_id"]): row["weight"]
                for row in rows(owner_dsn, "SELECT * FROM memory_links WHERE NOT deleted")
            },
        ),
        history=_compared(
            {version_of(settings, place): each for place, each in expected.postgres.outcomes.items()},
            _history(owner_dsn),
        ),
        letters=letters,
        indexed=_compared(
            dict.fromkeys(unique, "open"),
            {str(row["id"]): row["status"] for row in rows(owner_dsn, "SELECT id, status FROM dead_letters")},
        ),
        missing_from_log=sum(
            max(0, offset + 1 - expected.ends[partition]) for partition, offset in acknowledged.items()
        ),
    )


def points_of(folder: Path, model: Model) -> dict[MemoryName, MemoryState]:
    """Return what the index holds; a point that nothing should have made is an unexpected one."""
    with closing(EmbeddedIndex.open(folder, COLLECTION)) as index:
        payloads = asyncio.run(index.read([id_of(name) for name in model.states]))
        # The index speaks of itself in points without a tenant.
        of_tenants = edge.Filter(must_not=[edge.IsEmptyCondition(TENANT)])
        count = index._shard.count(edge.CountRequest(filter=of_tenants))
    states = [state_of(payload) for payload in payloads.values()]
    assert count == len(states), f"{count - len(states)} points are of memories that the log does not know"
    return {state.name: state for state in states}


def _tables(dsn: str) -> dict[MemoryName, MemoryState]:
    found: dict[MemoryName, MemoryState] = {}
    for tenant in TENANTS:
        found |= memories(dsn, tenant)
    return found


def _history(dsn: str) -> dict[Place, tuple[Outcome, str | None]]:
    found = rows(dsn, "SELECT partition, version, outcome, reason FROM memory_history")
    return {(row["partition"], row["version"]): (Outcome(row["outcome"]), row["reason"]) for row in found}


def _letters(settings: PublishingSettings, expected: Expected) -> tuple[dict[str, Letters], set[str]]:
    written = read_letters(settings)
    models = {SinkGroup.POSTGRES: expected.postgres, SinkGroup.VECTORS: expected.vectors}
    unknown = written.keys() - {group.value for group in models}
    assert not unknown, f"letters of groups that nobody knows: {unknown}"
    result: dict[str, Letters] = {}
    unique: set[str] = set()
    for group, model in models.items():
        of_group = written.get(group.value, [])
        by_id = {letter.id: letter for letter in of_group}
        unique |= by_id.keys()
        told = {(letter.place, letter.code) for letter in by_id.values()}
        result[group.value] = Letters(
            expected=len(model.letters),
            found=len(told & set(model.letters.items())),
            unexpected=len(told - set(model.letters.items())),
            twice=len(of_group) - len(by_id),
        )
    return result, unique


def _compared(expected: Mapping[Any, Any], found: Mapping[Any, Any]) -> Compared:
    missing = expected.keys() - found.keys()
    unexpected = found.keys() - expected.keys()
    differing = [name for name in expected.keys() & found.keys() if expected[name] != found[name]]
    behind = [name for name in differing if _version(found[name]) < _version(expected[name])]
    wrong = [*missing, *unexpected, *differing]
    return Compared(
        expected=len(expected),
        missing=len(missing),
        behind=len(behind),
        wrong=len(differing) - len(behind),
        unexpected=len(unexpected),
        examples=tuple(
            f"{name}: expected {expected.get(name)!r}, found {found.get(name)!r}"
            for name in wrong[:_EXAMPLES]
        ),
    )


def _version(value: object) -> int:
    return value.version if isinstance(value, MemoryState) else 0
