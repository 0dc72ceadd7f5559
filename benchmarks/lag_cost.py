"""What the lag collector costs: 1,000 groups of 50 partitions, against brokers that answer at once.

    python -m benchmarks.lag_cost

The answers are prepared, so that what is measured is ours alone: the rules, the memory and the metrics.
"""

import argparse
import asyncio
import gc
import resource
import time
from collections.abc import Collection, Mapping
from datetime import timedelta

from soma_schemas.clock import SystemClock
from soma_streams.garbage_collection import collect_rarely
from soma_streams.lag.estimates import Retention
from soma_streams.lag.exposition import exposition
from soma_streams.lag.facts import Bounds, Found, GroupSeen, GroupsSeen, Member, Place, TopicSeen
from soma_streams.lag.lag_collector import Collector

_TOPICS = 100


class Brokers:
    """Every group reads one topic whole, and is behind by some records that differ from round to round."""

    def __init__(self, groups: int, partitions: int) -> None:
        self._partitions = partitions
        self.round = 0
        self._places = {
            topic: tuple(Place(f"topic-{topic}", number) for number in range(partitions))
            for topic in range(_TOPICS)
        }
        self._groups = {
            f"group-{number}": (topic := number % _TOPICS, Member("m", "c", "h", self._places[topic]))
            for number in range(groups)
        }
        self.prepared: tuple[GroupsSeen, dict[Place, Bounds | str]] = GroupsSeen({}, {}), {}

    def prepare(self) -> None:
        """Make the answers of the next round."""
        self.round += 1
        end = 1000 * self.round
        seen = {
            name: GroupSeen(
                "Stable",
                (member,),
                {place: end - (self.round * 7 + place.partition) % 100 for place in self._places[topic]},
            )
            for name, (topic, member) in self._groups.items()
        }
        bounds: dict[Place, Bounds | str] = {
            place: Bounds(0, end) for places in self._places.values() for place in places
        }
        self.prepared = GroupsSeen(seen, {}), bounds

    async def look(self) -> GroupsSeen:
        """The prepared groups."""
        return self.prepared[0]

    def topics(self, names: Collection[str]) -> Mapping[str, TopicSeen | str]:
        """Topics that never change."""
        return {name: TopicSeen(name, self._partitions) for name in names}

    def retention(self, names: Collection[str]) -> Mapping[str, Retention]:
        """A day."""
        return dict.fromkeys(names, Retention(seconds=86_400.0, by_size=False))

    def bounds(self, places: Collection[Place]) -> Mapping[Place, Bounds | str]:
        """The prepared bounds."""
        bounds = self.prepared[1]
        return {place: bounds[place] for place in places}

    def first_since(self, since_ms: Mapping[Place, int]) -> Mapping[Place, Found | None]:
        """A record in the middle of the log."""
        return {place: Found(500 * self.round, ms + 1) for place, ms in since_ms.items()}

    def renew(self) -> None:
        """Nothing was learnt."""


async def measure(groups: int, partitions: int, rounds: int) -> None:
    """Go round, and print what it cost."""
    collect_rarely()
    brokers = Brokers(groups, partitions)
    collector = Collector(
        brokers, brokers, interval=timedelta(seconds=5), window=timedelta(seconds=60), clock=SystemClock()
    )
    print(f"{groups:,} groups of {partitions} partitions, {rounds} rounds")
    print("| rounds | CPU of a round, s | metrics written, s | resident, MB |")
    print("|-|-|-|-|")
    for done in range(1, rounds + 1):
        brokers.prepare()
        begin = time.process_time()
        await collector.round()
        looked = time.process_time()
        text = exposition(collector.views)
        wrote = time.process_time()
        if done in {1, 2} or done % (rounds // 5) == 0:
            gc.collect()
            print(f"| {done} | {looked - begin:.2f} | {wrote - looked:.2f} | {_resident_megabytes():.0f} |")
    print(f"\nmetrics: {len(text) / 1e6:.1f} MB")


def _resident_megabytes() -> float:
    with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123  # a file of the kernel
        return int(statm.read().split()[1]) * resource.getpagesize() / 1e6


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=1000)
    parser.add_argument("--partitions", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=50)
    asked = parser.parse_args()
    asyncio.run(measure(asked.groups, asked.partitions, asked.rounds))


if __name__ == "__main__":
    main()
