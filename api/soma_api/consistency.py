"""How new an answer has to be: the positions that a request waits for, and how old its answer may be."""

from collections.abc import Sequence
from dataclasses import dataclass

from soma_api import headers
from soma_api.metrics import ApiMetrics, WaitFor
from soma_api.problems import NotYetVisibleError, TooStaleError
from soma_api.read_replicas import ReadReplicas
from soma_api.visibility import Visibility
from soma_schemas.groups import SinkGroup
from soma_schemas.versions import Position


@dataclass(frozen=True, kw_only=True)
class PositionWait:
    """The positions that a request names, and how long it waits for them.

    Attributes:
        visibility: Of the stores.
        group: The sink whose store the request reads.
        positions: That must be visible there.
        preferred: Seconds that the client asked to wait, or None.
        default: Seconds to wait when it did not say.
    """

    visibility: Visibility
    group: SinkGroup
    positions: Sequence[Position]
    preferred: float | None
    default: float

    async def wait(self) -> dict[str, str]:
        """Wait for the positions, and return the headers that say so.

        Raises:
            NotYetVisibleError: The sink has not come so far in time.
        """
        if not self.positions:
            return {}
        seconds = self.default if self.preferred is None else self.preferred
        if not await self.visibility.wait(WaitFor.READ, (self.group,), self.positions, seconds):
            raise NotYetVisibleError("a position in `Soma-Position` is not visible yet")
        return {} if self.preferred is None else headers.applied_wait(self.preferred)


@dataclass(frozen=True, kw_only=True)
class ReadConsistency:
    """How new the answer of a read has to be.

    Attributes:
        positions: That must be visible in the store that it reads.
        max_staleness: Seconds, or None when any age will do.
        metrics: Records how old answers could be.
        replicas: May answer in place of the primary; None: what is read is elsewhere.
    """

    positions: PositionWait
    max_staleness: float | None
    metrics: ApiMetrics
    replicas: ReadReplicas | None

    async def ensure(self) -> dict[str, str]:
        """Wait for what the read asks for, and return the headers that say how old its answer may be.

        Raises:
            NotYetVisibleError: The sink has not come so far in time.
            TooStaleError: The answer could be older than the reader accepts.
        """
        answered = await self.positions.wait()
        staleness = await self._staleness()
        most = self.max_staleness
        if most is not None and (staleness is None or staleness > most):
            how_old = "an unknown age" if staleness is None else f"up to {staleness:.1f} s"
            raise TooStaleError(f"the answer would be of {how_old}; at most {most:g} s are accepted")
        if staleness is None:
            return answered | {"Soma-Staleness": "unknown"}
        self.metrics.served_stale(staleness)
        return answered | {"Soma-Staleness": f"{staleness:.3f}"}

    async def _staleness(self) -> float | None:
        """Choose who answers, and return how old that answer can be at most; None when it is unknown."""
        replicas = self.replicas
        if replicas is not None:
            mark = replicas.choose(self.positions.positions, self.max_staleness)
            if mark is not None:
                return replicas.staleness(mark)
        return await self.positions.visibility.staleness(self.positions.group)
