"""Tokens that a process shows to the brokers instead of a password: OAuth 2, client credentials.

librdkafka asks for its own; this is for clients written in Python, and for telling why there is no token.
"""

from typing import NamedTuple

import httpx
from pydantic import BaseModel, Field, ValidationError

from soma_schemas.errors import ConfigurationError
from soma_schemas.http_clients import client_options
from soma_schemas.refusals import (
    TOKENS,
    AccessError,
    TokenClientRefusedError,
    TokenEndpointAwayError,
    TokenNotAcceptedError,
    tls_refusal,
)
from soma_schemas.settings import KafkaSettings

_TIMEOUT_SECONDS = 5.0
_REFUSED = frozenset({400, 401, 403})
# Providers may leave the life of a token out; one that lives shorter is found out by the brokers.
_LIFE_SECONDS = 300.0


class BrokerToken(NamedTuple):
    """A token, and for how many seconds from when it was given it is good."""

    value: str
    lasts_seconds: float


class _Answer(BaseModel):
    access_token: str = Field(min_length=1)
    expires_in: float = Field(_LIFE_SECONDS, gt=0, allow_inf_nan=False)


def ask_for_token(kafka: KafkaSettings) -> BrokerToken:
    """Return a new token; blocks for seconds.

    Raises:
        AccessError: There is none; the code says why.
        ConfigurationError: The settings name no token endpoint.
    """
    if kafka.oauth_token_url is None or kafka.oauth_client_id is None or kafka.oauth_client_secret is None:
        raise ConfigurationError("no token endpoint is set", remedy="Set SOMA_KAFKA__OAUTH_TOKEN_URL.")
    form = {"grant_type": "client_credentials"} | (
        {} if kafka.oauth_scope is None else {"scope": kafka.oauth_scope}
    )
    try:
        with httpx.Client(
            timeout=_TIMEOUT_SECONDS, **client_options(kafka.oauth_token_url, kafka.oauth_ca_file)
        ) as client:
            answer = client.post(
                kafka.oauth_token_url,
                data=form,
                auth=(kafka.oauth_client_id, kafka.oauth_client_secret.get_secret_value()),
            )
    except httpx.HTTPError as error:
        raise tls_refusal(TOKENS, str(error)) or _away(type(error).__name__) from error
    if answer.status_code in _REFUSED:
        raise TokenClientRefusedError(
            f"{TOKENS.name} does not give this client a token: it answers {answer.status_code}",
            remedy=f"Correct {TOKENS.credentials}, and SOMA_KAFKA__OAUTH_SCOPE.",
        )
    try:
        told = _Answer.model_validate_json(answer.content)
    except ValidationError:
        # Neither chained nor quoted: it may hold a token.
        raise _away(f"status {answer.status_code}, without a token") from None
    return BrokerToken(told.access_token, told.expires_in)


def refusal_of_token(kafka: KafkaSettings) -> AccessError | None:
    """Ask for a token and return why there is none; None where there is one. Blocks for seconds."""
    try:
        ask_for_token(kafka)
    except AccessError as refusal:
        return refusal
    except ConfigurationError:
        return TOKENS.failed()  # the file of its CA is being replaced, or cannot be used
    return None


def not_accepted() -> TokenNotAcceptedError:
    """Return what it means that there is a token, and the brokers do not take it."""
    return TokenNotAcceptedError(
        "the Kafka broker does not accept the token that this client was given",
        remedy="See that provider and brokers agree: the audience, the issuer, the scope "
        "(SOMA_KAFKA__OAUTH_SCOPE) and the keys that sign tokens, and that their clocks do.",
    )


def _away(what: str) -> TokenEndpointAwayError:
    return TokenEndpointAwayError(
        f"{TOKENS.name} gives no token: {what}",
        remedy=f"See that the address in {TOKENS.address} is right and answers from here.",
    )
