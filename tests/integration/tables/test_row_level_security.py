"""What each login may see and do, whatever its SQL says."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

A_MEMORY = "00000000-0000-7000-8000-000000000001"
TENANT_TABLES = [
    "memories",
    "memory_history",
    "memory_links",
    "dead_letters",
    "namespace_counts",
    "tenant_counts",
    "retention_policies",
    "erasures",
    "memory_replays",
]


@pytest.fixture
def two_tenants(owner_dsn: str) -> str:
    """Every table of a tenant's data has one row of each of two tenants; ours is acme."""
    with psycopg.connect(owner_dsn) as owner:
        owner.execute("SELECT soma_ensure_history_partition('2026-03-01')")
        for number, tenant in enumerate(["acme", "other"]):
            owner.execute(
                "INSERT INTO memories (tenant, memory_id, version, deleted, updated_at, recent_event_ids,"
                " namespace, kind, text, payload, tags, importance, occurred_at, actor, created_at,"
                " access_count) VALUES (%s, %s, 1, false, now(), '{}',"
                " 'n', 'EPISODIC', 'tea', '{}', '{x,acme,other}', 0.5, now(), 'a', now(), 0)",
                [tenant, A_MEMORY],
            )
            owner.execute(
                "INSERT INTO memory_history (partition, version, logged_at, tenant, memory_id, outcome)"
                " VALUES (0, %s, '2026-03-02Z', %s, %s, 'applied')",
                [number, tenant, A_MEMORY],
            )
            owner.execute(
                "INSERT INTO memory_replays VALUES (0, %s, %s, 0, %s, '2026-03-02Z')",
                [number, tenant, number],
            )
            owner.execute(
                "INSERT INTO memory_links VALUES (%s, %s, 'about', %s, 1, 1, false)",
                [tenant, A_MEMORY, A_MEMORY],
            )
            owner.execute(
                "INSERT INTO dead_letters (id, tenant, dlq_partition, dlq_offset, code, message)"
                " VALUES (gen_random_uuid(), %s, 0, 0, 'avro', '')",
                [tenant],
            )
            owner.execute(
                "INSERT INTO retention_policies VALUES (%s, 'n', '[]', 'a', now(), 1)",
                [tenant],
            )
            owner.execute(
                "INSERT INTO erasures (tenant, request_id, scope, selector, actor, requested_at, accepted_at,"
                " before_versions, state)"
                " VALUES (%s, gen_random_uuid(), 'SUBJECT', 'nobody', 'a', now(), now(), '{}', 'accepted')",
                [tenant],
            )
            owner.execute(
                "INSERT INTO retention_notices VALUES (%s, %s, now(), now())",
                [tenant, A_MEMORY],
            )
            owner.execute(
                "INSERT INTO outbox (tenant, memory_id, event_id, content) VALUES (%s, %s, %s, '{}')",
                [tenant, A_MEMORY, A_MEMORY],
            )
            owner.execute(
                "INSERT INTO api_keys (key_id, tenant, role, secret_hash, created_at)"
                " VALUES (%s, %s, 'reader', 'hash', now())",
                [f"key-{tenant}", tenant],
            )
        owner.execute(
            "INSERT INTO dead_letters (id, tenant, dlq_partition, dlq_offset, code, message)"
            " VALUES (gen_random_uuid(), NULL, 0, 1, 'avro', '')"
        )
        owner.execute("INSERT INTO sink_watermarks VALUES ('g', 't', 0, 1, 5, now())")
    return owner_dsn


@contextmanager
def reader(dsn: str, tenant: str | None) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(dsn) as connection:
        if tenant is not None:
            connection.execute("SELECT set_config('soma.tenant', %s, true)", [tenant])
        yield connection


def fetch(connection: psycopg.Connection[Any], query: str, *values: object) -> list[tuple[Any, ...]]:
    return connection.execute(query.encode(), values).fetchall()


@pytest.mark.parametrize("table", TENANT_TABLES)
@pytest.mark.usefixtures("two_tenants")
def test_a_reader_sees_the_rows_of_its_tenant_alone(api_dsn: str, table: str) -> None:
    with reader(api_dsn, "acme") as connection:
        query = f"SELECT DISTINCT tenant FROM {table}"  # noqa: S608  # our own names
        assert fetch(connection, query) == [("acme",)]
        assert fetch(connection, f"SELECT FROM {table} WHERE tenant = 'other'") == []


