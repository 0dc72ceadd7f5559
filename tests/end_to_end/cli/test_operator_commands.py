"""An operator's commands against the real broker, registry and database."""

import json
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from soma_api.api_keys import ApiKey
from soma_command import Soma
from soma_schemas.topics import TOPICS


@pytest.fixture
def topics(operator: dict[str, str], request: pytest.FixtureRequest) -> dict[str, str]:
    """The operator's environment, with topics of this test alone."""
    prefix = f"cli-{abs(hash(request.node.name)) % 10**8}."
    return operator | {"SOMA_TOPICS__PREFIX": prefix, "SOMA_TOPICS__PARTITIONS": "2"}


def test_topics_are_created_and_then_as_declared(soma: Soma, topics: dict[str, str]) -> None:
    before = soma("topics", "check", environment=topics)
    applied = soma("topics", "apply", "--json", environment=topics)
    again = soma("topics", "apply", "--json", environment=topics)
    after = soma("topics", "check", environment=topics)

    assert before.code == 1
    assert before.out.count(" is missing") == len(TOPICS)
    assert "hint: run `soma topics apply`" in before.err
    assert (applied.code, len(json.loads(applied.out)["done"])) == (0, len(TOPICS))
    assert json.loads(again.out)["done"] == json.loads(again.out)["differences"] == []
    log = f"{topics['SOMA_TOPICS__PREFIX']}memory.events, epoch 1, 2 partitions"
    assert (after.code, after.out, after.err) == (0, f"the log is {log}\nall topics are as declared\n", "")


def test_partitions_are_never_changed(soma: Soma, topics: dict[str, str]) -> None:
    soma("topics", "apply", environment=topics)

    ran = soma("topics", "apply", "--json", environment=topics | {"SOMA_TOPICS__PARTITIONS": "3"})

    assert ran.code == 1
    differences = json.loads(ran.out)["differences"]
    assert {(each["what"], each["declared"], each["found"]) for each in differences} == {
        ("partitions", "3", "2")
    }
    assert "by hand" in ran.err


def test_schemas_are_registered_and_then_in_order(soma: Soma, topics: dict[str, str]) -> None:
    before = soma("schemas", "check", environment=topics)
    registered = soma("schemas", "register", "--json", environment=topics)
    after = soma("schemas", "check", "--json", environment=topics)

    assert before.code == 1
    assert "not registered" in before.out
    assert "hint: run `soma schemas register`" in before.err
    assert registered.code == 0
    assert after.code == 0
    assert {each["fault"] for each in json.loads(after.out)["schemas"]} == {None}


def test_the_database_is_at_head_and_stays_there(soma: Soma, operator: dict[str, str]) -> None:
    ran = soma("migrate", "--json", environment=operator)

    assert ran.code == 0
    assert json.loads(ran.out)["applied"] == []


def test_a_wrong_password_is_said_in_words(soma: Soma, operator: dict[str, str]) -> None:
    wrong = operator | {"SOMA_POSTGRES__PASSWORD": "wrong"}

    for arguments in (("migrate",), ("keys", "list")):
        ran = soma(*arguments, environment=wrong)
        assert (ran.code, ran.out) == (1, "")
        assert ran.err.startswith("error: cannot log in to PostgreSQL at 127.0.0.1:")
        assert "hint: check SOMA_POSTGRES__HOST" in ran.err


def test_a_key_is_shown_once_and_kept_as_a_digest(
    soma: Soma, operator: dict[str, str], owner_dsn: str
) -> None:
    ran = soma(
        "keys", "create", "--tenant", "acme", "--role", "reader", "--namespace", "team/a",
        "--namespace", "team/b", "--label", "for the dashboard", "--days", "30", environment=operator,
    )  # fmt: skip

    key = ApiKey.parse(ran.out.strip())
    assert ran.code == 0
    assert key is not None, ran.out
    assert "shown this once" in ran.err
    with psycopg.connect(owner_dsn) as connection:
        row = connection.execute(
            "SELECT tenant, role, namespaces, secret_hash, label, expires_at FROM api_keys WHERE key_id = %s",
            [key.key_id],
        ).fetchone()
        record = connection.execute(
            "SELECT tenant, actor, action, details FROM audit_log WHERE subject = %s", [key.key_id]
        ).fetchone()
    assert row is not None
    assert row[:5] == ("acme", "reader", ["team/a", "team/b"], key.digest(), "for the dashboard")
    assert abs(row[5] - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=5)  # noqa: TID251  # the real clock is what the command reads
    assert record is not None
    tenant, actor, action, details = record
    assert (tenant, actor.partition(":")[0], action) == ("acme", "login", "api_key.create")
    assert details.pop("expires_at") == row[5].isoformat()
    assert details == {
        "role": "reader",
        "label": "for the dashboard",
        "namespaces": ["team/a", "team/b"],
    }
    assert key.secret not in soma("keys", "list", "--json", environment=operator).out


def test_a_revoked_key_is_listed_as_ended_and_revoked_once(
    soma: Soma, operator: dict[str, str], owner_dsn: str
) -> None:
    created = json.loads(soma("keys", "create", "--tenant", "acme", "--json", environment=operator).out)
    soma("keys", "create", "--tenant", "other", environment=operator)

    revoked = soma("keys", "revoke", created["key_id"], environment=operator)
    again = soma("keys", "revoke", created["key_id"], environment=operator)
    listed = json.loads(soma("keys", "list", "--tenant", "acme", "--json", environment=operator).out)["keys"]

    assert (revoked.code, again.code) == (0, 0)
    assert [each["key_id"] for each in listed] == [created["key_id"]]
    assert listed[0]["revoked_at"] is not None
    with psycopg.connect(owner_dsn) as connection:
        row = connection.execute("SELECT count(*) FROM audit_log WHERE action = 'api_key.revoke'").fetchone()
    assert row == (1,)


