"""The collector outlives every broker, tells what it cannot see meanwhile, and sees it again."""

import asyncio
from pathlib import Path
from random import Random

import pytest

from caches import cache_folder
from integration.lag.harness import INTERVAL, WINDOW, Log, ShiftedClock, look
from soma_cli.local.artifacts import Artifacts
from soma_cli.local.home import Home
from soma_cli.local.kafka import bootstrap_of, open_kafka
from soma_cli.local.unit import ignore
from soma_schemas.clock import SystemClock
from soma_schemas.lag import LagStatus
from soma_schemas.settings import KafkaSettings
from soma_schemas.topic_admin import open_admin
from soma_streams.lag.lag_collector import Collector
from soma_streams.lag.lag_settings import LagSettings
from soma_streams.lag.process import open_collector
from waiting import Patience

_GROUPS = 6


def known(collector: Collector) -> set[str]:
    return {
        view.name
        for view in collector.views
        if view.partitions and view.totals.lag_records == 5 and view.verdict.status is not LagStatus.UNKNOWN
    }


async def until_known(collector: Collector, clock: ShiftedClock, groups: set[str]) -> None:
    patience = Patience(60)
    while known(collector) != groups and patience.lasts():
        await look(collector, clock)
    assert known(collector) == groups, (collector.failure, [view.verdict for view in collector.views])


@pytest.mark.long
async def test_brokers_go_and_come_back_one_after_the_other_and_all_at_once(tmp_path: Path) -> None:
    home, clock = Home(tmp_path / "home", Random()), ShiftedClock()
    async with open_kafka(home, Artifacts(cache_folder()), SystemClock(), ignore, brokers=3) as brokers:
        kafka = KafkaSettings(bootstrap_servers=bootstrap_of(brokers))
        with open_admin(kafka) as admin:
            logs = [await asyncio.to_thread(Log, kafka, admin, copies=3) for _ in range(_GROUPS)]
            for log in logs:
                await asyncio.to_thread(log.write, 10)
                await asyncio.to_thread(log.commit, 5)
        groups = {log.group for log in logs}
        settings = LagSettings(interval=INTERVAL, window=WINDOW)
        async with open_collector(kafka, settings, clock) as collector:
            await until_known(collector, clock, groups)
            for broker in brokers:
                await broker.kill()
                await look(collector, clock, 2)
                # What only the killed one knows is told as unknown, and not as gone.
                assert {view.name for view in collector.views} == groups
                await until_known(collector, clock, groups)
                await broker.start()
                await until_known(collector, clock, groups)
            await asyncio.gather(*(broker.kill() for broker in brokers))
            await look(collector, clock, 2)
            away = collector.report()
            await asyncio.gather(*(broker.start() for broker in brokers))
            await until_known(collector, clock, groups)

    assert away.failure is not None
    assert {(group.group, group.status, group.lag_records) for group in away.groups} == {
        (name, LagStatus.UNKNOWN, None) for name in groups
    }
