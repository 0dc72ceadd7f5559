"""Finds near-duplicates of a namespace by the index's own comparison, and says which could become one."""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple
from uuid import UUID

from soma_client import SomaClient
from soma_client.request_types import SearchFilter
from soma_schemas.limits import DEFAULT_LIMITS
from soma_schemas.memories import MemoryView
from soma_schemas.responses.search_responses import HitsView
from soma_schemas.vectors.text import indexed_text

# Where a kept memory says which others it stands for.
PROVENANCE = "consolidated_from"

_FIRST_HITS = 50
_MOST_HITS = 10_000
_MOST_IDS = 1000
# By as much may two memories of one text differ in the index, by their days, keys and tags.
_FRAME = 0.2
_PAGE = 500

# How much two memories are alike by meaning, in either order.
Likeness = Mapping[frozenset[UUID], float]


class Group(NamedTuple):
    """Memories that say nearly the same.

    Attributes:
        kept: The one that would stand for all.
        merged: Those that would go, with how much each is like it.
    """

    kept: MemoryView
    merged: tuple[tuple[MemoryView, float], ...]


class Compared(NamedTuple):
    """What a look at a namespace found.

    Attributes:
        memories: How many were compared with all others.
        more: Whether the namespace has more that were not.
        complete: Whether the index had everything when it was asked.
    """

    groups: list[Group]
    memories: int
    more: bool
    complete: bool


def compare(
    client: SomaClient, namespace: str, *, threshold: float, most: int, tick: Callable[[int], None]
) -> Compared:
    """Compare the memories of a namespace, those that changed last, and return what was found.

    Args:
        client: Of the API, which compares.
        namespace: Exactly this one.
        threshold: From which cosine on two are near-duplicates, were their days, keys and tags the same.
        most: How many memories are compared.
        tick: Is told of each one.

    Raises:
        RefusedError: The API says no.
        UnreachableError: It gives no answer.
    """
    listed = client.iter_memories(namespace=namespace, sort="-updated_at", limit=_PAGE)
    memories = list(islice(listed, most))
    likeness: dict[frozenset[UUID], float] = {}
    complete = True
    for memory in memories:
        found, whole = _like(client, memory, threshold)
        complete = complete and whole
        for other, like in found.items():
            pair = frozenset((memory.memory_id, other))
            likeness[pair] = max(like, likeness.get(pair, like))
        tick(1)
    more = next(listed, None) is not None
    return Compared(groups(memories, likeness), len(memories), more, complete)


def groups(memories: Sequence[MemoryView], likeness: Likeness) -> list[Group]:
    """Return which memories could become one; none is in two groups, and no two that are kept are alike.

    Kept is what somebody has named, by a key or a coordinate, then the most important, then the one that
    changed last. Memories of different kinds, subjects or deadlines stay apart, and so do those with names.
    """
    near: dict[UUID, list[tuple[UUID, float]]] = {memory.memory_id: [] for memory in memories}
    for pair, like in likeness.items():
        if len(pair) > 1 and all(each in near for each in pair):
            one, other = pair
            near[one].append((other, like))
            near[other].append((one, like))
    by_id = {memory.memory_id: memory for memory in memories}
    found, taken = [], set()
    for kept in sorted(memories, key=_rank):
        if kept.memory_id in taken:
            continue
        taken.add(kept.memory_id)
        merged = [
            (by_id[other], like)
            for other, like in near[kept.memory_id]
            if other not in taken and _may_stand_for(kept, by_id[other])
        ]
        if merged:
            taken.update(other.memory_id for other, _ in merged)
            merged.sort(key=lambda each: (-each[1], each[0].memory_id))
            found.append(Group(kept, tuple(merged)))
    return found


def _rank(memory: MemoryView) -> tuple[Any, ...]:
    changed = -memory.updated_at.timestamp()
    return (not _named(memory), -memory.importance, changed, memory.memory_id)


def _named(memory: MemoryView) -> bool:
    return memory.key is not None or memory.coordinate is not None


def _may_stand_for(kept: MemoryView, other: MemoryView) -> bool:
    return (
        not _named(other)
        and (kept.kind, kept.subject, kept.expires_at) == (other.kind, other.subject, other.expires_at)
        # Somebody else's use of the name is left alone.
        and all(isinstance(each.payload.get(PROVENANCE, []), list) for each in (kept, other))
    )


def _like(client: SomaClient, memory: MemoryView, threshold: float) -> tuple[dict[UUID, float], bool]:
    """Return what is at least so much like a memory, and whether the index was complete."""
    wanted: SearchFilter = {"namespace": memory.namespace, "kind": memory.kind}
    if memory.subject is not None:
        wanted["subject"] = memory.subject
    nearest = _nearest(client, memory, wanted, threshold - _FRAME)
    alike: dict[UUID, float] = {}
    framed: dict[str, list[UUID]] = {}
    for hit in nearest.hits:
        if hit.memory.memory_id != memory.memory_id:
            framed.setdefault(_question(memory.text, hit.memory), []).append(hit.memory.memory_id)
    for question, ids in framed.items():
        for first in range(0, len(ids), _MOST_IDS):
            only: SearchFilter = {**wanted, "memory_ids": ids[first : first + _MOST_IDS]}
            likes = _likes(_asked(client, question, only, _MOST_IDS))
            alike |= {other: like for other, like in likes.items() if like >= threshold}
    return alike, nearest.index.complete


def _nearest(client: SomaClient, memory: MemoryView, wanted: SearchFilter, from_: float) -> HitsView:
    most = _FIRST_HITS
    while True:
        answer = _asked(client, _question(memory.text, memory), wanted, most)
        # As long as the last of them is near there may be more.
        if len(answer.hits) < most or min(_likes(answer).values()) < from_ or most == _MOST_HITS:
            return answer
        most = min(4 * most, _MOST_HITS)


def _asked(client: SomaClient, question: str, wanted: SearchFilter, most: int) -> HitsView:
    return client.search(question, mode="vector", top_k=most, filter=wanted)


def _likes(answer: HitsView) -> dict[UUID, float]:
    return {hit.memory.memory_id: hit.explanation.dense or 0.0 for hit in answer.hits}


def _question(text: str, other: MemoryView) -> str:
    """Return a text as if another memory said it: the index has day, key and tags along with a text."""
    question = indexed_text(text, other.occurred_at, other.key, other.tags)
    return question if len(question.encode()) <= DEFAULT_LIMITS.text_bytes else text
