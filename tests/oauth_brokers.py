"""Brokers of a secure stack that take tokens of an OpenID provider, beside passwords."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from identity_provider import AUDIENCE, IdentityProvider, TokenEndpoint
from soma_cli.local import java, kafka
from soma_cli.local.certificates import Issued
from soma_schemas.settings import KafkaSettings, SecurityProtocol

_PACKAGE = "org.apache.kafka.common.security.oauthbearer"
_VALIDATOR = f"{_PACKAGE}.OAuthBearerValidatorCallbackHandler"
_LISTENER = "listener.name.sasl_ssl.oauthbearer"


@contextmanager
def brokers_that_take_tokens(provider: IdentityProvider, *, reauthenticate_ms: int = 0) -> Iterator[None]:
    """Have brokers that are started within the block check tokens by Kafka's own validator.

    Args:
        provider: Whose tokens they take; the `sub` of a token is the user.
        reauthenticate_ms: After how many milliseconds at most they close the connection of who shows no new
            token; 0: never.
    """
    listener_properties = kafka.listener_properties

    def with_tokens(node: kafka.Node, shown: Issued | None, authority: Path | None) -> dict[str, str]:
        return listener_properties(node, shown, authority) | {
            "sasl.enabled.mechanisms": "SCRAM-SHA-512,OAUTHBEARER",
            f"{_LISTENER}.sasl.jaas.config": f"{_PACKAGE}.OAuthBearerLoginModule required;",
            f"{_LISTENER}.sasl.server.callback.handler.class": _VALIDATOR,
            f"{_LISTENER}.connections.max.reauth.ms": str(reauthenticate_ms),
            "sasl.oauthbearer.jwks.endpoint.url": provider.jwks_url,
            "sasl.oauthbearer.expected.audience": AUDIENCE,
            "sasl.oauthbearer.expected.issuer": provider.issuer,
        }

    allowed = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={provider.jwks_url}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kafka, "listener_properties", with_tokens)
        patch.setattr(kafka, "ENVIRONMENT", {**java.ENVIRONMENT, "JAVA_TOOL_OPTIONS": allowed})
        yield


def by_token(kafka: KafkaSettings, client: str, endpoint: TokenEndpoint, ca_file: Path) -> KafkaSettings:
    """Return how a client reaches brokers, by tokens in place of a password."""
    endpoint.clients[client] = f"secret of {client}"
    return KafkaSettings(
        bootstrap_servers=kafka.bootstrap_servers,
        security_protocol=SecurityProtocol.SASL_SSL,
        ssl_ca_file=kafka.ssl_ca_file,
        oauth_token_url=endpoint.url,
        oauth_client_id=client,
        oauth_client_secret=SecretStr(endpoint.clients[client]),
        oauth_ca_file=ca_file,
    )
