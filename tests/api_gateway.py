"""The HTTP API over a real database, with a log that records what is published."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import psycopg
from fastapi import FastAPI
from psycopg.types.json import Jsonb

from builders import A_MOMENT, A_NAMESPACE, A_TENANT, an_id
from fakes import FakeClock
from soma_api.accesses import Accesses
from soma_api.api_keys import ApiKey, new_key
from soma_api.application import create_application
from soma_api.freshness import Freshness
from soma_api.index_completeness import IndexState
from soma_api.key_uses import KeyUses
from soma_api.metrics import ApiMetrics
from soma_api.policies_in_force import PoliciesInForce
from soma_api.probes import BackingPart, Probe, postgres_probe
from soma_api.publishing import EventLog
from soma_api.queries.api_key_queries import ApiKeyQueries
from soma_api.queries.database import Database, database_pool
from soma_api.queries.policy_queries import PolicyQueries
from soma_api.queries.vectors.hybrid_search import SearchAnswer, SearchHit, SearchRequest
from soma_api.read_replicas import ReadReplicas
from soma_api.resources import Resources, open_replicas
from soma_api.roles import Role
from soma_api.settings import ApiSettings, GatewaySettings, OidcSettings, ReadReplicaSettings
from soma_api.tokens import open_tokens
from soma_api.watermark_waiter import SETTLED, WatermarkWaiter
from soma_schemas.clock import Clock
from soma_schemas.events import MemoryEvent, Record, RetentionRule, SizeCap
from soma_schemas.lag import CollectorPlace
from soma_schemas.metrics import MetricSet
from soma_schemas.producer import Receipt, Tombstone
from soma_schemas.settings import PostgresSettings
from soma_schemas.topics import MEMORY_EVENTS, Topic
from soma_schemas.vectors.embedders import PACKAGED_MODEL
from soma_schemas.versions import Position, pack_version

CURSOR_SECRET = b"a secret of thirty-two bytes or so"


class RecordingPublisher:
    """A log of one partition that keeps what it is given.

    Attributes:
        events: Everything that was published, in order.
        sent: Everything that was sent to other topics, by their names.
        refuses: Raised instead of taking events.
        silent: Never acknowledges.
    """

    def __init__(self) -> None:
        self.events: list[MemoryEvent] = []
        self.sent: dict[str, list[Record | Tombstone]] = {}
        self.refuses: Exception | None = None
        self.silent = False

    def publish(self, events: Sequence[MemoryEvent]) -> "Future[list[Receipt]]":
        """Take events at the next offsets of partition 0."""
        if self.refuses is not None:
            raise self.refuses
        receipts: Future[list[Receipt]] = Future()
        if not self.silent:
            receipts.set_result(
                [
                    Receipt(event.event_id, event.memory_id, Position(0, offset))
                    for offset, event in enumerate(events, start=len(self.events))
                ]
            )
        self.events += events
        return receipts

    def send(self, records: Sequence[Record | Tombstone], topic: Topic) -> "Future[list[Position]]":
        """Take records of another topic at the next offsets of its partition 0, and have them heard of."""
        if self.refuses is not None:
            raise self.refuses
        positions: Future[list[Position]] = Future()
        sent = self.sent.setdefault(topic.name, [])
        if not self.silent:
            positions.set_result([Position(0, len(sent) + number) for number in range(len(records))])
        sent += records
        return positions


@dataclass
class FixedEnds:
    """A log that ends where the test says."""

    offsets: Mapping[int, int] = field(default_factory=lambda: {0: 1000, 1: 1000, 2: 1000})

    async def ends(self) -> Mapping[int, int]:
        """Return where it ends."""
        return self.offsets


@dataclass
class CannedIndex:
    """An index that is as complete as the test says."""

    state: IndexState = field(default_factory=lambda: IndexState(complete=True, filled=1.0))

    async def look(self) -> IndexState:
        """Tell."""
        return self.state


@dataclass
class CannedSearch:
    """An index that answers as the test says, and remembers what it was asked.

    Attributes:
        raises: Instead of an answer.
    """

    hits: list[SearchHit] = field(default_factory=list)
    exhaustive: bool | None = None
    raises: Exception | None = None
    asked: list[SearchRequest] = field(default_factory=list)

    async def __call__(self, request: SearchRequest) -> SearchAnswer:
        """Answer."""
        self.asked.append(request)
        if self.raises is not None:
            raise self.raises
        return SearchAnswer(self.hits, self.exhaustive, PACKAGED_MODEL)


@dataclass
class Gateway:
    """The API as a client meets it, and the back doors through which tests arrange and inspect."""

    application: FastAPI
    client: httpx.AsyncClient
    publisher: RecordingPublisher
    search: CannedSearch
    index: CannedIndex
    waiter: WatermarkWaiter
    policies: PoliciesInForce
    key_uses: KeyUses
    accesses: Accesses
    freshness: Freshness
    replicas: ReadReplicas
    ends: FixedEnds
    clock: FakeClock
    worker_dsn: str
    owner_dsn: str
    settings: ApiSettings

    @property
    def published(self) -> list[MemoryEvent]:
        """What the log was given."""
        return self.publisher.events

    def a_key(
        self,
        role: Role = Role.WRITER,
        *,
        tenant: str = A_TENANT,
        namespaces: Sequence[str] | None = None,
        expires_at: datetime | None = None,
        revoked_at: datetime | None = None,
        record_access: bool = False,
    ) -> ApiKey:
        """Make a key and keep its digest in the database."""
        key = new_key()
        with psycopg.connect(self.owner_dsn) as connection:
            connection.execute(
                "INSERT INTO api_keys (key_id, tenant, role, namespaces, secret_hash, created_at, expires_at,"
                " revoked_at, record_access) VALUES (%s, %s, %s, %s, %s, now(), %s, %s, %s)",
                [
                    key.key_id,
                    tenant,
                    role.value,
                    None if namespaces is None else list(namespaces),
                    key.digest(),
                    expires_at,
                    revoked_at,
                    record_access,
                ],
            )
        return key

    def use(self, key: ApiKey) -> None:
        """Send this key with every request from now on."""
        self.client.headers["Authorization"] = f"Bearer {key.reveal()}"

    def given_memory(self, **fields: Any) -> UUID:
        """Put a memory into the database; what is not said is valid, fixed and dull."""
        memory: dict[str, Any] = {
            "tenant": A_TENANT,
            "memory_id": an_id(),
            "version": pack_version(1, 7),
            "namespace": A_NAMESPACE,
            "key": None,
            "coordinate": None,
            "kind": "EPISODIC",
            "text": "tea at four",
            "payload": "{}",
            "tags": [],
            "importance": 0.5,
            "subject": None,
            "source": None,
            "actor": "tester",
            "occurred_at": A_MOMENT,
            "created_at": A_MOMENT,
            "updated_at": A_MOMENT,
            "expires_at": None,
            "access_count": 0,
            "deleted": False,
            "recent_event_ids": [],
        } | fields
        self._insert("memories", memory)
        memory_id: UUID = memory["memory_id"]
        return memory_id

    def given_tombstone(self, memory_id: UUID, *, tenant: str = A_TENANT) -> None:
        """Put what is left of a deleted memory into the database."""
        self._insert(
            "memories",
            {
                "tenant": tenant,
                "memory_id": memory_id,
                "version": pack_version(1, 8),
                "updated_at": A_MOMENT,
                "deleted": True,
                "recent_event_ids": [],
            },
        )

    def given_policy(
        self,
        *rules: RetentionRule,
        namespace: str | None = None,
        tenant: str = A_TENANT,
        cap: SizeCap | None = None,
        set_at: datetime = A_MOMENT,
    ) -> None:
        """Put a retention policy in force, in place of the one that was."""
        with psycopg.connect(self.worker_dsn) as connection:
            connection.execute(
                "INSERT INTO retention_policies (tenant, namespace, rules, cap, actor, set_at, version)"
                " VALUES (%s, %s, %s, %s, 'tester', %s, 1)"
                " ON CONFLICT (tenant, namespace) DO UPDATE"
                " SET rules = excluded.rules, cap = excluded.cap, set_at = excluded.set_at",
                [
                    tenant,
                    namespace or "",
                    Jsonb([rule.model_dump(mode="json") for rule in rules]),
                    None if cap is None else Jsonb(cap.model_dump()),
                    set_at,
                ],
            )
        self.policies.forget(tenant)

    def given_outcome(self, position: Position, outcome: str = "applied", **fields: Any) -> None:
        """Put what became of a write into the history."""
        row: dict[str, Any] = {
            "partition": position.partition,
            "version": pack_version(1, position.offset),
            "logged_at": A_MOMENT + timedelta(seconds=position.offset),
            "tenant": A_TENANT,
            "memory_id": an_id(),
            "event_id": an_id(),
            "event_type": "MemoryStored",
            "namespace": A_NAMESPACE,
            "outcome": outcome,
        } | fields
        with psycopg.connect(self.worker_dsn) as connection:
            connection.execute("SELECT soma_ensure_history_partition(%s::date)", [row["logged_at"]])
        self._insert("memory_history", row)

    def given_dead_letter(self, position: Position, group: str, code: str, *, tenant: str = A_TENANT) -> None:
        """Put a dead letter into the index of dead letters."""
        self._insert(
            "dead_letters",
            {
                "id": an_id(),
                "tenant": tenant,
                "consumer_group": group,
                "topic": MEMORY_EVENTS.full_name(self.settings.topics),
                "partition": position.partition,
                "log_offset": position.offset,
                "epoch": 1,
                "dlq_partition": 0,
                "dlq_offset": 0,
                "code": code,
                "message": "cannot be applied",
            },
        )

    def settle(self, position: Position, outcome: str = "applied", **fields: Any) -> None:
        """Let both sinks pass a position, with this outcome."""
        self.given_outcome(position, outcome, **fields)
        for group in SETTLED:
            self.waiter.advance(group, position.partition, position.offset + 1)

    def _insert(self, table: str, row: Mapping[str, Any]) -> None:
        names = ", ".join(row)
        places = ", ".join(["%s"] * len(row))
        with psycopg.connect(self.worker_dsn) as connection:
            statement = f"INSERT INTO {table} ({names}) VALUES ({places})"  # noqa: S608  # names of our own
            connection.execute(statement.encode(), list(row.values()))


async def _with_an_end(request: httpx.Request) -> None:
    # This client reads an answer to its end before it returns one; `event_stream` reads streams.
    if request.url.path == "/v1/changes" and "follow" not in request.url.params:
        request.url = request.url.copy_merge_params({"follow": "false"})


@asynccontextmanager
async def open_gateway(
    postgres: PostgresSettings,
    *,
    worker_dsn: str,
    owner_dsn: str,
    gateway: GatewaySettings | None = None,
    collector: CollectorPlace | None = None,
    oidc: OidcSettings | None = None,
    read_replicas: ReadReplicaSettings | None = None,
    probes: Mapping[BackingPart, Probe] | None = None,
    clock: Clock | None = None,
    address: tuple[str, int] = ("127.0.0.1", 50_000),
) -> AsyncIterator[Gateway]:
    """Serve the API within the test's own loop, with a writer's key in every request."""
    settings = ApiSettings(
        postgres=postgres,
        api=gateway or GatewaySettings(api_key_cache_ttl=timedelta(0)),
        collector=collector or CollectorPlace(),
        oidc=oidc or OidcSettings(),
        read_replicas=read_replicas or ReadReplicaSettings(),
    )
    time = FakeClock()
    publisher, search, ends, waiter = RecordingPublisher(), CannedSearch(), FixedEnds(), WatermarkWaiter()
    freshness = Freshness(ends, waiter, clock or time)
    index = CannedIndex()
    async with (
        database_pool(settings.postgres, settings.api.statement_timeout) as pool,
        AsyncExitStack() as stack,
    ):
        policies = PoliciesInForce(PolicyQueries(Database(pool)).in_force, clock or time)
        key_uses = KeyUses(ApiKeyQueries(Database(pool)).note_uses, clock or time)
        metrics = ApiMetrics(MetricSet())
        access_log = EventLog(publisher, timeout=1.0, threads=1)
        accesses = Accesses(access_log.publish, clock or time, settings.limits, metrics)
        replicas = await open_replicas(
            settings, stack, waiter=waiter, freshness=freshness, clock=clock or time, metrics=metrics
        )
        application = create_application(
            Resources(
                settings=settings,
                clock=clock or time,
                pool=pool,
                publisher=publisher,
                search=search,
                index=index,
                ends=ends,
                waiter=waiter,
                policies=policies,
                key_uses=key_uses,
                tokens=open_tokens(settings.oidc, clock or time),
                freshness=freshness,
                replicas=replicas,
                metrics=metrics,
                accesses=accesses,
                cursor_secret=CURSOR_SECRET,
                probes=probes or {BackingPart.POSTGRES: postgres_probe(pool)},
            )
        )
        transport = httpx.ASGITransport(application, client=address)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://soma", event_hooks={"request": [_with_an_end]}
        ) as client:
            served = Gateway(
                application,
                client,
                publisher,
                search,
                index,
                waiter,
                policies,
                key_uses,
                accesses,
                freshness,
                replicas,
                ends,
                time,
                worker_dsn,
                owner_dsn,
                settings,
            )
            served.use(served.a_key())
            yield served


def body_of(answer: httpx.Response) -> Any:
    """Return what an answer says."""
    return json.loads(answer.content)
