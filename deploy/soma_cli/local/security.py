"""What makes a local stack a secure one: certificates, and users of the brokers and of the registry."""

from enum import StrEnum
from pathlib import Path

from pydantic import SecretStr

from soma_cli.local.certificates import Authority, Issued
from soma_cli.local.home import Home
from soma_schemas.clock import Clock
from soma_schemas.settings import KafkaSettings, RegistrySettings, SecurityProtocol

DEPLOYER = "soma-deployer"
"""Who makes topics, users and schemas; it shows a certificate to the brokers."""


class RegistryUser(StrEnum):
    """Who logs in to the registry."""

    DEPLOYER = DEPLOYER
    SERVICE = "soma-service"

    @property
    def role(self) -> str:
        """What it may do, as the registry calls it."""
        return "sr-admin" if self is RegistryUser.DEPLOYER else "sr-readonly"


class Security:
    """The certificates and passwords of a home; each is made when it is first asked for, and kept.

    Args:
        home: Where they are, in its folder `secrets`.
        clock: Tells which certificate has to be renewed.
    """

    def __init__(self, home: Home, clock: Clock) -> None:
        self._home = home
        self._clock = clock
        self.authority = Authority(home.folder("secrets", "tls"))
        self.certificate(DEPLOYER)  # which makes the authority too

    def certificate(self, name: str) -> Issued:
        """Return the certificate of a part or a client."""
        return self.authority.issue(name, self._clock.now())

    @property
    def ca_file(self) -> Path:
        """The authority of everything."""
        return self.authority.file

    def kafka_password(self, user: str) -> str:
        """Return the password with which a user logs in to the brokers."""
        return self._home.secret(f"kafka-{user}")

    def registry_password(self, user: RegistryUser) -> str:
        """Return the password with which a user logs in to the registry."""
        return self._home.secret(f"registry-{user}")

    def kafka(self, bootstrap: str, user: str) -> KafkaSettings:
        """Return how a service or another user reaches the brokers, by SCRAM."""
        return KafkaSettings(
            bootstrap_servers=bootstrap,
            security_protocol=SecurityProtocol.SASL_SSL,
            sasl_username=user,
            sasl_password=SecretStr(self.kafka_password(user)),
            ssl_ca_file=self.ca_file,
        )

    def kafka_by_certificate(self, bootstrap: str, name: str = DEPLOYER) -> KafkaSettings:
        """Return how the deployer reaches the brokers: by the certificate that it shows."""
        shown = self.certificate(name)
        return KafkaSettings(
            bootstrap_servers=bootstrap,
            security_protocol=SecurityProtocol.SSL,
            ssl_ca_file=self.ca_file,
            ssl_certificate_file=shown.certificate,
            ssl_key_file=shown.key,
        )

    def registry(self, url: str, user: RegistryUser) -> RegistrySettings:
        """Return how somebody reaches the registry."""
        return RegistrySettings(
            url=url,
            username=user.value,
            password=SecretStr(self.registry_password(user)),
            ca_file=self.ca_file,
        )
