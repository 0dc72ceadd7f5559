"""Plays a schedule on a stage: publishes, strikes, mends, waits for the sinks to catch up, and judges."""

import asyncio
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import psycopg
from confluent_kafka import KafkaException

from chaos.publishing import Publishing
from chaos.qdrant_process import Mode
from chaos.schedule import Blow, FaultKind
from chaos.stage import Ending, Stage
from chaos.workload import Workload
from judge.log import read_ends
from judge.stores import server_points
from judge.verdict import Verdict, behind, judge
from judging import installation
from parts import Part
from soma_schemas.clock import SystemClock
from soma_schemas.errors import SomaError
from soma_schemas.groups import SinkGroup
from soma_schemas.topic_admin import open_admin
from soma_schemas.topics import MEMORY_EVENTS
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.embedders import PACKAGED_DIMENSIONS, PACKAGED_MODEL
from soma_schemas.vectors.progress import Held
from soma_schemas.vectors.server import open_client
from soma_streams.sinks.vectors.qdrant import QdrantWriter
from soma_streams.sinks.vectors.standing import held_by
from waiting import Patience, eventually_now

COLLECTION = Collection("memories", PACKAGED_MODEL, PACKAGED_DIMENSIONS)

_CATCH_UP_SECONDS = 120.0
_LOOK_SECONDS = 0.25
_LONG_SECONDS = 60.0
_STEP_SECONDS = 180.0
# What the worker says when its index is not the one that it began on.
_INDEX_LOST = ("IndexLostError", "the vector index has no such collection")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Struck:
    """A blow as it went.

    Attributes:
        at_seconds: Since the first record was published.
        mended_seconds: When the part was started again or let go; our workers are not waited for.
    """

    kind: str
    target: str
    at_seconds: float
    mended_seconds: float


@dataclass(frozen=True)
class Played:
    """What happened in a run.

    Attributes:
        seconds: From the first record until both sinks had caught up.
        catch_up_seconds: From the end of the last fault, or of publishing, until then.
        acknowledged: Records that the brokers acknowledged.
        published_again: How often a record was sent again for want of an acknowledgement.
        settled: Events that each sink has counted as settled; what it did unseen before a kill is missing.
        endings: Workers that ended by themselves, or not as asked.
        index_lost: How often the vector worker stopped because its index was lost, as it must.
        kept: Whether the members of the Postgres group, and their partitions, were the same after each long
            outage of PostgreSQL as before it.
        stops: How long each stop in order took, in seconds.
    """

    struck: Sequence[Struck]
    seconds: float
    catch_up_seconds: float
    acknowledged: int
    published_again: int
    settled: dict[str, int]
    endings: Sequence[Ending]
    index_lost: int
    kept: Sequence[bool]
    stops: Sequence[float]
    verdict: Verdict


def _by_loss(ending: Ending) -> bool:
    return ending.worker == "vectors" and any(words in ending.last_words for words in _INDEX_LOST)


