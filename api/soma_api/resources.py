"""The resources of the application, opened and closed by the process: connections, readers, side tasks."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from random import Random
from typing import Any

import psycopg
from psycopg_pool import AsyncConnectionPool

from soma_api.accesses import Accesses
from soma_api.followed_index import Judge, Searcher
from soma_api.freshness import Freshness, LogEnds
from soma_api.index_completeness import Completeness, IndexLook, PointsById
from soma_api.key_uses import KeyUses
from soma_api.log_ends import KafkaLogEnds
from soma_api.metrics import REPLICA_LAG, ApiMetrics
from soma_api.policies_in_force import PoliciesInForce
from soma_api.probes import BackingPart, Probe, kafka_probe, postgres_probe, registry_probe
from soma_api.publishing import EventLog, Publisher
from soma_api.queries.api_key_queries import ApiKeyQueries
from soma_api.queries.database import Database, connection_string, database_pool
from soma_api.queries.policy_queries import PolicyQueries
from soma_api.read_replicas import Connect, ReadReplica, ReadReplicas
from soma_api.settings import ApiSettings
from soma_api.start_checks import check_database, check_database_later
from soma_api.tokens import Tokens, open_tokens
from soma_api.watermark_feed import WatermarkFeed
from soma_api.watermark_waiter import WatermarkWaiter
from soma_schemas.clock import Clock
from soma_schemas.errors import SomaError
from soma_schemas.metrics import MetricSet
from soma_schemas.pool_metrics import PoolName, expose_pool
from soma_schemas.settings import PostgresSettings, TopicSettings
from soma_schemas.topics import MEMORY_EVENTS

Follow = Callable[[Judge], Coroutine[Any, Any, None]]


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What the application needs, ready for use; it opens and closes none of it.

    Attributes:
        settings: All of the API's; `limits` among them.
        clock: Time.
        pool: To PostgreSQL as a member of `soma_readers`, open, in autocommit.
        publisher: Writes to the log.
        search: Asks the vector index.
        index: Tells how complete it is.
        ends: Where the log ends.
        policies: Retention; told of changes by a `WatermarkFeed`.
        accesses: Of memories, counted and published beside the requests.
        key_uses: Noted of API keys; told to the database meanwhile.
        tokens: Checks those of the OpenID provider; None where API keys alone are taken.
        waiter: How far the sinks are; fed by a `WatermarkFeed`, or in process by `advance`.
        freshness: How old answers may be.
        replicas: Of PostgreSQL, for reads.
        metrics: Counts.
        cursor_secret: Signs cursors.
        probes: What /readyz asks.
    """

    settings: ApiSettings
    clock: Clock
    pool: AsyncConnectionPool
    publisher: Publisher
    search: Searcher
    index: IndexLook
    ends: LogEnds
    policies: PoliciesInForce
    key_uses: KeyUses
    accesses: Accesses
    tokens: Tokens | None
    waiter: WatermarkWaiter
    freshness: Freshness
    replicas: ReadReplicas
    metrics: ApiMetrics
    cursor_secret: bytes
    probes: Mapping[BackingPart, Probe]


