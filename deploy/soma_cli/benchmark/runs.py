"""The benchmarks themselves, against a running API: they load what is missing, then measure from outside."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import cycle, islice
from typing import Any, NamedTuple, cast
from uuid import NAMESPACE_URL, UUID, uuid5

from soma_cli.benchmark.figures import Asked
from soma_cli.benchmark.questions import Question, name_of
from soma_cli.failures import FindingsError
from soma_cli.output import progress
from soma_cli.search_visibility import last_positions, wait_until_searchable
from soma_client import SomaClient
from soma_client.request_types import MemoryFields, ModeName
from soma_schemas.clock import SystemClock
from soma_schemas.versions import Position

RECALL = "bench/recall"
LATENCY = "bench/latency"
SEARCH = "bench/search"
READS = "bench/reads"

_BATCH = 200
_WAIT_SECONDS = 30

Advance = Callable[[int], None]


def load(
    client: SomaClient, memories: Iterable[dict[str, Any]], clock: SystemClock, advance: Advance
) -> None:
    """Store memories and wait until all are searchable. Those that were stored before stay as they are.

    Raises:
        RefusedError: The API says no.
        UnreachableError: It gives no answer.
    """
    wait_until_searchable(client, last_positions(store_all(client, memories, advance)), clock)


def store_all(client: SomaClient, memories: Iterable[dict[str, Any]], advance: Advance) -> list[Position]:
    """Store memories and return the last position on each partition, without waiting for the stores.

    Raises:
        RefusedError: The API says no.
        UnreachableError: It gives no answer.
    """
    positions: list[Position] = []
    for batch in _batches(memories):
        written = client.store_memories(cast("list[MemoryFields]", batch), event_id=_event_id(batch))
        positions = list(
            last_positions([*positions, *(Position.parse(each.position) for each in written.writes)]).values()
        )
        advance(len(batch))
    return positions


def count_below(client: SomaClient, namespace: str) -> int:
    """Return how many memories lie in a namespace and all below it."""
    return sum(
        each.memories
        for each in client.list_namespaces(prefix=namespace, depth=1).namespaces
        if each.namespace == namespace
    )


def ask(
    client: SomaClient,
    questions: Sequence[Question],
    mode: ModeName,
    top_k: int,
    advance: Advance,
    *,
    below: str | None,
) -> list[Asked]:
    """Search for every question in one mode, and return what was found.

    Args:
        client: Of the tenant that is asked.
        questions: What is asked.
        mode: By what memories are found.
        top_k: How many hits are looked at.
        advance: Told of each question.
        below: The namespace that holds the copies which the questions are about; None: they are about
            whatever is there.
    """
    asked = []
    for question in questions:
        within = "/".join(part for part in (below, question.namespace_prefix) if part is not None)
        answer = client.search(
            question.text,
            mode=mode,
            top_k=top_k,
            filter={"namespace_prefix": within} if within else {},
        )
        found = [name_of(hit.memory, below) for hit in answer.hits]
        asked.append(Asked(question.text, question.answers, found))
        advance(1)
    return asked


def time_stores(
    client: SomaClient, memories: Sequence[dict[str, Any]], clock: SystemClock, events: Iterator[UUID]
) -> list[float]:
    """Store memories one after the other and return how long each took until searches saw it, in seconds.

    Raises:
        FindingsError: One was not searchable in time.
    """
    seconds = []
    with progress(f"Storing {len(memories):,} memories", len(memories)) as advance:
        for memory in memories:
            begin = clock.monotonic()
            written = client.store_memory(**memory, event_id=next(events), wait_seconds=_WAIT_SECONDS)
            seconds.append(clock.monotonic() - begin)
            if written.outcome is None:
                raise FindingsError(
                    f"a memory was not searchable after {_WAIT_SECONDS} s",
                    (),
                    remedy="`soma status` shows how far the workers are",
                )
            advance(1)
    return seconds


class Search(NamedTuple):
    """A search of the benchmark, and what it is filtered by in words."""

    filtered_by: str
    body: dict[str, Any]


def searches(questions: Sequence[Question], count: int) -> list[Search]:
    """Return that many hybrid searches, with filters of several kinds in turn."""
    filters: dict[str, dict[str, Any]] = {
        "a namespace that holds all": {"namespace_prefix": SEARCH},
        "a namespace that holds few": {"namespace_prefix": f"{SEARCH}/3"},
        "namespace and tag": {"namespace_prefix": SEARCH, "tags": ["tag-5"]},
        "namespace and importance": {"namespace_prefix": SEARCH, "importance_min": 0.5},
    }
    pairs = zip(cycle(questions), cycle(filters.items()), strict=False)
    return [
        Search(kind, {"query": question.text, "mode": "hybrid", "top_k": 10, "filter": each})
        for question, (kind, each) in islice(pairs, count)
    ]


def time_reads(
    client: SomaClient, position: Position, count: int, clock: SystemClock
) -> dict[str, list[float]]:
    """Ask in turn what an answer may not grow with; return how long each took by what was asked, in seconds.

    Args:
        client: Of the tenant that is asked about.
        position: Of a write.
        count: How often each is asked.
        clock: Time.
    """
    reads: dict[str, Callable[[], object]] = {
        "where a write stands": lambda: client.read_write(position),
        "counts of the tenant": client.read_stats,
        "namespaces with their counts": lambda: client.list_namespaces(depth=1),
        "a list of 20": lambda: client.list_memories(limit=20),
    }
    seconds: dict[str, list[float]] = {what: [] for what in reads}
    with progress(f"Asking {count * len(reads):,} times", count * len(reads)) as advance:
        for _ in range(count):
            for what, read in reads.items():
                begin = clock.monotonic()
                read()
                seconds[what].append(clock.monotonic() - begin)
                advance(1)
    return seconds


def time_searches(client: SomaClient, bodies: Sequence[dict[str, Any]], clock: SystemClock) -> list[float]:
    """Search one after the other and return how long each took, in seconds."""
    seconds = []
    with progress(f"Searching {len(bodies):,} times", len(bodies)) as advance:
        for body in bodies:
            begin = clock.monotonic()
            client.search(**body)
            seconds.append(clock.monotonic() - begin)
            advance(1)
    return seconds


def _batches(memories: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    pending = iter(memories)
    while batch := list(islice(pending, _BATCH)):
        yield batch


def _event_id(batch: Sequence[dict[str, Any]]) -> UUID:
    return uuid5(NAMESPACE_URL, sha256(repr(batch).encode()).hexdigest())
