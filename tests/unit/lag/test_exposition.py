"""The metrics of lag, read back by Prometheus's own parser."""

from datetime import timedelta

from prometheus_client.parser import text_string_to_metric_families

from fakes import FakeClock
from soma_schemas.metrics import MetricSet
from soma_streams.lag.exposition import expose, exposition
from soma_streams.lag.facts import Bounds, GroupsSeen, Place, TopicSeen
from soma_streams.lag.lag_collector import Collector
from unit.lag.standins import Brokers, group

ODD = 'a "quoted" \\ name\nof two lines'


def samples(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


async def looked(told: Brokers) -> Collector:
    collector = Collector(
        told, told, interval=timedelta(seconds=5), window=timedelta(seconds=60), clock=FakeClock()
    )
    await collector.round()
    return collector


async def test_every_partition_has_its_lines_whatever_its_group_is_called() -> None:
    place = Place("topic", 3)
    told = Brokers(
        GroupsSeen({ODD: group({place: 5})}, {}), {"topic": TopicSeen("id", 4)}, {place: Bounds(2, 10)}
    )
    collector = await looked(told)

    found = samples(exposition(collector.views))

    labels = (("group", ODD), ("partition", "3"), ("topic", "topic"))
    assert found["soma_lag_records", labels] == 5
    assert found["soma_lag_headroom_records", labels] == 3
    assert found["soma_lag_status", tuple(sorted((*labels, ("status", "UNKNOWN"))))] == 1
    assert found["soma_lag_group_members", (("group", ODD),)] == 0
    assert found["soma_log_start_offset", labels[1:]] == 2
    assert found["soma_log_end_offset", labels[1:]] == 10


async def test_what_nobody_knows_has_no_line() -> None:
    place = Place("topic", 0)
    told = Brokers(GroupsSeen({"group": group({place: 5})}, {}), {"topic": "refused"}, {})
    collector = await looked(told)

    names = {name for name, _ in samples(exposition(collector.views))}

    assert names == {"soma_lag_status", "soma_lag_group_members"}


async def test_the_collector_tells_how_old_its_own_last_round_is() -> None:
    told, clock, metrics = Brokers(), FakeClock(), MetricSet()
    collector = Collector(
        told, told, interval=timedelta(seconds=5), window=timedelta(seconds=60), clock=clock
    )
    expose(collector, metrics)
    before = samples(metrics.exposition("").body)
    await collector.round()
    told.away = True
    clock.advance(7)
    await collector.round()

    after = samples(metrics.exposition("").body)

    assert ("soma_lag_round_age_seconds", ()) not in before
    assert after["soma_lag_round_age_seconds", ()] == 7
    assert after["soma_lag_rounds_total", (("result", "ok"),)] == 1
    assert after["soma_lag_rounds_total", (("result", "failed"),)] == 1
