"""How true the collector's seconds of lag are: beside the append times of the records themselves.

    python -m benchmarks.lag_truth

A broker of its own, the collector as it is by default, and three groups at once: one that keeps a distance
under a steady load, one that gets bursts, and one that stands still for a while and catches up. Afterwards
each record that was the oldest unread one is read, and its append time compared with what was told.
"""

import argparse
import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import NewTopic

from soma_cli.local.artifacts import Artifacts
from soma_cli.local.home import Home
from soma_cli.local.kafka import bootstrap_of, open_kafka
from soma_cli.local.unit import ignore
from soma_schemas.clock import SystemClock
from soma_schemas.settings import KafkaSettings
from soma_schemas.topic_admin import open_admin
from soma_streams.lag.lag_settings import LagSettings
from soma_streams.lag.process import open_collector

_CLOCK = SystemClock()
_STEP_SECONDS = 0.1
# Below it, what is told differs by the time that it takes to tell it.
_LEAST_SECONDS = 1.0


@dataclass
class Scenario:
    """One load and one group.

    Attributes:
        name: In the table; of topic and group, too.
        written: How many records there are to be after so many seconds.
        read: How many of them the group is to have read after so many seconds.
        told: When the collector told what: time of day, offset of the oldest unread record, seconds.
    """

    name: str
    written: Callable[[float], int]
    read: Callable[[float], int]
    told: list[tuple[float, int, float]] = field(default_factory=list)


def _steady(at: float) -> int:
    return int(200 * at)


def _bursts(at: float) -> int:
    return 1500 * int(at / 7 + 1)


def scenarios(seconds: float) -> list[Scenario]:
    """Return the loads, for a run of so many seconds."""
    begins, ends = 0.1 * seconds, 0.6 * seconds

    def after_an_outage(at: float) -> int:
        before = _steady(min(at, begins))
        return before if at < ends else before + int(600 * (at - ends))

    return [
        Scenario("steady", _steady, lambda at: _steady(max(0.0, at - 20))),
        Scenario("bursts", _bursts, lambda at: int(190 * at)),
        Scenario("outage", _steady, after_an_outage),
    ]


async def run(scenario: Scenario, kafka: KafkaSettings, seconds: float) -> None:
    """Write and read as the scenario says."""
    producer = Producer(kafka.librdkafka() | {"linger.ms": 0})
    reader = _reader(kafka, scenario.name)
    begin = _CLOCK.monotonic()
    done = committed = 0
    while (at := _CLOCK.monotonic() - begin) < seconds:
        for _ in range(scenario.written(at) - done):
            producer.produce(scenario.name, b"text")
        done = max(done, scenario.written(at))
        await asyncio.to_thread(producer.flush)
        position = min(done, scenario.read(at))
        if position > committed:
            place = TopicPartition(scenario.name, 0, position)
            await asyncio.to_thread(reader.commit, offsets=[place], asynchronous=False)
            committed = position
        await _CLOCK.sleep(_STEP_SECONDS)
    reader.close()


async def watch(kafka: KafkaSettings, watched: list[Scenario], seconds: float) -> None:
    """Go round as the collector does, and keep what it tells."""
    lag = LagSettings()
    begin = _CLOCK.monotonic()
    async with open_collector(kafka, lag, _CLOCK) as collector:
        while _CLOCK.monotonic() - begin < seconds:
            await collector.round()
            now = _CLOCK.now().timestamp()
            views = {view.name: view for view in collector.views}
            for scenario in watched:
                for partition in views[scenario.name].partitions if scenario.name in views else ():
                    sample, told = partition.sample, partition.lag_seconds
                    if sample is not None and told is not None and sample.lag:
                        scenario.told.append((now, sample.position, told))
            await _CLOCK.sleep(lag.interval.total_seconds())


def errors_of(scenario: Scenario, kafka: KafkaSettings) -> list[tuple[float, float]]:
    """Return the true seconds and the told ones, for each time that something was told."""
    reader = _reader(kafka, f"{scenario.name}-truth")
    try:
        pairs = []
        for now, offset, told in scenario.told:
            reader.assign([TopicPartition(scenario.name, 0, offset)])
            message = reader.poll(10)
            if message is None or message.offset() != offset:
                raise RuntimeError(f"offset {offset} of {scenario.name} cannot be read")
            pairs.append((now - message.timestamp()[1] / 1000, told))
    finally:
        reader.close()
    return pairs


def _reader(kafka: KafkaSettings, group: str) -> Consumer:
    return Consumer(kafka.librdkafka() | {"group.id": group, "enable.auto.commit": False})


def row(name: str, pairs: list[tuple[float, float]]) -> str:
    """Return a line of the table."""
    compared = [(truth, told) for truth, told in pairs if truth >= _LEAST_SECONDS]
    errors = sorted(abs(told - truth) / truth for truth, told in compared)
    longest = max(truth for truth, _ in compared)
    within = sum(error <= 0.1 for error in errors)  # noqa: PLR2004  # what is promised
    return (
        f"| {name} | {len(errors)} | {min(t for t, _ in compared):.1f} to {longest:.1f} s "
        f"| {median(errors):.1%} | {errors[-1]:.1%} | {within} of {len(errors)} |"
    )


async def measure(seconds: float, cache: Path) -> None:
    """Run every scenario at once, and print the table."""
    watched = scenarios(seconds)
    with TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home", Random())  # noqa: S311  # chooses ports
        async with open_kafka(home, Artifacts(cache), _CLOCK, ignore, brokers=1) as brokers:
            kafka = KafkaSettings(bootstrap_servers=bootstrap_of(brokers))
            config = {"message.timestamp.type": "LogAppendTime"}
            topics = [NewTopic(each.name, 1, replication_factor=1, config=config) for each in watched]
            with open_admin(kafka) as admin:
                for answer in admin.create_topics(topics).values():
                    await asyncio.to_thread(answer.result, 20)
            await asyncio.gather(
                watch(kafka, watched, seconds), *(run(each, kafka, seconds) for each in watched)
            )
            print("| load | compared | true lag | median error | largest error | within 10 percent |")
            print("|-|-|-|-|-|-|")
            for each in watched:
                print(row(each.name, await asyncio.to_thread(errors_of, each, kafka)))


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=100.0, help="how long the loads last")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "somafractalmemory")
    asked = parser.parse_args()
    begin = time.process_time()
    asyncio.run(measure(asked.seconds, asked.cache))
    print(f"\n{time.process_time() - begin:.0f} s of CPU")


if __name__ == "__main__":
    main()
