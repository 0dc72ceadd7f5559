"""Whatever anybody writes to the topic: both groups say the same of it, and all after it is applied."""

import asyncio
import json
import os
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient

from builders import stored
from conftest import LocalParts
from dead_letter_makers import RawLog
from integration.workers.test_workers import (
    COLLECTION,
    postgres_worker,
    rows,
    settled_to,
    vector_worker,
)
from odd_headers import name_of, odd_producer
from own_processes import a_free_port
from probing import probing
from soma_cli.local.embedded_index import EmbeddedIndex
from soma_schemas.avro_schemas import latest
from soma_schemas.clock import SystemClock
from soma_schemas.registry import open_registry
from soma_schemas.settings import PublishingSettings
from soma_schemas.topics import DEAD_LETTERS, MEMORY_EVENTS
from soma_schemas.vectors.points import point_id
from soma_schemas.versions import Position
from soma_streams.replay.originals import Gone, Originals
from soma_streams.replay.stored_dead_letters import StoredDeadLetter
from waiting import eventually

PARTITION = 0
GROUPS = ("soma-postgres", "soma-vectors")
MIB = 1024 * 1024
LONGEST_ANSWER_SECONDS = 1.0


@dataclass(frozen=True)
class Nasty:
    """A record, and the code of its letter; None when it is an event like any other."""

    name: str
    value: bytes | None
    code: str | None
    headers: tuple[tuple[Any, bytes | None], ...] = ()
    config: tuple[tuple[str, Any], ...] = ()


class Maker:
    """Makes records under schemas of somebody else."""

    def __init__(self, publishing: PublishingSettings, registry: SchemaRegistryClient) -> None:
        self._log = RawLog(publishing)
        self._registry = registry
        self._subject = f"{publishing.topics.prefix}somebody"
        self._schemas = 0
        self.good = stored(key="good", text="good")
        self.value = self._log.encoded(self.good)

    def under(self, schema: Any, body: bytes, kind: str = "AVRO") -> bytes:
        """Return a value under a schema that is registered for it."""
        return self._under(Schema(schema if isinstance(schema, str) else json.dumps(schema), kind), body)

    def referring(self, type_: Any, content: bytes) -> bytes:
        """Return a good event with one field more, whose type is another schema of the registry."""
        self._under(Schema(json.dumps(type_), "AVRO"), b"")
        schema = latest("MemoryStored").parsed()
        schema["fields"].append({"name": "added", "type": type_["name"]})
        reference = SchemaReference(type_["name"], f"{self._subject}-{self._schemas}", 1)
        return self._under(Schema(json.dumps(schema), "AVRO", [reference]), self.value[5:] + content)

    def _under(self, schema: Schema, body: bytes) -> bytes:
        self._schemas += 1
        number = self._registry.register_schema(f"{self._subject}-{self._schemas}", schema)
        return b"\0" + number.to_bytes(4, "big") + body

    def added(self, type_: Any, content: bytes) -> bytes:
        """Return a good event with one field more."""
        schema = latest("MemoryStored").parsed()
        schema["fields"].append({"name": "added", "type": type_})
        return self.under(schema, self.value[5:] + content)

    def stored(self, **fields: Any) -> bytes:
        """Return an event that is not held to the contract."""
        return self._log.encoded(self.good, **fields)


