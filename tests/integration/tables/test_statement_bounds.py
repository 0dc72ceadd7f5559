"""What each statement may touch, for a tenant that statistics do not know and by a plan of empty tables.

A table holds 200,000 rows of other tenants, and 20,000 of one that was loaded after the last ANALYZE; no
autovacuum comes. Bounds are buffers, hit or read, as EXPLAIN (ANALYZE, BUFFERS) counts them under the role of
the process: four for each key that is looked up, more where rows are written or a whole set is wanted. A join
that keeps its rows in memory touches no buffers, so rows are counted as well, at every step of a plan.
"""

import ast
import asyncio
import importlib
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from operator import gt
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql
from psycopg_pool import AsyncConnectionPool

import soma_api
import soma_cli
import soma_streams
from conftest import LocalParts
from soma_api.queries.database import connection_string
from soma_api.queries.filter_shorthand import selection
from soma_api.queries.filter_sql import SqlConditions
from soma_api.queries.filter_terms import Selection
from soma_api.queries.memory_queries import Order, _places, list_statement, matched_statement
from soma_api.queries.nearness import Nearness, indexed_box
from soma_cli.local.postgres import Login
from soma_schemas.settings import PostgresSettings
from soma_schemas.tables.migrations import migrate
from soma_schemas.versions import pack_version
from soma_streams.replay.session import open_session
from soma_streams.replay.stored_dead_letters import Filters as LetterFilters
from soma_streams.replay.stored_dead_letters import Status
from soma_streams.sinks.dead_letter_rows import DeadLetterRow
from soma_streams.sinks.postgres.row_types import HistoryRow, LinkRow, MemoryRow, OutboxRow, ReplayRow
from soma_streams.sinks.sessions import Pool, RowType, Sessions
from soma_streams.sinks.statements import statement

OTHERS = 200_000
ROWS = 20_000
EARLY, LATE = "early", "late"
FIRST = {EARLY: OTHERS - ROWS, LATE: OTHERS}  # the number before a tenant's first row

ROW_TYPES: dict[str, tuple[str, type[tuple[Any, ...]]]] = {
    "memory_row": ("memories", MemoryRow),
    "link_row": ("memory_links", LinkRow),
    "history_row": ("memory_history", HistoryRow),
    "dead_letter_row": ("dead_letters", DeadLetterRow),
    "outbox_row": ("outbox", OutboxRow),
    "replay_row": ("memory_replays", ReplayRow),
}

# Rows number %s to %s. Tenant `early` is among the others; half of the others are one large tenant.
LOAD = """
CREATE TEMPORARY TABLE wanted ON COMMIT DROP AS
SELECT
    n, lpad(to_hex(n), 32, '0')::uuid AS id, timestamptz '2026-01-01Z' + n * interval '40 s' AS at,
    CASE WHEN n > 200000 THEN 'late' WHEN n > 180000 THEN 'early' WHEN n % 2 = 0 THEN 'large'
        ELSE 'small-' || n % 4000 END AS tenant
FROM generate_series(%(first)s::integer, %(last)s::integer) AS n;
INSERT INTO memories (
    tenant, memory_id, version, deleted, updated_at, recent_event_ids, namespace, kind, text, payload, tags,
    importance, occurred_at, actor, created_at, access_count, coordinate, subject
)
SELECT
    tenant, id, 1099511627776 + n, false, at, '{}', 'users/' || n % 40 || '/notes', 'EPISODIC', 'tea', '{}',
    ARRAY['common', 'rare' || n % 2000], 0.5, at, 'a', at, 0,
    CASE WHEN n % 3 = 0 THEN ARRAY[n % 100, n % 77] END,
    CASE WHEN n % 50 = 0 THEN 'person' || n % 1000 END
FROM wanted;
INSERT INTO memory_history (
    partition, version, logged_at, tenant, memory_id, outcome, namespace, event_type
)
SELECT
    n % 6, 1099511627776 + n, at, tenant, id, 'applied', 'users/' || n % 40 || '/notes', 'MemoryStored'
FROM wanted;
INSERT INTO memory_replays
SELECT n % 6, 1099511627776 + n, tenant, n % 6, 1099511627776 + n, at FROM wanted WHERE n % 10 = 0;
INSERT INTO memory_links
SELECT tenant, id, 'about', lpad(to_hex(n + 1), 32, '0')::uuid, 1, 1099511627776 + n, false, '{}' FROM wanted;
INSERT INTO dead_letters (
    id, tenant, memory_id, consumer_group, topic, partition, log_offset, epoch, logged_at, dlq_partition,
    dlq_offset, stage, code, message, first_failed_at
)
SELECT id, tenant, id, 'soma-postgres', 'memory.events', n % 6, n, 1, at, 0, n, 'decode', 'avro', '', at
FROM wanted;
INSERT INTO retention_policies
SELECT tenant, 'users/' || n, '[]', 'a', at, n FROM wanted WHERE n % 20 = 1;
INSERT INTO retention_notices SELECT tenant, id, at, at FROM wanted;
INSERT INTO outbox (tenant, memory_id, event_id, content) SELECT tenant, id, id, '{}' FROM wanted;
"""


class Role(Enum):
    """As whom a process logs in."""

    READER = "soma_api"
    OPERATOR = "soma_streams.replay"
    SINK = "soma_streams"
    OWNER = "soma_cli"


Values = Callable[[str], Mapping[str, Any]]


@dataclass(frozen=True)
class Case:
    """A statement with some values.

    Attributes:
        buffers: It touches at most so many.
        values: Given the tenant.
        kept: Whether its plan may be of a time when the tables were empty: it is not planned anew each time.
        text: What is asked, where the name does not lead to it.
    """

    buffers: int
    values: Values = lambda _: {}
    kept: bool = True
    text: str | None = None