def test_a_rotated_key_has_a_new_secret_beside_the_former_one_which_ends(
    soma: Soma, operator: dict[str, str], owner_dsn: str
) -> None:
    made = soma("keys", "create", "--tenant", "acme", "--role", "reader", environment=operator)
    former = ApiKey.parse(made.out.strip())
    assert former is not None

    ran = soma("keys", "rotate", former.key_id, "--overlap", "12h", environment=operator)
    key = ApiKey.parse(ran.out.strip())

    assert (ran.code, key is not None) == (0, True), ran.err
    assert key is not None
    assert key.key_id == former.key_id
    assert "shown this once" in ran.err
    with psycopg.connect(owner_dsn) as connection:
        row = connection.execute(
            "SELECT secret_hash, former_secret_hash, former_expires_at - rotated_at, role FROM api_keys"
        ).fetchone()
        record = connection.execute(
            "SELECT tenant, subject, details ? 'former_expires_at' FROM audit_log"
            " WHERE action = 'api_key.rotate'"
        ).fetchall()
    assert row == (key.digest(), former.digest(), timedelta(hours=12), "reader")
    assert record == [("acme", key.key_id, True)]
    listed = soma("keys", "list", environment=operator).out
    assert "until " in listed
    assert key.secret not in listed


def test_a_key_that_has_ended_is_not_rotated(soma: Soma, operator: dict[str, str]) -> None:
    created = json.loads(soma("keys", "create", "--tenant", "acme", "--json", environment=operator).out)
    soma("keys", "revoke", created["key_id"], environment=operator)

    for key_id in (created["key_id"], "0123456789abcdef"):
        ran = soma("keys", "rotate", key_id, environment=operator)
        assert (ran.code, ran.out) == (2, "")
        assert "there is no key with this id that is still good" in ran.err


def test_what_was_done_to_keys_is_listed_with_who_did_it(
    soma: Soma, operator: dict[str, str], owner_dsn: str
) -> None:
    del owner_dsn
    created = json.loads(soma("keys", "create", "--tenant", "acme", "--json", environment=operator).out)
    soma("keys", "revoke", created["key_id"], environment=operator)

    listed = json.loads(soma("audit", "--all", "--json", environment=operator).out)["entries"]
    one = json.loads(
        soma("audit", "--all", "--action", "api_key.create", "--json", environment=operator).out
    )["entries"]
    shown = soma("audit", "--all", environment=operator).out

    assert [each["action"] for each in listed] == ["api_key.revoke", "api_key.create"]
    assert [each["action"] for each in one] == ["api_key.create"]
    assert {each["tenant"] for each in listed} == {"acme"}
    assert "api_key.revoke" in shown
    assert created["api_key"] not in shown + json.dumps(listed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("audit", "--all", "--url", "http://127.0.0.1:1"), "--all asks the database, not the API"),
        (("keys", "rotate", "0123456789abcdef", "--overlap", "soon"), "--overlap is not a duration"),
        (("keys", "rotate", "0123456789abcdef", "--overlap", "400d"), "--overlap is longer than a year"),
        (("keys", "create"), "the tenant of the key is not known"),
        (("keys", "create", "--tenant", "Not A Tenant"), "a tenant is 1 to 63 of"),
        (("keys", "create", "--tenant", "acme", "--namespace", "/a"), "segment 1 is empty"),
        (("keys", "revoke", "nobody"), "there is no key with this id"),
    ],
)
def test_a_key_that_makes_no_sense_is_misuse(
    soma: Soma, operator: dict[str, str], arguments: tuple[str, ...], message: str
) -> None:
    ran = soma(*arguments, environment=operator)

    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


def test_a_database_without_tables_says_how_to_make_them(
    soma: Soma, operator: dict[str, str], owner_dsn: str
) -> None:
    del owner_dsn
    ran = soma("keys", "list", environment=operator | {"SOMA_POSTGRES__DATABASE": "registry"})

    assert ran.code == 1
    assert "cannot log in" in ran.err or "soma migrate" in ran.err


def test_counts_are_verified_and_made_anew(soma: Soma, operator: dict[str, str], owner_dsn: str) -> None:
    before = soma("verify", "--only", "counts", environment=operator)
    with psycopg.connect(owner_dsn) as owner:
        owner.execute("INSERT INTO namespace_counts VALUES ('acme', 'team', 'EPISODIC', 0, 7)")
        owner.execute("INSERT INTO tenant_counts VALUES ('acme', 'links', 3, 2)")
    wrong = soma("verify", "--only", "counts", environment=operator)
    told = soma("verify", "--only", "counts", "--json", environment=operator)
    repaired = soma("verify", "--only", "counts", "--repair", "--json", environment=operator)
    after = soma("verify", "--only", "counts", "--json", environment=operator)

    assert (before.code, before.out) == (0, "the counts are those of the rows\n")
    assert (wrong.code, wrong.out.splitlines()) == (
        1,
        ["links of acme: 2 counted, 0 there", "memories of acme in team, EPISODIC: 7 counted, 0 there"],
    )
    assert "hint: run `soma verify --repair`" in wrong.err
    assert told.code == 1
    assert [list(each.values()) for each in json.loads(told.out)["counts"]] == [
        ["acme", "links", None, None, 2, 0],
        ["acme", "memories", "team", "EPISODIC", 7, 0],
    ]
    assert (repaired.code, json.loads(repaired.out)["repaired"]) == (0, True)
    assert (after.code, json.loads(after.out)) == (0, {"counts": [], "repaired": False, "stores": None})
