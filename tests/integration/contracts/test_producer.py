"""The producer, the topics and the registry, on the real broker and registry."""

import io
import struct
from contextlib import closing
from datetime import timedelta
from uuid import UUID

import fastavro
import pytest
from confluent_kafka import Consumer, Message
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from builders import A_MOMENT, A_NAMESPACE
from conftest import LocalParts
from soma_schemas.avro_schemas import latest
from soma_schemas.errors import MismatchError
from soma_schemas.events import PatchField, RetentionPolicySet
from soma_schemas.identity import memory_id_for_key
from soma_schemas.producer import (
    DeliveryRefusedError,
    DeliveryTimeoutError,
    EventPublisher,
    MemoryProducer,
    NewMemory,
    ProducerClosedError,
    Tombstone,
)
from soma_schemas.registry import (
    RegistryUnreachableError,
    SchemaNotRegisteredError,
    check_schemas,
    open_registry,
    require_schemas,
)
from soma_schemas.settings import KafkaSettings, PublishingSettings, RegistrySettings, TopicSettings
from soma_schemas.topic_admin import BrokerError, apply_topics, open_admin, require_topics, topic_differences
from soma_schemas.topics import MEMORY_EVENTS, MEMORY_POLICIES, Topic
from soma_schemas.violations import ContractError


def read_all(settings: PublishingSettings, count: int, topic: Topic = MEMORY_EVENTS) -> list[Message]:
    consumer = Consumer(
        settings.kafka.librdkafka()
        | {"group.id": "reader", "auto.offset.reset": "earliest", "enable.auto.commit": False}
    )
    consumer.subscribe([topic.full_name(settings.topics)])
    messages: list[Message] = []
    try:
        while len(messages) < count:
            found = consumer.consume(count - len(messages), timeout=30)
            assert found, f"only {len(messages)} of {count} records came"
            messages.extend(found)
    finally:
        consumer.close()
    return messages


def test_what_was_acknowledged_is_in_the_log_where_the_receipt_says(
    publishing_settings: PublishingSettings,
) -> None:
    with MemoryProducer(publishing_settings, tenant="acme") as producer:
        receipt = producer.store(NewMemory(namespace=A_NAMESPACE, key="tea", text="tea at four"))

    (message,) = read_all(publishing_settings, 1)
    assert (message.partition(), message.offset()) == receipt.position[:2]
    assert message.key() == f"acme/{receipt.memory_id}".encode()
    assert receipt.memory_id == memory_id_for_key("acme", A_NAMESPACE, "tea")


def test_a_record_goes_to_its_topic_and_a_tombstone_after_it_under_the_same_key(
    publishing_settings: PublishingSettings,
) -> None:
    policy = RetentionPolicySet.validated(
        {
            "event_id": UUID(int=1),
            "tenant": "acme",
            "occurred_at": A_MOMENT,
            "actor": "tester",
            "namespace": A_NAMESPACE,
            "rules": [{"kind": None, "ttl_seconds": 60, "notice_seconds": 0, "archive": False}],
        }
    )
    with closing(EventPublisher(publishing_settings)) as publisher:
        sent = publisher.send([policy, Tombstone(UUID(int=2), policy.log_key())], MEMORY_POLICIES)
        positions = sent.result(30)

    first, second = read_all(publishing_settings, 2, MEMORY_POLICIES)
    assert [(each.partition(), each.offset()) for each in (first, second)] == [
        place[:2] for place in positions
    ]
    assert first.key() == second.key() == b"acme/team/notes"
    assert first.value() is not None
    assert second.value() is None


def test_any_avro_reader_can_read_what_the_producer_writes(
    local_parts: LocalParts, publishing_settings: PublishingSettings
) -> None:
    with MemoryProducer(publishing_settings, tenant="acme") as producer:
        producer.store(NewMemory(namespace=A_NAMESPACE, key="tea", text="čaj", payload={"cups": 2}))

    (message,) = read_all(publishing_settings, 1)
    value = message.value()
    assert value is not None
    magic, schema_id = struct.unpack(">bI", value[:5])
    with open_registry(local_parts.parts.registry.settings()) as registry:
        schema = registry.get_schema(schema_id)
    fields = fastavro.schemaless_reader(
        io.BytesIO(value[5:]), fastavro.parse_schema(latest("MemoryStored").parsed())
    )
    assert magic == 0
    assert schema.schema_str is not None
    assert isinstance(fields, dict)
    assert (fields["text"], fields["payload"]) == ("čaj", '{"cups": 2}')


