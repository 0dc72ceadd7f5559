"""What must hold before a worker takes its first event: it starts only on what it understands."""

import asyncio

import structlog
from confluent_kafka.admin import AdminClient

from soma_schemas.postgres_access import refusals_explained
from soma_schemas.registry import open_registry, require_schemas
from soma_schemas.settings import PostgresSettings, PublishingSettings
from soma_schemas.tables import check_runs_on
from soma_schemas.topic_admin import open_admin, require_topics
from soma_streams.delivery.retry import Retry, StoreAvailability


class Waiting:
    """Says in the log that a start waits for something that is away."""

    def availability_changed(self, state: StoreAvailability) -> None:
        """Take notice."""
        if state is StoreAvailability.UNAVAILABLE:
            structlog.get_logger("soma_streams.checks").warning("start_waits")


async def require_log(settings: PublishingSettings, retry: Retry) -> None:
    """Return when the topics and schemas are as this version declares them.

    What is away is waited for.

    Raises:
        MismatchError: They are not; the remedy names the command that mends it.
    """
    admin: AdminClient = open_admin(settings.kafka)
    await retry("check topics", lambda: asyncio.to_thread(require_topics, admin, settings.topics))
    with open_registry(settings.registry, retries=False) as registry:
        await retry("check schemas", lambda: asyncio.to_thread(require_schemas, registry, settings.topics))


async def require_tables(settings: PostgresSettings, retry: Retry) -> None:
    """Return when the database is at the revision that this version needs.

    What is away is waited for.

    Raises:
        MismatchError: It is not; the remedy names the command that mends it.
    """
    await retry("check tables", lambda: asyncio.to_thread(_check_tables, settings))


def _check_tables(settings: PostgresSettings) -> None:
    with refusals_explained(settings):
        check_runs_on(settings.conninfo())
