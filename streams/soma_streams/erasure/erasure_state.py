"""An erasure as the table has it, and what it selects: values alone."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid5

from soma_schemas.events import ErasureScope
from soma_schemas.versions import unpack_version


class ErasureState(StrEnum):
    """How far an erasure is. Each step ends with the next state, and can be done again before."""

    ACCEPTED = "accepted"  # readers see nothing; what the log held then is on its way into the stores
    DELETING = "deleting"  # no dead letter of it can be replayed; deletions are published
    CLEARING = "clearing"  # nothing of it lives; history, links, outbox, notices and data keys go
    VERIFYING = "verifying"  # both stores are looked through
    SIGNED = "signed"  # the receipt is made, and on its way to the log
    COMPLETED = "completed"


class WaitsFor(StrEnum):
    """What keeps an erasure from going on."""

    SIGNING_KEY = "signing_key"
    SINKS = "sinks"
    DEAD_LETTERS = "dead_letters"
    VECTOR_INDEX = "vector_index"
    PUBLISHERS = "publishers"
    KEY_LOG = "key_log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """A request that is not complete.

    Attributes:
        selector: The subject, the memory's id, or the namespace with all below it; None for the tenant.
        before_versions: By partition of the log: what is older was there when the request was accepted.
        index_points: How many points the vector worker looked at; None before it has.
        index_points_left: Those that held content.
        receipt: Signed; None before. Before `signed` it is of an erasure that was complete once, and
            is carried out again in tables that came back from before.
    """

    tenant: str
    request_id: UUID
    scope: ErasureScope
    selector: str | None
    selector_sha256: str | None
    actor: str
    requested_at: datetime
    accepted_at: datetime
    before_versions: list[int]
    state: ErasureState
    waits_for: str | None
    memories: int
    history_rows: int
    links: int
    dead_letters: int
    outbox_rows: int
    notices: int
    data_keys: int
    index_points: int | None
    index_points_left: int | None
    receipt: str | None

    def __post_init__(self) -> None:
        object.__setattr__(self, "scope", ErasureScope(self.scope))
        object.__setattr__(self, "state", ErasureState(self.state))

    def before_offsets(self, epoch: int) -> dict[int, int]:
        """Return where each partition of the log of an epoch ended when the request was accepted.

        What an earlier epoch had was settled before the next one began.
        """
        places = enumerate(map(unpack_version, self.before_versions))
        return {partition: offset for partition, (of_epoch, offset) in places if of_epoch == epoch}

    def event_id(self, *about: object) -> UUID:
        """Return the id of an event that this erasure publishes: the same one however often it tries."""
        return uuid5(self.request_id, "/".join(map(str, about)))

    @property
    def deleter(self) -> str:
        """Return who deletes, as events have it."""
        return f"erasure/{self.request_id}"


@dataclass(frozen=True, slots=True)
class Target:
    """A memory that is to go.

    Attributes:
        version: The last that was seen alive.
        lives_again: Whether it was stored again since: then it is another memory.
    """

    memory_id: UUID
    namespace: str
    version: int
    lives_again: bool = False


@dataclass(frozen=True, slots=True)
class Edge:
    """A living link to a memory that is gone."""

    from_memory_id: UUID
    namespace: str
    link_type: str
    to_memory_id: UUID
