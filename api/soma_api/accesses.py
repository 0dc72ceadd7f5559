"""Which memories were accessed: counted in this process, and published once a minute, beside the requests."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from soma_api.metrics import ApiMetrics
from soma_api.principals import Principal
from soma_api.problems import EncryptionUnavailableError, LogUnavailableError
from soma_api.queries.memory_queries import Memory
from soma_schemas.clock import Clock
from soma_schemas.events import MemoryAccessed
from soma_schemas.identity import new_id
from soma_schemas.limits import Limits

_PAUSE_SECONDS = 60.0
# So many memories are counted at the same time; what was accessed besides is dropped.
_MOST_MEMORIES = 10_000
_MOST_COUNTED = 2**31 - 1
_PUBLISHED_TOGETHER = 500

Publish = Callable[[Sequence[MemoryAccessed], UUID], Awaitable[object]]

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Counted:
    namespace: str
    actor: str
    count: int
    last_at: datetime


class Accesses:
    """The accesses since the log was told; one event for each memory. No read waits for it.

    Args:
        publish: Writes events to the log; the second argument names them where they fail.
        clock: Time.
        limits: Of this installation.
        metrics: Told of what is dropped.
    """

    def __init__(self, publish: Publish, clock: Clock, limits: Limits, metrics: ApiMetrics) -> None:
        self._publish = publish
        self._clock = clock
        self._limits = limits
        self._metrics = metrics
        self._counted: dict[tuple[str, UUID], _Counted] = {}
        self._unsent: list[MemoryAccessed] = []

    def note(self, principal: Principal, memories: Iterable[Memory]) -> None:
        """Count that memories were shown to somebody, if their key has that counted."""
        if not principal.record_access:
            return
        now = self._clock.now()
        dropped = 0
        for memory in memories:
            counted = self._counted.get((principal.tenant, memory.memory_id))
            if counted is not None:
                counted.count = min(counted.count + 1, _MOST_COUNTED)
                counted.actor, counted.last_at = principal.actor, now
            elif len(self._counted) + len(self._unsent) < _MOST_MEMORIES:
                self._counted[principal.tenant, memory.memory_id] = _Counted(
                    memory.content.namespace, principal.actor, 1, now
                )
            else:
                dropped += 1
        if dropped:
            self._metrics.accesses_dropped(dropped)

    async def tell(self) -> None:
        """Publish what was counted. What the log does not take is published again, as the same events."""
        counted, self._counted = self._counted, {}
        self._unsent += [
            self._event(tenant, memory_id, each) for (tenant, memory_id), each in counted.items()
        ]
        while self._unsent:
            some = self._unsent[:_PUBLISHED_TOGETHER]
            try:
                await self._publish(some, some[0].event_id)
            except (LogUnavailableError, EncryptionUnavailableError) as error:
                log.warning("accesses_not_published", memories=len(self._unsent), code=error.code)
                return
            del self._unsent[: len(some)]

    async def run(self) -> None:
        """Publish once a minute, until cancelled."""
        while True:
            await self._clock.sleep(_PAUSE_SECONDS)
            await self.tell()

    def _event(self, tenant: str, memory_id: UUID, counted: _Counted) -> MemoryAccessed:
        return MemoryAccessed.validated(
            {
                "event_id": new_id(counted.last_at),
                "tenant": tenant,
                "namespace": counted.namespace,
                "memory_id": memory_id,
                "occurred_at": counted.last_at,
                "actor": counted.actor,
                "count": counted.count,
                "last_accessed_at": counted.last_at,
            },
            self._limits,
        )
