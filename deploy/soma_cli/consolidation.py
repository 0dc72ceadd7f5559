"""Has one memory stand for its near-duplicates: by events that name the versions that were seen."""

from collections.abc import Iterable, Sequence
from uuid import UUID

from soma_cli.naming import memory_name
from soma_cli.near_duplicates import PROVENANCE, Group
from soma_client import ChangedError, NotFoundError, RefusedError, SomaClient
from soma_client.request_types import MemoryChanges
from soma_schemas.memories import MemoryView
from soma_schemas.responses.link_responses import LinkView

_WAIT_SECONDS = 30
_APPLIED = "applied"


class _NotAppliedError(Exception):
    """A write is in the log, and what became of it is not known."""


def merge(client: SomaClient, group: Group) -> tuple[list[UUID], dict[UUID, str]]:
    """Merge a group, and return which of its memories went, and why others did not.

    First the kept memory says for which it stands, then links follow, then the others go. Stopped anywhere it
    has lost nothing, and can be done again. What has changed since it was looked at is left alone.

    Raises:
        UnreachableError: The API gives no answer.
    """
    kept = group.kept
    others = [memory for memory, _ in group.merged]
    try:
        version = _patched(client, kept, kept.version, others)
    except (RefusedError, _NotAppliedError) as error:
        why = f"{memory_name(kept)} was left alone: {_reason(error)}"
        return [], {memory.memory_id: why for memory in others}
    ids = {memory.memory_id for memory in others}
    gone, left = [], {}
    for memory in others:
        try:
            _move_links(client, memory.memory_id, kept.memory_id, ids)
            _applied(
                client.delete_memory(
                    memory.memory_id,
                    namespace=memory.namespace,
                    expected_version=memory.version,
                    wait_seconds=_WAIT_SECONDS,
                ).outcome
            )
        except (RefusedError, _NotAppliedError) as error:
            left[memory.memory_id] = _reason(error)
        else:
            gone.append(memory)
    if left:
        try:
            _patched(client, kept, version, gone)
        except (RefusedError, _NotAppliedError) as error:
            left = {each: f"{why}; {PROVENANCE} names it ({_reason(error)})" for each, why in left.items()}
    return [memory.memory_id for memory in gone], left


def stands_for(kept: MemoryView, others: Iterable[MemoryView]) -> MemoryChanges:
    """Return what the kept memory is to say: all tags, the highest importance, and for whom it stands."""
    members = [kept, *others]
    tags = dict.fromkeys(tag for memory in members for tag in memory.tags)
    provenance = dict.fromkeys(
        [
            *kept.payload.get(PROVENANCE, []),
            *(
                each
                for memory in members[1:]
                for each in (str(memory.memory_id), *memory.payload.get(PROVENANCE, []))
            ),
        ]
    )
    return {
        "tags": list(tags),
        "importance": max(memory.importance for memory in members),
        # Null takes the field away where it stands for nobody.
        "payload": {PROVENANCE: list(provenance) or None},
    }


def moved(links: Sequence[LinkView], own: Sequence[LinkView], gone: UUID, kept: UUID) -> list[LinkView]:
    """Return links as they are to be when the kept memory takes the place of another.

    Args:
        links: Of the memory that goes.
        own: Of the kept one; those that it has already stay as they are.
        gone: The memory that goes.
        kept: The memory that takes its place.
    """
    has = {(link.from_memory_id, link.type, link.to_memory_id) for link in own}
    found = []
    for link in links:
        ends = {
            "from_memory_id": kept if link.from_memory_id == gone else link.from_memory_id,
            "to_memory_id": kept if link.to_memory_id == gone else link.to_memory_id,
        }
        name = (ends["from_memory_id"], link.type, ends["to_memory_id"])
        if ends["from_memory_id"] != ends["to_memory_id"] and name not in has:
            has.add(name)
            found.append(link.model_copy(update=ends))
    return found


def _patched(client: SomaClient, kept: MemoryView, version: int, others: Sequence[MemoryView]) -> int:
    written = client.patch_memory(
        kept.memory_id,
        stands_for(kept, others),
        expected_version=version,
        wait_seconds=_WAIT_SECONDS,
    )
    _applied(written.outcome)
    return written.version


def _move_links(client: SomaClient, gone: UUID, kept: UUID, leaving: set[UUID]) -> None:
    theirs, own = list(client.iter_links_of(gone)), list(client.iter_links_of(kept))
    for link in moved(theirs, own, gone, kept):
        # The other end goes too; its own links are moved in its turn.
        if not leaving & {link.from_memory_id, link.to_memory_id}:
            put = client.put_link(
                link.from_memory_id,
                link.to_memory_id,
                link_type=link.type,
                weight=link.weight,
                wait_seconds=_WAIT_SECONDS,
            )
            _applied(put.outcome)


def _applied(outcome: str | None) -> None:
    if outcome != _APPLIED:
        raise _NotAppliedError("it is in the log, and was not applied in time")


def _reason(error: Exception) -> str:
    if isinstance(error, ChangedError | NotFoundError):
        return "it has changed meanwhile"
    return str(error)
