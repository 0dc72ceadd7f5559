"""What goes wrong, when and for how long: planned from a seed before anything is started."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from random import Random


class FaultKind(StrEnum):
    """What can be done to a part."""

    WORKER_KILLED = "worker killed (SIGKILL)"
    WORKER_TERMINATED = "worker stopped (SIGTERM)"
    WORKER_FROZEN = "worker frozen beyond its session (SIGSTOP)"
    POSTGRES_KILLED = "PostgreSQL killed (SIGKILL)"
    POSTGRES_STOPPED = "PostgreSQL stopped (fast)"
    REGISTRY_KILLED = "registry killed (SIGKILL)"
    BROKER_KILLED = "broker killed (SIGKILL)"
    BROKER_STOPPED = "broker stopped (SIGTERM)"
    TWO_BROKERS_KILLED = "two of three brokers killed (SIGKILL)"
    INDEX_KILLED = "index killed (SIGKILL)"
    INDEX_FROZEN = "index frozen (SIGSTOP)"
    INDEX_WIPED = "index killed and its volume lost"
    INDEX_HANGING = "index does not answer"
    INDEX_TORN = "index takes half and answers DEADLINE_EXCEEDED"
    INDEX_VANISHED = "index vanished without a word"
    INDEX_UNAVAILABLE = "index answers UNAVAILABLE"
    INDEX_DEADLINE_EXCEEDED = "index answers DEADLINE_EXCEEDED"
    INDEX_INTERNAL = "index answers INTERNAL"
    INDEX_RESOURCE_EXHAUSTED = "index answers RESOURCE_EXHAUSTED"
    INDEX_ABORTED = "index answers ABORTED"
    INDEX_CANCELLED = "index answers CANCELLED"
    INDEX_ALREADY_EXISTS = "index answers ALREADY_EXISTS"
    INDEX_UNKNOWN = "index answers UNKNOWN"


@dataclass(frozen=True)
class Fault:
    """One thing to do to one part.

    Attributes:
        target: Which worker or broker; the part's name otherwise.
    """

    kind: FaultKind
    target: str

    @property
    def part(self) -> str:
        """What it occupies: no two faults of one part overlap."""
        match self.kind:
            case FaultKind.POSTGRES_KILLED | FaultKind.POSTGRES_STOPPED | FaultKind.REGISTRY_KILLED:
                return "databases"  # the registry keeps its schemas in PostgreSQL, and starts only with it
            case FaultKind.BROKER_KILLED | FaultKind.BROKER_STOPPED | FaultKind.TWO_BROKERS_KILLED:
                return "brokers"
            case _:
                return self.target


@dataclass(frozen=True)
class Blow:
    """One fault of a schedule.

    Attributes:
        events: Records that are published from the moment the former blow was struck or over.
        wait_seconds: From then until it is struck.
        hold_seconds: From then until it is mended.
        overlaps: Whether the next blow comes while this one holds.
    """

    fault: Fault
    events: int
    wait_seconds: float
    hold_seconds: float
    overlaps: bool


@dataclass(frozen=True)
class Parts:
    """What there is to be struck."""

    workers: Sequence[str]
    brokers: Sequence[str]
    session_seconds: float


def possible(parts: Parts) -> list[Fault]:
    """Return every fault that these parts can have."""
    faults = [
        Fault(kind, worker)
        for worker in parts.workers
        for kind in (FaultKind.WORKER_KILLED, FaultKind.WORKER_TERMINATED, FaultKind.WORKER_FROZEN)
    ]
    faults += [Fault(kind, "postgres") for kind in (FaultKind.POSTGRES_KILLED, FaultKind.POSTGRES_STOPPED)]
    faults.append(Fault(FaultKind.REGISTRY_KILLED, "registry"))
    faults += [
        Fault(kind, broker)
        for broker in parts.brokers
        for kind in (FaultKind.BROKER_KILLED, FaultKind.BROKER_STOPPED)
    ]
    if len(parts.brokers) > 2:
        faults.append(Fault(FaultKind.TWO_BROKERS_KILLED, "+".join(parts.brokers[:2])))
    faults += [Fault(kind, "index") for kind in FaultKind if kind.name.startswith("INDEX_")]
    return faults


def plan(seed: int, faults: int, events: int, parts: Parts) -> tuple[Blow, ...]:
    """Return a schedule: every kind of fault at least once where there is room, in an order of the seed.

    Args:
        seed: The same one gives the same schedule.
        faults: How many.
        events: How many records are published along the way.
        parts: What there is to be struck.
    """
    random = Random(f"schedule {seed}")
    everything = possible(parts)
    random.shuffle(everything)
    first_of_each = {fault.kind: fault for fault in everything}
    chosen = list(first_of_each.values())[:faults]
    while len(chosen) < faults:
        rest = [fault for fault in everything if fault not in chosen] or everything
        chosen += random.sample(rest, min(len(rest), faults - len(chosen)))
    random.shuffle(chosen)
    blows = []
    for number, fault in enumerate(chosen):
        follows = chosen[number + 1] if number + 1 < len(chosen) else None
        overlaps = follows is not None and follows.part != fault.part and random.random() < 0.3
        # The rest of the division goes out with the first blow.
        share = events // faults + (events % faults if number == 0 else 0)
        blows.append(
            Blow(
                fault,
                share,
                wait_seconds=round(random.uniform(0.2, 2.5), 2),
                hold_seconds=round(_hold(fault.kind, parts.session_seconds, random), 2),
                overlaps=overlaps,
            )
        )
    return _without_collisions(blows)


def _without_collisions(blows: Sequence[Blow]) -> tuple[Blow, ...]:
    """Let no more than two blows overlap: a third could strike what the first still holds."""
    result: list[Blow] = []
    for blow in blows:
        chained = bool(result) and result[-1].overlaps
        result.append(
            Blow(blow.fault, blow.events, blow.wait_seconds, blow.hold_seconds, blow.overlaps and not chained)
        )
    return tuple(result)


def _hold(kind: FaultKind, session_seconds: float, random: Random) -> float:
    match kind:
        case FaultKind.WORKER_KILLED | FaultKind.WORKER_TERMINATED:
            return random.choice((0.0, 0.0, 1.0, session_seconds + 1.0))
        case FaultKind.WORKER_FROZEN:
            return session_seconds + random.uniform(1.0, 4.0)
        case FaultKind.TWO_BROKERS_KILLED:
            return random.uniform(4.0, 8.0)
        case _:
            return random.uniform(1.0, 8.0)
