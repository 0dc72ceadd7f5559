"""A broker of its own that takes OAuth tokens, beside passwords and certificates."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

from pydantic import SecretStr

from conftest import LocalParts
from identity_provider import AUDIENCE, IdentityProvider
from soma_cli.local.artifacts import Artifacts
from soma_cli.local.child_process import Launch, hold
from soma_cli.local.home import Home, write_private
from soma_cli.local.kafka import KafkaBroker, plan_nodes
from soma_cli.local.security import Security
from soma_cli.local.unit import ignore
from soma_schemas.clock import SystemClock
from soma_schemas.kafka_access import Service
from soma_schemas.settings import KafkaSettings, SecurityProtocol
from token_endpoint import TokenEndpoint

_OAUTH = "org.apache.kafka.common.security.oauthbearer"
_VALIDATOR = f"{_OAUTH}.OAuthBearerValidatorCallbackHandler"
_LISTENER = "listener.name.sasl_ssl.oauthbearer"
# A connection that has not logged in again by then is closed: soon, so that a test sees it.
_LOG_IN_AGAIN_MS = 4_000


class OAuthBroker(KafkaBroker):
    """Takes tokens of one provider; their subject is the user."""

    provider: IdentityProvider

    async def prepare(self) -> Launch:
        """Allow the one address of keys, which Kafka wants as a property of the Java machine."""
        launch = await super().prepare()
        allowed = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={self.provider.jwks_url}"
        return replace(launch, environment={**launch.environment, "JAVA_TOOL_OPTIONS": allowed})

    def _write_properties(self, folder: Path, data: str) -> None:
        super()._write_properties(folder, data)
        more = {
            "sasl.enabled.mechanisms": "SCRAM-SHA-512,OAUTHBEARER",
            f"{_LISTENER}.sasl.jaas.config": f"{_OAUTH}.OAuthBearerLoginModule required;",
            f"{_LISTENER}.sasl.server.callback.handler.class": _VALIDATOR,
            "sasl.oauthbearer.jwks.endpoint.url": self.provider.jwks_url,
            "sasl.oauthbearer.expected.audience": AUDIENCE,
            "sasl.oauthbearer.expected.issuer": self.provider.issuer,
            "connections.max.reauth.ms": str(_LOG_IN_AGAIN_MS),
        }
        file = folder / "server.properties"
        write_private(file, file.read_text() + "".join(f"{name}={value}\n" for name, value in more.items()))


class OAuthSite:
    """The broker, who gives tokens for it, and how clients are set up.

    Attributes:
        broker: Takes the tokens.
        endpoint: Gives them to clients named like the services.
    """

    def __init__(self, broker: OAuthBroker, endpoint: TokenEndpoint, security: Security) -> None:
        self.broker = broker
        self.endpoint = endpoint
        self._security = security

    def kafka(self, service: Service, **changes: object) -> KafkaSettings:
        """Return how a service reaches the broker by token, but for what a test changes."""
        right: dict[str, object] = {
            "bootstrap_servers": self.broker.bootstrap,
            "security_protocol": SecurityProtocol.SASL_SSL,
            "ssl_ca_file": self._security.ca_file,
            "oauth_token_url": self.endpoint.url,
            "oauth_client_id": service.value,
            "oauth_client_secret": SecretStr(secret_of(service)),
            "oauth_ca_file": self._security.ca_file,
        }
        return KafkaSettings.model_validate(right | changes)


def secret_of(service: Service) -> str:
    """Return the secret that the endpoint knows of a service, with what URLs and headers quote."""
    return f"it's a: secret+of/{service}%21"


@contextmanager
def open_oauth_site(parts: LocalParts, folder: Path, cache: Path) -> Iterator[OAuthSite]:
    """Run broker and endpoint until the block ends.

    Args:
        parts: Whose event loop the broker runs in.
        folder: Of the broker.
        cache: Where its program is.
    """
    home, clock = Home(folder, Random()), SystemClock()
    security = Security(home, clock)
    nodes = plan_nodes(home, 1, secure=True)
    broker = OAuthBroker(home, Artifacts(cache), clock, ignore, node=nodes[0], nodes=nodes, security=security)
    holding = hold(home, clock)
    with (
        IdentityProvider() as provider,
        TokenEndpoint(provider, security.certificate("provider")) as endpoint,
    ):
        broker.provider = provider
        endpoint.secrets = {service.value: secret_of(service) for service in Service}
        parts.run(holding.__aenter__())
        try:
            parts.run(broker.start())
            yield OAuthSite(broker, endpoint, security)
        finally:
            parts.run(broker.stop())
            parts.run(holding.__aexit__(None, None, None))
