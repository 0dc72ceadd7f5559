"""Who is let in, and what it says to those who are not."""

import re
from datetime import datetime, timedelta
from uuid import UUID

import httpx
import pytest

from api_gateway import Gateway, body_of, open_gateway
from soma_api.api_keys import ApiKey, new_key
from soma_api.principals import Authenticator, Principal
from soma_api.roles import Role
from soma_api.settings import GatewaySettings
from soma_cli.api_key_admin import list_keys, rotate_key
from soma_schemas.settings import PostgresSettings


async def test_who_has_no_key_is_told_how_to_send_one(gateway: Gateway) -> None:
    del gateway.client.headers["Authorization"]

    answer = await gateway.client.get("/v1/memories")

    assert (answer.status_code, body_of(answer)["code"]) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="soma"'


async def test_a_key_is_taken_from_either_header(gateway: Gateway) -> None:
    key = gateway.a_key(Role.READER)
    del gateway.client.headers["Authorization"]

    for headers in (
        {"Authorization": f"Bearer {key.reveal()}"},
        {"Authorization": f"bearer  {key.reveal()}"},
        {"X-API-Key": key.reveal()},
    ):
        assert (await gateway.client.get("/v1/memories", headers=headers)).status_code == 200


@pytest.mark.parametrize("scheme", ["Basic", "", "Bearer soma_"])
async def test_another_scheme_is_no_key(gateway: Gateway, scheme: str) -> None:
    key = gateway.a_key()

    answer = await gateway.client.get(
        "/v1/memories", headers={"Authorization": f"{scheme} {key.reveal()}", "X-API-Key": key.reveal()}
    )

    assert answer.status_code == 401


async def test_the_right_id_with_a_wrong_secret_is_no_key(gateway: Gateway) -> None:
    gateway.use(ApiKey(gateway.a_key().key_id, new_key().secret))

    assert (await gateway.client.get("/v1/memories")).status_code == 401


async def test_expired_and_revoked_keys_are_refused(gateway: Gateway) -> None:
    now = gateway.clock.now()
    for key in (gateway.a_key(expires_at=now), gateway.a_key(revoked_at=now)):
        gateway.use(key)
        assert (await gateway.client.get("/v1/memories")).status_code == 401


async def test_a_key_that_expires_later_is_good_until_then(gateway: Gateway) -> None:
    gateway.use(gateway.a_key(expires_at=gateway.clock.now() + timedelta(hours=1)))
    assert (await gateway.client.get("/v1/memories")).status_code == 200

    gateway.clock.advance(3600)

    assert (await gateway.client.get("/v1/memories")).status_code == 401


async def test_the_database_learns_when_each_secret_was_last_used_at_most_once_a_minute(
    gateway: Gateway,
) -> None:
    former = gateway.a_key(Role.READER)
    overlap = timedelta(days=1)
    rotated = rotate_key(gateway.owner_dsn, former.key_id, overlap, gateway.clock.now())
    assert rotated is not None
    key, _ = rotated

    def used() -> tuple[datetime | None, datetime | None]:
        found = list_keys(gateway.owner_dsn, None)
        return next(
            (each.last_used_at, each.former_last_used_at) for each in found if each.key_id == key.key_id
        )

    async def use(given: ApiKey) -> None:
        gateway.use(given)
        assert (await gateway.client.get("/v1/memories")).status_code == 200
        await gateway.key_uses.tell()

    first = gateway.clock.now()
    await use(former)
    assert used() == (first, first)

    gateway.clock.advance(30)
    await use(key)
    assert used() == (first, first)

    gateway.clock.advance(30)
    await use(key)
    assert used() == (gateway.clock.now(), first)


async def test_a_use_of_a_key_that_is_gone_is_no_error(gateway: Gateway) -> None:
    gateway.key_uses.note("0123456789abcdef", former=False)

    await gateway.key_uses.tell()

    assert all(each.last_used_at is None for each in list_keys(gateway.owner_dsn, None))


async def test_no_answer_shows_the_key(gateway: Gateway) -> None:
    stranger = new_key()
    gateway.use(stranger)

    answer = await gateway.client.get("/v1/memories")

    assert stranger.secret not in answer.text
    assert stranger.key_id not in answer.text


async def test_only_health_and_the_documentation_are_open(gateway: Gateway) -> None:
    del gateway.client.headers["Authorization"]

    for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
        assert (await gateway.client.get(path)).status_code == 200


async def test_the_documentation_asks_no_other_host_for_anything(gateway: Gateway) -> None:
    page = (await gateway.client.get("/docs")).text

    asked_for = re.findall(r"""(?:src|href)=["']([^"']+)""", page)
    assert len(asked_for) == 3
    for path in asked_for:
        assert path.startswith("/docs/assets/")
        assert (await gateway.client.get(path)).status_code == 200


async def test_the_documentation_can_be_turned_off(
    api_postgres: PostgresSettings, worker_dsn: str, owner_dsn: str
) -> None:
    async with open_gateway(
        api_postgres, worker_dsn=worker_dsn, owner_dsn=owner_dsn, gateway=GatewaySettings(docs=False)
    ) as gateway:
        for path in ("/docs", "/openapi.json"):
            assert (await gateway.client.get(path)).status_code == 404


async def test_a_request_is_authenticated_once_also_where_its_route_asks_for_two_roles(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    authenticate, asked = Authenticator.authenticate, []

    async def noted(self: Authenticator, credential: str | None) -> Principal:
        asked.append(credential)
        return await authenticate(self, credential)

    monkeypatch.setattr(Authenticator, "authenticate", noted)

    answer = await gateway.client.post(f"/v1/memories/{UUID(int=1)}:revert", json={"version": 7})

    assert (answer.status_code, len(asked)) == (404, 1)


async def test_an_address_that_only_fails_is_told_to_wait_and_a_good_key_from_it_is_taken(
    api_postgres: PostgresSettings, worker_dsn: str, owner_dsn: str
) -> None:
    settings = GatewaySettings(failed_authentications_per_address=3, trusted_proxies=1)
    async with open_gateway(
        api_postgres, worker_dsn=worker_dsn, owner_dsn=owner_dsn, gateway=settings
    ) as gateway:
        good = gateway.client.headers["Authorization"]

        async def asked(credential: str, client: str) -> httpx.Response:
            headers = {"Authorization": credential, "X-Forwarded-For": f"203.0.113.9, {client}"}
            return await gateway.client.get("/v1/stats", headers=headers)

        guessed = [await asked(f"Bearer {new_key().reveal()}", "198.51.100.1") for _ in range(5)]
        taken = await asked(good, "198.51.100.1")
        elsewhere = await asked("Bearer made-up", "198.51.100.2")

    assert [each.status_code for each in guessed] == [401, 401, 401, 429, 429]
    assert body_of(guessed[-1])["code"] == "rate_limited"
    assert guessed[-1].headers["Retry-After"] == "60"
    assert (taken.status_code, elsewhere.status_code) == (200, 401)
