"""In which namespace a memory lies, and whether the principal may read it or change it there."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from soma_api.identity import memory_id_of_event
from soma_api.principals import Principal
from soma_api.problems import (
    MemoryNotFoundError,
    NamespaceForbiddenError,
    NamespaceMismatchError,
    NamespaceUnknownError,
    PreconditionFailedError,
)
from soma_api.queries.memory_queries import Memory, MemoryQueries, Whereabouts
from soma_schemas.events import MemoryStored
from soma_schemas.versions import NO_VERSION


async def require_readable(
    memories: MemoryQueries, principal: Principal, memory_ids: Collection[UUID]
) -> dict[UUID, Memory]:
    """Return these memories.

    Raises:
        MemoryNotFoundError: One of them does not live, or lies where the key does not reach.
        StoreUnavailableError: The database does not answer.
    """
    found = await memories.some(principal.tenant, memory_ids)
    for memory_id in memory_ids:
        memory = found.get(memory_id)
        if memory is None or not principal.may_access(memory.content.namespace):
            raise MemoryNotFoundError("there is no such memory")
    return found


@dataclass(frozen=True)
class NamespaceAccess:
    """What a principal may change, as the database has it.

    Args:
        memories: Where memories lie.
        principal: Who asks.
    """

    memories: MemoryQueries
    principal: Principal

    async def namespace_of(self, memory_id: UUID, given: str | None) -> str:
        """Return the namespace of a memory that is to be changed.

        The database has the word. A memory that was just written may not be visible yet: then the request's
        word counts, unless the key covers only some namespaces, because nothing would show that the memory
        does not lie outside of them. Such a key is told the same of what lies outside and of what is not
        there.

        Args:
            memory_id: What is to be changed.
            given: What the request says, if anything.

        Raises:
            MemoryNotFoundError: It was deleted or has expired.
            NamespaceUnknownError: It is not visible yet, and the request does not say, or may not; or it lies
                where this key does not reach.
            NamespaceMismatchError: It lies elsewhere than the request says.
            NamespaceForbiddenError: The request names a namespace that this key does not cover.
            StoreUnavailableError: The database does not answer.
        """
        principal = self.principal
        if given is not None:
            principal.require_access(given)
        found = (await self.memories.whereabouts(principal.tenant, [memory_id])).get(memory_id)
        if principal.namespaces is not None and (
            found is None or found.namespace is None or self._is_outside(found)
        ):
            raise NamespaceUnknownError("the memory is not visible yet, and nothing says where it lies")
        # Whatever the request says: a change would bring back what nobody can read any more.
        if found is not None and found.expired:
            raise MemoryNotFoundError("the memory has expired")
        if found is not None and found.namespace is not None:
            if given is not None and given != found.namespace:
                raise NamespaceMismatchError("the memory lies in another namespace than the request says")
            return found.namespace
        if given is not None:
            return given
        if found is not None:
            raise MemoryNotFoundError("the memory was deleted")
        raise NamespaceUnknownError("the memory is not visible yet, and nothing says where it lies")

    async def check_replaced(self, events: Sequence[MemoryStored]) -> None:
        """Return when storing these memories replaces nothing that lies outside of what the key covers.

        A key or a coordinate ties an id to its namespace; an id alone could be anybody's. It is one that
        nobody can compute: an id that is made of a key or a coordinate is not valid without it.

        Raises:
            NamespaceForbiddenError: One would replace a memory elsewhere.
            StoreUnavailableError: The database does not answer.
        """
        if self.principal.namespaces is None:
            return
        loose = [
            event.memory_id
            for event in events
            if event.key is None
            and event.coordinate is None
            and event.memory_id != memory_id_of_event(event.event_id)
        ]
        if loose and await self._any_outside(loose):
            raise NamespaceForbiddenError("a memory with that id lies outside of what this key covers")

    async def over_expired(self, events: Sequence[MemoryStored]) -> list[MemoryStored]:
        """Return events to the same effect, where one expects a version of a memory that has expired.

        What has expired is not there. As long as it lies in the table the sinks still compare with it: an
        event that expects no memory is made to expect exactly what lies there.

        Raises:
            PreconditionFailedError: One expects a version of a memory that has expired.
            StoreUnavailableError: The database does not answer.
        """
        conditional = [event.memory_id for event in events if event.expected_version is not None]
        if not conditional:
            return list(events)
        found = await self.memories.whereabouts(self.principal.tenant, conditional)
        expired = {memory_id: held.version for memory_id, held in found.items() if held.expired}
        if any(event.expected_version and event.memory_id in expired for event in events):
            raise PreconditionFailedError("the memory has expired, so it has no version")
        return [
            event.model_copy(update={"expected_version": expired[event.memory_id]})
            if event.expected_version == NO_VERSION and event.memory_id in expired
            else event
            for event in events
        ]

    async def check_target(self, memory_id: UUID) -> None:
        """Return when an edge may point to a memory: it has not expired and the key covers it.

        It need not be visible yet, unless the key covers only some namespaces: it is told the same of what
        lies outside of them and of what is not there.

        Raises:
            MemoryNotFoundError: It has, or the key does not.
            StoreUnavailableError: The database does not answer.
        """
        found = (await self.memories.whereabouts(self.principal.tenant, [memory_id])).get(memory_id)
        limited = self.principal.namespaces is not None
        if found is None or found.namespace is None:
            refused = limited
        else:
            refused = found.expired or self._is_outside(found)
        if refused:
            raise MemoryNotFoundError("there is no such memory to link to")

    async def _any_outside(self, memory_ids: Sequence[UUID]) -> bool:
        found = await self.memories.whereabouts(self.principal.tenant, memory_ids)
        return any(map(self._is_outside, found.values()))

    def _is_outside(self, held: Whereabouts) -> bool:
        return held.namespace is not None and not self.principal.may_access(held.namespace)
