"""The session of a `soma dlq` command: database, brokers and registry, opened and closed together."""

from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import replace
from typing import Any, NamedTuple
from uuid import UUID

import httpx2
import psycopg
from confluent_kafka.schema_registry import SchemaRegistryError

from soma_cli.invocation import Invocation
from soma_cli.settings import OperatorSettings
from soma_schemas.clock import SystemClock
from soma_schemas.encryption.encryption_errors import MasterKeyError
from soma_schemas.encryption.master_keys import MasterKeys
from soma_schemas.identity import new_id
from soma_schemas.registry import registry_error
from soma_schemas.topics import MEMORY_EVENTS
from soma_schemas.versions import FIRST_EPOCH
from soma_streams.delivery.decode import Poison, WriterSchemas, schema_ids
from soma_streams.delivery.sealed_events import KnownKey, SealedEvents, has_sealed
from soma_streams.delivery.writer_schemas import WriterSchema
from soma_streams.replay.index import DeadLetterStore
from soma_streams.replay.originals import Gone, Originals
from soma_streams.replay.outcomes import Outcomes
from soma_streams.replay.rendering import Content, content_of
from soma_streams.replay.replaying import Replayer
from soma_streams.replay.republishing import Republisher
from soma_streams.replay.session import open_session
from soma_streams.replay.stored_dead_letters import Action, Deed, StoredDeadLetter
from soma_streams.sinks.data_key_reader import master_keys, read_data_keys
from soma_streams.transport.records import Record, RecordBatch

_ERASED = "its key was destroyed by an erasure: nobody can read it"


class DlqSession:
    """Where an operator works. Made by `open_dlq_session`.

    Attributes:
        index: The dead letters.
        originals: What they hold.
    """

    def __init__(
        self,
        settings: OperatorSettings,
        actor: str,
        connection: psycopg.AsyncConnection[Any],
        originals: Originals,
        opened: AsyncExitStack,
    ) -> None:
        self._settings = settings
        self._actor = actor
        self._connection = connection
        self._opened = opened
        self.clock = SystemClock()
        self.originals = originals
        self.index = DeadLetterStore(connection, MEMORY_EVENTS.full_name(settings.topics, FIRST_EPOCH))

    def deed(self, action: Action, reason: str | None = None) -> Deed:
        """Return what goes on record for one command."""
        now = self.clock.now()
        return Deed(action, new_id(now), self._actor, now, reason)

    def outcomes(self) -> Outcomes:
        """Return who knows what became of events."""
        return Outcomes(self._connection, self.originals, self._settings.topics, self.clock)

    def replayer(self) -> Replayer:
        """Return what replays; it connects to the brokers."""
        publisher = self._opened.enter_context(
            closing(Republisher(self._settings.kafka, self._settings.topics))
        )
        return Replayer(
            index=self.index,
            reader=self.originals,
            publisher=publisher,
            watcher=self.outcomes(),
            topics=self._settings.topics,
            clock=self.clock,
        )

    async def original(self, dead_letter: StoredDeadLetter) -> Record | Gone:
        """Return a dead letter's record, or why it is gone.

        Raises:
            BrokerError: The brokers do not answer.
        """
        found: Mapping[UUID, Record | Gone] = await self.originals.read([dead_letter])
        return found[dead_letter.id]

    async def content(self, record: Record) -> Content:
        """Return what a dead letter's record says, decrypted where this login may do that.

        Raises:
            RegistryError: The registry gives no answer, or refuses to.
            psycopg.Error: The database does not answer or refuses.
        """
        schemas = await self.schemas([record])
        if not has_sealed(schemas):
            return content_of(record.value, schemas)
        settings = self._settings
        try:
            keys = _Keys(self._connection, master_keys(settings.encryption))
            events = SealedEvents(keys, settings.limits, settings.topics.epoch)
            opened = await events.open(RecordBatch.of(("", 0), [record]), schemas)
        except MasterKeyError as error:
            return replace(content_of(record.value, schemas), fields=None, fault=str(error))
        for ended in opened.ended.values():
            fault = ended.message if isinstance(ended, Poison) else _ERASED
            return replace(content_of(record.value, schemas), fields=None, fault=fault)
        (inner,) = opened.batch.records
        return content_of(inner.value, await self.schemas([inner]))

    async def schemas(self, records: Iterable[Record]) -> Mapping[int, WriterSchema]:
        """Return the schemas that records were written with, as far as the registry knows them.

        Raises:
            RegistryError: It gives no answer, or refuses to.
        """
        registry = WriterSchemas(self._settings.registry)
        try:
            return dict(await registry.fetch(schema_ids(records)))
        except (SchemaRegistryError, httpx2.HTTPError, OSError) as error:
            raise registry_error(error, "the dead letters' schemas") from error
        finally:
            await registry.close()


class _Keys(NamedTuple):
    """The data keys, as an operator may read them."""

    connection: psycopg.AsyncConnection[Any]
    masters: MasterKeys | None

    async def read(self, key_ids: Collection[UUID]) -> Mapping[UUID, KnownKey]:
        """Return what is known of keys."""
        return await read_data_keys(self.connection, key_ids, self.masters)


@asynccontextmanager
async def open_dlq_session(settings: OperatorSettings, root: Invocation) -> AsyncIterator[DlqSession]:
    """Yield a session; whoever is logged in to this machine sits at it.

    Raises:
        RoleError: The login may not decide about dead letters.
        psycopg.Error: The database cannot be reached.
    """
    async with AsyncExitStack() as opened:
        connection = await opened.enter_async_context(open_session(settings.postgres))
        originals = opened.enter_context(Originals(settings.kafka, settings.topics, SystemClock()))
        yield DlqSession(settings, _actor(root), connection, originals, opened)


def _actor(root: Invocation) -> str:
    login = root.environment.get("USER") or root.environment.get("LOGNAME")
    return "operator" if login is None else f"operator:{login}"
