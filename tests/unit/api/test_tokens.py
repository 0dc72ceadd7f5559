"""Tokens of an OpenID provider that publishes its keys over HTTP on loopback."""

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from joserfc.jwk import OctKey, RSAKey
from pydantic import ValidationError

from fakes import FakeClock
from identity_provider import AUDIENCE, IdentityProvider
from soma_api.principals import Principal
from soma_api.problems import IdentityProviderUnavailableError, UnauthenticatedError
from soma_api.roles import Role
from soma_api.settings import OidcSettings
from soma_api.tokens import Tokens, open_tokens


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    with IdentityProvider() as running:
        yield running


def opened(provider: IdentityProvider, clock: FakeClock, **settings: Any) -> Tokens:
    given = {"issuer": provider.issuer, "audience": AUDIENCE, "jwks_url": provider.jwks_url} | settings
    tokens = open_tokens(OidcSettings.model_validate(given), clock)
    assert tokens is not None
    return tokens


@pytest.fixture
def tokens(provider: IdentityProvider, clock: FakeClock) -> Tokens:
    return opened(provider, clock)


def spliced(token: str, **header: Any) -> str:
    """Return a token with another header and the signature that it had."""
    _, claims, signature = token.split(".")
    encoded = urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
    return f"{encoded}.{claims}.{signature}"


async def refusal(tokens: Tokens, token: str) -> str:
    with pytest.raises(UnauthenticatedError) as refused:
        await tokens.authenticate(token)
    return str(refused.value)


async def test_a_good_token_gives_what_its_claims_say(
    tokens: Tokens, provider: IdentityProvider, clock: FakeClock
) -> None:
    assert await tokens.authenticate(provider.token(clock.now())) == Principal(
        "acme", Role.WRITER, None, "oidc:mira"
    )


async def test_keys_are_fetched_once_for_many_tokens(
    tokens: Tokens, provider: IdentityProvider, clock: FakeClock
) -> None:
    token = provider.token(clock.now())

    await asyncio.gather(*(tokens.authenticate(token) for _ in range(20)))

    assert provider.asked == 1


async def test_elliptic_keys_are_taken_and_other_algorithms_of_a_known_key_are_not(
    tokens: Tokens, provider: IdentityProvider, clock: FakeClock
) -> None:
    provider.new_key("curve", elliptic=True)
    good = provider.token(clock.now(), key_id="curve", algorithm="ES256")
    unwanted = provider.token(clock.now(), algorithm="RS512")

    assert (await tokens.authenticate(good)).actor == "oidc:mira"
    assert "signed in a way that is not accepted" in await refusal(tokens, unwanted)


async def test_the_public_key_is_not_taken_for_a_shared_secret(
    provider: IdentityProvider, clock: FakeClock
) -> None:
    tokens = opened(provider, clock)
    public = provider.keys["first"].as_pem(private=False)
    forged = provider.token(clock.now(), algorithm="HS256", key=OctKey.import_key(public.hex()))

    assert "signed in a way that is not accepted" in await refusal(tokens, forged)
    with pytest.raises(ValidationError, match="algorithms"):
        OidcSettings.model_validate({"algorithms": ["HS256"]})


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "", None, 7, ["RS256"]])
async def test_a_token_does_not_choose_how_it_is_checked(
    tokens: Tokens, provider: IdentityProvider, clock: FakeClock, algorithm: Any
) -> None:
    token = spliced(provider.token(clock.now()), alg=algorithm, kid="first")

    assert "signed in a way that is not accepted" in await refusal(tokens, token)
    assert await refusal(tokens, token.rpartition(".")[0] + ".")  # without a signature at all
    assert provider.asked == 0


async def test_a_key_that_a_token_brings_along_counts_for_nothing(
    tokens: Tokens, provider: IdentityProvider, clock: FakeClock
) -> None:
    parameters: Any = {"kid": "first"}
    own = RSAKey.generate_key(2048, parameters)
    forged = provider.token(clock.now(), key=own, header={"jwk": own.as_dict(private=False)})

    assert "not signed by a key of its provider" in await refusal(tokens, forged)


