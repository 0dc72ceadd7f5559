"""What the log says of data keys and erasures, put into tables that came back from an older backup.

Workers alone would come to it too late, or never: a key has to be there before the first event that it
encrypts is read, and what was erased has to be hidden before the first reader comes.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg

from soma_cli.backups.manifest import Manifest, TopicExtent
from soma_cli.settings import OperatorSettings
from soma_schemas.clock import Clock
from soma_schemas.encryption.key_log import owner_of
from soma_schemas.encryption.master_keys import MasterKeys
from soma_schemas.events import DataKeyWrapped, ErasureCompleted, ErasureRequested
from soma_schemas.topics import MEMORY_ERASURES, MEMORY_EVENTS, MEMORY_KEYS
from soma_schemas.versions import pack_version
from soma_streams.audit.retained_log import statements
from soma_streams.delivery.compacted import Statement
from soma_streams.erasure.erasure_sink import accepting, carrying_out_again
from soma_streams.erasure.erasure_store import FIND_SELECTOR
from soma_streams.erasure.key_destruction import retiring_selected
from soma_streams.sinks.data_key_reader import master_keys

_DESTROY = """
UPDATE data_keys SET
    destroyed_at = now(), retired_at = coalesce(retired_at, now()), logged_at = now(),
    wrapped = NULL, master_key_id = NULL, subject = NULL, memory_id = NULL
WHERE destroyed_at IS NULL AND key_id = ANY (%(key_ids)s::uuid[])
"""
# An event that comes late is to be known as erased.
_BURY = """
INSERT INTO data_keys (key_id, tenant, retired_at, destroyed_at, logged_at)
SELECT found.*, now(), now(), now()
FROM unnest(%(key_ids)s::uuid[], %(tenants)s::text[]) AS found
ON CONFLICT (key_id) DO NOTHING
"""
# The log had them, and has them no more; its tombstones are gone too.
_DESTROY_ABSENT = """
UPDATE data_keys SET
    destroyed_at = now(), retired_at = coalesce(retired_at, now()),
    wrapped = NULL, master_key_id = NULL, subject = NULL, memory_id = NULL
WHERE destroyed_at IS NULL AND logged_at IS NOT NULL AND key_id <> ALL (%(key_ids)s::uuid[])
"""
_LOG_ANEW = """
UPDATE data_keys SET logged_at = NULL
WHERE destroyed_at IS NULL AND key_id <> ALL (%(key_ids)s::uuid[])
"""
# Retired at first: of several keys of an owner one encrypts, and it may be here already.
_KEEP = """
INSERT INTO data_keys AS held (
    key_id, tenant, subject, memory_id, wrapped, master_key_id, retired_at, logged_at
) VALUES (
    %(key_id)s, %(tenant)s, %(subject)s, %(memory_id)s, %(wrapped)s, %(master_key_id)s, now(), now()
)
ON CONFLICT (key_id) DO UPDATE SET
    wrapped = EXCLUDED.wrapped, master_key_id = EXCLUDED.master_key_id, logged_at = now()
