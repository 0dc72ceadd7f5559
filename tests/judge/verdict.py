"""Says, record by record, whether both stores and the dead letters are as the log says.

Imports nothing of the product: whatever both get wrong in the same way, both would have to get wrong twice.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple
from uuid import NAMESPACE_URL, UUID, uuid5

from judge.contract import SINK_EVENTS, Event, Limits, OneOf, Poison, point_id, poison, read
from judge.log import (
    EVENTS_TOPIC,
    LETTERS_TOPIC,
    Place,
    Record,
    Topic,
    read_ends,
    read_topic,
    registered_schemas,
    released_schemas,
)
from judge.rules import Ledger, Outcome
from judge.shapes import (
    COUNTED,
    HISTORY,
    KEPT_COUNTS,
    MEMORIES,
    Letter,
    history_row,
    index_row,
    letter_of,
    memory_point,
    memory_row,
    omissions,
    read_history_row,
    read_index_row,
    read_letter,
    read_memory_row,
    read_point,
)
from judge.stores import Point, rows

POSTGRES = "soma-postgres"
VECTORS = "soma-vectors"
LETTER_INDEX = "soma-dead-letters"

_LETTERS = uuid5(NAMESPACE_URL, "https://somafractalmemory.example/dead-letter")
_EXAMPLES = 5


class Installation(NamedTuple):
    """Where everything is.

    Attributes:
        brokers: Bootstrap servers.
        registry: Its URL, of the Confluent-compatible API.
        database: A login that may read all tables.
        prefix: Of the topics.
        model: Whose vectors the index compares.
        dimensions: Of that model.
    """

    brokers: str
    registry: str
    database: str
    prefix: str
    model: str
    dimensions: int
    epoch: int = 1
    limits: Limits = Limits()


@dataclass(frozen=True)
class Compared:
    """What there is beside what there must be.

    Attributes:
        lost: Not there, or there in an older version.
        wrong: There with another content.
        extra: There, and should not be.
        examples: The first few that are not right.
    """

    expected: int
    lost: int
    wrong: int
    extra: int
    examples: tuple[str, ...] = ()

    @property
    def right(self) -> bool:
        """Whether everything is as it must be."""
        return self.lost == self.wrong == self.extra == 0


@dataclass(frozen=True)
class Verdict:
    """What the judge found.

    Attributes:
        events: Records in the log.
        memories: That they make, tombstones included.
        outcomes: What must have become of them, by group; superseded and dead-lettered ones by reason.
        no_opinion: Records under schemas that were never released: each group's own word is taken for them.
        letters_again: Dead letters that were written more than once; each is one by its id.
        parts: What was compared.
    """

    events: int
    memories: int
    outcomes: Mapping[str, Mapping[str, int]]
    no_opinion: int
    letters_again: int
    parts: Mapping[str, Compared]

    @property
    def lost(self) -> int:
        """What the log has and a store has not."""
        return sum(each.lost for each in self.parts.values())

    @property
    def wrong(self) -> int:
        """What a store has in another way than the log says."""
        return sum(each.wrong for each in self.parts.values())

    @property
    def extra(self) -> int:
        """What a store has and the log does not say."""
        return sum(each.extra for each in self.parts.values())

    @property
    def right(self) -> bool:
        """Whether everything is as the log says."""
        return all(each.right for each in self.parts.values())

    def as_json(self) -> dict[str, Any]:
        """Return it for a file."""
        return asdict(self)

    @classmethod
    def of_json(cls, found: Mapping[str, Any]) -> "Verdict":
        """Return what `as_json` was called on."""
        parts = {name: Compared(**part) for name, part in found["parts"].items()}
        return cls(**{**found, "parts": parts})

    def __str__(self) -> str:
        wrong = [f"{name}: {each}" for name, each in self.parts.items() if not each.right]
        head = f"{self.events} events, {self.lost} lost, {self.wrong} wrong, {self.extra} extra"
        return "\n".join([head, *wrong])


class Log(NamedTuple):
    """Everything that the brokers and the registry have."""

    events: Topic
    letters: Topic
    schemas: Mapping[int, Any]


def read_log(at: Installation) -> Log:
    """Return the log, the dead-letter topic and the schemas that records name."""
    events = read_topic(at.brokers, at.prefix + EVENTS_TOPIC)
    letters = read_topic(at.brokers, at.prefix + LETTERS_TOPIC)
    return Log(events, letters, registered_schemas(at.registry, events.records))


def behind(at: Installation) -> int:
    """Return how many offsets of their topics the sinks have not passed, by their watermarks."""
    found = {
        (row["consumer_group"], row["topic"], row["partition"]): row["next_offset"]
        for row in rows(at.database, "SELECT * FROM sink_watermarks")
    }
    return sum(
        end - found.get((group, topic, partition), 0)
        for group, topic in _reads(at)
        for partition, end in read_ends(at.brokers, topic).items()
    )


def _reads(at: Installation) -> list[tuple[str, str]]:
    """Return which group reads which topic."""
    events, letters = at.prefix + EVENTS_TOPIC, at.prefix + LETTERS_TOPIC
    return [(POSTGRES, events), (VECTORS, events), (LETTER_INDEX, letters)]


def judge(
    at: Installation,
    points: Iterable[Point],
    acknowledged: Mapping[int, int] | None = None,
    log: Log | None = None,
) -> Verdict:
    """Read everything and compare; the sinks must be at the end of the log.

    Args:
        at: Where everything is.
        points: Of the vector index.
        acknowledged: The highest offset that a broker acknowledged, by partition.
        log: As it was read before; None reads it now.
    """
    log = log or read_log(at)
    written = letters_of(log.letters)
    ledgers = {
        POSTGRES: Ledger(at.epoch, at.limits, {}),
        VECTORS: Ledger(at.epoch, at.limits, {at.model: at.dimensions}),
    }
    no_opinion = sum(
        fold(at, log, ledger, {each.place: each for each in written.get(group, {}).values()})
        for group, ledger in ledgers.items()
    )
    known = [letter for of_group in written.values() for letter in of_group.values()]
    postgres, vectors = ledgers[POSTGRES], ledgers[VECTORS]
    originals = {each.place: each for each in log.events.records}
    parts = {
        "log": _log(log.events, acknowledged or {}),
        "memories": _compared(
            {name: memory_row(memory) for name, memory in postgres.memories.items()},
            {(row["tenant"], row["memory_id"]): read_memory_row(row) for row in rows(at.database, MEMORIES)},
            behind=_older,
        ),
        "history": _compared(
            {key: history_row(word) for key, word in postgres.history.items()},
            {
                (row["partition"], row["version"], row["logged_at"]): read_history_row(row)
                for row in rows(at.database, HISTORY)
            },
        ),
        "links": _compared(
            {
                edge: {
                    "version": link.version,
                    "deleted": postgres.link_ended(edge),
                    # What an ended edge weighed says nothing.
                    "weight": None if postgres.link_ended(edge) else link.weight,
                    "recent": list(link.recent),
                }
                for edge, link in postgres.links.items()
            },
            {
                (row["tenant"], row["from_memory_id"], row["link_type"], row["to_memory_id"]): {
                    "version": row["version"],
                    "deleted": row["deleted"],
                    "weight": None if row["deleted"] else row["weight"],
                    "recent": row["recent_event_ids"],
                }
                for row in rows(at.database, "SELECT * FROM memory_links")
            },
            behind=_older,
        ),
        "points": _compared(
            {
                point_id(*name): memory_point(name, memory, at.model)
                for name, memory in vectors.memories.items()
            },
            # The index speaks of itself in points without a tenant.
            {point.id: read_point(point, at.model) for point in points if "tenant" in point.payload},
            behind=_older,
        ),
        "dead-letter index": _compared(
            {UUID(letter.id): index_row(letter) for letter in known},
            {row["id"]: read_index_row(row) for row in rows(at.database, "SELECT * FROM dead_letters")},
        ),
        # The rows are compared with the log; what is counted, with the rows.
        "counts": _compared(_numbers(at, COUNTED), _numbers(at, KEPT_COUNTS)),
        "watermarks": _compared(
            {
                (group, topic, partition): (at.epoch, end)
                for group, topic in _reads(at)
                for partition, end in (log.letters if group == LETTER_INDEX else log.events).ends.items()
                if end
            },
            {
                (row["consumer_group"], row["topic"], row["partition"]): (row["epoch"], row["next_offset"])
                for row in rows(at.database, "SELECT * FROM sink_watermarks WHERE next_offset > 0")
            },
            behind=lambda expected, found: found < expected,
        ),
    }
    for group, ledger in ledgers.items():
        parts[f"dead letters of {group}"] = _letters(at, group, ledger, written.get(group, {}), originals)
    unknown = sorted(written.keys() - ledgers.keys())
    assert not unknown, f"dead letters of groups that nobody knows: {unknown}"
    return Verdict(
        events=len(log.events.records),
        memories=len(postgres.memories),
        outcomes={group: _counted(ledger.outcomes.values()) for group, ledger in ledgers.items()},
        no_opinion=no_opinion,
        letters_again=len(log.letters.records) - len(known),
        parts=parts,
    )


def letters_of(topic: Topic) -> dict[str, dict[str, Letter]]:
    """Return every dead letter by its group and its id."""
    found: dict[str, dict[str, Letter]] = {}
    for record in topic.records:
        ours = {name: value.decode() for name, value in record.headers if name.startswith("x-dlq-") and value}
        place = (int(ours["x-dlq-partition"]), int(ours["x-dlq-offset"]))
        letter = Letter(ours["x-dlq-id"], place, record, ours)
        found.setdefault(ours["x-dlq-group"], {}).setdefault(letter.id, letter)
    return found


def fold(at: Installation, log: Log, ledger: Ledger, letters: Mapping[Place, Letter]) -> int:
    """Have a ledger take every record of the log; return for how many the judge has no opinion of its own.

    Args:
        at: Where everything is.
        log: What the brokers and the registry have.
        ledger: Of a group.
        letters: Of that group.
    """
    released = released_schemas()
    no_opinion = 0
    for record in log.events.records:
        item = read_record(record, log.schemas, released, at.epoch, at.limits)
        if item is None:
            no_opinion += 1
            letter = letters.get(record.place)
            if letter is not None:
                item = poison(record, letter.headers["x-dlq-code"])
            else:
                assert record.schema_id is not None
                writer = log.schemas[record.schema_id]
                item = read(record, writer, released[writer["name"]][-1], at.epoch, at.limits)
        ledger.apply(item, record.logged_at)
    return no_opinion


def read_record(
    record: Record, schemas: Mapping[int, Any], released: Mapping[str, list[Any]], epoch: int, limits: Limits
) -> Event | Poison | None:
    """Return what a record is; None when only a rule about foreign schemas could tell.

    Args:
        record: Of the log.
        schemas: What the registry knows, by id.
        released: The released schemas of each record.
        epoch: Of the topic.
        limits: How large an event may be.
    """
    if record.value is None:
        return poison(record, "null_value")
    if record.schema_id is None:
        return poison(record, "not_wire_format")
    if record.schema_id not in schemas:
        return poison(record, "unknown_schema_id")
    writer = schemas[record.schema_id]
    name = next((name for name, versions in released.items() if writer in versions), None)
    if name is None:
        return None
    if name not in SINK_EVENTS:
        return poison(record, "unexpected_record")
    return read(record, writer, released[name][-1], epoch, limits)


def _numbers(at: Installation, query: str) -> dict[tuple[str | None, ...], int]:
    return {
        (row["tenant"], row["counted"], row["namespace"], row["kind"]): row["number"]
        for row in rows(at.database, query)
    }


def _compared(
    expected: Mapping[Any, Any],
    found: Mapping[Any, Any],
    behind: Callable[[Any, Any], bool] | None = None,
) -> Compared:
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    differing = [name for name in expected if name in found and expected[name] != found[name]]
    older = [name for name in differing if behind is not None and behind(expected[name], found[name])]
    return Compared(
        expected=len(expected),
        lost=len(missing) + len(older),
        wrong=len(differing) - len(older),
        extra=len(extra),
        examples=tuple(
            _example(name, expected.get(name), found.get(name))
            for name in [*missing, *extra, *differing][:_EXAMPLES]
        ),
    )


def _older(expected: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    return bool(found["version"] < expected["version"])


def _example(name: object, expected: Any, found: Any) -> str:
    if isinstance(expected, dict) and isinstance(found, dict):
        names = [each for each in {**expected, **found} if expected.get(each) != found.get(each)]
        expected = {each: expected.get(each) for each in names}
        found = {each: found.get(each) for each in names}
    return f"{name}: expected {str(expected)[:300]}, found {str(found)[:300]}"


def _counted(outcomes: Iterable[Outcome]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        reason = "/".join(sorted(outcome.reason)) if isinstance(outcome.reason, OneOf) else outcome.reason
        counts[outcome.name if reason is None else f"{outcome.name}: {reason}"] += 1
    return dict(sorted(counts.items()))


def _log(topic: Topic, acknowledged: Mapping[int, int]) -> Compared:
    lost = sum(max(0, offset + 1 - topic.ends[partition]) for partition, offset in acknowledged.items())
    return Compared(len(topic.records), lost, 0, 0)


def _letters(
    at: Installation,
    group: str,
    ledger: Ledger,
    written: Mapping[str, Letter],
    originals: Mapping[Place, Record],
) -> Compared:
    """Compare the letters of a group: one for each record that it cannot apply, untouched."""
    topic = at.prefix + EVENTS_TOPIC
    expected: dict[str, dict[str, Any]] = {}
    for place, outcome in ledger.outcomes.items():
        if outcome.name == "dead_lettered":
            name = str(uuid5(_LETTERS, f"{group}/{topic}/{at.epoch}/{place[0]}/{place[1]}"))
            omitted = omissions(written.get(name))
            expected[name] = letter_of(originals[place], topic, at.epoch, outcome.reason, omitted)
    return _compared(expected, {each.id: read_letter(each) for each in written.values()})