def test_partitions_are_chosen_as_the_java_client_does(publishing_settings: PublishingSettings) -> None:
    """murmur2 of the key, as org.apache.kafka.common.utils.Utils has it, spelt out by other means."""

    def murmur2(data: bytes) -> int:
        length, m = len(data), 0x5BD1E995
        h = (0x9747B28C ^ length) & 0xFFFFFFFF
        whole = length - length % 4
        for (k,) in struct.iter_unpack("<I", data[:whole]):
            k = (k * m) & 0xFFFFFFFF  # noqa: PLW2901  # as the original does
            k ^= k >> 24  # noqa: PLW2901
            h = ((h * m) & 0xFFFFFFFF) ^ ((k * m) & 0xFFFFFFFF)
        if rest := data[whole:]:
            h = ((h ^ int.from_bytes(rest, "little")) * m) & 0xFFFFFFFF
        h = ((h ^ (h >> 13)) * m) & 0xFFFFFFFF
        return h ^ (h >> 15)

    with MemoryProducer(publishing_settings, tenant="acme") as producer:
        receipts = producer.store_many(
            NewMemory(namespace=A_NAMESPACE, key=f"key {number}", text="x") for number in range(50)
        )

    for receipt in receipts:
        key = f"acme/{receipt.memory_id}".encode()
        expected = (murmur2(key) & 0x7FFFFFFF) % publishing_settings.topics.partitions
        assert receipt.position.partition == expected
    assert len({receipt.position.partition for receipt in receipts}) == 3


def test_of_many_memories_those_before_one_that_breaks_the_contract_are_sent(
    publishing_settings: PublishingSettings,
) -> None:
    texts = [*(f"{number}" for number in range(700)), "", "late"]

    with MemoryProducer(publishing_settings, tenant="acme") as producer:
        with pytest.raises(ContractError) as caught:
            producer.store_many(NewMemory(namespace=A_NAMESPACE, text=text) for text in texts)
        producer.flush()
        producer.store(NewMemory(namespace=A_NAMESPACE, text="last"))

    assert [each.path for each in caught.value.violations] == ["/700/text"]
    messages = read_all(publishing_settings, 701)
    assert not any(b"late" in (message.value() or b"") for message in messages)


def test_of_many_events_those_that_the_brokers_refuse_are_named_and_the_others_are_in_the_log(
    publishing_settings: PublishingSettings,
) -> None:
    with MemoryProducer(publishing_settings, tenant="acme") as producer:
        events = [producer.stored(NewMemory(namespace=A_NAMESPACE, text=f"{number}")) for number in range(6)]
        # Past the check of the contract, which no broker knows.
        for number in (2, 4):
            events[number] = events[number].model_copy(update={"text": "x" * 10_000_000})

        with pytest.raises(DeliveryRefusedError, match=f"event {events[2].event_id} and 1 more") as caught:
            producer.publish(events).result()

    assert caught.value.failed == (events[2].event_id, events[4].event_id)
    assert {message.key() for message in read_all(publishing_settings, 4)} == {
        event.log_key() for number, event in enumerate(events) if number not in {2, 4}
    }


def test_memories_of_one_partition_lie_in_the_order_in_which_they_were_given(
    publishing_settings: PublishingSettings,
) -> None:
    with MemoryProducer(publishing_settings, tenant="acme") as producer:
        receipts = producer.store_many(
            NewMemory(namespace=A_NAMESPACE, text=f"{number}") for number in range(1_200)
        )

    for partition in range(publishing_settings.topics.partitions):
        offsets = [each.position.offset for each in receipts if each.position.partition == partition]
        assert offsets == list(range(len(offsets)))


async def test_storing_works_inside_an_event_loop_too(publishing_settings: PublishingSettings) -> None:
    async with MemoryProducer(publishing_settings, tenant="acme") as producer:
        receipt = await producer.store_async(NewMemory(namespace=A_NAMESPACE, text="x"))

    assert receipt.memory_id.version == 7


def test_patches_links_and_deletions_follow_their_memory(publishing_settings: PublishingSettings) -> None:
    with MemoryProducer(publishing_settings, tenant="acme") as producer:
        memory = producer.store(NewMemory(namespace=A_NAMESPACE, key="a", text="x"))
        other = producer.store(NewMemory(namespace=A_NAMESPACE, key="b", text="y"))
        receipts = [
            producer.patch(
                A_NAMESPACE, memory.memory_id, {PatchField.TEXT: "z", PatchField.PAYLOAD: {"a": 1}}
            ),
            producer.link(A_NAMESPACE, memory.memory_id, other.memory_id, "about", 0.5),
            producer.unlink(A_NAMESPACE, memory.memory_id, other.memory_id, "about"),
            producer.delete(A_NAMESPACE, memory.memory_id),
        ]

    positions = [memory.position, *(receipt.position for receipt in receipts)]
    assert {position.partition for position in positions} == {memory.position.partition}
    assert positions == sorted(positions)


def test_what_breaks_the_contract_is_never_sent(publishing_settings: PublishingSettings) -> None:
    with MemoryProducer(publishing_settings, tenant="acme") as producer:
        with pytest.raises(ContractError):
            producer.store(NewMemory(namespace="team//notes", text="x"))
        good = producer.store(NewMemory(namespace="team/notes", text="x"))

    (message,) = read_all(publishing_settings, 1)
    assert message.key() == f"acme/{good.memory_id}".encode()


