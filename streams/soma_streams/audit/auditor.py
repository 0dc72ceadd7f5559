"""Makes audits: one after another in the background, and at once when somebody asks for one."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any
from uuid import UUID, uuid4

import psycopg
import structlog
from pydantic import ValidationError

from soma_schemas.clock import Clock
from soma_schemas.errors import told
from soma_streams.audit.audited_tables import AUDIT_FAILED, AUDITED, AuditedTables
from soma_streams.audit.drift import Findings
from soma_streams.audit.pace import Pace
from soma_streams.audit.requests import PROGRESS, REQUESTS, AuditProgress, AuditRequest
from soma_streams.cancellation import end
from soma_streams.metrics import AuditMetrics
from soma_streams.settings import AuditSettings

# Of several workers the one that holds it makes the audits.
_LEADER = 1397704788
_LOOK_SECONDS = 2.0
_TELL_SECONDS = 0.5
# The worker has other things to do in the minutes after its start.
_FIRST_SECONDS = 300.0
_REMEMBERED = 32

log = structlog.get_logger(__name__)

Connect = Callable[[], Awaitable[psycopg.AsyncConnection[Any]]]
MakeAudit = Callable[[AuditRequest, Findings, Pace], Awaitable[None]]


class Auditor:
    """Makes audits, one at a time.

    Args:
        make: Makes one.
        tables: Where results and progress are told.
        connect: Opens the connection that listens, in autocommit.
        settings: When, and how fast.
        metrics: Tell what was found.
        clock: Time.
        random: Keeps several workers from looking at the same moment.
    """

    def __init__(
        self,
        make: MakeAudit,
        *,
        tables: AuditedTables,
        connect: Connect,
        settings: AuditSettings,
        metrics: AuditMetrics,
        clock: Clock,
        random: Random,
    ) -> None:
        self._make = make
        self._tables = tables
        self._connect = connect
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._random = random
        self._asked: deque[AuditRequest] = deque()
        self._heard: deque[UUID] = deque(maxlen=_REMEMBERED)
        self._running: asyncio.Task[None] | None = None
        self._for_somebody = False
        first = min(_FIRST_SECONDS, settings.interval.total_seconds())
        self._due = clock.monotonic() + first

    async def run(self) -> None:
        """Make audits until cancelled. Whatever goes wrong with one is told, and ends no worker."""
        try:
            while True:
                try:
                    async with await self._connect() as connection:
                        await self._lead(connection)
                except (psycopg.Error, TimeoutError, OSError) as error:
                    log.info("audit_requests_not_heard", error=type(error).__name__)
                await self._clock.sleep(self._random.uniform(0.5, 1.5) * _LOOK_SECONDS)
        finally:
            await self._stop()

    async def _lead(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Make what is asked for and what is due for as long as this worker is the one that does."""
        found = await connection.execute("SELECT pg_try_advisory_lock(%s::bigint)", [_LEADER])
        if not (await found.fetchall())[0][0]:
            return
        await connection.execute(f"LISTEN {REQUESTS}")
        while True:
            async for notification in connection.notifies(timeout=_LOOK_SECONDS, stop_after=1):
                self._hear(notification.payload)
            # A connection that is gone is a lock that is gone.
            await connection.execute("SELECT 1")
            await self._go_on()

    def _hear(self, payload: str) -> None:
        try:
            request = AuditRequest.model_validate_json(payload)
        except ValidationError:
            log.warning("audit_request_not_understood")
            return
        if request.audit not in self._heard:
            self._heard.append(request.audit)
            self._asked.append(request)

    async def _go_on(self) -> None:
        if self._running is not None and self._running.done():
            await self._stop()
        if self._asked and (self._running is None or not self._for_somebody):
            # Whoever asks is not kept waiting for what nobody waits for.
            await self._stop()
            self._for_somebody = True
            self._running = asyncio.create_task(self._audit(self._asked.popleft(), None))
        elif self._running is None and self._clock.monotonic() >= self._due:
            self._for_somebody = False
            request = AuditRequest(audit=uuid4(), mends=False)
            self._running = asyncio.create_task(self._audit(request, self._settings.per_second))

    async def _stop(self) -> None:
        if self._running is not None:
            await end(self._running)
            self._running = None

    async def _audit(self, request: AuditRequest, per_second: float | None) -> None:
        findings = Findings()
        told_at = self._clock.monotonic() - _TELL_SECONDS

        async def tell(done: int, total: int, *, ended: bool = False) -> None:
            nonlocal told_at
            if ended or self._clock.monotonic() - told_at >= _TELL_SECONDS:
                told_at = self._clock.monotonic()
                progress = AuditProgress(audit=request.audit, done=done, total=total, ended=ended)
                await self._tables.tell(PROGRESS, progress.model_dump_json())

        log.info("audit_begins", audit=str(request.audit), mends=request.mends)
        began = self._clock.monotonic()
        try:
            try:
                await tell(0, 0)
                await self._make(request, findings, Pace(self._clock, per_second, tell))
            except Exception as error:  # noqa: BLE001  # an audit ends no worker, whatever it meets
                self._metrics.failed()
                log.warning("audit_failed", error=type(error).__name__, reason=told(error))
                details = {"reason": told(error) or type(error).__name__}
                await self._tables.write_down(request.audit, AUDIT_FAILED, details)
            else:
                if request.since is None:
                    self._metrics.completed(findings, self._clock.now())
                seconds = round(self._clock.monotonic() - began, 3)
                log.info(
                    "audit_ends",
                    audit=str(request.audit),
                    seconds=seconds,
                    found={kind.value: each.found for kind, each in findings.tallies.items() if each.found},
                    mended=sum(each.mended for each in findings.tallies.values()),
                )
                details = findings.as_json() | {"mends": request.mends, "seconds": seconds}
                await self._tables.write_down(request.audit, AUDITED, details)
            await tell(1, 1, ended=True)
        except psycopg.Error as error:
            log.warning("audit_not_told", error=type(error).__name__)
        finally:
            self._due = self._clock.monotonic() + self._settings.interval.total_seconds()
