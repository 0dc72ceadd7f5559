"""Administrative acts over HTTP: an admin's, those on the own tenant, page by page."""

from typing import Any

import psycopg
import pytest

from api_gateway import Gateway, body_of
from soma_api.roles import Role
from soma_cli.api_key_admin import NewKey, create_key, revoke_key


@pytest.fixture
def admin(gateway: Gateway) -> Gateway:
    """The API, with an admin's key in every request and an audit log that is empty."""
    gateway.use(gateway.a_key(Role.ADMIN))
    with psycopg.connect(gateway.owner_dsn) as owner:
        owner.execute("TRUNCATE audit_log")
    return gateway


async def entries(gateway: Gateway, **asked: Any) -> list[dict[str, Any]]:
    answer = await gateway.client.get("/v1/audit", params=asked)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = body_of(answer)["entries"]
    return found


async def test_acts_on_the_tenant_are_listed_newest_first(admin: Gateway) -> None:
    now = admin.clock.now()
    key = create_key(admin.owner_dsn, NewKey("acme", Role.READER, label="for a page"), now)
    create_key(admin.owner_dsn, NewKey("globex", Role.READER), now)
    revoke_key(admin.owner_dsn, key.key_id, now)

    found = await entries(admin)

    assert [(each["action"], each["subject"]) for each in found] == [
        ("api_key.revoke", key.key_id),
        ("api_key.create", key.key_id),
    ]
    assert found[1]["details"] == {"role": "reader", "label": "for a page"}
    assert key.secret not in str(found)
    assert [each["action"] for each in await entries(admin, action="api_key.create")] == ["api_key.create"]
    assert await entries(admin, subject="another") == []


async def test_pages_follow_each_other_without_holes(admin: Gateway) -> None:
    now = admin.clock.now()
    made = [create_key(admin.owner_dsn, NewKey("acme", Role.READER), now).key_id for _ in range(5)]
    seen: list[str] = []
    asked: dict[str, str | int] = {"limit": 2}
    while True:
        page = body_of(await admin.client.get("/v1/audit", params=asked))
        seen += [each["subject"] for each in page["entries"]]
        if page["next_cursor"] is None:
            break
        asked["cursor"] = page["next_cursor"]

    assert seen == made[::-1]


@pytest.mark.parametrize("name", ["action", "subject"])
async def test_what_no_database_can_hold_is_refused(admin: Gateway, name: str) -> None:
    answer = await admin.client.get("/v1/audit", params={name: "\0"})

    assert (answer.status_code, body_of(answer)["code"]) == (422, "invalid_input")


async def test_a_cursor_of_another_question_is_refused(admin: Gateway) -> None:
    for _ in range(2):
        create_key(admin.owner_dsn, NewKey("acme", Role.READER), admin.clock.now())
    cursor = body_of(await admin.client.get("/v1/audit", params={"limit": 1}))["next_cursor"]

    answer = await admin.client.get("/v1/audit", params={"cursor": cursor, "action": "api_key.create"})

    assert (answer.status_code, body_of(answer)["code"]) == (400, "invalid_cursor")


async def test_who_lifts_a_policy_is_on_record_before_the_log_has_it(admin: Gateway) -> None:
    answer = await admin.client.delete("/v1/retention-policies", params={"namespace": "team/a"})

    (act,) = await entries(admin)
    assert answer.status_code == 202
    assert (act["action"], act["subject"]) == ("retention_policy.lift", "team/a")
    assert act["actor"].startswith("key:")
    assert act["request_id"] == answer.headers["X-Request-Id"]