def _varint(number: int) -> bytes:
    number <<= 1
    found = bytearray()
    while number > 0x7F:  # seven bits a byte
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def nasty_records(make: Maker) -> list[Nasty]:
    """Every case, in the order in which they are published."""
    large = (("compression.type", "zstd"), ("message.max.bytes", 1_000_000_000))
    packed = (("compression.type", "gzip"), *large[1:])
    itself = {"type": "record", "name": "n", "fields": [{"name": "next", "type": ["null", "n"]}]}
    symbols = {"type": "enum", "name": "MemoryStored", "namespace": "soma.memory", "symbols": ["A"]}
    sixteen = {"type": "fixed", "name": "MemoryStored", "namespace": "soma.memory", "size": 16}
    json_schema = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}
    item = {"type": "array", "items": "long"}
    elsewhere = {"type": "enum", "name": "org.other.Colour", "symbols": ["RED"]}
    replayed = (("x-replay-offset", b"0"), ("x-replay-epoch", b"1"), ("x-replay-timestamp", b"1772442000000"))
    return [
        Nasty("enum", make.under(symbols, b"\0"), "foreign_schema"),
        Nasty("fixed", make.under(sixteen, bytes(16)), "foreign_schema"),
        Nasty("recursive", make.added(itself, b"\2" * 100_000 + b"\0"), "foreign_schema"),
        Nasty(
            "nulls",
            make.added({"type": "array", "items": "null"}, _varint(200_000_000) + b"\0"),
            "foreign_schema",
        ),
        Nasty("map of nulls", make.added({"type": "map", "values": "null"}, b"\0"), "foreign_schema"),
        Nasty("JSON", make.under(json_schema, b"{}", "JSON"), "foreign_schema"),
        Nasty("references", make.referring(elsewhere, b"\0"), "foreign_schema"),
        Nasty("many items", make.added(item, _varint(1_000_000) + bytes(1_000_001)), "avro", config=large),
        Nasty("many tags", make.stored(tags=[""] * 2_000_000), "avro", config=large),
        Nasty("many numbers", make.stored(embedding=[0.5] * 500_000), "avro", config=large),
        Nasty("another length", make.added("bytes", _varint(2**62)), "avro"),
        Nasty("four megabytes", make.stored(text="x" * 4 * MIB), "too_long", config=large),
        Nasty("the same as gzip", make.stored(text="y" * 4 * MIB), "too_long", config=packed),
        Nasty("hundreds of megabytes", bytes(300 * MIB), "unreadable_record", config=large),
        Nasty("no such schema", b"\0\xff\xff\xff\xff", "unknown_schema_id"),
        Nasty("schema zero", b"\0\0\0\0\0", "unknown_schema_id"),
        Nasty("the last schema", b"\0\x7f\xff\xff\xff", "unknown_schema_id"),
        Nasty("odd header", make.value, None, ((name_of(b"a\xff\xfe"), b"1"),)),
        Nasty("odd header of poison", b"x", "not_wire_format", ((name_of(b"a\xff\xfe"), b"1"),)),
        Nasty("odd names of poison", b"x", "not_wire_format", (("a\0b", None), ("", b""), ("č", b"1"))),
        Nasty("many headers", b"x", "not_wire_format", (("n", b"v"),) * 10_000),
        Nasty("large header", b"x", "not_wire_format", (("n", bytes(4 * MIB)),), large),
        Nasty("garbage of a replay", make.value, "replay_headers", (("x-replay-offset", b"\xff"),)),
        Nasty("nothing of a replay", make.value, "replay_headers", (("x-replay-offset", None),)),
        Nasty("a replay of 1970", make.value, "replay_headers", (*replayed[:2], (replayed[2][0], b"1"))),
        Nasty("a replay twice", make.value, None, (*replayed, *replayed)),
    ]


async def publish(publishing: PublishingSettings, key: bytes, records: list[Nasty]) -> dict[int, Nasty]:
    """Write records in order and return them by their offsets."""
    topic = MEMORY_EVENTS.full_name(publishing.topics)
    found: dict[int, Nasty] = {}
    async with odd_producer(publishing.kafka.bootstrap_servers) as odd:
        for record in records:
            if any(isinstance(name, str) and type(name) is not str for name, _ in record.headers):
                sent = await odd.send_and_wait(
                    topic, record.value, key=key, partition=PARTITION, headers=list(record.headers)
                )
                found[sent.offset] = record
                continue
            producer = Producer(publishing.kafka.librdkafka() | dict(record.config))
            sink: list[Any] = []
            producer.produce(
                topic,
                record.value,
                key=key,
                partition=PARTITION,
                headers=list(record.headers),
                on_delivery=_noted(sink),
            )
            await asyncio.to_thread(producer.flush)
            found[sink[0].offset()] = record
    return found


def _noted(sink: list[Any]) -> Callable[[Any, Any], None]:
    def note(error: Any, message: Any) -> None:
        assert error is None, error
        sink.append(message)

    return note