@pytest.mark.parametrize("changed", ["claims", "signature", "header"])
async def test_an_altered_token_is_refused(
    tokens: Tokens, provider: IdentityProvider, clock: FakeClock, changed: str
) -> None:
    header, claims, signature = provider.token(clock.now()).split(".")
    other = provider.token(clock.now(), tenant="globex").split(".")
    match changed:
        case "claims":
            altered = f"{header}.{other[1]}.{signature}"
        case "signature":
            altered = f"{header}.{claims}.{other[2]}"
        case _:
            altered = spliced(f"{header}.{claims}.{signature}", alg="RS256", kid="first", typ="other")

    assert "not signed by a key of its provider" in await refusal(tokens, altered)


async def test_a_token_ends_at_its_expiry_and_begins_at_its_time_give_or_take_the_leeway(
    provider: IdentityProvider, clock: FakeClock
) -> None:
    tokens = opened(provider, clock, leeway=timedelta(seconds=30))
    early = provider.token(clock.now(), nbf=int(clock.now().timestamp()) + 31)
    token = provider.token(clock.now())

    assert "not valid yet" in await refusal(tokens, early)
    clock.advance(1)
    await tokens.authenticate(early)
    clock.advance(300 + 28)
    await tokens.authenticate(token)
    clock.advance(1)
    assert "expired" in await refusal(tokens, token)


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"iss": "https://elsewhere.example"}, "another issuer"),
        ({"iss": None}, "`iss` is missing"),
        ({"aud": "another"}, "another audience"),
        ({"aud": ["another"]}, "another audience"),
        ({"aud": None}, "`aud` is missing"),
        ({"exp": None}, "`exp` is missing"),
        ({"exp": "tomorrow"}, "`exp` is missing or malformed"),
        ({"sub": None}, "`sub` is missing"),
        ({"sub": "x" * 256}, "subject"),
        ({"tenant": None}, "no tenant in `tenant`"),
        ({"tenant": "Not A Tenant"}, "no tenant in `tenant`"),
        ({"tenant": ["acme"]}, "no tenant in `tenant`"),
        ({"role": None}, "no known role in `role`"),
        ({"role": "root"}, "no known role in `role`"),
        ({"role": {"admin": True}}, "no known role in `role`"),
    ],
)
async def test_a_token_that_lacks_something_is_refused_in_words_without_its_content(
    tokens: Tokens, provider: IdentityProvider, clock: FakeClock, claims: dict[str, Any], said: str
) -> None:
    reason = await refusal(tokens, provider.token(clock.now(), **claims))

    assert said in reason
    for value in ("elsewhere", "Not A Tenant", "root", "tomorrow"):
        assert value not in reason


async def test_one_of_several_audiences_will_do(
    tokens: Tokens, provider: IdentityProvider, clock: FakeClock
) -> None:
    token = provider.token(clock.now(), aud=["another", AUDIENCE])

    assert (await tokens.authenticate(token)).tenant == "acme"


async def test_settings_say_what_claims_mean_and_the_highest_role_counts(
    provider: IdentityProvider, clock: FakeClock
) -> None:
    tokens = opened(
        provider,
        clock,
        tenant_claim="org",
        role_claim="groups",
        roles={"memory-admins": "admin", "staff": "reader"},
        namespaces_claim="spaces",
    )
    claims: dict[str, Any] = {"org": "globex", "groups": ["staff", "memory-admins", "admin"]}

    found = await tokens.authenticate(provider.token(clock.now(), spaces=["team/a"], **claims))

    assert found == Principal("globex", Role.ADMIN, ("team/a",), "oidc:mira")
    own_name = provider.token(clock.now(), org="globex", groups="admin", spaces=[])
    assert "no known role" in await refusal(tokens, own_name)
    for spaces in (None, "team/a", ["a//b"], [7]):
        token = provider.token(clock.now(), spaces=spaces, **claims)
        assert "no list of namespaces in `spaces`" in await refusal(tokens, token)


