"""Says which events are encrypted, with whose keys, and encrypts them on their way to the log.

An event that stores a memory of a subject is encrypted with the subject's key. A patch names no subject, and
what it changes may not be in any table yet: once a tenant has a key, all its patches are encrypted, each with
the key of its memory.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from soma_schemas.encryption.sealing import DataKey, EventName, KeyOwner, seal
from soma_schemas.events import DataKeyWrapped, MemoryPatched, MemoryStored, SealedEvent
from soma_schemas.registry import SerializedEvent

# Writes keys to the log, and returns when all replicas have them.
LogKeys = Callable[[Sequence[DataKeyWrapped]], None]


class Keys(Protocol):
    """Where keys come from; `soma_schemas.encryption.data_keys.DataKeys` has them in PostgreSQL."""

    def encrypts(self, tenant: str) -> bool:
        """Say whether events of a tenant that name a subject are encrypted."""
        ...

    def in_use(self, tenant: str) -> bool:
        """Say whether the tenant ever had a key.

        Raises:
            EncryptionError: That cannot be known now.
        """
        ...

    def of(self, tenant: str, owners: Collection[KeyOwner], log_keys: LogKeys) -> Mapping[KeyOwner, DataKey]:
        """Return the key of each owner, made where there is none, and in the log.

        Args:
            tenant: Whose keys.
            owners: Of the keys.
            log_keys: Brings a key to the log that is not there.

        Raises:
            EncryptionError: There are none to be had.
        """
        ...


class EventSealer:
    """Encrypts events.

    Args:
        keys: With which.
        log_keys: Writes new keys to the log.
    """

    def __init__(self, keys: Keys, log_keys: LogKeys) -> None:
        self._keys = keys
        self._log_keys = log_keys

    def seal(self, records: Sequence[tuple[object, bytes | None]]) -> Mapping[int, SealedEvent]:
        """Return what goes to the log instead of records, by their numbers; the others go as they are.

        Args:
            records: With their values in wire format.

        Raises:
            EncryptionError: There are no keys to be had.
        """
        wanted: defaultdict[str, dict[int, tuple[EventName, KeyOwner]]] = defaultdict(dict)
        for number, (record, _) in enumerate(records):
            named = self._named(record)
            if named is not None:
                wanted[named[0].tenant][number] = named
        sealed: dict[int, SealedEvent] = {}
        for tenant, events in wanted.items():
            keys = self._keys.of(tenant, {owner for _, owner in events.values()}, self._log_keys)
            for number, (name, owner) in events.items():
                value = records[number][1]
                if value is not None:
                    sealed[number] = seal(value, keys[owner], name)
        return sealed

    def _named(self, record: object) -> tuple[EventName, KeyOwner] | None:
        """Return what stays readable of an event and whose key hides the rest, or None: all of it is read."""
        match record:
            case SerializedEvent(subject=str() as subject):
                tenant = record.key.partition(b"/")[0].decode()
                owner = KeyOwner(subject, None)
            case MemoryStored(tenant=tenant, subject=str() as subject):
                owner = KeyOwner(subject, None)
            case MemoryPatched(tenant=tenant):
                owner = KeyOwner(None, record.memory_id)
            case _:
                return None
        if not self._keys.encrypts(tenant):
            return None
        if isinstance(record, MemoryPatched) and record.subject is None and not self._keys.in_use(tenant):
            return None
        return EventName(tenant, record.memory_id, record.event_id), owner