@pytest.mark.parametrize("table", TENANT_TABLES)
@pytest.mark.parametrize("tenant", [None, "", "ACME", "acme "])
@pytest.mark.usefixtures("two_tenants")
def test_a_reader_that_is_nobody_sees_nothing(api_dsn: str, table: str, tenant: str | None) -> None:
    with reader(api_dsn, tenant) as connection:
        assert fetch(connection, f"SELECT FROM {table}") == []


@pytest.mark.usefixtures("two_tenants")
def test_the_tenant_ends_with_its_transaction(api_dsn: str) -> None:
    with psycopg.connect(api_dsn, autocommit=True) as connection:
        with connection.transaction():
            connection.execute("SELECT set_config('soma.tenant', 'acme', true)")
            assert len(fetch(connection, "SELECT FROM memories")) == 1

        assert fetch(connection, "SELECT FROM memories") == []


@pytest.mark.usefixtures("two_tenants")
def test_tagged_memories_are_those_of_the_tenant(api_dsn: str) -> None:
    with reader(api_dsn, "acme") as connection:
        assert len(fetch(connection, "SELECT soma_tagged_memories('{x}', 10)")) == 1
        assert len(fetch(connection, "SELECT soma_tagged_memories('{x,other}', 10)")) == 1
        assert fetch(connection, "SELECT soma_tagged_memories('{x,absent}', 10)") == []
        assert fetch(connection, "SELECT soma_tagged_memories('{x}', 0)") == []
    with reader(api_dsn, None) as connection:
        assert fetch(connection, "SELECT soma_tagged_memories('{x}', 10)") == []


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO memory_links VALUES ('acme', gen_random_uuid(), 'a', gen_random_uuid(), 1, 1, false)",
        "UPDATE memories SET version = 9",
        "DELETE FROM memories",
        "TRUNCATE memories",
        "DELETE FROM memory_history",
        "UPDATE memory_links SET weight = 2",
        "UPDATE dead_letters SET status = 'discarded'",
        "UPDATE sink_watermarks SET next_offset = 9",
        "UPDATE namespace_counts SET number = 9",
        "UPDATE retention_policies SET rules = '[]'",
        "DELETE FROM retention_policies",
        "SELECT * FROM retention_notices",
        "SELECT * FROM outbox",
        "SELECT * FROM erasure_targets",
        "UPDATE erasures SET state = 'completed'",
        "INSERT INTO tenant_counts VALUES ('acme', 'links', 0, 9)",
        "SELECT soma_count_shard()",
        "SELECT * FROM api_keys",
        "INSERT INTO api_keys VALUES ('k', 'acme', 'admin', null, '', now())",
        "UPDATE audit_log SET actor = 'nobody'",
        "DELETE FROM audit_log",
        "TRUNCATE audit_log",
        "SELECT * FROM memory_history_2026_03",
        "SELECT soma_ensure_history_partition('2026-03-01')",
        "ALTER TABLE memories DISABLE ROW LEVEL SECURITY",
        "SET ROLE soma_sinks",
        "CREATE TABLE public.mine (a integer)",
    ],
)
@pytest.mark.usefixtures("two_tenants")
def test_a_reader_may_not(api_dsn: str, statement: str) -> None:
    with reader(api_dsn, "acme") as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode())


@pytest.mark.usefixtures("two_tenants")
def test_a_reader_knows_whether_it_is_held_to_its_tenant(api_dsn: str, owner_dsn: str) -> None:
    active = "SELECT row_security_active('memories')"
    with reader(api_dsn, None) as connection:
        assert fetch(connection, active) == [(True,)]
    with reader(owner_dsn, None) as connection:
        assert fetch(connection, active) == [(False,)]


@pytest.mark.usefixtures("two_tenants")
def test_an_api_key_is_found_by_its_id_before_the_tenant_is_known(api_dsn: str) -> None:
    with reader(api_dsn, None) as connection:
        found = fetch(
            connection, "SELECT key_id, tenant, role, secret_hash FROM soma_find_api_key('key-other')"
        )

        assert found == [("key-other", "other", "reader", b"hash")]
        assert fetch(connection, "SELECT * FROM soma_find_api_key('absent')") == []


