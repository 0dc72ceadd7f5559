"""Where everything is measured: the local stack on a home of its own, with a topic that is filled once."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random
from uuid import uuid4

import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource

from benchmarks.contenders.common import CREATE
from benchmarks.events import SEED, made_up_events
from soma_cli.local.artifacts import Artifacts
from soma_cli.local.backing_services import BackingServices, open_backing_services
from soma_cli.local.home import Home
from soma_cli.local.postgres import Login
from soma_schemas.avro_schemas import latest
from soma_schemas.clock import SystemClock
from soma_schemas.registry import EventSerializer, open_registry, register_schemas
from soma_schemas.settings import PostgresSettings, PublishingSettings, TopicSettings
from soma_schemas.tables.migrations import migrate
from soma_schemas.topic_admin import apply_topics, open_admin
from soma_schemas.topics import MEMORY_EVENTS, TOPICS

PARTITIONS = 6
CLOCK = SystemClock()
_PROGRESS_EVERY = 50_000


@dataclass(frozen=True)
class Stage:
    """The running stack, as measurements use it.

    Attributes:
        parts: Kafka, registry and PostgreSQL.
        folder: Where measurements put their things.
    """

    parts: BackingServices
    folder: Path

    @property
    def bootstrap(self) -> str:
        """The broker's address."""
        return self.parts.kafka.bootstrap

    @property
    def admin(self) -> AdminClient:
        """A client for administration of the broker."""
        return open_admin(self.parts.kafka.settings())

    def dsn(self, login: Login = Login.OWNER) -> str:
        """How to log in to the database."""
        return self.parts.postgres.dsn(login)

    def worker_database(self) -> PostgresSettings:
        """The database as a worker of ours is told."""
        return self.parts.postgres.settings(Login.WORKER)

    def publishing(self, topics: TopicSettings) -> PublishingSettings:
        """What a producer of ours is told."""
        return PublishingSettings(
            kafka=self.parts.kafka.settings(), registry=self.parts.registry.settings(), topics=topics
        )

    def arrange(self, name: str) -> TopicSettings:
        """Return topics of this name, made and with their schemas registered."""
        topics = TopicSettings(prefix=f"{name}.", partitions=PARTITIONS)
        apply_topics(self.admin, topics)
        with open_registry(self.parts.registry.settings()) as registry:
            register_schemas(registry, topics)
        return topics

    def filled(self, events: int) -> TopicSettings:
        """Return topics whose `memory.events` holds so many made-up events; filled once, then kept."""
        topics = self.arrange(f"filled-{events}-{SEED}")
        held = self.held(topics)
        if held < events:
            tell(f"writing {events - held:,} events")
            with open_registry(self.parts.registry.settings()) as registry:
                serializer = EventSerializer(registry)
                topic = MEMORY_EVENTS.full_name(topics)
                self.produce(
                    topics,
                    (
                        (event.log_key(), serializer.serialize(event, topic))
                        for event in islice(made_up_events(events), held, None)
                    ),
                )
        return topics

    def produce(self, topics: TopicSettings, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Write records as a producer of ours does."""
        producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "compression.type": "zstd",
                "linger.ms": 20,
                "queue.buffering.max.messages": 200_000,
            }
        )
        topic = MEMORY_EVENTS.full_name(topics)
        for number, (key, value) in enumerate(records, 1):
            producer.produce(topic, value, key)
            if number % 500 == 0:
                producer.poll(0)
                while len(producer) > 100_000:  # noqa: PLR2004  # half of what it holds
                    producer.poll(0.1)
            if number % _PROGRESS_EVERY == 0:
                tell(f"{number:,} written")
        if producer.flush(60):
            raise RuntimeError("the broker did not take all events")

    def held(self, topics: TopicSettings) -> int:
        """Return how many events the topic holds."""
        return sum(self.ends(topics).values())

    def ends(self, topics: TopicSettings) -> dict[int, int]:
        """Return where each partition ends."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "nobody"})
        name = MEMORY_EVENTS.full_name(topics)
        try:
            return {
                number: consumer.get_watermark_offsets(TopicPartition(name, number), timeout=20)[1]
                for number in range(PARTITIONS)
            }
        finally:
            consumer.close()

    def schema_of_events(self) -> str:
        """Return the schema that the events are written with."""
        return latest("MemoryStored").text

    def keep_no_more_than(self, topics: TopicSettings, megabytes: int) -> None:
        """Have the broker drop the oldest events of each partition beyond so much."""
        entries = {"retention.bytes": megabytes * 2**20, "segment.bytes": megabytes * 2**18}
        resource = ConfigResource(
            ConfigResource.Type.TOPIC,
            MEMORY_EVENTS.full_name(topics),
            incremental_configs=[
                ConfigEntry(name, str(value), incremental_operation=AlterConfigOpType.SET)
                for name, value in entries.items()
            ],
        )
        admin = self.admin
        for done in admin.incremental_alter_configs([resource]).values():
            done.result(20)

    def forget(self, topics: TopicSettings) -> None:
        """Delete these topics."""
        admin = self.admin
        for done in admin.delete_topics([each.full_name(topics) for each in TOPICS]).values():
            done.result(20)

    def new_group(self) -> str:
        """Return a consumer group that nobody has been in."""
        return f"bench-{uuid4()}"

    def new_name(self, kind: str) -> str:
        """Return a prefix of topics that were never there."""
        return f"{kind}-{uuid4().hex[:8]}"

    def execute(self, *statements: str) -> None:
        """Run statements as the owner of the tables."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def settle_down(self) -> None:
        """Have the database write what it holds back, so that no run pays for the one before it."""
        with psycopg.connect(self.dsn(Login.ADMIN), autocommit=True) as connection:
            connection.execute("CHECKPOINT")


@asynccontextmanager
async def open_stage(folder: Path, cache: Path) -> AsyncIterator[Stage]:
    """Run the stack until the block ends.

    Args:
        folder: Keeps its data between runs.
        cache: The folder with the downloaded programs.
    """
    home = Home(folder / "home", Random(1))  # noqa: S311  # chooses ports
    async with open_backing_services(home, Artifacts(cache), CLOCK) as parts:
        stage = Stage(parts, folder)
        await asyncio.to_thread(migrate, stage.dsn())
        await parts.postgres.grant_roles()
        stage.execute(CREATE)
        yield stage


def tell(words: str) -> None:
    """Say how far it is."""
    print(f"  {words}", flush=True)