def numbers(tenant: str, count: int) -> list[int]:
    """Some rows of a tenant, spread over all that it has."""
    return [FIRST[tenant] + 1 + place * (ROWS // count) for place in range(count)]


def ids(tenant: str, count: int) -> list[UUID]:
    return [UUID(int=number) for number in numbers(tenant, count)]


def positions(tenant: str, count: int) -> dict[str, Any]:
    chosen = numbers(tenant, count)
    return {
        "numbers": list(range(count)),
        "partitions": [number % 6 for number in chosen],
        "versions": [pack_version(1, number) for number in chosen],
        "offsets": chosen,
        "moments": [None] * count,
        "topic": "memory.events",
        "epoch": 1,
    }


def places_of(tenant: str, ends_from: str = "2026-05-01Z") -> dict[str, Any]:
    """All that a tenant has, each with its kind, and rules that end what they do from a time on."""
    return {
        "tenants": [tenant] * 40,
        "namespaces": [f"users/{number}/notes" for number in range(40)],
        "kinds": ["EPISODIC"] * 40,
        "notices": [0] * 40,
        "ends_from": [ends_from] * 40,
    }


def links_of(tenant: str, count: int) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "memory_ids": ids(tenant, count),
        "outgoing": True,
        "incoming": True,
        "types": None,
        "min_weight": 0.5,
        "most": 10_001,
    }


def a_page_of_links(tenant: str) -> dict[str, Any]:
    return {
        "tenant": tenant,
        "memory_id": ids(tenant, 3)[1],
        "outgoing": True,
        "outgoing_type": "",
        "outgoing_other": UUID(int=0),
        "incoming": True,
        "incoming_type": "",
        "incoming_other": UUID(int=0),
        "both": True,
        "types": None,
        "limit": 100,
    }


def due(tenant: str) -> str:
    """When the tenth memory of a tenant was changed."""
    at = datetime(2026, 1, 1, tzinfo=UTC) + (FIRST[tenant] + 10) * timedelta(seconds=40)
    return at.isoformat()


def keys(tenant: str, count: int) -> dict[str, Any]:
    return {"tenants": [tenant] * count, "memory_ids": ids(tenant, count)}


def spans_of(tenant: str) -> dict[str, Any]:
    """5,000 places of the log, in all partitions."""
    first = pack_version(1, FIRST[tenant])
    return {
        "partitions": list(range(6)),
        "first": [first] * 6,
        "ends": [first + 5000] * 6,
        "limit": 20,
    }


def a_span(tenant: str) -> dict[str, Any]:
    """The history of 1,200 places in the log, of which 200 lie in one partition."""
    first, last = FIRST[tenant] + 6, FIRST[tenant] + 1200
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    return {
        "partition": first % 6,
        "versions": [pack_version(1, number) for number in range(first, last + 1, 6)],
        "lowest": pack_version(1, first),
        "highest": pack_version(1, last),
        "first": (begin + first * timedelta(seconds=40)).isoformat(),
        "last": (begin + last * timedelta(seconds=40)).isoformat(),
        "of_links": ["MemoryLinked", "MemoryUnlinked"],
    }


def an_audit(tenant: str) -> dict[str, Any]:
    del tenant
    return {"action": "audit.done", "actions": ["audit.done"], "audit": "7", "details": "{}", "after": OTHERS}


def a_backup(tenant: str) -> dict[str, Any]:
    del tenant
    return {"made_at": "2026-05-01Z", "sha256": "00"}


def an_erasure(tenant: str) -> dict[str, Any]:
    return {"request_id": ids(tenant, 1)[0], "before": [2**45] * 6, "deleter": "erasure"}


def edge_keys(tenant: str) -> dict[str, Any]:
    some = ids(tenant, 100)
    return {
        "tenants": [tenant] * 100,
        "from_memory_ids": some,
        "link_types": ["about"] * 100,
        "to_memory_ids": some,
    }


def a_list(
    buffers: int,
    order: Order = Order.UPDATED_DESCENDING,
    limit: int = 50,
    *,
    first: bool = True,
    **wanted: Any,
) -> Case:
    """A page of a list."""
    page = {"limit": limit, "embeddings": False} | ended(7, 9)

    def asked(tenant: str) -> tuple[Selection, SqlConditions, sql.Composable]:
        chosen = selection(**{n: f(tenant) if callable(f) else f for n, f in wanted.items()})
        conditions = SqlConditions()
        return chosen, conditions, conditions.met_by(chosen.where)

    def values(tenant: str) -> dict[str, Any]:
        chosen, conditions, _ = asked(tenant)
        return _places(chosen) | conditions.values | page

    # Conditions name their values, so the statement is the same for both tenants.
    return Case(
        buffers,
        values,
        kept=False,
        text=list_statement(order, asked(EARLY)[2], first=first).as_string(),
    )


def nearest(buffers: int, *, first: bool = True, count: bool = False, **wanted: Any) -> Case:
    """A page of a list by distance, or how many are compared for it."""
    chosen = selection(**wanted)
    conditions = SqlConditions()
    nearness = Nearness(2, conditions.met_by(indexed_box(chosen)))
    statement = (
        nearness.count_statement()
        if count
        else list_statement(Order.DISTANCE, conditions.met_by(chosen.where), first=first, nearness=nearness)
    )
    values = _places(chosen) | conditions.values | nearness.values([50.0, 20.0]) | ended(7, 9)
    values |= {"limit": 50, "embeddings": False, "after_value": 2.5, "after_id": UUID(int=0)}
    return Case(buffers, lambda _: values, kept=False, text=statement.as_string())


def beside_a_filter(buffers: int) -> Case:
    """Some memories, each with whether a filter lets it through."""
    conditions = SqlConditions()
    text = matched_statement(conditions.met_by(selection(tags=["common"]).where)).as_string()

    def values(tenant: str) -> dict[str, Any]:
        some = {"tenant": tenant, "memory_ids": ids(tenant, 100), "embeddings": False}
        return some | conditions.values | ended(7, 9)

    return Case(buffers, values, kept=False, text=text)


def the_next_page(buffers: int, order: Order, **wanted: Any) -> Case:
    following = a_list(buffers, order, first=False, **wanted)

    def values(tenant: str) -> dict[str, Any]:
        after = {"after_value": "2026-04-10T00:00Z", "after_id": UUID(int=FIRST[tenant] + ROWS // 2)}
        return {**following.values(tenant), **after}

    return replace(following, values=values)


def letters(buffers: int, **more: Any) -> Case:
    """An operator's question about the letters of a tenant."""
    return Case(
        buffers,
        lambda tenant: {
            **LetterFilters(tenant=tenant, statuses=[Status.OPEN]).parameters(),
            "topic": "memory.events",
            "begin_partitions": [0],
            "begin_offsets": [7],
            "end_partitions": [0],
            "end_offsets": [10**6],
            "at": "2026-05-01Z",
            **more,
        },
        kept=False,
    )


def offered(row_type: str, count: int, **changed: str) -> Values:
    """Rows of a batch: those of a tenant, with some fields as an expression says."""
    table, row = ROW_TYPES[row_type]
    fields = ", ".join(changed.get(name, name) for name in row.__annotations__)
    text = f"""
    SELECT array_agg(ROW({fields})::pg_temp.{row_type})::text
    FROM (SELECT * FROM {table} WHERE tenant = '%s' LIMIT {count}) AS held
    """  # noqa: S608  # names of our own
    return lambda tenant: {"rows": Rows(text % tenant)}


def recorded(**changed: str) -> Callable[[str], dict[str, Any]]:
    return lambda tenant: {**offered("history_row", 100, **changed)(tenant), "replayed": []}


def written(row_type: str, **changed: str) -> Callable[[str], dict[str, Any]]:
    rows = offered(row_type, 100, **changed)
    return lambda tenant: {**rows(tenant), "offered": 100, "remembered": 16}


@dataclass(frozen=True)
class Rows:
    """Rows that a query makes, as text."""

    query: str


def ended(*ttls: int) -> dict[str, Any]:
    """What has ended by a policy of the tenant for each kind, by the rows' own clock; none is kept longer."""
    places = [""] * len(ttls)
    cutoffs = [f"2026-01-01T00:00:{second:02}Z" for second in ttls]
    return {
        "now": "2026-05-01Z",
        "policy_namespaces": places or None,
        "policy_kinds": ["EPISODIC", "SEMANTIC"][: len(ttls)] or None,
        "policy_cutoffs": cutoffs or None,
        "policy_half_lives": [2**31 - 1] * len(ttls) or None,
        "policy_floors": [0.05] * len(ttls) or None,
        "policy_shortest": [0] * len(ttls) or None,
    }


def planned(tenant: str) -> dict[str, Any]:
    """A policy of the tenant that ends nothing yet."""
    return {
        **places_of(tenant),
        **limited("2025-11-01Z"),
        "now": "2026-05-01Z",
        "most": 5,
    }


def limited(cutoff: str) -> dict[str, Any]:
    """What each of forty rules lets live: all of them end what has not changed since a time."""
    return {
        "cutoffs": [cutoff] * 40,
        "half_lives": [None, 60] * 20,
        "floors": [None, 0.05] * 20,
        "shortest": [None, 10**8] * 20,
    }


STATEMENTS: Mapping[str, Mapping[str, Case]] = {
    "soma_api.queries.api_key_queries._FIND": {"": Case(220, lambda _: {"key_id": "k"})},
    "soma_api.queries.api_key_queries._NOTE_USES": {
        "": Case(320, lambda _: {"key_ids": ["k"], "former": [False], "moments": ["2026-05-01Z"]})
    },
    "soma_api.queries.audit_log_queries._PAGE": {
        "": Case(
            60,
            lambda t: {"tenant": t, "before": None, "action": None, "subject": None, "limit": 51},
        )
    },
    "soma_api.queries.audit_log_queries._ADD": {
        "": Case(
            96,
            lambda t: {"tenant": t, "actor": "a", "action": "a", "subject": "s", "request_id": "r"},
        )
    },
    "soma_api.queries.dead_letter_queries._GET": {
        "": Case(10, lambda t: {"tenant": t, "dead_letter_id": ids(t, 1)[0]})
    },
    "soma_api.queries.dead_letter_queries._PAGE": {
        "": Case(
            10,
            lambda t: {
                "tenant": t,
                "statuses": ["open"],
                "consumer_group": None,
                "stage": None,
                "code": None,
                "memory_id": None,
                "failed_from": None,
                "failed_before": None,
                "after_id": None,
                "after_time": None,
                "limit": 50,
            },
            kept=False,
        )
    },
    "soma_api.queries.memory_queries._GET": {
        # The first of its session plans what hides erased memories.
        "": Case(110, lambda t: {"tenant": t, "memory_id": ids(t, 1)[0], "embeddings": False} | ended()),
        "under policies": Case(
            110, lambda t: {"tenant": t, "memory_id": ids(t, 1)[0], "embeddings": False} | ended(7, 9)
        ),
    },
    "soma_api.queries.memory_queries._WHEREABOUTS": {
        "of 100": Case(600, lambda t: {"tenant": t, "memory_ids": ids(t, 100)} | ended(7, 9))
    },
    "soma_api.queries.policy_queries._IN_FORCE": {"": Case(30, lambda t: {"tenant": t})},
    "soma_api.queries.policy_queries._SETTLED": {
        "": Case(
            10,
            lambda _: {"group": "g", "topic": "t", "partition": 0, "epoch": 1, "offset": 7},
        )
    },
    "soma_api.queries.policy_queries._PLACES": {
        "": Case(27, lambda t: {"tenant": t, "prefix": "users"}, kept=False)
    },
    "soma_api.queries.policy_queries._DUE": {"in 40 namespaces": Case(19 * 40, planned, kept=False)},
    "soma_api.queries.policy_queries._FIRST": {"in 40 namespaces": Case(24 * 40, planned, kept=False)},
    "soma_api.queries.memory_queries._GET_SOME": {
        "of 100": Case(
            600, lambda t: {"tenant": t, "memory_ids": ids(t, 100), "embeddings": False} | ended(7, 9)
        ),
        "of 100, each beside a filter": beside_a_filter(600),
    },
    "soma_api.queries.change_queries._ENDS": {
        "": Case(30, lambda _: {"group": "soma-postgres", "topic": "memory.events"})
    },
    "soma_api.queries.change_queries._CHANGES": {"six spans": Case(3000, spans_of, kept=False)},
    "soma_api.queries.history_queries._PAGE": {
        "": Case(
            60, lambda t: {"tenant": t, "memory_id": ids(t, 1)[0], "before": 2**62, "limit": 50}, kept=False
        )
    },
    "soma_api.queries.history_queries._SINCE_STORED": {
        "": Case(
            60, lambda t: {"tenant": t, "memory_id": ids(t, 1)[0], "until": 2**62, "most": 10_001}, kept=False
        )
    },
    "soma_api.queries.history_queries._VERSION_AT": {
        "": Case(
            30,
            lambda t: {"tenant": t, "memory_id": ids(t, 1)[0], "at": datetime(2027, 1, 1, tzinfo=UTC)},
            kept=False,
        )
    },
    "soma_api.queries.link_queries._LINKS": {
        "of one, each way": Case(30, lambda t: links_of(t, 1) | ended()),
        "of one, under policies": Case(30, lambda t: links_of(t, 1) | ended(7, 9)),
        "of 100, each way": Case(3200, lambda t: links_of(t, 100) | ended(7, 9)),
        "of 100, of two types": Case(2700, lambda t: links_of(t, 100) | {"types": ["about", "x"]} | ended()),
    },
    "soma_api.queries.history_queries._THERE_AT": {
        "of 100": Case(5000, lambda t: {"tenant": t, "memory_ids": ids(t, 100), "at": "2026-05-01Z"})
    },
    "soma_api.queries.link_queries._OF_ONE": {
        "first page": Case(32, lambda t: a_page_of_links(t) | ended()),
        "later page, under policies": Case(
            20, lambda t: a_page_of_links(t) | {"outgoing": False, "incoming_type": "about"} | ended(7, 9)
        ),
    },
    "soma_api.queries.link_queries._OF_ONE_BY_TYPE": {
        "of two types": Case(30, lambda t: a_page_of_links(t) | {"types": ["about", "x"]} | ended(7, 9)),
    },
    "soma_api.queries.link_queries._PAGE": {
        "of 100": Case(
            1100,
            lambda t: (
                {
                    "tenant": t,
                    "after_from": ids(t, 3)[1],
                    "after_type": "about",
                    "after_to": ids(t, 3)[1],
                    "limit": 100,
                }
                | ended(7, 9)
            ),
        )
    },
    "soma_api.queries.policy_queries._LEAST": {
        "of 40 namespaces": Case(
            14 * 40,
            lambda t: {
                "tenant": t,
                "places": [f"users/{number}/notes" for number in range(40)],
                "numbers": [100] * 40,
                "most": 5,
            },
            kept=False,
        )
    },
    "soma_api.queries.memory_queries._TAGGED": {
        "rare": Case(480, lambda _: {"tags": ["rare7"], "most": 1000}),
        "common": Case(480, lambda _: {"tags": ["common"], "most": 1000}),
    },
    "soma_api.queries.overview_queries._KINDS": {
        "": Case(27, lambda t: {"tenant": t, "allowed": None} | ended(), kept=False),
        # Each of the 40 namespaces is asked for its importances, and looked into for each of them.
        "under policies": Case(
            40 + 18 * 40, lambda t: {"tenant": t, "allowed": None} | ended(7, 9), kept=False
        ),
    },
    "soma_api.queries.overview_queries._NAMESPACE_COUNT": {
        "": Case(23, lambda t: {"tenant": t, "allowed": ["users/7"]} | ended(), kept=False)
    },
    "soma_api.queries.overview_queries._NAMESPACES": {
        "": Case(
            23,
            lambda t: (
                {
                    "tenant": t,
                    "prefix": None,
                    "suffix": None,
                    "depth": 2,
                    "allowed": None,
                    "limit": 1000,
                }
                | ended()
            ),
            kept=False,
        )
    },
    "soma_api.queries.overview_queries._OTHERS": {
        "": Case(11, lambda t: {"tenant": t} | ended(), kept=False),
        "under policies": Case(25 + 18 * 40, lambda t: {"tenant": t} | ended(7, 9), kept=False),
    },
    "soma_api.queries.write_queries._OUTCOMES": {
        "of one": Case(33, lambda t: {"tenant": t, **positions(t, 1)}),
        "of 1,000": Case(26_000, lambda t: {"tenant": t, **positions(t, 1000)}),
    },
    "soma_api.queries.write_queries._DEAD_LETTERS": {
        "": Case(
            10,
            lambda t: {
                "tenant": t,
                "topic": "memory.events",
                "partition": numbers(t, 1)[0] % 6,
                "offset": numbers(t, 1)[0],
                "epoch": 1,
            },
        )
    },
    "soma_api.watermark_feed._WATERMARKS": {"": Case(10, lambda _: {"topic": "memory.events", "epoch": 1})},
    "soma_api/queries/list_memories.sql": {
        "newest of the tenant": a_list(10),
        "newest of the tenant, next page": the_next_page(10, Order.UPDATED_DESCENDING),
        "first created": a_list(10, Order.CREATED),
        "first occurred, next page": the_next_page(370, Order.OCCURRED),
        "newest of a namespace": a_list(80, namespace="users/7/notes"),
        # Of 500 memories, each on a page of its own.
        "last occurred of a namespace": a_list(540, Order.OCCURRED_DESCENDING, namespace="users/7/notes"),
        "an empty namespace": a_list(10, Order.OCCURRED, namespace="nobody"),
        "a narrow prefix": a_list(540, namespace_prefix="users/7"),
        "a wide prefix": a_list(10, namespace_prefix="users"),
        "own namespaces": a_list(63, allowed=["users/7", "users/8"]),
        "some ids": a_list(120, memory_ids=lambda tenant: ids(tenant, 20)),
        "a subject": a_list(33, equal={"subject": "person50"}),
        "a box": a_list(
            110, namespace="users/7/notes", coordinate_min=[1.0, 4.0], coordinate_max=[30.0, 80.0]
        ),
        "nearest of a namespace": nearest(210, namespace="users/9/notes"),
        "nearest of a namespace, counted": nearest(210, namespace="users/9/notes", count=True),
        "nearest of a box": nearest(
            20, namespace="users/9/notes", coordinate_min=[40.0, 10.0], coordinate_max=[60.0, 30.0]
        ),
        "nearest of the tenant": nearest(800),
        "nearest of the tenant, next page": nearest(800, first=False),
        "nearest of the tenant, counted": nearest(800, count=True),
        "a time": a_list(
            10, Order.OCCURRED, occurred_from="2026-04-10T00:00Z", occurred_before="2026-04-11T00:00Z"
        ),
        "most important": a_list(1300, Order.IMPORTANCE_DESCENDING),
        "a payload that none has": a_list(1200, payload={"a": 1}),
        "a source that none has": a_list(1200, equal={"source": "nowhere"}),
        "a common tag": a_list(10, tags=["common"]),
    },
    "soma_streams/sinks/advance_watermarks.sql": {
        "": Case(
            56,
            lambda _: {
                "groups": ["g"] * 6,
                "topics": ["t"] * 6,
                "partitions": list(range(6)),
                "epochs": [1] * 6,
                "offsets": [7] * 6,
            },
        )
    },
    "soma_streams/sinks/index_dead_letters.sql": {
        "100": Case(2700, offered("dead_letter_row", 100, id="gen_random_uuid()")),
        "100 again": Case(600, offered("dead_letter_row", 100)),
    },
    "soma_streams/sinks/postgres/end_links.sql": {"of 100": Case(1300, lambda t: keys(t, 100))},
    "soma_streams/sinks/postgres/ensure_months.sql": {"": Case(81, lambda _: {"months": ["2026-01-01"]})},
    "soma_streams/sinks/postgres/read_links.sql": {"of 100": Case(610, edge_keys)},
    "soma_streams/sinks/postgres/read_memories.sql": {"of 100": Case(600, lambda t: keys(t, 100))},
    "soma_streams/sinks/postgres/record_history.sql": {
        "100": Case(1300, recorded(version="version + 1000000")),
        "100 again": Case(800, recorded()),
    },
    "soma_streams/sinks/postgres/write_outbox.sql": {"of 100": Case(1000, offered("outbox_row", 100))},
    "soma_streams/sinks/postgres/record_replays.sql": {"of 100": Case(1000, offered("replay_row", 100))},
    "soma_streams/sinks/postgres/write_links.sql": {
        "100": Case(3000, written("link_row", version="version + 1000000"))
    },
    "soma_streams/sinks/postgres/write_memories.sql": {
        "100 new": Case(3000, written("memory_row", memory_id="gen_random_uuid()")),
        "100 replaced": Case(
            4100,
            written("memory_row", version="version + 1000000", recent_event_ids="ARRAY[gen_random_uuid()]"),
        ),
    },
    "soma_streams/sinks/vectors/read_page.sql": {
        "of 1,000": Case(1100, lambda t: {"tenant": t, "memory_id": ids(t, 1)[0], "most": 1000})
    },
    "soma_streams.sinks.vectors.memory_pages._COUNT": {"": Case(9000)},
    "soma_streams.sinks.vectors.memory_pages._WATERMARKS": {
        "": Case(10, lambda _: {"group": "soma-postgres", "topic": "memory.events", "epoch": 1})
    },
    "soma_streams.audit.audited_tables._BEHIND": {"200 places": Case(900, a_span)},
    "soma_streams.audit.audited_tables._LAST_APPLIED": {
        "of 100": Case(1500, lambda t: keys(t, 100) | {"of_links": ["MemoryLinked"]})
    },
    "soma_streams.audit.audited_tables._LETTERS": {
        # No index leads from a memory to its letters: a repair, which is rare, reads all that there are.
        "of 100": Case(7500, lambda t: keys(t, 100) | {"group": "soma-postgres"})
    },
    "soma_streams.audit.audited_tables._LOST": {"200 places": Case(900, a_span)},
    "soma_streams.audit.audited_tables._POLICIES": {"": Case(27, lambda t: {"tenant": t})},
    "soma_streams.audit.audited_tables._WRITE_DOWN": {"": Case(96, an_audit)},
    "soma_streams.backup_age._NEWEST": {"": Case(10)},
    "soma_streams.data_key_relay._LAST": {"": Case(10, lambda _: {"within": None, "master_key_ids": ["k"]})},
    "soma_streams.data_key_relay._LEFT": {"": Case(10, lambda _: {"master_key_ids": ["k"]})},
    "soma_streams.data_key_relay._PENDING": {"": Case(10, lambda _: {"master_key_ids": ["k"]})},
    "soma_streams.data_key_relay._TAKE_DESTROYED": {"": Case(10, lambda _: {"limit": 500})},
    "soma_streams.data_key_relay._TAKE_WRAPPED": {
        "": Case(10, lambda _: {"limit": 500, "master_key_ids": ["k"]})
    },
    "soma_streams.erasure.erasure_store.FIND_SELECTOR": {"": Case(10, an_erasure)},
    "soma_streams.erasure.erasure_store._RECALL_TARGETS": {
        # The history of a tenant is read once.
        "": Case(50_000, an_erasure, kept=False)
    },
    "soma_streams.erasure.key_destruction._UNLOGGED": {"": Case(10, an_erasure)},
    "soma_streams.erasure.erasure_store._CLEAR_HISTORY_OF_SUBJECT": {
        # The history of a tenant is read once.
        "": Case(50_000, lambda t: an_erasure(t) | {"selector": "nobody"}, kept=False)
    },
    "soma_streams.erasure.erasure_store._CLEAR_HISTORY_OF_TARGETS": {"": Case(10, an_erasure, kept=False)},
    "soma_streams.erasure.erasure_store._CLEAR_LINKS": {"": Case(10, an_erasure)},
    "soma_streams.erasure.erasure_store._CLEAR_NOTICES": {"": Case(10, an_erasure)},
    "soma_streams.erasure.erasure_store._EDGES": {
        "": Case(10, lambda t: an_erasure(t) | {"limit": 500}, kept=False)
    },
    "soma_streams.erasure.erasure_store._ERASE_LETTERS": {
        "of 100": Case(3600, lambda t: {"ids": ids(t, 100)})
    },
    "soma_streams.erasure.key_destruction._DESTROY": {"": Case(10, an_erasure)},
    "soma_streams.erasure.key_destruction._IN_USE": {"": Case(10, lambda t: an_erasure(t) | {"seconds": 6})},
    "soma_streams.erasure.key_destruction._RETIRED": {"": Case(10, an_erasure)},
    "soma_streams.erasure.key_destruction._RETIRE_OF_PAST": {
        # The history of a tenant is read once.
        "": Case(50_000, lambda t: an_erasure(t) | {"selector": "nobody"}, kept=False)
    },
    "soma_streams.erasure.key_destruction._RETIRE_OF_TARGETS": {"": Case(10, an_erasure)},
    "soma_streams.erasure.erasure_store._LETTERS_LEFT": {"": Case(10, an_erasure, kept=False)},
    "soma_streams.erasure.erasure_store._LINKS_LEFT": {"": Case(10, an_erasure, kept=False)},
    "soma_streams.erasure.erasure_store._TARGETS": {
        "": Case(10, lambda t: an_erasure(t) | {"after": None, "limit": 500})
    },
    "soma_streams.erasure.erasure_store._WATERMARKS": {
        "": Case(10, lambda _: {"topic": "memory.events", "epoch": 1, "groups": ["soma-postgres"]})
    },
    "soma_streams.replay.index._BY_BEGINNING": {
        "": Case(10, lambda t: {"low": ids(t, 1)[0], "high": UUID(int=2**128 - 1)}, kept=False)
    },
    "soma_streams.replay.index._DECIDE": {
        "of 100": Case(3600, lambda t: {"status": "replayed", "at": "2026-05-01Z", "ids": ids(t, 100)})
    },
    "soma_streams.replay.index._DEEDS": {"": Case(10, lambda t: {"subject": str(ids(t, 1)[0]), "limit": 50})},
    "soma_streams.replay.index._DISCARD": {"500 of a tenant's": letters(23_000, limit=500)},
    "soma_streams.replay.index._ENDS": {"": Case(11_000)},
    "soma_streams.replay.index._NEWER": {
        "": Case(23, lambda t: {"tenant": t, "memory_id": ids(t, 1)[0], "version": 0})
    },
    "soma_streams.replay.index._ORIGINALS": {
        "500 of a tenant's": letters(4500, limit=500, after_epoch=-1, after_partition=-1, after_offset=-1)
    },
    "soma_streams.replay.index._PAGE": {"of a tenant": letters(10, after_id=None, after_time=None, limit=50)},
    "soma_streams.replay.index._PLAN": {"all of a tenant": letters(130_000)},
    "soma_streams.replay.index._RECORD": {
        "of 100": Case(
            1100,
            lambda t: {
                "at": "2026-05-01Z",
                "actor": "a",
                "action": "dead_letter.discard",
                "tenants": [t] * 100,
                "subjects": [str(each) for each in ids(t, 100)],
                "details": ["{}"] * 100,
            },
        )
    },
    "soma_streams.replay.index._RUNS": {"": Case(10, lambda _: {"limit": 50})},
    "soma_streams.replay.index._TALLY": {"of a tenant": letters(1100)},
    "soma_streams.replay.outcomes._AGAIN": {"of 500": Case(3400, lambda t: positions(t, 500))},
    "soma_streams.replay.outcomes._BEHIND": {
        "": Case(
            10,
            lambda _: {"groups": ["g"], "partitions": [0], "offsets": [7], "topic": "t", "epoch": 1},
        )
    },
    "soma_streams.replay.outcomes._HISTORY": {"of 500": Case(9800, lambda t: positions(t, 500))},
    "soma_streams.retention.due_memories._ENDED_BY_THEMSELVES": {
        "none of them": Case(
            10,
            lambda _: {
                "now": "2026-01-01Z",
                "after_deadline": "2020-01-01Z",
                "after_tenant": "",
                "after_id": UUID(int=0),
                "most": 500,
            },
        )
    },
    "soma_streams.retention.due_memories._UNTOLD_BY_THEMSELVES": {
        "none of them": Case(
            10,
            lambda t: {
                "now": "2026-01-01Z",
                "until": "2026-01-02Z",
                "after_deadline": "2020-01-01Z",
                "after_tenant": "",
                "after_id": UUID(int=0),
                "tenants": [t],
                "most": 500,
            },
        )
    },
    "soma_streams.retention.due_memories._ENDED_BY_POLICY": {
        "ten of forty namespaces": Case(
            1300, lambda t: {**places_of(t), **limited(due(t)), "now": "2026-05-01Z", "most": 500}
        ),
        # All that is there is old, and nothing of it is for these rules to end.
        "nothing of a kind": Case(
            380,
            lambda t: {
                **places_of(t),
                "kinds": ["SEMANTIC"] * 40,
                **limited("2027-01-01Z"),
                "now": "2026-05-01Z",
                "most": 500,
            },
        ),
        "nothing that has faded": Case(
            680, lambda t: {**places_of(t), **limited("2025-11-01Z"), "now": "2026-05-01Z", "most": 500}
        ),
    },
    "soma_streams.retention.due_memories._UNTOLD_BY_POLICY": {
        "ten of forty namespaces": Case(
            1300,
            lambda t: {
                **places_of(t, ends_from="2027-01-01Z"),
                **limited(due(t)),
                "now": "2026-05-01Z",
                "most": 500,
            },
        )
    },
    "soma_streams.retention.due_memories._PLACES": {
        "": Case(30, lambda _: {"after_namespace": "", "after_kind": "", "most": 200})
    },
    "soma_streams.retention.history_months._MAKE": {"": Case(60, lambda _: {"month": "2026-03-01"})},
    "soma_streams.retention.history_months._DROP": {"": Case(60, lambda _: {"month": "2003-03-01"})},
    "soma_streams.retention.surplus._NAMESPACES": {"": Case(30, lambda _: {"after": "", "most": 200})},
    "soma_streams.retention.surplus._TIME_IS_OVER": {"": Case(8, lambda _: {"now": "2026-01-01Z"})},
    "soma_streams.retention.surplus._SURPLUS": {
        "100 of a namespace": Case(
            1000,
            lambda _: {
                "namespace": "users/1/notes",
                "max_memories": ROWS // 40 - 100,
                "untold": True,
                "told_by": None,
                "most": 500,
            },
        )
    },
    "soma_streams.retention.outbox_relay._COUNT": {"": Case(4500)},
    "soma_streams.retention.outbox_relay._TAKE": {"100 rows": Case(800, lambda _: {"most": 100})},
    "soma_streams.retention.policies_read._NEXT_TENANT": {"": Case(8, lambda _: {"after": ""})},
    "soma_streams.retention.policies_read._POLICIES": {"": Case(700, lambda t: {"tenants": [t]})},
    "soma_streams.retention.sweeper._FORGET": {
        "500 of them": Case(5000, lambda _: {"now": "2026-12-01Z", "most": 500})
    },
    "soma_streams.retention.sweeper._REACHED": {
        "": Case(10, lambda _: {"group": "g", "topic": "t", "epoch": 1})
    },
    "soma_streams.retention.sweeper._REMEMBER": {
        "100 of them": Case(
            1500,
            lambda t: {
                "now": "2026-05-01Z",
                "tenants": [t] * 100,
                "memory_ids": ids(t, 100),
                "deadlines": ["2026-06-01Z"] * 100,
                "seen": [None] * 100,
            },
        )
    },
    "soma_streams.retention.policy_sink._LIFT": {
        "": Case(8, lambda _: {"namespace": "users/1", "version": 2**45})
    },
    "soma_streams.retention.policy_sink._SET": {
        "": Case(
            20,
            lambda _: {
                "namespace": "users/2",
                "rules": "[]",
                "cap": None,
                "actor": "a",
                "set_at": "2026-05-01Z",
                "version": 2**45,
            },
        )
    },
    "soma_streams.sinks.data_key_reader._READ": {"of 100": Case(10, lambda t: {"key_ids": ids(t, 100)})},
    "soma_streams.sinks.watermarks._HELD": {
        "": Case(4, lambda _: {"group": "g", "topic": "t", "partition": 0})
    },
    "soma_cli.api_key_admin._CREATE": {
        "": Case(
            56,
            lambda t: {
                "key_id": "k",
                "tenant": t,
                "role": "reader",
                "namespaces": None,
                "digest": "x",
                "label": "",
                "now": "2026-05-01Z",
                "expires_at": None,
                "record_access": False,
            },
        )
    },
    "soma_cli.api_key_admin._DIGEST": {"": Case(10, lambda t: {"key_id": "k", "tenant": t})},
    "soma_cli.api_key_admin._LIST": {"": Case(11, lambda t: {"tenant": t})},
    "soma_cli.api_key_admin._REVOKE": {"": Case(10, lambda _: {"key_id": "k", "now": "2026-05-01Z"})},
    "soma_cli.api_key_admin._ROTATE": {
        "": Case(
            10,
            lambda _: {
                "key_id": "k",
                "digest": "x",
                "now": "2026-05-01Z",
                "former_expires_at": "2026-05-02Z",
            },
        )
    },
    "soma_cli.audit_log_admin._NEWEST": {"": Case(60, lambda _: {"action": None, "limit": 20}, kept=False)},
    "soma_cli.administrative_acts._RECORD": {
        "": Case(15, lambda _: {"at": None, "action": "index.switch", "subject": "first", "details": "{}"}),
        "at a time": Case(
            15, lambda _: {"at": "2026-05-01Z", "action": "backup.made", "subject": "00", "details": "{}"}
        ),
    },
    "soma_cli.backups.drilling._MEMORIES": {"": Case(7000)},
    "soma_cli.backups.drilling._VERSIONS": {"": Case(7000)},
    "soma_cli.backups.logged_changes._BURY": {"": Case(30, lambda t: {"key_ids": ids(t, 1), "tenants": [t]})},
    "soma_cli.backups.logged_changes._DESTROY": {"": Case(10, lambda t: {"key_ids": ids(t, 1)})},
    "soma_cli.backups.logged_changes._DESTROY_ABSENT": {"": Case(10, lambda t: {"key_ids": ids(t, 1)})},
    "soma_cli.backups.logged_changes._KEEP": {
        "": Case(
            20,
            lambda t: {
                "key_id": ids(t, 1)[0],
                "subject": "s",
                "memory_id": None,
                "wrapped": b"w",
                "master_key_id": "k",
            },
        )
    },
    "soma_cli.backups.logged_changes._LOG_ANEW": {"": Case(10, lambda t: {"key_ids": ids(t, 1)})},
    "soma_cli.backups.logged_changes._USE_THE_NEWEST": {"": Case(10, lambda _: {"master_key_ids": ["k"]})},
    "soma_cli.backups.making.REMEMBER": {"": Case(10, a_backup)},
    "soma_cli.backups.making._KEPT": {"": Case(10, lambda _: {"limit": 10})},
    "soma_cli.backups.point_in_time._MEMORIES": {"": Case(7000)},
    "soma_cli.backups.table_contents._WATERMARKS": {"": Case(10)},
    "soma_cli.data_key_admin._COUNT": {"": Case(10)},
    "soma_cli.data_key_admin._COUNT_OTHERS": {"": Case(10)},
    "soma_cli.data_key_admin._DESTROY": {"": Case(10, lambda _: {"master_key_id": "k"})},
    "soma_cli.data_key_admin._IN_USE": {"": Case(10, lambda _: {"master_key_id": "k", "seconds": 6.0})},
    "soma_cli.data_key_admin._RETIRE": {"": Case(10, lambda _: {"master_key_id": "k"})},
    "soma_cli.data_key_admin._WRAP": {
        "": Case(
            10,
            lambda t: {"key_id": ids(t, 1)[0], "wrapped": b"w", "master_key_id": "k", "former": b"f"},
        )
    },
    "soma_cli.data_key_admin._WRAPPED_OTHERWISE": {
        "": Case(10, lambda _: {"master_key_id": "k", "after": UUID(int=0), "limit": 500})
    },
    "soma_cli.store_audits._LAST": {"": Case(10)},
    "soma_cli.store_audits._LATER": {"": Case(10, an_audit)},
    "soma_cli.store_audits._RESULT": {"": Case(10, an_audit)},
    "soma_cli.retention_status._POLICIES": {"": Case(400)},
    "soma_cli.retention_status._PLACES": {"": Case(2000)},
    "soma_cli.retention_status._OVERDUE": {"in 40 namespaces": Case(17 * 40, planned)},
    "soma_cli.retention_status._TOLD": {"": Case(9000)},
    "soma_cli.retention_status._QUEUED": {"": Case(9000)},
    "soma_cli.count_verification._COUNTS_THAT_DIFFER": {"": Case(22_000)},
    "soma_cli.count_verification._COUNT_MEMORIES": {"": Case(9500)},
    "soma_cli.count_verification._COUNT_OTHERS": {"": Case(12_000)},
    "soma_cli.count_verification._FORGET_MEMORIES": {"": Case(3300, lambda _: {"shards": [0]})},
    "soma_cli.count_verification._FORGET_OTHERS": {"": Case(6200, lambda _: {"shards": [0]})},
    "soma_cli.count_verification._HOLD_SHARDS": {"": Case(160)},
}

CASES = {
    f"{name.removeprefix('soma_')} {title}".rstrip(): (name, case)
    for name, cases in STATEMENTS.items()
    for title, case in cases.items()
}

_TABLES = (
    "memories|memory_history|memory_links|dead_letters|namespace_counts|tenant_counts|sink_watermarks|api_keys"
    "|audit_log|retention_policies|retention_notices|outbox|backups|data_keys"
)
_STATEMENT = re.compile(r"(--.*\n|\s)*(SELECT|WITH|INSERT|UPDATE|DELETE)\b")
_TOUCHES = re.compile(rf"\b(FROM|JOIN|INTO|UPDATE)\s+(public\.)?({_TABLES})\b|\bsoma_\w+\(")
_PLACEHOLDER = re.compile(r"%\((\w+)\)[sb]")


def is_statement(text: object) -> bool:
    return isinstance(text, str) and bool(_STATEMENT.match(text) and _TOUCHES.search(text))


def programs() -> Iterator[tuple[str, Path]]:
    """The modules of the processes."""
    for package in (soma_api, soma_streams, soma_cli):
        folder = Path(package.__path__[0])
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def found_statements() -> dict[str, str]:
    """Every statement that touches a table of ours: constants of modules, and files."""
    found: dict[str, str] = {}
    for module, path in programs():
        text = path.read_text("utf-8")
        if not _TOUCHES.search(text):
            continue
        named = {
            target.id
            for node in ast.parse(text).body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        members = vars(importlib.import_module(module))
        found |= {f"{module}.{name}": members[name] for name in named if is_statement(members[name])}
    for package in (soma_api, soma_streams, soma_cli):
        folder = Path(package.__path__[0])
        found |= {
            str(each.relative_to(folder.parent)): each.read_text("utf-8") for each in folder.rglob("*.sql")
        }
    sinks = "soma_streams/sinks/"
    return found | {
        name: statement(name.removeprefix(sinks).removesuffix(".sql"))
        for name in found
        if name.startswith(sinks)
    }


FOUND = found_statements()


def test_every_statement_has_a_bound() -> None:
    assert set(STATEMENTS) == set(FOUND)


def test_no_statement_hides_in_a_function() -> None:
    hidden = [
        f"{path.name}:{node.lineno}"
        for _, path in programs()
        if _TOUCHES.search(path.read_text("utf-8"))
        for function in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Constant) and is_statement(node.value)
    ]

    assert hidden == []


# What each case touched, by how its plan was made: buffers, and rows at all steps.
Measured = dict[tuple[str, str], tuple[int, int]]
# As many entries has a page of an index.
ROWS_A_BUFFER = 150

KEPT, CUSTOM, GENERIC = "of empty tables", "for its values", "for any values"


@pytest.fixture(scope="module")
def measured(local_parts: LocalParts) -> Iterator[Measured]:
    """All cases, run in a database of their own."""
    postgres = local_parts.parts.postgres
    with psycopg.connect(postgres.dsn(Login.ADMIN), autocommit=True) as admin:
        admin.execute("CREATE DATABASE bounds OWNER soma_owner")
    settings = {
        login: postgres.settings(login).model_copy(update={"database": "bounds"})
        for login in (Login.OWNER, Login.WORKER, Login.API)
    }
    migrate(settings[Login.OWNER].conninfo())
    yield asyncio.run(measure(settings))
    with psycopg.connect(postgres.dsn(Login.ADMIN), autocommit=True) as admin:
        admin.execute("DROP DATABASE bounds WITH (FORCE)")


async def measure(settings: Mapping[Login, PostgresSettings]) -> Measured:
    found: Measured = {}
    with psycopg.connect(settings[Login.OWNER].conninfo(), autocommit=True) as owner:
        owner.execute(
            "SELECT soma_ensure_history_partition(month::date)"
            " FROM generate_series(timestamptz '2026-01-01Z', '2026-05-01Z', '1 month') AS month"
        )
        for (table,) in owner.execute(
            "SELECT oid::regclass::text FROM pg_class"
            " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        ).fetchall():
            owner.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)".encode())
        owner.execute("ANALYZE")
        kept = [key for key, (_, case) in CASES.items() if case.kept]
        async with sessions(settings) as early:
            for key in kept:
                await prepare(early, key, "force_generic_plan")
            owner.execute(loading(1, OTHERS))
            for key in kept:
                found[key, KEPT] = await run(early, key, "force_generic_plan", EARLY)
        owner.execute("ANALYZE")
        owner.execute(loading(OTHERS + 1, OTHERS + ROWS))
        async with sessions(settings) as late:
            for mode, planned, chosen in (
                ("force_custom_plan", CUSTOM, list(CASES)),
                ("force_generic_plan", GENERIC, kept),
            ):
                for key in chosen:
                    await prepare(late, key, mode)
                    found[key, planned] = await run(late, key, mode, LATE)
    return found


def loading(first: int, last: int) -> bytes:
    return LOAD.replace("%(first)s", str(first)).replace("%(last)s", str(last)).encode()


Connections = Mapping[Role, psycopg.AsyncConnection[Any]]


@asynccontextmanager
async def sessions(settings: Mapping[Login, PostgresSettings]) -> AsyncIterator[Connections]:
    """A session of each role, as the processes open theirs."""
    async with AsyncExitStack() as opened:
        # psycopg prepares nothing, or it would deallocate everything after a rollback.
        unprepared = {"prepare_threshold": None}
        pool: Pool = AsyncConnectionPool(
            settings[Login.WORKER].conninfo(), kwargs=unprepared, min_size=1, open=False
        )
        await opened.enter_async_context(pool)
        sinks = Sessions(pool, *(RowType(name, row) for name, (_, row) in ROW_TYPES.items()))
        reader = connection_string(settings[Login.API], timedelta(minutes=1))
        owner = settings[Login.OWNER]
        connections = {
            Role.READER: await opened.enter_async_context(
                await psycopg.AsyncConnection.connect(reader, autocommit=True)
            ),
            Role.SINK: await opened.enter_async_context(sinks.borrow()),
            Role.OPERATOR: await opened.enter_async_context(open_session(owner)),
            Role.OWNER: await opened.enter_async_context(
                await psycopg.AsyncConnection.connect(owner.conninfo(), autocommit=True)
            ),
        }
        for connection in connections.values():
            connection.prepare_threshold = None
        yield connections


def role_of(name: str) -> Role:
    return next(role for role in Role if name.replace("/", ".").startswith(role.value))


async def prepare(connections: Connections, key: str, mode: str) -> None:
    """Have the server keep a statement; a plan for any values is made at once."""
    name, _ = CASES[key]
    connection = connections[role_of(name)]
    text = _PLACEHOLDER.sub(lambda match: f"${places(key).index(match[1]) + 1}", text_of(key))
    await connection.execute(f"SET plan_cache_mode = {mode}".encode())
    await connection.execute(f"PREPARE {prepared(key, mode)} AS {text.replace('%%', '%')}".encode())
    nothing = ", ".join(["NULL"] * len(places(key)))
    await connection.execute(f"EXPLAIN EXECUTE {prepared(key, mode)}{nothing and f'({nothing})'}".encode())


async def run(connections: Connections, key: str, mode: str, tenant: str) -> tuple[int, int]:
    """Run a statement that the server keeps, forget what it did, and return what it touched."""
    name, case = CASES[key]
    connection = connections[role_of(name)]
    values = {"tenant": tenant, **case.values(tenant)}
    literals = [await literal(connection, values[place]) for place in places(key)]
    if role_of(name) is Role.READER:
        await connection.execute("SELECT set_config('soma.tenant', %s, false)", [tenant])
    await connection.execute(f"SET plan_cache_mode = {mode}".encode())
    arguments = f"({', '.join(literals)})" if literals else ""
    async with connection.transaction(force_rollback=True):
        asked = await connection.execute(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE {prepared(key, mode)}{arguments}".encode()
        )
        row = await asked.fetchone()
    assert row is not None
    plan = row[0][0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]), rows_of(plan)


def rows_of(node: Mapping[str, Any]) -> int:
    """How many rows the steps of a plan handed on or dropped."""
    a_loop = node["Actual Rows"] + sum(
        number for name, number in node.items() if name.startswith("Rows Removed")
    )
    return int(a_loop * node["Actual Loops"]) + sum(map(rows_of, node.get("Plans", [])))


def text_of(key: str) -> str:
    name, case = CASES[key]
    return case.text or FOUND[name]


def places(key: str) -> list[str]:
    return list(dict.fromkeys(match[1] for match in _PLACEHOLDER.finditer(text_of(key))))


def prepared(key: str, mode: str) -> str:
    return f"s{list(CASES).index(key)}_{mode}"


async def literal(connection: psycopg.AsyncConnection[Any], value: object) -> str:
    if isinstance(value, Rows):
        row = await (await connection.execute(value.query.encode())).fetchone()
        assert row is not None
        value = row[0]
    return sql.Literal(value).as_string(connection)


@pytest.mark.parametrize("key", CASES)
def test_a_statement_touches_no_more_than_its_bound(measured: Measured, key: str) -> None:
    _, case = CASES[key]
    touched = {planned: found for (of, planned), found in measured.items() if of == key}
    bound = (case.buffers, case.buffers * ROWS_A_BUFFER)

    assert len(touched) == (3 if case.kept else 1)
    assert {planned: found for planned, found in touched.items() if any(map(gt, found, bound))} == {}


def test_a_join_of_rows_that_are_kept_in_memory_is_seen() -> None:
    scan = {"Actual Rows": 4000, "Actual Loops": 1}
    kept = {"Actual Rows": 2000.5, "Actual Loops": 4000}

    joined = {"Actual Rows": 1, "Actual Loops": 1, "Rows Removed by Join Filter": 3999, "Plans": [scan, kept]}

    assert rows_of(joined) == 4000 + 4000 + 8_002_000
