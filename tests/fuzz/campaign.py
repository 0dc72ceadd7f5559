"""Publishes fuzzed records into running workers, and says what both groups made of each of them."""

import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from fuzz.mutation import Fuzzed, Mutations
from fuzz.publishing import FuzzPublisher, Place
from fuzz.schemas import register
from judge.contract import SINK_EVENTS
from judge.log import EVENTS_TOPIC, LETTERS_TOPIC, read_ends, read_topic, released_schemas
from judge.stores import Point
from judge.verdict import POSTGRES, VECTORS, Installation, Verdict, behind, judge, letters_of
from own_processes import SomaProcess
from soma_schemas.clock import SystemClock
from waiting import eventually_now

# Half of the records are meant to be poison; what a flood of them does is shown elsewhere.
NO_FLOOD = {
    "SOMA_DELIVERY__MAX_CONSECUTIVE_DEAD_LETTERS": "1000000",
    "SOMA_DELIVERY__MAX_DEAD_LETTER_RATIO": "1.0",
}

_AT_ONCE = 2000
_PROBE_SECONDS = 0.1
_PROBE_TIMEOUT_SECONDS = 60.0
_NO_PROGRESS_SECONDS = 180.0
_HEALTH_SECONDS = 1.0
# Only the vector sink compares sizes.
_OWN_CODES = {VECTORS: {"embedding_dimensions"}}
_EXAMPLES = 10
_PLACE = re.compile(r"\d+")


@dataclass
class Health:
    """How the processes answered.

    Attributes:
        worst: The longest answer of each, in seconds.
        crowding: By how much more than there are cores wanted to run then.
    """

    worst: dict[str, float] = field(default_factory=dict)
    crowding: float = 1.0
    failures: list[str] = field(default_factory=list)

    @property
    def right(self) -> bool:
        """Whether each answered within a second, or within what a crowded machine makes of it."""
        return not self.failures and all(
            seconds <= _HEALTH_SECONDS * self.crowding for seconds in self.worst.values()
        )


@dataclass(frozen=True)
class Report:
    """What was found; no process ended.

    Attributes:
        records: In the log, as readers of committed records see it.
        outcomes: How many records became what, by group; the rest of them by reason or code.
        mutations: What was done to the record in each place.
        disagreements: Places where the groups gave up differently.
        seconds: From the first record until both groups were at the end.
    """

    seed: int
    records: int
    aborted: int
    refused: Mapping[str, int]
    mutations: Mapping[Place, str]
    outcomes: Mapping[str, Mapping[str, int]]
    disagreements: tuple[str, ...]
    health: Health
    seconds: float
    verdict: Verdict

    @property
    def right(self) -> bool:
        """Whether everything was as it must be."""
        return not self.disagreements and self.health.right and self.verdict.right

    def __str__(self) -> str:
        lines = [
            f"seed {self.seed}: {self.records} records in {self.seconds:.0f} s",
            f"aborted {self.aborted}, refused {dict(self.refused)}",
            *self._table(),
            f"without an opinion of the judge {self.verdict.no_opinion}",
            f"letters written again {self.verdict.letters_again}",
            "processes ended 0",
            f"slowest /healthz in seconds: {self.health.worst}, crowding {self.health.crowding:.1f}",
            *self.health.failures[:_EXAMPLES],
            *self.disagreements[:_EXAMPLES],
            str(self.verdict),
            *self._told(),
        ]
        return "\n".join(lines)

    def _table(self) -> Iterator[str]:
        yield " ".join(self.outcomes)
        for name in sorted({each for counts in self.outcomes.values() for each in counts}):
            yield " ".join([*(f"{counts.get(name, 0):13}" for counts in self.outcomes.values()), name])

    def _told(self) -> Iterator[str]:
        """Tell what was done to the records that the verdict's examples of the history are about."""
        for example in self.verdict.parts["history"].examples:
            partition, version = map(int, _PLACE.findall(example)[:2])
            place = (partition, version % 2**40)
            yield f"{place[0]}:{place[1]} was: {self.mutations.get(place)}"


