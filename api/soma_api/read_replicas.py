"""The read replicas of PostgreSQL: how far each has replayed the primary, and which one answers a request."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import psycopg
import structlog
from psycopg_pool import AsyncConnectionPool

from soma_api.freshness import Freshness
from soma_api.metrics import ApiMetrics, ReadChoice
from soma_api.query_time import AskedReplica, query_time
from soma_api.watermark_waiter import WatermarkWaiter
from soma_schemas.clock import Clock
from soma_schemas.errors import SomaError
from soma_schemas.groups import SinkGroup
from soma_schemas.versions import Position, pack_version

_SAMPLE_SECONDS = 0.2
_ANSWER_SECONDS = 2.0
_RECONNECT_SECONDS = 1.0

# The end of what was inserted, and not only of what was flushed: with `synchronous_commit` off a transaction
# can be seen on the primary before it is flushed.
# The name of a file of the log begins with the timeline, in eight hexadecimal digits.
_WRITTEN = (
    "SELECT (lsn - '0/0'::pg_lsn)::bigint, ('x' || left(pg_walfile_name(lsn), 8))::bit(32)::bigint"
    " FROM pg_current_wal_insert_lsn() AS lsn"
)
# A standby tells the timeline of its last restartpoint: it surely follows that one.
_REPLAYED = (
    "SELECT pg_is_in_recovery(), (pg_last_wal_replay_lsn() - '0/0'::pg_lsn)::bigint, timeline_id"
    " FROM pg_control_checkpoint()"
)
_CLUSTER = "SELECT system_identifier FROM pg_control_system()"

log = structlog.get_logger(__name__)

Connect = Callable[[], Awaitable[psycopg.AsyncConnection]]


class ReplicaUnusableError(SomaError):
    """A read replica is asked nothing: it does not answer, is too far behind, or is none of this primary."""

    code = "replica_unusable"


class _NoReplicaError(Exception):
    """What answers is no standby of the primary."""


@dataclass(frozen=True, kw_only=True)
class Mark:
    """What the primary surely had when its write-ahead log ended at a place.

    Attributes:
        taken: Monotonic seconds, from before the place was asked for.
        lsn: The place, in bytes.
        timeline: Of the write-ahead log; one more with each standby that was promoted.
        complete_at: Monotonic seconds: what the log of events had then is in the tables; None when unknown.
        epoch: Of the log of events.
        settled: The version below which the sink had settled everything, by partition.
    """

    taken: float
    lsn: int
    timeline: int
    complete_at: float | None
    epoch: int
    settled: Mapping[int, int]

    def shows(self, position: Position) -> bool:
        """Say whether a position is settled."""
        settled = max(pack_version(self.epoch, 0), self.settled.get(position.partition, 0))
        return settled > position.version


@dataclass(eq=False, kw_only=True)
class ReadReplica:
    """One address of read replicas; several standbys may be behind it.

    Attributes:
        name: Its host and port.
        connect: Opens a connection that tells how far it has replayed.
        pool: Asked by requests.
        mark: The newest that it has replayed; None while it does not answer.
    """

    name: str
    connect: Connect
    pool: AsyncConnectionPool
    mark: Mark | None = None


class ReadReplicas:
    """Follows what the primary has written and what replicas have replayed, and chooses who answers.

    Args:
        replicas: None, where the primary answers everything.
        connect: Opens a connection to the primary.
        waiter: How far the sinks have come on the primary.
        freshness: How old the answers of the primary may be.
        clock: Paces the following, and dates it.
        max_lag: Seconds by which a replica that is asked may be behind the primary.
        metrics: Count who answered.
    """

    def __init__(
        self,
        replicas: Sequence[ReadReplica],
        *,
        connect: Connect,
        waiter: WatermarkWaiter,
        freshness: Freshness,
        clock: Clock,
        max_lag: float,
        metrics: ApiMetrics,
    ) -> None:
        self._replicas = replicas
        self._connect = connect
        self._waiter = waiter
        self._freshness = freshness
        self._clock = clock
        self._max_lag = max_lag
        self._metrics = metrics
        self._marks: deque[Mark] = deque()
        self._cluster: int | None = None
        self._turn = 0

    @property
    def hides_after(self) -> float:
        """Seconds after which no answer lacks what was committed on the primary; 0 without replicas."""
        return self._max_lag if self._replicas else 0.0

    def lags(self) -> list[tuple[tuple[str, ...], float]]:
        """Return by how many seconds each replica that answers is behind at most, by its name."""
        return [((each.name,), self._lag(each.mark)) for each in self._replicas if each.mark is not None]

    def choose(self, positions: Sequence[Position], max_staleness: float | None) -> Mark | None:
        """Choose who answers the questions of this request about records, and count it.

        Args:
            positions: That the answer must show.
            max_staleness: Seconds; None when any age will do.

        Returns:
            What the replica that is asked surely has; None where the primary is asked.
        """
        time = query_time()
        if not self._replicas or time is None:
            return None
        self._turn += 1
        reasons = [ReadChoice.REPLICA_AWAY]
        for number in range(len(self._replicas)):
            replica = self._replicas[(self._turn + number) % len(self._replicas)]
            mark = replica.mark
            if mark is None:
                continue
            reason = self._unfit(mark, positions, max_staleness)
            if reason is None:
                self._metrics.read_from(ReadChoice.REPLICA)
                time.replica = AskedReplica(replica.pool, mark.lsn, mark.timeline, self._failed)
                return mark
            reasons.append(reason)
        # Of several the one that is told nearly would have done.
        self._metrics.read_from(max(reasons, key=list(ReadChoice).index))
        return None

    def staleness(self, mark: Mark) -> float | None:
        """Return how many seconds old an answer of whoever has this is at most; None when that is unknown."""
        return None if mark.complete_at is None else self._clock.monotonic() - mark.complete_at

    async def require_usable(self) -> None:
        """Return when every replica may be asked.

        Raises:
            ReplicaUnusableError: One may not.
        """
        for each in self._replicas:
            if each.mark is None or self._lag(each.mark) > self._max_lag:
                raise ReplicaUnusableError(
                    f"the read replica at {each.name} does not answer or is too far behind",
                    remedy="The primary answers meanwhile. Look at `pg_stat_replication` there.",
                )

    async def run(self) -> None:
        """Follow the primary and all replicas until cancelled."""
        if not self._replicas:
            return
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._for_ever("primary", self._connect, self._follow_primary, self._forget))
            for each in self._replicas:
                tasks.create_task(self._follow(each))

    def _unfit(
        self, mark: Mark, positions: Sequence[Position], max_staleness: float | None
    ) -> ReadChoice | None:
        if self._lag(mark) > self._max_lag:
            return ReadChoice.REPLICA_BEHIND
        if not all(map(mark.shows, positions)):
            return ReadChoice.POSITION
        staleness = self.staleness(mark)
        if max_staleness is not None and (staleness is None or staleness > max_staleness):
            return ReadChoice.STALENESS
        return None

    def _lag(self, mark: Mark) -> float:
        return self._clock.monotonic() - mark.taken

    def _failed(self) -> None:
        self._metrics.read_from(ReadChoice.REPLICA_FAILED)

    def _forget(self) -> None:
        # Whoever is the primary next may have lost the end of the log that the places are of.
        self._marks.clear()
        for each in self._replicas:
            each.mark = None

    async def _follow(self, replica: ReadReplica) -> None:
        async def follow(connection: psycopg.AsyncConnection) -> None:
            await self._follow_replica(replica, connection)

        def forget() -> None:
            replica.mark = None

        await self._for_ever(replica.name, replica.connect, follow, forget)

    async def _for_ever(
        self,
        name: str,
        connect: Connect,
        follow: Callable[[psycopg.AsyncConnection], Awaitable[None]],
        forget: Callable[[], None],
    ) -> None:
        failed = False
        while True:
            try:
                async with await connect() as connection:
                    failed = False
                    await follow(connection)
            except (psycopg.Error, TimeoutError, OSError, _NoReplicaError) as error:
                forget()
                if not failed:  # once per outage
                    log.warning("replication_not_followed", database=name, error=type(error).__name__)
                failed = True
            await self._clock.sleep(_RECONNECT_SECONDS)

    async def _follow_primary(self, connection: psycopg.AsyncConnection) -> None:
        async with asyncio.timeout(_ANSWER_SECONDS):
            self._cluster = await _number(connection, _CLUSTER)
        while True:
            # All of it from before the place is asked for: what it says is in the tables there.
            taken = self._clock.monotonic()
            staleness = self._freshness.staleness(SinkGroup.POSTGRES)
            epoch, settled = self._waiter.epoch, self._waiter.settled(SinkGroup.POSTGRES)
            async with asyncio.timeout(_ANSWER_SECONDS):
                ((lsn, timeline),) = await (await connection.execute(_WRITTEN)).fetchall()
            complete_at = None if staleness is None else taken - staleness
            self._marks.append(
                Mark(
                    taken=taken,
                    lsn=lsn,
                    timeline=timeline,
                    complete_at=complete_at,
                    epoch=epoch,
                    settled=settled,
                )
            )
            while taken - self._marks[0].taken > self._max_lag:
                self._marks.popleft()
            await self._clock.sleep(_SAMPLE_SECONDS)

    async def _follow_replica(self, replica: ReadReplica, connection: psycopg.AsyncConnection) -> None:
        async with asyncio.timeout(_ANSWER_SECONDS):
            cluster = await _number(connection, _CLUSTER)
        while True:
            if self._cluster is not None and cluster != self._cluster:
                raise _NoReplicaError
            async with asyncio.timeout(_ANSWER_SECONDS):
                ((standby, place, timeline),) = await (await connection.execute(_REPLAYED)).fetchall()
            if not standby:
                raise _NoReplicaError
            replayed = place or 0
            has = (
                mark for mark in reversed(self._marks) if mark.timeline == timeline and mark.lsn <= replayed
            )
            replica.mark = next(has, replica.mark)  # what it had, it has
            await self._clock.sleep(_SAMPLE_SECONDS)


async def _number(connection: psycopg.AsyncConnection, question: str) -> int:
    ((found,),) = await (await connection.execute(question.encode())).fetchall()
    return int(found)