WHERE held.destroyed_at IS NULL
"""
_USE_THE_NEWEST = """
UPDATE data_keys SET retired_at = NULL
WHERE key_id IN (
    SELECT DISTINCT ON (tenant, subject, memory_id) key_id FROM data_keys AS newest
    WHERE destroyed_at IS NULL AND retired_at IS NOT NULL AND retired_by IS NULL
        AND master_key_id = ANY (%(master_key_ids)s::text[])
        AND NOT EXISTS (
            SELECT FROM data_keys AS used
            WHERE used.tenant = newest.tenant AND used.retired_at IS NULL
                AND (used.subject = newest.subject OR used.memory_id = newest.memory_id)
        )
    ORDER BY tenant, subject, memory_id, key_id DESC
)
"""


@dataclass(frozen=True, slots=True)
class LoggedChanges:
    """What memory.keys and memory.erasures say.

    Attributes:
        keys: The data keys that are not destroyed.
        destroyed: The tenants of those that are, by the key.
        is_the_same: Whether the log of keys is that of the backup, and all of it can be read: a key that it
            has no more is destroyed.
        erasures: In the log's order.
        before: Below which version a request reaches that is not complete, by partition of memory.events.
        masters: Unwrap keys; None: there are none.
    """

    keys: Mapping[UUID, DataKeyWrapped]
    destroyed: Mapping[UUID, str]
    is_the_same: bool
    erasures: Sequence[ErasureRequested | ErasureCompleted]
    before: Sequence[int]
    masters: MasterKeys | None

    @property
    def lost(self) -> Mapping[str, int]:
        """How many data keys are wrapped with a master key that there is not, by its id."""
        return Counter(
            key.master_key_id for key in self.keys.values() if key.master_key_id not in self.master_key_ids
        )

    @property
    def master_key_ids(self) -> tuple[str, ...]:
        """Which master keys there are."""
        return () if self.masters is None else self.masters.ids


def read_logged_changes(
    manifest: Manifest, topics: Mapping[str, TopicExtent], settings: OperatorSettings, clock: Clock
) -> LoggedChanges:
    """Read both topics to their ends.

    Args:
        manifest: Of the archive.
        topics: As the brokers have them.
        settings: Where everything is.
        clock: Measures how long the brokers may take.

    Raises:
        MasterKeyError: The file of the master key cannot be read, or holds no key.
        SomaError: The brokers or the registry do not answer.
    """
    name, events = MEMORY_KEYS.full_name(settings.topics), MEMORY_EVENTS.full_name(settings.topics)
    then, now = manifest.topics.get(name), topics[name]
    keys: dict[UUID, DataKeyWrapped] = {}
    destroyed: dict[UUID, str] = {}
    erasures: list[ErasureRequested | ErasureCompleted] = []

    async def read() -> bool:
        whole = True
        async for key in statements(settings, MEMORY_KEYS, now.ends, clock):
            match key:
                case None:
                    whole = False
                case Statement(said=DataKeyWrapped() as said):
                    keys[said.key_id] = said
                case Statement(tenant=tenant, name=key_id):
                    with suppress(ValueError):
                        destroyed[UUID(key_id)] = tenant
        ends = topics[MEMORY_ERASURES.full_name(settings.topics)].ends
        async for each in statements(settings, MEMORY_ERASURES, ends, clock):
            if each is not None and isinstance(each.said, ErasureRequested | ErasureCompleted):
                erasures.append(each.said)  # noqa: PERF401  # a comprehension cannot tell the type
        return whole

    whole = asyncio.run(read())
    return LoggedChanges(
        keys={key_id: key for key_id, key in keys.items() if key_id not in destroyed},
        destroyed=destroyed,
        is_the_same=whole
        and then is not None
        and then.id == now.id
        and all(now.ends.get(partition, 0) >= end for partition, end in then.ends.items()),
        erasures=erasures,
        before=[pack_version(settings.topics.epoch, end) for _, end in sorted(topics[events].ends.items())],
        masters=master_keys(settings.encryption),
    )


def put_keys(connection: psycopg.Connection[Any], logged: LoggedChanges) -> None:
    """Give tables the data keys that the log has, and take those that are destroyed.

    A key is left out whose master key there is not.

    Raises:
        MasterKeyError: A record of the log was changed.
    """
    gone = {"key_ids": list(logged.destroyed), "tenants": list(logged.destroyed.values())}
    connection.execute(_DESTROY, gone)
    connection.execute(_BURY, gone)
    connection.execute(_DESTROY_ABSENT if logged.is_the_same else _LOG_ANEW, {"key_ids": list(logged.keys)})
    with connection.cursor() as cursor:
        cursor.executemany(_KEEP, _rows(logged))
    connection.execute(_USE_THE_NEWEST, {"master_key_ids": list(logged.master_key_ids)})


def put_erasures(connection: psycopg.Connection[Any], logged: LoggedChanges) -> int:
    """Have erasures carried out that the log knows and the tables do not, and return how many are open then.

    From the commit on readers see nothing of what they select.
    """
    requested = {each.request_id: each for each in logged.erasures if isinstance(each, ErasureRequested)}
    completed = {each.request_id: each for each in logged.erasures if isinstance(each, ErasureCompleted)}
    for request_id, done in completed.items():
        known = requested.pop(request_id, None)
        again = carrying_out_again(done, None if known is None else known.selector)
        if again is not None:
            connection.execute(*again)
            connection.execute(FIND_SELECTOR, again[1])
    for request in requested.values():
        accepted = connection.execute(*accepting(request, logged.before))
        retiring = retiring_selected(request.scope, request.selector, request.tenant, request.request_id)
        if accepted.rowcount and retiring is not None:
            connection.execute(*retiring)
    row = connection.execute("SELECT count(*) FROM erasures WHERE state <> 'completed'").fetchone()
    return int(row[0]) if row is not None else 0


def _rows(logged: LoggedChanges) -> Iterator[dict[str, Any]]:
    if logged.masters is None:
        return
    for key in logged.keys.values():
        if key.master_key_id in logged.master_key_ids:
            owner = owner_of(key, logged.masters)
            yield {
                "key_id": key.key_id,
                "tenant": key.tenant,
                "wrapped": key.wrapped,
                "master_key_id": key.master_key_id,
                **owner._asdict(),
            }