class Campaign:
    """A fuzz of a stack whose workers run.

    Args:
        at: Where everything is.
        processes: By name; each has /healthz.
        say: Hears how far it is.
    """

    def __init__(
        self, at: Installation, processes: Mapping[str, SomaProcess], say: Callable[[str], None]
    ) -> None:
        self._at = at
        self._processes = processes
        self._say = say
        self._clock = SystemClock()

    def run(self, seed: int, count: int) -> tuple[FuzzPublisher, Health, float]:
        """Publish so many records and wait until both groups are at the end of the log.

        Raises:
            AssertionError: A process ended, or a group made no progress.
        """
        topic = self._at.prefix + EVENTS_TOPIC
        newest = {name: versions[-1] for name, versions in released_schemas().items() if name in SINK_EVENTS}
        mutations = Mutations(seed, *register(self._at.registry, self._at.prefix, newest, _A_MEMORY))
        publisher = FuzzPublisher(self._at.brokers, topic, len(read_ends(self._at.brokers, topic)))
        began = self._clock.monotonic()
        with self._probed() as health:
            left = count
            while left:
                some = min(left, _AT_ONCE)
                publisher.publish(mutations.take(some))
                left -= some
                self._say(f"{count - left} published, {behind(self._at)} to be settled")
                self._alive()
            publisher.end_with_an_abort(Fuzzed("aborted at the end", b"k", b"v"))
            self._catch_up()
        return publisher, health, self._clock.monotonic() - began

    def report(self, seed: int, ran: tuple[FuzzPublisher, Health, float], points: list[Point]) -> Report:
        """Compare the groups with each other and with the judge, once the processes have ended."""
        publisher, health, seconds = ran
        published = publisher.published
        verdict, codes = judge(self._at, points), self._codes()
        return Report(
            seed=seed,
            records=len(published.mutations),
            aborted=published.aborted,
            refused=published.refused,
            mutations=published.mutations,
            outcomes={
                group: _counts(verdict.outcomes[group], of_group.values())
                for group, of_group in codes.items()
            },
            disagreements=tuple(_disagreements(codes, published.mutations)),
            health=health,
            seconds=seconds,
            verdict=verdict,
        )

    def _codes(self) -> dict[str, dict[Place, str]]:
        """Return what each group says of each record that it gave up."""
        letters = letters_of(read_topic(self._at.brokers, self._at.prefix + LETTERS_TOPIC))
        return {
            group: {each.place: each.headers["x-dlq-code"] for each in letters.get(group, {}).values()}
            for group in (POSTGRES, VECTORS)
        }

    def _catch_up(self) -> None:
        def look() -> int:
            self._alive()
            return behind(self._at)

        eventually_now(look, lambda left: left == 0, seconds=_NO_PROGRESS_SECONDS)

    def _alive(self) -> None:
        for name, process in self._processes.items():
            assert process.exit_code is None, f"{name} ended with {process.exit_code}"

    @contextmanager
    def _probed(self) -> Iterator[Health]:
        health, ending = Health(), threading.Event()
        threads = [
            threading.Thread(target=self._probe, args=(name, process.url, health, ending))
            for name, process in self._processes.items()
        ]
        for thread in threads:
            thread.start()
        try:
            yield health
        finally:
            ending.set()
            for thread in threads:
                thread.join()

    def _probe(self, name: str, url: str, health: Health, ending: threading.Event) -> None:
        health.worst[name] = 0.0
        with httpx.Client(trust_env=False, timeout=_PROBE_TIMEOUT_SECONDS) as client:
            while not ending.wait(_PROBE_SECONDS):
                began = self._clock.monotonic()
                try:
                    status = client.get(f"{url}/healthz").status_code
                    if status != httpx.codes.OK:
                        health.failures.append(f"/healthz of {name} says {status}")
                except httpx.HTTPError as error:
                    health.failures.append(f"/healthz of {name}: {type(error).__name__}")
                health.worst[name] = max(health.worst[name], round(self._clock.monotonic() - began, 3))
                health.crowding = max(health.crowding, os.getloadavg()[0] / (os.cpu_count() or 1))


def _disagreements(codes: Mapping[str, Mapping[Place, str]], mutations: Mapping[Place, str]) -> Iterator[str]:
    for place in sorted({each for of_group in codes.values() for each in of_group}):
        found = {group: of_group.get(place) for group, of_group in codes.items()}
        shared = {None if code in _OWN_CODES.get(group, ()) else code for group, code in found.items()}
        if len(shared) > 1:
            yield f"{place[0]}:{place[1]} ({mutations.get(place)}): {found}"


def _counts(judged: Mapping[str, int], codes: Iterable[str]) -> dict[str, int]:
    """Return how often each outcome came, dead letters by the code that their group told."""
    told = Counter(f"dead_lettered: {code}" for code in codes)
    return {name: count for name, count in judged.items() if not name.startswith("dead_lettered")} | told


_A_MEMORY = {
    "event_id": "5d1f3e62-4c1f-4b6e-9df4-0d4d9f6f4a11",
    "tenant": "acme",
    "occurred_at": 1_772_528_400_000_000,
    "actor": "fuzz",
    "namespace": "team/notes",
    "memory_id": "5d1f3e62-4c1f-4b6e-9df4-0d4d9f6f4a12",
    "key": None,
    "coordinate": None,
    "kind": "EPISODIC",
    "text": "tea at four",
    "payload": "{}",
    "tags": [],
    "importance": 0.5,
    "embedding": None,
    "embedding_model": None,
    "subject": None,
    "source": None,
    "expires_at": None,
    "expected_version": None,
}
