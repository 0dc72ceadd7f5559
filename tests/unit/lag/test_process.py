"""The collector's probe server."""

import asyncio
from datetime import timedelta

import httpx
from prometheus_client.parser import text_string_to_metric_families

from fakes import FakeClock
from own_processes import a_free_port
from soma_schemas.clock import SystemClock
from soma_schemas.lag import LagReport
from soma_schemas.metrics import MetricSet
from soma_schemas.settings import KafkaSettings
from soma_streams.http_server import open_http_server
from soma_streams.lag.facts import Bounds, GroupsSeen, Place, TopicSeen
from soma_streams.lag.lag_collector import Collector
from soma_streams.lag.lag_settings import LagCollectorSettings, LagSettings
from soma_streams.lag.process import Answers, collect_lag
from unit.lag.standins import Brokers, group
from waiting import eventually

PLACE = Place("topic", 0)


def told() -> Brokers:
    return Brokers(
        GroupsSeen({"group": group({PLACE: 5})}, {}), {"topic": TopicSeen("id", 1)}, {PLACE: Bounds(0, 10)}
    )


def collector_of(brokers: Brokers, clock: FakeClock) -> Collector:
    return Collector(
        brokers, brokers, interval=timedelta(seconds=5), window=timedelta(seconds=60), clock=clock
    )


async def test_every_path_answers_as_the_newest_round_was() -> None:
    brokers, clock = told(), FakeClock()
    collector = collector_of(brokers, clock)
    answers = Answers(collector, LagSettings(), MetricSet())
    async with (
        open_http_server("127.0.0.1", 0, answers.by_path()) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        before = await client.get("/readyz")
        await collector.round()
        await answers.renew()
        ready, alive = await client.get("/readyz"), await client.get("/healthz")
        metrics, report = await client.get("/metrics"), await client.get("/v1/lag")
        brokers.away = True
        await collector.round()
        away = await client.get("/readyz")
        clock.advance(121)
        stuck = await client.get("/healthz")

    assert [each.status_code for each in (before, ready, alive, away, stuck)] == [503, 200, 200, 503, 503]
    assert 'soma_lag_records{group="group",topic="topic",partition="0"} 5' in metrics.text
    assert [each.group for each in LagReport.model_validate_json(report.content).groups] == ["group"]


async def test_a_scrape_while_the_process_stops_is_whole_or_refused() -> None:
    port, stop = a_free_port(), asyncio.Event()
    settings = LagCollectorSettings(
        kafka=KafkaSettings(bootstrap_servers=f"127.0.0.1:{a_free_port()}"), lag=LagSettings(port=port)
    )
    running = asyncio.create_task(collect_lag(settings, clock=SystemClock(), metrics=MetricSet(), stop=stop))
    scraped: list[str] = []
    async with httpx.AsyncClient(trust_env=False) as client:

        async def scrape() -> bool:
            try:
                scraped.append((await client.get(f"http://127.0.0.1:{port}/metrics")).text)
            except httpx.TransportError:
                return False
            return True

        await eventually(scrape)
        stop.set()
        await eventually(scrape, lambda answered: not answered)
    await running

    for text in scraped:
        assert "soma_lag_rounds" in {family.name for family in text_string_to_metric_families(text)}
