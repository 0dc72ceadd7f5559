"""The collector, on the broker that all tests share."""

from collections.abc import AsyncIterator

import pytest

from integration.lag.harness import INTERVAL, WINDOW, ShiftedClock
from soma_schemas.settings import KafkaSettings
from soma_streams.lag.lag_collector import Collector
from soma_streams.lag.lag_settings import LagSettings
from soma_streams.lag.process import open_collector


@pytest.fixture
def clock() -> ShiftedClock:
    return ShiftedClock()


@pytest.fixture
async def collector(kafka_settings: KafkaSettings, clock: ShiftedClock) -> AsyncIterator[Collector]:
    async with open_collector(kafka_settings, LagSettings(interval=INTERVAL, window=WINDOW), clock) as opened:
        yield opened
