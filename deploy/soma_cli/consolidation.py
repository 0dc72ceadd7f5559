"""Has one memory stand for its near-duplicates: by events that name the versions that were seen."""

from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import Any
from uuid import UUID

from soma_cli.api_responses import Link, Memory
from soma_cli.client import ApiRefusedError, SomaClient
from soma_cli.near_duplicates import PROVENANCE, Group

_WAIT_SECONDS = 30
_APPLIED = "applied"


class _NotAppliedError(Exception):
    """A write is in the log, and what became of it is not known."""


def merge(client: SomaClient, group: Group) -> tuple[list[UUID], dict[UUID, str]]:
    """Merge a group, and return which of its memories went, and why others did not.

    First the kept memory says for which it stands, then links follow, then the others go. Stopped anywhere it
    has lost nothing, and can be done again. What has changed since it was looked at is left alone.

    Raises:
        ApiUnreachableError: The API gives no answer.
    """
    kept = group.kept
    others = [memory for memory, _ in group.merged]
    try:
        version = _patched(client, kept, kept.version, others)
    except (ApiRefusedError, _NotAppliedError) as error:
        return [], {memory.memory_id: f"{kept.name()} was left alone: {_reason(error)}" for memory in others}
    ids = {memory.memory_id for memory in others}
    gone, left = [], {}
    for memory in others:
        try:
            _move_links(client, memory.memory_id, kept.memory_id, ids)
            _applied(
                client.delete(
                    memory.memory_id,
                    memory.namespace,
                    expected_version=memory.version,
                    wait_seconds=_WAIT_SECONDS,
                ).outcome
            )
        except (ApiRefusedError, _NotAppliedError) as error:
            left[memory.memory_id] = _reason(error)
        else:
            gone.append(memory)
    if left:
        try:
            _patched(client, kept, version, gone)
        except (ApiRefusedError, _NotAppliedError) as error:
            left = {each: f"{why}; {PROVENANCE} names it ({_reason(error)})" for each, why in left.items()}
    return [memory.memory_id for memory in gone], left


def stands_for(kept: Memory, others: Iterable[Memory]) -> dict[str, Any]:
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


def moved(links: Sequence[Link], own: Sequence[Link], gone: UUID, kept: UUID) -> list[Link]:
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


def _patched(client: SomaClient, kept: Memory, version: int, others: Sequence[Memory]) -> int:
    written = client.patch(
        kept.memory_id,
        stands_for(kept, others),
        expected_version=version,
        wait_seconds=_WAIT_SECONDS,
    )
    _applied(written.outcome)
    return written.version


def _move_links(client: SomaClient, gone: UUID, kept: UUID, leaving: set[UUID]) -> None:
    theirs, own = list(client.links(gone)), list(client.links(kept))
    for link in moved(theirs, own, gone, kept):
        # The other end goes too; its own links are moved in its turn.
        if not leaving & {link.from_memory_id, link.to_memory_id}:
            _applied(client.put_link(link, wait_seconds=_WAIT_SECONDS).outcome)


def _applied(outcome: str | None) -> None:
    if outcome != _APPLIED:
        raise _NotAppliedError("it is in the log, and was not applied in time")


def _reason(error: Exception) -> str:
    if isinstance(error, ApiRefusedError) and error.status in {
        HTTPStatus.PRECONDITION_FAILED,
        HTTPStatus.NOT_FOUND,
    }:
        return "it has changed meanwhile"
    return str(error)