@pytest.mark.usefixtures("two_tenants")
def test_a_function_of_the_owner_cannot_be_misled_by_objects_of_the_caller(api_dsn: str) -> None:
    with reader(api_dsn, None) as connection:
        connection.execute(
            "CREATE TEMPORARY TABLE api_keys AS SELECT 'key-other' AS key_id, 'acme' AS tenant"
        )
        connection.execute("SET search_path = pg_temp, public")

        found = fetch(connection, "SELECT tenant FROM public.soma_find_api_key('key-other')")

    assert found == [("other",)]


@pytest.mark.usefixtures("two_tenants")
def test_a_reader_sees_every_watermark(api_dsn: str) -> None:
    with reader(api_dsn, None) as connection:
        assert fetch(connection, "SELECT next_offset FROM sink_watermarks") == [(5,)]


@pytest.mark.usefixtures("two_tenants")
def test_a_reader_adds_to_the_audit_log_for_its_own_tenant_only(api_dsn: str, owner_dsn: str) -> None:
    add = "INSERT INTO audit_log (tenant, actor, action) VALUES (%s, 'key-acme', 'read')"
    with reader(api_dsn, "acme") as connection:
        connection.execute(add, ["acme"])
    with reader(api_dsn, "acme") as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(add, ["other"])
    with reader(api_dsn, None) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(add, [None])

    with psycopg.connect(owner_dsn) as owner:
        assert fetch(owner, "SELECT tenant FROM audit_log WHERE actor = 'key-acme'") == [("acme",)]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM memories",
        "DELETE FROM memory_history",
        "TRUNCATE memory_links",
        "SELECT * FROM api_keys",
        "SELECT * FROM soma_find_api_key('key-acme')",
        "SELECT * FROM audit_log",
        "DROP TABLE memories",
        "SELECT * FROM memory_history_2026_03",
        "UPDATE namespace_counts SET number = 9",
        "DELETE FROM tenant_counts",
        "UPDATE outbox SET content = '{}'",
        "UPDATE retention_notices SET deadline = now()",
        "SELECT soma_count_shard()",
    ],
)
@pytest.mark.usefixtures("two_tenants")
def test_a_worker_may_not(worker_dsn: str, statement: str) -> None:
    with psycopg.connect(worker_dsn) as worker, pytest.raises(psycopg.errors.InsufficientPrivilege):
        worker.execute(statement.encode())


@pytest.mark.parametrize(
    "table",
    [
        "memories",
        "memory_history",
        "memory_links",
        "retention_policies",
        "retention_notices",
        "outbox",
        "erasures",
        "memory_replays",
    ],
)
@pytest.mark.usefixtures("two_tenants")
def test_a_worker_sees_every_tenant(worker_dsn: str, table: str) -> None:
    with psycopg.connect(worker_dsn) as worker:
        found = fetch(worker, f"SELECT tenant FROM {table} ORDER BY tenant")  # noqa: S608  # our own names

    assert found == [("acme",), ("other",)]


@contextmanager
def operating(owner_dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(owner_dsn) as connection:
        connection.execute("SET ROLE soma_operators")
        yield connection


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM memories",
        "SELECT * FROM memory_links",
        "SELECT content FROM memory_history",
        "SELECT * FROM api_keys",
        "SELECT * FROM soma_find_api_key('key-acme')",
        "UPDATE dead_letters SET message = 'nothing happened'",
        "DELETE FROM dead_letters",
        "INSERT INTO dead_letters (dlq_partition, dlq_offset, code, message) VALUES (0, 9, 'avro', '')",
        "UPDATE sink_watermarks SET next_offset = 9",
        "UPDATE audit_log SET actor = 'nobody'",
        "DELETE FROM audit_log",
        "INSERT INTO audit_log (actor, action) VALUES ('somebody', 'api_key.create')",
        "CREATE TABLE public.mine (a integer)",
        "DROP TABLE dead_letters",
    ],
)
@pytest.mark.usefixtures("two_tenants")
def test_whoever_operates_may_not(owner_dsn: str, statement: str) -> None:
    with operating(owner_dsn) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement.encode())


@pytest.mark.usefixtures("two_tenants")
def test_whoever_operates_decides_about_letters_of_every_tenant(owner_dsn: str) -> None:
    with operating(owner_dsn) as connection:
        decided = connection.execute("UPDATE dead_letters SET status = 'discarded'")
        outcomes = fetch(connection, "SELECT tenant, outcome FROM memory_history ORDER BY tenant")

    assert decided.rowcount == 3
    assert outcomes == [("acme", "applied"), ("other", "applied")]