async def test_no_record_stops_a_worker_or_its_probes_and_all_after_it_are_applied(
    local_parts: LocalParts, publishing_settings: PublishingSettings, owner_dsn: str, tmp_path: Path
) -> None:
    with open_registry(publishing_settings.registry) as registry:
        make = Maker(publishing_settings, registry)
        records = await asyncio.to_thread(nasty_records, make)
    sent = await publish(publishing_settings, make.good.log_key(), records)
    del records
    last = stored(key="last", text="after everything")
    log = RawLog(publishing_settings)
    (end,) = await asyncio.to_thread(log.send, [log.an_event(last)], PARTITION)
    ports = (port := a_free_port(), a_free_port(above=port))

    with closing(EmbeddedIndex.open(tmp_path / "vectors", COLLECTION)) as index, probing(ports) as prober:
        async with (
            # It reads its model before anything else, which nobody has to wait for.
            vector_worker(local_parts, publishing_settings, index, port=ports[0]) as index_worker,
            postgres_worker(local_parts, publishing_settings, port=ports[1]) as records_worker,
        ):
            for group in GROUPS:
                await settled(owner_dsn, group, end, [records_worker, index_worker])
            poison = {offset: nasty for offset, nasty in sent.items() if nasty.code is not None}
            letters = await eventually(
                lambda: rows(owner_dsn, "SELECT * FROM dead_letters"),
                lambda seen: len(seen) == len(GROUPS) * len(poison),
            )
            probes = await asyncio.to_thread(prober.end)
            memories = {row["text"] for row in await rows(owner_dsn, "SELECT text FROM memories")}
            points = await index.read([point_id(last.tenant, last.memory_id)])

    for group in GROUPS:
        codes = {sent[x["log_offset"]].name: x["code"] for x in letters if x["consumer_group"] == group}
        assert codes == {nasty.name: nasty.code for nasty in poison.values()}
    (referring,) = {row["message"] for row in letters if sent[row["log_offset"]].name == "references"}
    assert "refers to other schemas" in referring
    assert memories == {"good", "after everything"}
    assert len(points) == 1
    assert probes.failures == []
    assert probes.longest() < LONGEST_ANSWER_SECONDS
    with closing(
        Originals(publishing_settings.kafka, publishing_settings.topics, SystemClock())
    ) as originals:
        found = await originals.read([_letter(row) for row in letters])
    by_name = {sent[row["log_offset"]].name: found[row["id"]] for row in letters}
    # A letter keeps the original, or the log does; only what is too large to be read is not had again.
    assert by_name.pop("hundreds of megabytes") is Gone.UNREADABLE
    assert {name: getattr(record, "value", record) for name, record in by_name.items()} == {
        nasty.name: nasty.value for nasty in poison.values() if nasty.name in by_name
    }


async def settled(dsn: str, group: str, end: Position, working: list["asyncio.Task[None]"]) -> None:
    waiting = asyncio.create_task(settled_to(dsn, group, end))
    await asyncio.wait([waiting, *working], return_when=asyncio.FIRST_COMPLETED)
    assert not any(task.done() for task in working), "a worker ended"
    await waiting


def originals_of(publishing: PublishingSettings) -> Originals:
    return Originals(publishing.kafka, publishing.topics, SystemClock())


def _letter(row: dict[str, Any]) -> StoredDeadLetter:
    fields: dict[str, Any] = {name: row[name] for name in StoredDeadLetter.__dataclass_fields__}
    return StoredDeadLetter(**fields)


async def test_a_letter_that_the_topic_does_not_take_is_written_without_its_value_which_the_log_has(
    local_parts: LocalParts, publishing_settings: PublishingSettings, owner_dsn: str, admin: AdminClient
) -> None:
    topic = DEAD_LETTERS.full_name(publishing_settings.topics)
    small = ConfigEntry("max.message.bytes", "100000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[small])
    noise = os.urandom(200_000)
    records = [Nasty("large", noise, "not_wire_format"), Nasty("small", b"x", "not_wire_format")]
    sent = await publish(publishing_settings, b"acme/nobody", records)

    async with postgres_worker(local_parts, publishing_settings) as working:
        await settled(owner_dsn, "soma-postgres", Position(PARTITION, max(sent)), [working])
        # Lowered behind the worker's back: it would refuse to start.
        for done in admin.incremental_alter_configs([resource]).values():
            done.result(20)
        again = await publish(publishing_settings, b"acme/nobody", records)
        await settled(owner_dsn, "soma-postgres", Position(PARTITION, max(again)), [working])
        letters = await eventually(
            lambda: rows(owner_dsn, "SELECT * FROM dead_letters ORDER BY log_offset"),
            lambda seen: len(seen) == len(sent) + len(again),
        )

    large = next(row for row in letters if again.get(row["log_offset"]) is records[0])
    assert "not in the letter but in the log, while it is kept there: value" in large["message"]
    with closing(
        Originals(publishing_settings.kafka, publishing_settings.topics, SystemClock())
    ) as originals:
        found = await originals.read([_letter(row) for row in letters])
        assert [getattr(found[row["id"]], "value", None) for row in letters] == [noise, b"x"] * 2
        # What the log has dropped is gone, and it is said.
        events = MEMORY_EVENTS.full_name(publishing_settings.topics)
        await asyncio.to_thread(_trim, admin, events, large["log_offset"] + 1)
        found = await originals.read([_letter(large)])
    assert found == {large["id"]: Gone.NOT_IN_LOG}


def _trim(admin: AdminClient, topic: str, offset: int) -> None:

    for done in admin.delete_records([TopicPartition(topic, PARTITION, offset)]).values():
        done.result(20)