def test_closing_flushes_what_was_sent(publishing_settings: PublishingSettings) -> None:
    producer = MemoryProducer(publishing_settings, tenant="acme")
    pending = producer.publish(
        producer.stored(NewMemory(namespace=A_NAMESPACE, text=f"{number}")) for number in range(500)
    )

    producer.close()

    assert pending.done()
    assert len(read_all(publishing_settings, 500)) == 500
    with pytest.raises(ProducerClosedError):
        producer.store(NewMemory(namespace=A_NAMESPACE, text="late"))


def test_without_a_broker_the_producer_says_what_to_do(publishing_settings: PublishingSettings) -> None:
    nowhere = publishing_settings.model_copy(
        update={
            "kafka": KafkaSettings(bootstrap_servers="127.0.0.1:1"),
            "producer": publishing_settings.producer.model_copy(
                update={"delivery_timeout": timedelta(seconds=0.5)}
            ),
        }
    )

    with (
        MemoryProducer(nowhere, tenant="acme") as producer,
        pytest.raises(DeliveryTimeoutError) as caught,
    ):
        producer.store(NewMemory(namespace=A_NAMESPACE, text="x"))

    assert "event_id" in (caught.value.remedy or "")


def test_without_schemas_the_producer_says_what_to_do(
    local_parts: LocalParts, admin: AdminClient, topic_settings: TopicSettings
) -> None:
    unregistered = topic_settings.model_copy(update={"prefix": "unregistered."})
    apply_topics(admin, unregistered)
    settings = PublishingSettings(
        kafka=local_parts.parts.kafka.settings(),
        registry=local_parts.parts.registry.settings(),
        topics=unregistered,
    )

    with (
        MemoryProducer(settings, tenant="acme") as producer,
        pytest.raises(SchemaNotRegisteredError) as caught,
    ):
        producer.store(NewMemory(namespace=A_NAMESPACE, text="x"))

    assert "soma schemas register" in (caught.value.remedy or "")
    with (
        open_registry(local_parts.parts.registry.settings()) as registry,
        pytest.raises(MismatchError, match="not registered"),
    ):
        require_schemas(registry, unregistered)


def test_without_a_registry_the_producer_says_so(publishing_settings: PublishingSettings) -> None:
    nowhere = publishing_settings.model_copy(
        update={"registry": RegistrySettings.model_validate({"url": "http://127.0.0.1:1", "timeout": 1})}
    )

    with MemoryProducer(nowhere, tenant="acme") as producer, pytest.raises(RegistryUnreachableError):
        producer.store(NewMemory(namespace=A_NAMESPACE, text="x"))


def test_registering_twice_changes_nothing_and_checks_clean(
    local_parts: LocalParts, topic_settings: TopicSettings
) -> None:
    with open_registry(local_parts.parts.registry.settings()) as registry:
        statuses = check_schemas(registry, topic_settings)

    assert statuses
    assert [status.fault for status in statuses] == [None] * len(statuses)


def test_topics_as_declared_have_no_differences(admin: AdminClient, topic_settings: TopicSettings) -> None:
    assert topic_differences(admin, topic_settings) == []
    require_topics(admin, topic_settings)


def test_a_changed_configuration_is_told_and_mended(
    admin: AdminClient, topic_settings: TopicSettings
) -> None:
    name = MEMORY_EVENTS.full_name(topic_settings)
    changes = [
        ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
        for key, value in (("retention.ms", "1000"), ("message.timestamp.type", "CreateTime"))
    ]
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=changes)
    for future in admin.incremental_alter_configs([resource]).values():
        future.result()

    found = {difference.what for difference in topic_differences(admin, topic_settings)}
    _, remaining = apply_topics(admin, topic_settings)

    assert found == {"retention.ms", "message.timestamp.type"}
    assert remaining == []


def test_more_partitions_than_declared_are_told_and_left_alone(
    admin: AdminClient, topic_settings: TopicSettings
) -> None:
    name = MEMORY_EVENTS.full_name(topic_settings)
    for future in admin.create_partitions([NewPartitions(name, 5)]).values():
        future.result()

    _, remaining = apply_topics(admin, topic_settings)

    assert [(each.topic, each.what, each.found) for each in remaining] == [(name, "partitions", "5")]
    with pytest.raises(MismatchError, match="partitions is 5, declared is 3"):
        require_topics(admin, topic_settings)


def test_a_broker_that_is_away_is_an_error_that_says_so(topic_settings: TopicSettings) -> None:
    nobody = open_admin(KafkaSettings(bootstrap_servers="127.0.0.1:1"))

    with pytest.raises(BrokerError):
        topic_differences(nobody, topic_settings, timeout_seconds=1.0)