def test_a_reader_sees_of_the_audit_log_what_was_done_to_its_tenant(api_dsn: str, owner_dsn: str) -> None:
    with psycopg.connect(owner_dsn) as owner:
        for tenant in ("acme", "other", None):
            owner.execute("INSERT INTO audit_log (tenant, actor, action) VALUES (%s, 'a', 'b')", [tenant])

    with reader(api_dsn, "acme") as connection:
        assert fetch(connection, "SELECT tenant FROM audit_log") == [("acme",)]
    for nobody in (None, ""):
        with reader(api_dsn, nobody) as connection:
            assert fetch(connection, "SELECT FROM audit_log") == []


def on_record(owner_dsn: str, *actions: str) -> list[tuple[Any, ...]]:
    """Return tenant, actor, action and subject of what was put on record, oldest first."""
    with psycopg.connect(owner_dsn) as owner:
        return fetch(
            owner,
            "SELECT tenant, actor, action, subject FROM audit_log WHERE action LIKE ANY (%s) ORDER BY id",
            list(actions),
        )


def test_a_change_of_a_key_is_on_record_whoever_makes_it(owner_dsn: str) -> None:
    with psycopg.connect(owner_dsn) as owner:
        owner.execute(
            "INSERT INTO api_keys (key_id, tenant, role, secret_hash, created_at, label)"
            " VALUES ('k', 'acme', 'reader', 'the hash', now(), 'a label')"
        )
        owner.execute("UPDATE api_keys SET last_used_at = now()")
        owner.execute("UPDATE api_keys SET role = 'admin'")
        owner.execute("UPDATE api_keys SET role = 'admin', label = 'a label'")
        owner.execute(
            "UPDATE api_keys SET secret_hash = 'another', former_secret_hash = secret_hash,"
            " former_expires_at = now()"
        )
        for _ in range(2):
            owner.execute("UPDATE api_keys SET revoked_at = coalesce(revoked_at, now())")
        owner.execute("DELETE FROM api_keys")
        (login,) = fetch(owner, "SELECT 'login:' || session_user")[0]

    found = on_record(owner_dsn, "api_key.%")

    acts = ("create", "change", "rotate", "revoke", "delete")
    assert found == [("acme", login, f"api_key.{act}", "k") for act in acts]
    with psycopg.connect(owner_dsn) as owner:
        said = str(fetch(owner, "SELECT details FROM audit_log"))
    assert "'role': 'admin'" in said
    assert "hash" not in said


def test_policies_and_erasures_are_on_record_as_the_log_tells_them(worker_dsn: str, owner_dsn: str) -> None:
    with psycopg.connect(worker_dsn) as worker:
        for namespace in ("", "team/a"):
            worker.execute(
                "INSERT INTO retention_policies (tenant, namespace, rules, actor, set_at, version)"
                " VALUES ('acme', %s, '[]', 'key:1', now(), 1)",
                [namespace],
            )
        worker.execute("DELETE FROM retention_policies WHERE namespace = 'team/a'")
        worker.execute(
            "INSERT INTO erasures (tenant, request_id, scope, selector, actor, requested_at, accepted_at,"
            " before_versions, state) VALUES ('acme', '00000000-0000-0000-0000-000000000007', 'SUBJECT',"
            " 'mira', 'key:2', now(), now(), '{}', 'accepted')"
        )

    assert on_record(owner_dsn, "retention_policy.%", "erasure.%") == [
        ("acme", "key:1", "retention_policy.set", None),
        ("acme", "key:1", "retention_policy.set", "team/a"),
        ("acme", "memory.policies", "retention_policy.lifted", "team/a"),
        ("acme", "key:2", "erasure.requested", "00000000-0000-0000-0000-000000000007"),
    ]
    with psycopg.connect(owner_dsn) as owner:
        assert "mira" not in str(fetch(owner, "SELECT details FROM audit_log"))


@pytest.mark.usefixtures("two_tenants")
def test_whoever_operates_sees_of_the_audit_log_what_concerns_dead_letters(owner_dsn: str) -> None:
    with psycopg.connect(owner_dsn) as owner:
        owner.execute("INSERT INTO audit_log (actor, action) VALUES ('somebody', 'api_key.create')")
    with operating(owner_dsn) as connection:
        connection.execute("INSERT INTO audit_log (actor, action) VALUES ('me', 'dead_letter.discard')")

        assert fetch(connection, "SELECT actor FROM audit_log") == [("me",)]