@asynccontextmanager
async def open_resources(
    settings: ApiSettings,
    *,
    clock: Clock,
    publisher: Publisher,
    search: Searcher,
    points: PointsById,
    vectors_probe: Probe,
    metrics: MetricSet,
    follow: Follow | None = None,
) -> AsyncIterator[Resources]:
    """Open everything that the API needs of its own, run its side tasks, and close it all at the end.

    Args:
        settings: Where everything is.
        clock: Time.
        publisher: Writes to the log; the caller closes it.
        search: Asks the vector index; the caller closes what is behind it.
        points: Of the same index: what it says of itself.
        vectors_probe: Raises when the vector index does not answer.
        metrics: Of the process; shared with whatever else runs in it.
        follow: Runs meanwhile, and has `search` and `points` go over to another index that takes the place of
            theirs; it is told how complete an index is.

    Raises:
        MismatchError: The database is not at the revision that this version needs.
        ConfigurationError: The login would see every tenant.
    """
    checked = await check_database(settings.postgres)

    connect = _connecting(settings, settings.postgres)
    with closing(KafkaLogEnds(settings.kafka, settings.topics)) as ends:
        with suppress(SomaError):  # later, when the brokers are away
            await ends.look()
        waiter = WatermarkWaiter(ends.topics.epoch)
        async with (
            database_pool(settings.postgres, settings.api.statement_timeout) as pool,
            AsyncExitStack() as stack,
            asyncio.TaskGroup() as tasks,
        ):
            expose_pool(pool, PoolName.API, metrics)
            freshness = Freshness(ends, waiter, clock)
            policies = PoliciesInForce(PolicyQueries(Database(pool)).in_force, clock)
            key_uses = KeyUses(ApiKeyQueries(Database(pool)).note_uses, clock)
            api_metrics = ApiMetrics(metrics)
            replicas = await open_replicas(
                settings, stack, waiter=waiter, freshness=freshness, clock=clock, metrics=api_metrics
            )
            metrics.read(REPLICA_LAG, replicas.lags)
            access_log = EventLog(publisher, timeout=settings.api.publish_timeout.total_seconds(), threads=1)
            accesses = Accesses(access_log.publish, clock, settings.limits, api_metrics)
            feed = WatermarkFeed(
                connect=connect,
                pool=pool,
                topics=ends.topics,
                waiter=waiter,
                policies=policies,
                clock=clock,
                random=Random(),  # noqa: S311  # spreads reconnects, guards nothing
            )
            index = Completeness(
                points=points,
                waiter=waiter,
                identify=ends.identity,
                partitions=range(MEMORY_EVENTS.partitions(ends.topics)),
                clock=clock,
            )

            async def go_over(topics: TopicSettings) -> None:
                waiter.begin(topics.epoch)
                feed.follow(topics)
                tasks.create_task(index.follow(range(MEMORY_EVENTS.partitions(topics))))

            running = [
                tasks.create_task(each.run())
                for each in (feed, freshness, replicas, index, key_uses, accesses)
            ]
            running.append(tasks.create_task(ends.run(go_over, clock)))
            if follow is not None:
                running.append(tasks.create_task(follow(index.judge)))
            if not checked:
                running.append(tasks.create_task(check_database_later(settings.postgres, clock)))
            yield Resources(
                settings=settings,
                clock=clock,
                pool=pool,
                publisher=publisher,
                search=search,
                index=index,
                ends=ends,
                policies=policies,
                key_uses=key_uses,
                tokens=open_tokens(settings.oidc, clock),
                waiter=waiter,
                freshness=freshness,
                replicas=replicas,
                metrics=api_metrics,
                accesses=accesses,
                cursor_secret=_cursor_secret(settings),
                probes={
                    BackingPart.POSTGRES: postgres_probe(pool),
                    BackingPart.VECTORS: vectors_probe,
                    BackingPart.KAFKA: kafka_probe(ends),
                    BackingPart.REGISTRY: registry_probe(settings.registry),
                    **({BackingPart.READ_REPLICAS: replicas.require_usable} if settings.replicas() else {}),
                },
            )
            for task in running:
                task.cancel()
            await accesses.tell()
            access_log.close()
            await key_uses.tell()


def _connecting(settings: ApiSettings, postgres: PostgresSettings) -> Connect:
    """Return what opens a connection in autocommit, beside the pools."""

    async def connect() -> psycopg.AsyncConnection:
        conninfo = connection_string(postgres, settings.api.statement_timeout)
        return await psycopg.AsyncConnection.connect(conninfo, autocommit=True)

    return connect


async def open_replicas(
    settings: ApiSettings,
    stack: AsyncExitStack,
    *,
    waiter: WatermarkWaiter,
    freshness: Freshness,
    clock: Clock,
    metrics: ApiMetrics,
) -> ReadReplicas:
    """Return the read replicas that the settings name, with pools that are open until the stack is closed."""
    opened = [
        ReadReplica(
            name=f"{replica.host}:{replica.port}",
            connect=_connecting(settings, replica),
            pool=await stack.enter_async_context(database_pool(replica, settings.api.statement_timeout)),
        )
        for replica in settings.replicas()
    ]
    return ReadReplicas(
        opened,
        connect=_connecting(settings, settings.postgres),
        waiter=waiter,
        freshness=freshness,
        clock=clock,
        max_lag=settings.read_replicas.max_lag.total_seconds(),
        metrics=metrics,
    )


def _cursor_secret(settings: ApiSettings) -> bytes:
    given = settings.api.cursor_secret
    return secrets.token_bytes(32) if given is None else given.get_secret_value().encode()
