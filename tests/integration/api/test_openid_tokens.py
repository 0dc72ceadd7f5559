"""Tokens of an OpenID provider at the HTTP boundary, beside API keys."""

from collections.abc import AsyncIterator, Iterator

import pytest

from api_gateway import Gateway, body_of, open_gateway
from identity_provider import AUDIENCE, IdentityProvider
from soma_api.settings import OidcSettings
from soma_schemas.settings import PostgresSettings


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with IdentityProvider() as running:
        yield running


@pytest.fixture
async def gateway(
    provider: IdentityProvider, api_postgres: PostgresSettings, worker_dsn: str, owner_dsn: str
) -> AsyncIterator[Gateway]:
    oidc = OidcSettings(
        issuer=provider.issuer,
        audience=AUDIENCE,
        jwks_url=provider.jwks_url,
        namespaces_claim="spaces",
    )
    async with open_gateway(api_postgres, worker_dsn=worker_dsn, owner_dsn=owner_dsn, oidc=oidc) as served:
        yield served


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_token_reads_and_writes_as_its_tenant_and_within_its_namespaces(
    gateway: Gateway, provider: IdentityProvider
) -> None:
    token = provider.token(gateway.clock.now(), spaces=["team/a"])
    own = gateway.given_memory(namespace="team/a")
    gateway.given_memory(namespace="team/b")
    gateway.given_memory(tenant="globex", namespace="team/a")

    listed = await gateway.client.get("/v1/memories", headers=bearing(token))
    written = await gateway.client.post(
        "/v1/memories", json={"namespace": "team/a", "text": "tea"}, headers=bearing(token)
    )
    forbidden = await gateway.client.post(
        "/v1/memories", json={"namespace": "team/b", "text": "tea"}, headers=bearing(token)
    )

    assert [each["memory_id"] for each in body_of(listed)["memories"]] == [str(own)]
    assert (written.status_code, forbidden.status_code) == (202, 403)
    assert [(each.tenant, each.actor) for each in gateway.published] == [("acme", "oidc:mira")]


async def test_a_role_that_is_too_low_is_refused_as_of_a_key(
    gateway: Gateway, provider: IdentityProvider
) -> None:
    token = provider.token(gateway.clock.now(), spaces=[], role="reader")

    answer = await gateway.client.post("/v1/memories", json={}, headers=bearing(token))

    assert (answer.status_code, body_of(answer)["code"]) == (403, "role_too_low")


async def test_keys_go_on_while_the_provider_is_away_and_tokens_can_be_sent_again_later(
    gateway: Gateway, provider: IdentityProvider
) -> None:
    provider.status = 500
    token = provider.token(gateway.clock.now(), spaces=[])

    by_token = await gateway.client.get("/v1/memories", headers=bearing(token))
    by_key = await gateway.client.get("/v1/memories")

    assert (by_token.status_code, body_of(by_token)["code"]) == (503, "identity_provider_unavailable")
    assert by_token.headers["Retry-After"]
    assert by_key.status_code == 200


async def test_a_refused_token_is_told_nothing_of_itself(
    gateway: Gateway, provider: IdentityProvider
) -> None:
    token = provider.token(gateway.clock.now(), spaces=[], tenant="A Secret")

    answer = await gateway.client.get("/v1/memories", headers=bearing(token))

    assert (answer.status_code, body_of(answer)["code"]) == (401, "unauthenticated")
    assert "A Secret" not in answer.text
    assert token not in answer.text
