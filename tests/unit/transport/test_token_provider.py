"""One token serves all connections of a client for most of its life."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.errors import KafkaConnectionError  # type: ignore[import-untyped]
from pydantic import SecretStr

from fakes import FakeClock
from identity_provider import IdentityProvider, TokenEndpoint
from soma_schemas.broker_tokens import ask_for_token
from soma_schemas.errors import ConfigurationError
from soma_schemas.refusals import AccessError
from soma_schemas.settings import KafkaSettings, SecurityProtocol
from soma_streams.token_provider import TokenProvider
from tls_server import issued_with


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    with IdentityProvider() as running:
        yield running


@pytest.fixture
def endpoint(provider: IdentityProvider, tmp_path: Path) -> Iterator[TokenEndpoint]:
    _, shown = issued_with(None, tmp_path)
    with TokenEndpoint(provider, shown) as running:
        running.clients["soma-api"] = "right"
        yield running


@pytest.fixture
def kafka(endpoint: TokenEndpoint, tmp_path: Path) -> KafkaSettings:
    return KafkaSettings(
        security_protocol=SecurityProtocol.SASL_SSL,
        oauth_token_url=endpoint.url,
        oauth_client_id="soma-api",
        oauth_client_secret=SecretStr("right"),
        oauth_ca_file=issued_with(None, tmp_path)[0].file,
    )


async def test_a_token_is_kept_for_four_fifths_of_its_life(
    kafka: KafkaSettings, endpoint: TokenEndpoint
) -> None:
    clock = FakeClock()
    tokens = TokenProvider(kafka, clock)

    first = {await each for each in asyncio.as_completed([tokens.token() for _ in range(5)])}
    clock.advance(239.0)
    kept = await tokens.token()
    clock.advance(1.0)
    await tokens.token()

    assert first == {kept}
    assert len(endpoint.scopes) == 2


async def test_there_is_no_token_while_there_is_none_and_one_afterwards(
    kafka: KafkaSettings, endpoint: TokenEndpoint
) -> None:
    tokens = TokenProvider(kafka, FakeClock())
    endpoint.clients["soma-api"] = "another"

    with pytest.raises(KafkaConnectionError, match="token_client_refused"):
        await tokens.token()
    endpoint.clients["soma-api"] = "right"

    assert await tokens.token()


def test_a_token_lasts_as_long_as_its_endpoint_says(kafka: KafkaSettings) -> None:
    assert ask_for_token(kafka).lasts_seconds == 300


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "token_client_refused"),
        (401, "token_client_refused"),
        (403, "token_client_refused"),
        (404, "token_endpoint_away"),
        (500, "token_endpoint_away"),
    ],
)
def test_an_endpoint_that_gives_no_token_is_told_by_a_code(
    status: int, code: str, kafka: KafkaSettings, endpoint: TokenEndpoint
) -> None:
    endpoint.status = status

    with pytest.raises(AccessError) as told:
        ask_for_token(kafka)

    assert told.value.code == code
    assert told.value.remedy
    assert "right" not in str(told.value)


def test_without_a_token_endpoint_there_is_nobody_to_ask() -> None:
    with pytest.raises(ConfigurationError):
        ask_for_token(KafkaSettings())