async def test_a_new_key_is_asked_for_once_and_made_up_ones_do_not_storm_the_provider(
    tokens: Tokens, provider: IdentityProvider, clock: FakeClock
) -> None:
    await tokens.authenticate(provider.token(clock.now()))
    clock.advance(10)
    provider.new_key("second")

    await tokens.authenticate(provider.token(clock.now(), key_id="second"))
    assert provider.asked == 2

    for number in range(5):
        token = spliced(provider.token(clock.now()), alg="RS256", kid=f"made-up-{number}")
        assert "not signed by a key of its provider" in await refusal(tokens, token)
    assert provider.asked == 2
    clock.advance(10)
    await refusal(tokens, spliced(provider.token(clock.now()), alg="RS256", kid="made-up"))
    assert provider.asked == 3


async def test_a_withdrawn_key_ends_when_keys_are_asked_for_again(
    provider: IdentityProvider, clock: FakeClock
) -> None:
    tokens = opened(provider, clock, jwks_ttl=timedelta(minutes=1))
    token = provider.token(clock.now())
    await tokens.authenticate(token)
    del provider.keys["first"]
    provider.new_key("second")

    clock.advance(59)
    await tokens.authenticate(token)
    clock.advance(1)

    assert "not signed by a key of its provider" in await refusal(tokens, token)


@pytest.mark.parametrize("body", [None, b"", b"<html>", b"[]", b'{"keys": 7}', b'{"keys": []}', b"{}"])
async def test_known_keys_outlast_a_provider_that_gives_no_good_answer_for_a_time(
    provider: IdentityProvider, clock: FakeClock, body: bytes | None
) -> None:
    tokens = opened(provider, clock, jwks_ttl=timedelta(minutes=1), jwks_grace=timedelta(minutes=2))
    token = provider.token(clock.now(), exp=int(clock.now().timestamp()) + 3600)
    await tokens.authenticate(token)
    provider.body, provider.status = body, 503 if body is None else 200

    clock.advance(180)
    assert (await tokens.authenticate(token)).tenant == "acme"
    clock.advance(1)
    with pytest.raises(IdentityProviderUnavailableError):
        await tokens.authenticate(token)

    provider.body, provider.status = None, 200
    clock.advance(10)
    assert (await tokens.authenticate(token)).tenant == "acme"


async def test_without_any_keys_a_token_is_neither_good_nor_bad(
    tokens: Tokens, provider: IdentityProvider, clock: FakeClock
) -> None:
    provider.status = 500

    with pytest.raises(IdentityProviderUnavailableError):
        await tokens.authenticate(provider.token(clock.now()))


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b",
        "a.b.c.d",
        "....",
        "a.b.\u00e9",
        "x" * 20_000 + ".b.c",
        urlsafe_b64encode(b"[" * 9000).decode().rstrip("=") + ".e30.AA",
        urlsafe_b64encode(b'{"alg":"RS256"}').decode().rstrip("=") + ".e30.AA",
        urlsafe_b64encode(b"\xff\xfe").decode().rstrip("=") + ".e30.AA",
        "A.e30.AA",
    ],
)
async def test_what_is_no_token_is_refused_without_asking_anybody(
    tokens: Tokens, provider: IdentityProvider, token: str
) -> None:
    assert await refusal(tokens, token)
    assert provider.asked == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"issuer": "https://id.example"}, "needs an audience"),
        ({"issuer": "https://id.example", "audience": "soma"}, "needs an audience and the address"),
        ({"jwks_url": "http://id.example/keys"}, "needs https"),
        ({"algorithms": []}, "algorithms"),
        ({"leeway": timedelta(hours=1)}, "leeway"),
    ],
)
def test_settings_that_would_take_anybodys_tokens_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        OidcSettings.model_validate(settings)
