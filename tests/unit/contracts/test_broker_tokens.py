"""Tokens for brokers: how they are asked for, how long one is used, and what it means that there is none."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError  # type: ignore[import-untyped]
from confluent_kafka import KafkaError
from pydantic import SecretStr

from fakes import FakeClock
from identity_provider import IdentityProvider
from soma_schemas.broker_access import refusal_of
from soma_schemas.broker_tokens import ask_for_token
from soma_schemas.refusals import AccessError
from soma_schemas.settings import KafkaSettings, SecurityProtocol
from soma_streams.token_provider import TokenProvider
from tls_server import issued_with, serving
from token_endpoint import TokenEndpoint

SECRET = "with: all+that/headers%20quote"


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[TokenEndpoint]:
    """An endpoint that knows one client."""
    _, shown = issued_with(None, tmp_path / "tls")
    with IdentityProvider() as provider, TokenEndpoint(provider, shown) as opened:
        opened.secrets = {"soma": SECRET}
        yield opened


def settings(url: str, tmp_path: Path, **changes: object) -> KafkaSettings:
    trusted, _ = issued_with(None, tmp_path / "tls")
    right: dict[str, object] = {
        "security_protocol": SecurityProtocol.SASL_SSL,
        "oauth_token_url": url,
        "oauth_client_id": "soma",
        "oauth_client_secret": SecretStr(SECRET),
        "oauth_ca_file": trusted.file,
    }
    return KafkaSettings.model_validate(right | changes)


def test_a_client_gets_a_token_for_its_secret(endpoint: TokenEndpoint, tmp_path: Path) -> None:
    token = ask_for_token(settings(endpoint.url, tmp_path))

    assert token.value.count(".") == 2
    assert token.lasts_seconds == endpoint.lasts
    assert endpoint.given == ["soma"]


def test_a_wrong_secret_gets_none(endpoint: TokenEndpoint, tmp_path: Path) -> None:
    with pytest.raises(AccessError) as refused:
        ask_for_token(settings(endpoint.url, tmp_path, oauth_client_secret=SecretStr("wrong")))

    assert refused.value.code == "token_client_refused"
    assert "SOMA_KAFKA__OAUTH_CLIENT_SECRET" in str(refused.value.remedy)


def http(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (http("400 Bad Request", b'{"error": "invalid_scope"}'), "token_client_refused"),
        (http("403 Forbidden", b""), "token_client_refused"),
        (http("404 Not Found", b"{}"), "token_endpoint_away"),
        (http("429 Too Many Requests", b"{}"), "token_endpoint_away"),
        (http("302 Found", b""), "token_endpoint_away"),
        (http("200 OK", b"<html>"), "token_endpoint_away"),
        (http("200 OK", b'{"id_token": "a.b.c"}'), "token_endpoint_away"),
        (http("200 OK", b'{"access_token": "", "expires_in": 9}'), "token_endpoint_away"),
        (http("200 OK", b'{"access_token": "a.b.c", "expires_in": 0}'), "token_endpoint_away"),
        (b"no HTTP\r\n\r\n", "token_endpoint_away"),
    ],
)
def test_what_an_endpoint_answers_instead(answer: bytes, code: str, tmp_path: Path) -> None:
    _, shown = issued_with(None, tmp_path / "tls")

    with serving(shown, answer=answer) as port, pytest.raises(AccessError) as refused:
        ask_for_token(settings(f"https://127.0.0.1:{port}/token", tmp_path))

    assert refused.value.code == code
    assert refused.value.remedy
    # What it said may be a token.
    assert "a.b.c" not in f"{refused.value} {refused.value.__cause__}"


@pytest.mark.parametrize(("said", "lasts"), [({}, 300), ({"expires_in": "60"}, 60)])
def test_how_long_a_token_lasts(said: dict[str, Any], lasts: float, tmp_path: Path) -> None:
    _, shown = issued_with(None, tmp_path / "tls")

    with serving(shown, answer=http("200 OK", json.dumps({"access_token": "a.b.c"} | said).encode())) as port:
        token = ask_for_token(settings(f"https://127.0.0.1:{port}/token", tmp_path))

    assert token == ("a.b.c", lasts)


async def test_all_connections_of_a_client_share_a_token_for_most_of_its_life(
    endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    clock = FakeClock()
    provider = TokenProvider(settings(endpoint.url, tmp_path), clock)

    at_once = set(await asyncio.gather(*(provider.token() for _ in range(5))))
    clock.advance(endpoint.lasts * 0.79)
    late = await provider.token()
    before = len(endpoint.given)
    clock.advance(endpoint.lasts * 0.02)
    await provider.token()

    assert at_once == {late}
    assert (before, len(endpoint.given)) == (1, 2)


def test_connections_in_several_threads_share_a_token(endpoint: TokenEndpoint, tmp_path: Path) -> None:
    provider = TokenProvider(settings(endpoint.url, tmp_path), FakeClock())

    with ThreadPoolExecutor(4) as threads:
        shown = set(threads.map(lambda _: asyncio.run(provider.token()), range(8)))

    assert len(shown) == 1
    assert endpoint.asked == 1


async def test_an_endpoint_that_gives_none_is_asked_once_a_second(
    endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    clock = FakeClock()
    provider = TokenProvider(settings(endpoint.url, tmp_path), clock)
    endpoint.away = True

    for _ in range(10):
        with pytest.raises(KafkaConnectionError, match="token_endpoint_away"):
            await provider.token()
        clock.advance(0.1)
    asked = endpoint.asked
    endpoint.away = False
    clock.advance(0.1)

    assert await provider.token()
    assert asked == 1
    assert endpoint.asked == 2


async def test_a_token_is_used_no_longer_when_its_successor_is_refused(
    endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    clock = FakeClock()
    provider = TokenProvider(settings(endpoint.url, tmp_path), clock)
    await provider.token()
    clock.advance(endpoint.lasts)
    endpoint.secrets = {}

    with pytest.raises(KafkaConnectionError, match="token_client_refused"):
        await provider.token()


@pytest.mark.parametrize(
    "number", [KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED]
)  # fmt: skip
def test_what_a_login_by_token_that_failed_means(
    number: int, endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    right = settings(endpoint.url, tmp_path)
    wrong = settings(endpoint.url, tmp_path, oauth_client_secret=SecretStr("wrong"))
    away = settings("https://127.0.0.1:1/token", tmp_path)
    error = KafkaError(number)

    told = [refusal_of(error, kafka) for kafka in (right, wrong, away)]

    assert [each.code for each in told if each] == [
        "token_not_accepted",
        "token_client_refused",
        "token_endpoint_away",
    ]
    assert not any("SASL" in f"{each} {each.remedy}" for each in told if each)
