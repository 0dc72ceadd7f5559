"""Calls about what happened: histories, revisions, writes and the stream of changes."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote
from uuid import UUID

from soma_client.call import Call, MemoryId, Moment, asked, memory_path, plain, write_headers
from soma_schemas.responses.change_responses import AppliedChangeView
from soma_schemas.responses.history_responses import HistoryPage, RevisionView
from soma_schemas.responses.write_responses import WriteState, WriteView
from soma_schemas.versions import Position


def list_history(
    memory_id: MemoryId, *, limit: int | None = None, cursor: str | None = None
) -> Call[HistoryPage]:
    """List the events about a memory, the newest first: one page; `iter_history` goes through all.

    Args:
        memory_id: About which memory.
        limit: Events on a page, 1 to 1000; 50 unless given.
        cursor: `next_cursor` of the page before.
    """
    return Call(
        "GET",
        memory_path(memory_id, "/history"),
        HistoryPage,
        query=asked(limit=limit, cursor=cursor),
        sees_writes=True,
        bounds_staleness=True,
    )


def read_revision(
    memory_id: MemoryId, *, at: Moment | None = None, version: int | None = None
) -> Call[RevisionView]:
    """Read a memory as it was: at a time, or at a version.

    Args:
        memory_id: Which memory.
        at: At this time, by the log's clock. With a time zone.
        version: From the event with this version on.
    """
    return Call(
        "GET",
        memory_path(memory_id, "/revision"),
        RevisionView,
        query=asked(at=at, version=version),
        sees_writes=True,
        bounds_staleness=True,
    )


def revert_memory(
    memory_id: MemoryId,
    version: int,
    *,
    expected_version: int | None = None,
    event_id: UUID | None = None,
    wait_seconds: int = 0,
) -> Call[WriteView]:
    """Store a memory as it was at a version: a new event.

    Args:
        memory_id: Which memory.
        version: As the history has it.
        expected_version: Only onto this version; None replaces any.
        event_id: Names the event; one with the same id changes nothing. None makes one.
        wait_seconds: How long to wait until reads and searches see it; 0 does not.
    """
    return Call(
        "POST",
        memory_path(memory_id, ":revert"),
        WriteView,
        body={"version": version},
        headers=write_headers(event_id, wait_seconds, expected_version),
        keyed=True,
        sees_writes=True,
        wait_seconds=wait_seconds,
    )


def read_write(position: Position | str) -> Call[WriteState]:
    """Read what became of a write, and whether reads and searches see it.

    Args:
        position: As the write answered it.
    """
    return Call("GET", f"/v1/writes/{quote(str(position), safe=':')}", WriteState)


def follow_changes(
    *,
    since: str = "now",
    follow: bool = True,
    namespace: str | None = None,
    namespace_prefix: str | None = None,
    where: Mapping[str, Any] | None = None,
) -> Call[AppliedChangeView]:
    """Follow what is applied to memories and links.

    Args:
        since: `now`, `beginning`, or a place where an earlier stream was.
        follow: Go on for ever; False ends when all that is settled was told.
        namespace: Of exactly this namespace.
        namespace_prefix: Of this namespace and all below it.
        where: What is true of the memories now, in the filter language; what is gone is told in any case.
    """
    query = asked(
        since=since,
        follow=follow,
        namespace=namespace,
        namespace_prefix=namespace_prefix,
        filter=None if where is None else json.dumps(plain(where)),
    )
    return Call("GET", "/v1/changes", AppliedChangeView, query=query)