class Player:
    """Strikes and mends.

    Args:
        stage: What is struck.
        say: Hears one line for each thing that happens.
    """

    def __init__(self, stage: Stage, say: Say) -> None:
        self._stage = stage
        self._say = say
        self._clock = SystemClock()
        self._began = 0.0
        self._struck: list[Struck] = []
        self._failures: list[BaseException] = []
        self._kept: list[bool] = []

    def play(self, blows: Sequence[Blow], workload: Workload) -> Played:
        """Run the workers through a schedule and return what became of everything.

        Raises:
            AssertionError: A record was never acknowledged, or a sink did not catch up.
        """
        with self._stage.indexed():
            return self._play(blows, workload)

    def _play(self, blows: Sequence[Blow], workload: Workload) -> Played:
        self._began = self._clock.monotonic()
        with self._stage.running():
            with Publishing(self._stage.publishing, workload) as publishing:
                self._go_through(blows, publishing)
                publishing.finish()
            mended = self._elapsed()
            self._say(f"{mended:6.1f}  all mended and published; waiting for the sinks")
            self._catch_up()
            caught_up = self._elapsed()
        workers = self._stage.workers.values()
        self._say(f"{caught_up:6.1f}  caught up; judging")
        acknowledged: dict[int, int] = {}
        for position in publishing.acknowledged:
            acknowledged[position.partition] = max(acknowledged.get(position.partition, -1), position.offset)
        settled: dict[str, int] = {}
        for worker in workers:
            settled[worker.sink.value] = settled.get(worker.sink.value, 0) + worker.settled
        endings = [ending for worker in workers for ending in worker.endings]
        return Played(
            struck=tuple(sorted(self._struck, key=lambda each: each.at_seconds)),
            seconds=round(caught_up, 1),
            catch_up_seconds=round(caught_up - mended, 1),
            acknowledged=len(publishing.acknowledged),
            published_again=publishing.published_again,
            settled=settled,
            endings=tuple(ending for ending in endings if not _by_loss(ending)),
            index_lost=sum(map(_by_loss, endings)),
            kept=tuple(self._kept),
            stops=tuple(round(seconds, 1) for worker in workers for seconds in worker.stops),
            verdict=judge(
                installation(self._stage.publishing, self._stage.owner_dsn),
                server_points(self._stage.vectors.url, COLLECTION.alias),
                acknowledged,
            ),
        )

    def _elapsed(self) -> float:
        return self._clock.monotonic() - self._began

    def _go_through(self, blows: Sequence[Blow], publishing: Publishing) -> None:
        holding: list[threading.Thread] = []
        for blow in blows:
            publishing.publish(blow.events)
            self._clock.block(blow.wait_seconds)
            struck = threading.Event()
            thread = threading.Thread(target=self._hold, args=(blow, struck))
            thread.start()
            struck.wait()
            holding.append(thread)
            if not blow.overlaps:
                for each in holding:
                    each.join()
                holding = []
            assert not self._failures, f"a fault could not be played: {self._failures[0]!r}"
        for each in holding:
            each.join()
        assert not self._failures, f"a fault could not be played: {self._failures[0]!r}"

    def _hold(self, blow: Blow, struck: threading.Event) -> None:
        fault = blow.fault
        at = self._elapsed()
        self._say(f"{at:6.1f}  {fault.kind}: {fault.target}, for {blow.hold_seconds} s")
        try:
            with ExitStack() as mending:
                long = blow.hold_seconds >= _LONG_SECONDS
                before = self._joined() if long else {}
                self._strike(blow, mending)
                struck.set()
                self._clock.block(blow.hold_seconds)
                if long:
                    self._kept.append(bool(before) and self._members() == before)
        except BaseException as error:  # noqa: BLE001  # told in the thread that goes through the schedule
            self._failures.append(error)
        finally:
            struck.set()
        self._struck.append(Struck(fault.kind.value, fault.target, round(at, 1), round(self._elapsed(), 1)))

    def _joined(self) -> dict[str, frozenset[int]]:
        """Return the same once every partition has a member: a worker may still be starting."""
        wanted = set(range(self._stage.publishing.topics.partitions))
        return eventually_now(
            self._members, lambda found: set().union(*found.values()) == wanted, seconds=_STEP_SECONDS
        )

    def _members(self) -> dict[str, frozenset[int]]:
        """Return the partitions of each member of the Postgres group, as the brokers have them."""
        publishing = self._stage.publishing
        group = SinkGroup.POSTGRES.on_brokers(publishing.topics)
        admin = open_admin(publishing.kafka)  # held: its answers die with it
        found = admin.describe_consumer_groups([group])[group].result(_LONG_SECONDS)
        return {
            member.member_id: frozenset(each.partition for each in member.assignment.topic_partitions)
            for member in found.members
        }

    def _strike(self, blow: Blow, mending: ExitStack) -> None:
        """Do it, and note how it is undone; on failure too, what was broken is mended."""
        stage, target = self._stage, blow.fault.target
        match blow.fault.kind:
            case FaultKind.WORKER_KILLED:
                mending.callback(stage.workers[target].launch)
                stage.workers[target].kill()
            case FaultKind.WORKER_TERMINATED:
                mending.callback(stage.workers[target].launch)
                stage.workers[target].terminate()
            case FaultKind.WORKER_FROZEN:
                mending.callback(stage.workers[target].thaw)
                stage.workers[target].freeze()
            case FaultKind.POSTGRES_KILLED:
                self._kill(stage.postgres, mending)
            case FaultKind.POSTGRES_STOPPED:
                self._stop(stage.postgres, mending)
            case FaultKind.REGISTRY_KILLED:
                self._kill(stage.registry, mending)
            case FaultKind.BROKER_KILLED:
                self._kill(stage.brokers[target], mending)
            case FaultKind.BROKER_STOPPED:
                self._stop(stage.brokers[target], mending)
            case FaultKind.TWO_BROKERS_KILLED:
                first, second = target.split("+")
                self._kill(stage.brokers[first], mending)
                self._clock.block(blow.hold_seconds / 2)
                self._kill(stage.brokers[second], mending)
            case FaultKind.INDEX_KILLED:
                mending.callback(stage.index.launch)
                stage.index.kill()
            case FaultKind.INDEX_FROZEN:
                mending.callback(stage.index.send, signal.SIGCONT)
                stage.index.send(signal.SIGSTOP)
            case FaultKind.INDEX_WIPED:
                mending.callback(stage.index.launch)
                stage.index.kill()
                shutil.rmtree(stage.index_folder)
            case kind:
                mending.callback(stage.say, Mode.WELL)
                stage.say(Mode[kind.name.removeprefix("INDEX_")])

    def _kill(self, part: Part, mending: ExitStack) -> None:
        mending.callback(lambda: self._stage.do(part.start()))
        self._stage.do(part.kill())

    def _stop(self, part: Part, mending: ExitStack) -> None:
        mending.callback(lambda: self._stage.do(part.start()))
        self._stage.do(part.stop())

    def _catch_up(self) -> None:
        """Wait until every sink is at the end of its topic, for as long as it gets on."""
        patience, before = Patience(_CATCH_UP_SECONDS), None
        while any(left := self._left()):
            if left != before:
                patience.renew()
            assert self._stage.index.exit_code is None, "the server of the index has ended by itself"
            assert patience.lasts(), f"no progress in {_CATCH_UP_SECONDS} idle s; left: {left}"
            before = left
            self._clock.block(_LOOK_SECONDS)

    def _left(self) -> tuple[int | str, int | str]:
        """Return how much is missing by the watermarks, and by what the index says of itself.

        The watermarks of an index that was lost tell what it had.
        """
        try:
            by_watermarks: int | str = behind(installation(self._stage.publishing, self._stage.owner_dsn))
        except (psycopg.OperationalError, KafkaException) as error:
            by_watermarks = type(error).__name__
        return by_watermarks, self._missing_in_index()

    def _missing_in_index(self) -> int | str:
        publishing = self._stage.publishing
        try:
            ends = read_ends(publishing.kafka.bootstrap_servers, MEMORY_EVENTS.full_name(publishing.topics))
        except KafkaException as error:
            return type(error).__name__
        try:
            held = asyncio.run(self._held(ends))
        except SomaError as error:
            return error.code
        if held is None:
            return "nothing yet"
        return sum(end - held.progress.get(partition, 0) for partition, end in ends.items())

    async def _held(self, partitions: Iterable[int]) -> Held | None:
        async with open_client(self._stage.vectors) as client:
            return await held_by(QdrantWriter(client, COLLECTION), partitions)
