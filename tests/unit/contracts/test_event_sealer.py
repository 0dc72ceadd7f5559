"""Which events are encrypted, and with whose key; where there is none, nothing goes out."""

from collections.abc import Collection, Mapping

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from builders import an_id, deleted, encoded, linked, patched, stored
from soma_schemas.encryption.encryption_errors import MasterKeyError
from soma_schemas.encryption.event_sealer import EventSealer, LogKeys
from soma_schemas.encryption.sealing import DataKey, KeyOwner, open_sealed
from soma_schemas.events import MemoryEvent
from soma_schemas.registry import SerializedEvent


def _none(_: object) -> None:
    """Write nothing: these keys are in no log."""


class Keys:
    """Keys for one tenant of two."""

    def __init__(self, *, used: bool) -> None:
        self.used = used
        self.made: dict[KeyOwner, DataKey] = {}

    def encrypts(self, tenant: str) -> bool:
        """All but one."""
        return tenant != "plain"

    def in_use(self, tenant: str) -> bool:
        """As it was made."""
        return self.used and tenant == "acme"

    def of(self, tenant: str, owners: Collection[KeyOwner], log_keys: LogKeys) -> Mapping[KeyOwner, DataKey]:
        """A key each."""
        del log_keys
        assert tenant == "acme"
        for owner in owners:
            self.made.setdefault(owner, DataKey(an_id(), AESGCM(bytes(32))))
        return self.made


class NoKeys(Keys):
    """Keys that are not to be had."""

    def of(self, tenant: str, owners: Collection[KeyOwner], log_keys: LogKeys) -> Mapping[KeyOwner, DataKey]:
        """None."""
        del log_keys
        raise MasterKeyError(f"no master key for {len(owners)} owners of {tenant}")


def owners_of(events: list[MemoryEvent], *, used: bool = True) -> list[KeyOwner | None]:
    """Whose key each event is sealed with; and that it opens with that key to what it was."""
    keys = Keys(used=used)
    sealed = EventSealer(keys, _none).seal([(event, encoded(event)) for event in events])
    names = {key.key_id: owner for owner, key in keys.made.items()}
    for number, hidden in sealed.items():
        owner = names[hidden.key_id]
        assert open_sealed(hidden, keys.made[owner]) == encoded(events[number])
        assert hidden.log_key() == events[number].log_key()
    return [names[sealed[n].key_id] if n in sealed else None for n in range(len(events))]


def test_what_stores_a_memory_of_a_subject_has_the_subjects_key() -> None:
    events: list[MemoryEvent] = [
        stored(subject="ada"),
        stored(),
        stored(subject="bob"),
        stored(subject="ada"),
    ]

    ada, bob = KeyOwner("ada", None), KeyOwner("bob", None)
    assert owners_of(events) == [ada, None, bob, ada]


def test_a_patch_has_the_key_of_its_memory_once_the_tenant_has_keys() -> None:
    memory = stored()
    change = patched(memory, text="more")
    own = KeyOwner(None, memory.memory_id)

    assert owners_of([change]) == [own]
    assert owners_of([change], used=False) == [None]


def test_a_patch_that_names_a_subject_is_encrypted_also_as_the_first_of_its_tenant() -> None:
    memory = stored()

    assert owners_of([patched(memory, subject="ada")], used=False) == [KeyOwner(None, memory.memory_id)]


def test_what_holds_no_content_is_not_encrypted() -> None:
    memory = stored(subject="ada")

    assert owners_of([deleted(memory), linked(memory, stored().memory_id)]) == [None, None]


def test_a_tenant_that_is_to_be_plain_is_plain() -> None:
    memory = stored(subject="ada", tenant="plain")

    assert owners_of([memory, patched(memory, text="more")]) == [None, None]


def test_a_memory_that_was_written_without_an_event_is_encrypted_as_one_with() -> None:
    memory, keys = stored(subject="ada"), Keys(used=False)
    written = SerializedEvent(memory.event_id, memory.memory_id, memory.log_key(), encoded(memory), "ada")

    sealed = EventSealer(keys, _none).seal([(written, written.value)])

    assert open_sealed(sealed[0], keys.made[KeyOwner("ada", None)]) == written.value
    assert (sealed[0].tenant, sealed[0].event_id) == ("acme", memory.event_id)


def test_without_keys_nothing_is_given_back_that_could_be_sent() -> None:
    memory = stored(subject="ada")

    with pytest.raises(MasterKeyError):
        EventSealer(NoKeys(used=False), _none).seal([(memory, encoded(memory))])
