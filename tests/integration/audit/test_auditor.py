"""Who makes audits, when, and how they are asked for and told: over PostgreSQL alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from random import Random
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from postgres_tables import rows
from soma_cli import store_audits
from soma_cli.store_audits import AuditFailedError, audit_stores, later_audits
from soma_schemas.clock import SystemClock
from soma_schemas.errors import MismatchError
from soma_schemas.metrics import MetricSet
from soma_streams.audit.audited_tables import AuditedTables
from soma_streams.audit.auditor import Auditor, MakeAudit
from soma_streams.audit.drift import Drift, Findings
from soma_streams.audit.pace import Pace
from soma_streams.audit.requests import AuditRequest
from soma_streams.cancellation import end
from soma_streams.metrics import AuditMetrics
from soma_streams.settings import AuditSettings
from soma_streams.sinks.sessions import Pool
from waiting import eventually_so

_NEVER = timedelta(days=30)
_AT_ONCE = timedelta(milliseconds=1)


class Made:
    """Notes which audits were made; each finds one point missing, and mends it if it may."""

    def __init__(self) -> None:
        self.requests: list[AuditRequest] = []
        self.failure: Exception | None = None
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def __call__(self, request: AuditRequest, findings: Findings, pace: Pace) -> None:
        """Make one."""
        self.requests.append(request)
        await self.goes_on.wait()
        if self.failure is not None:
            raise self.failure
        pace.total = 2
        await pace.done(1)
        findings.add(Drift.POINT_MISSING)
        findings.tallies[Drift.POINT_MISSING].mended += request.mends


@asynccontextmanager
async def auditing(
    dsn: str, make: MakeAudit, interval: timedelta = _NEVER
) -> AsyncIterator[tuple[MetricSet, "asyncio.Task[None]"]]:
    """An auditor that works until the block ends."""
    metrics = MetricSet()
    pool: Pool = AsyncConnectionPool(dsn, min_size=1, max_size=2, open=False)
    async with pool:
        auditor = Auditor(
            make,
            tables=AuditedTables(pool),
            connect=lambda: psycopg.AsyncConnection.connect(dsn, autocommit=True),
            settings=AuditSettings(interval=interval),
            metrics=AuditMetrics(metrics),
            clock=SystemClock(),
            random=Random(1),
        )
        task = asyncio.create_task(auditor.run())
        try:
            yield metrics, task
        finally:
            await end(task)


async def asked(dsn: str, *, mends: bool = False) -> dict[str, Any]:
    """Ask for an audit as `soma verify` does, and return what it tells."""

    def ask() -> dict[str, Any]:
        with psycopg.connect(dsn, autocommit=True) as connection:
            return audit_stores(
                connection, AuditRequest(audit=uuid4(), mends=mends), lambda _done, _total: None
            )

    return await asyncio.to_thread(ask)


def value(metrics: MetricSet, name: str, **labels: str) -> float | None:
    """What a scrape would read."""
    return metrics.registry.get_sample_value(name, labels)


async def test_whoever_asks_is_told_what_was_found_and_so_are_the_metrics(
    worker_dsn: str, owner_dsn: str
) -> None:
    made = Made()
    async with auditing(worker_dsn, made) as (metrics, _):
        assert value(metrics, "soma_audit_completed_timestamp_seconds") is None

        seen = await asked(owner_dsn)
        mended = await asked(owner_dsn, mends=True)

        assert seen["findings"] == {"point_missing": {"found": 1, "mended": 0, "examples": [{}]}}
        assert mended["findings"]["point_missing"]["mended"] == 1
        assert [each.mends for each in made.requests] == [False, True]
        assert value(metrics, "soma_drift_found", kind="point_missing") == 0
        assert value(metrics, "soma_audits_total", result="completed") == 2
        assert value(metrics, "soma_audit_completed_timestamp_seconds") is not None


async def test_an_audit_that_fails_is_told_with_its_reason_and_the_next_one_works(
    worker_dsn: str, owner_dsn: str
) -> None:
    made = Made()
    made.failure = MismatchError("the collection is gone")
    async with auditing(worker_dsn, made) as (metrics, task):
        with pytest.raises(AuditFailedError, match="the collection is gone"):
            await asked(owner_dsn)
        made.failure = None

        assert (await asked(owner_dsn))["findings"]
        assert value(metrics, "soma_audits_total", result="failed") == 1
        assert not task.done()


async def test_audits_are_made_in_the_background_and_mend_nothing(worker_dsn: str, owner_dsn: str) -> None:
    made = Made()
    async with auditing(worker_dsn, made, _AT_ONCE) as (metrics, _):
        await eventually_so(
            lambda: value(metrics, "soma_audits_total", result="completed"), lambda count: (count or 0) >= 2
        )

    assert not any(request.mends for request in made.requests)
    told = rows(owner_dsn, "SELECT actor, action, details FROM audit_log")
    assert {(row["actor"], row["action"]) for row in told} == {("soma-audit", "stores.audited")}
    assert told[0]["details"]["findings"]["point_missing"]["found"] == 1


async def test_whoever_asks_does_not_wait_for_what_nobody_waits_for(worker_dsn: str, owner_dsn: str) -> None:
    made = Made()
    made.goes_on.clear()
    async with auditing(worker_dsn, made, _AT_ONCE):
        await eventually_so(lambda: len(made.requests), lambda count: count == 1)
        made.goes_on = asyncio.Event()
        made.goes_on.set()

        assert (await asked(owner_dsn, mends=True))["mends"]


async def test_of_several_workers_one_makes_audits_and_when_it_ends_another(
    worker_dsn: str, owner_dsn: str
) -> None:
    first, second = Made(), Made()
    async with AsyncExitStack() as opened:
        await opened.enter_async_context(auditing(worker_dsn, first))
        await asked(owner_dsn)
        async with auditing(worker_dsn, second):
            await asked(owner_dsn)
            assert (len(first.requests), len(second.requests)) == (2, 0)
            await opened.aclose()

            await asked(owner_dsn)

    assert (len(first.requests), len(second.requests)) == (2, 1)


async def test_what_is_no_request_is_passed_over(worker_dsn: str, owner_dsn: str) -> None:
    made = Made()
    async with auditing(worker_dsn, made):
        rows(owner_dsn, "SELECT pg_notify('soma_audit_requests', 'tea')")

        await asked(owner_dsn)

    assert len(made.requests) == 1


async def test_nobody_answers_where_no_worker_runs(owner_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_audits, "_SILENT_SECONDS", 0.0)
    monkeypatch.setattr(store_audits, "_REPEAT_SECONDS", 0.01)

    with pytest.raises(AuditFailedError, match="no vector worker answers") as raised:
        await asked(owner_dsn)

    assert "soma work vectors" in str(raised.value.remedy)


async def test_watching_shows_each_audit_as_it_ends(worker_dsn: str, owner_dsn: str) -> None:
    with psycopg.connect(owner_dsn, autocommit=True) as connection:
        audits = later_audits(connection)
        waiting = asyncio.create_task(asyncio.to_thread(next, audits))
        async with auditing(worker_dsn, Made(), _AT_ONCE):
            seen = await waiting

    assert seen.details is not None
    assert seen.details["findings"]["point_missing"]["found"] == 1
