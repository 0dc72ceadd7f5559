"""Connections that will not come about until an operator acts, told apart by what is wrong.

SomaError
└── AccessError                 a service and this process do not come together
    ├── UnknownAuthorityError   its certificate is signed by somebody whom we do not trust
    ├── CertificateExpiredError its certificate is not valid today
    ├── WrongHostError          its certificate is another host's
    ├── NoTlsError              it does not speak TLS, and we do
    ├── TlsWantedError          it speaks TLS, and we do not
    ├── ClientCertificateError  it does not take our certificate, or wants one
    ├── TlsFailedError          TLS fails, for a reason that nobody tells
    ├── CredentialsRefusedError it does not take our name and password, or our key
    ├── NotAllowedError         it knows us, and we have no right to what we asked for
    ├── TokenEndpointAwayError  who would give us a token for it does not answer
    ├── TokenClientRefusedError who would give us a token for it does not take our id and secret
    └── TokenNotAcceptedError   it does not take the token that we were given

Every library under us quotes OpenSSL or BoringSSL, so their words are looked for in one place.
"""

from typing import NamedTuple, Self

from soma_schemas.errors import SomaError


class AccessError(SomaError):
    """A service and this process do not come together, however often it is tried."""

    code = "access"

    @classmethod
    def of(cls, refusal: "AccessError") -> Self:
        """Return the same refusal as an error of a service's own kind."""
        error = cls(str(refusal), remedy=refusal.remedy)
        error.code = refusal.code
        return error


class UnknownAuthorityError(AccessError):
    """The service's certificate is signed by somebody whom we do not trust."""

    code = "tls_unknown_authority"


class CertificateExpiredError(AccessError):
    """The service's certificate is not valid today."""

    code = "tls_certificate_expired"


class WrongHostError(AccessError):
    """The service's certificate is another host's."""

    code = "tls_wrong_host"


class NoTlsError(AccessError):
    """The service does not speak TLS, and we do."""

    code = "tls_not_spoken"


class TlsWantedError(AccessError):
    """The service speaks TLS, and we do not."""

    code = "tls_wanted"


class ClientCertificateError(AccessError):
    """The service does not take our certificate, or wants one."""

    code = "tls_client_certificate"


class TlsFailedError(AccessError):
    """TLS fails, for a reason that nobody tells."""

    code = "tls_failed"


class CredentialsRefusedError(AccessError):
    """The service does not take our name and password, or our key."""

    code = "credentials_refused"


class NotAllowedError(AccessError):
    """The service knows us, and we have no right to what we asked for."""

    code = "not_allowed"


class TokenEndpointAwayError(AccessError):
    """Who would give this process a token for the service does not answer, or not with one."""

    code = "token_endpoint_away"


class TokenClientRefusedError(AccessError):
    """Who would give this process a token for the service does not take its id and secret, or its scope."""

    code = "token_client_refused"


class TokenNotAcceptedError(AccessError):
    """The service does not take the token that this process was given."""

    code = "token_not_accepted"


class Hop(NamedTuple):
    """A service that a process connects to, and the settings of that.

    Attributes:
        name: What people call it.
        address: The setting of where it is.
        encrypted: How TLS is turned on.
        authority: The setting of its CA.
        certificate: The setting of our certificate there; None where none can be shown.
        credentials: The settings of who we are.
        rights: Who grants rights there, and how.
    """

    name: str
    address: str
    encrypted: str
    authority: str
    certificate: str | None
    credentials: str
    rights: str

    def unknown_authority(self) -> UnknownAuthorityError:
        """Its certificate is signed by somebody whom we do not trust."""
        return UnknownAuthorityError(
            f"the certificate of {self.name} is signed by an authority that is not trusted here",
            remedy=f"Name the PEM file of its authority in {self.authority}; if {self.name} should have "
            "another certificate, see what answers there.",
        )

    def expired(self) -> CertificateExpiredError:
        """Its certificate is not valid today."""
        return CertificateExpiredError(
            f"the certificate of {self.name} has expired, or is not valid yet",
            remedy=f"Renew the certificate of {self.name}; if it is valid, correct this machine's clock.",
        )

    def wrong_host(self) -> WrongHostError:
        """Its certificate is another host's."""
        return WrongHostError(
            f"the certificate of {self.name} is for another host than the one in {self.address}",
            remedy=f"Name the host in {self.address} as the certificate does, or have it issued for both.",
        )

    def no_tls(self) -> NoTlsError:
        """It does not speak TLS, and we do."""
        return NoTlsError(
            f"what answers at {self.address} does not speak TLS",
            remedy=f"Name the port with TLS in {self.address}. Without TLS, {self.encrypted} says so.",
        )

    def tls_wanted(self) -> TlsWantedError:
        """It speaks TLS, and we do not."""
        return TlsWantedError(
            f"what answers at {self.address} speaks TLS alone, and this process does not",
            remedy=f"Turn TLS on with {self.encrypted}, and name its authority in {self.authority}.",
        )

    def client_certificate(self) -> ClientCertificateError:
        """It does not take our certificate, or wants one."""
        return ClientCertificateError(
            f"{self.name} wants a certificate of this process, or does not take the one it shows",
            remedy=f"Look at {self.certificate or 'its settings'}: it must be signed by an authority that "
            f"{self.name} trust(s), be valid today, and be meant for clients.",
        )

    def failed(self) -> TlsFailedError:
        """TLS fails, for a reason that nobody tells."""
        return TlsFailedError(
            f"TLS with {self.name} fails: its authority, its validity, its host name or our own certificate "
            "may be the reason",
            remedy=f"See with `openssl s_client -connect HOST:PORT -CAfile FILE` what is shown at "
            f"{self.address}, and check {self.authority}.",
        )

    def credentials_refused(self) -> CredentialsRefusedError:
        """It does not take our name and password, or our key."""
        return CredentialsRefusedError(
            f"{self.name} does not accept our credentials", remedy=f"Correct {self.credentials}."
        )

    def not_allowed(self, what: str) -> NotAllowedError:
        """We have no right to what we asked for."""
        return NotAllowedError(
            f"{self.name} does not allow this process {what}", remedy=f"{self.rights}; see {_RIGHTS_PAGE}."
        )


_RIGHTS_PAGE = "docs/guides/security.md"

BROKERS = Hop(
    "the Kafka broker",
    "SOMA_KAFKA__BOOTSTRAP_SERVERS",
    "SOMA_KAFKA__SECURITY_PROTOCOL",
    "SOMA_KAFKA__SSL_CA_FILE",
    "SOMA_KAFKA__SSL_CERTIFICATE_FILE",
    "SOMA_KAFKA__SASL_USERNAME and SOMA_KAFKA__SASL_PASSWORD",
    "Grant the user the ACLs of its process",
)
TOKENS = Hop(
    "the token endpoint",
    "SOMA_KAFKA__OAUTH_TOKEN_URL",
    "the scheme of SOMA_KAFKA__OAUTH_TOKEN_URL",
    "SOMA_KAFKA__OAUTH_CA_FILE",
    None,
    "SOMA_KAFKA__OAUTH_CLIENT_ID and SOMA_KAFKA__OAUTH_CLIENT_SECRET",
    "Give the client the scope for it",
)
REGISTRY = Hop(
    "the schema registry",
    "SOMA_REGISTRY__URL",
    "the scheme of SOMA_REGISTRY__URL",
    "SOMA_REGISTRY__CA_FILE",
    None,
    "SOMA_REGISTRY__USERNAME and SOMA_REGISTRY__PASSWORD, or SOMA_REGISTRY__TOKEN",
    "Give the user the role for it: processes read, the deployer writes",
)
POSTGRES = Hop(
    "PostgreSQL",
    "SOMA_POSTGRES__HOST",
    "SOMA_POSTGRES__SSLMODE",
    "SOMA_POSTGRES__CA_FILE",
    "SOMA_POSTGRES__CERTIFICATE_FILE",
    "SOMA_POSTGRES__USER, SOMA_POSTGRES__PASSWORD and SOMA_POSTGRES__DATABASE",
    "Grant the login the role of its process",
)
VECTORS = Hop(
    "the vector index",
    "SOMA_VECTORS__URL",
    "the scheme of SOMA_VECTORS__URL",
    "SOMA_VECTORS__CA_FILE",
    None,
    "SOMA_VECTORS__API_KEY: workers write the collection, the API reads it",
    "Give the key the rights of its process",
)
API = Hop(
    "the API",
    "SOMA_URL",
    "the scheme of SOMA_URL",
    "SOMA_CA_FILE",
    None,
    "SOMA_API_KEY",
    "Create a key with the role for it",
)

# In this order: what the other side says of us also holds words that we could say of it.
_ALERTS = (
    "alert certificate",
    "alert bad certificate",
    "alert unknown ca",
    "alert handshake failure",
    "alert access denied",
    "alert unsupported certificate",
)
_PLAIN = (
    "wrong version number",
    "record layer failure",
    "packet length too long",
    "http request",
    "server does not support ssl",
    "does not support tls",
)
_HOSTS = (
    "hostname mismatch",
    "ip address mismatch",
    "does not match host name",
    "does not match ssl server name",
    "is not in peer certificate",
    "hostname verification",
)
_DATES = ("certificate has expired", "certificate is not yet valid", "certificate expired")
_AUTHORITIES = (
    "unable to get local issuer certificate",
    "self-signed certificate",
    "self signed certificate",
    "unable to get issuer certificate",
    "unable to verify the first certificate",
)
_OTHERWISE = (
    "certificate verify failed",
    "certificate could not be verified",
    "ssl handshake failed",
    "tsi protocol failure",
    "ssl error",
)


def tls_refusal(hop: Hop, words: str) -> AccessError | None:
    """Return what a library's words say of TLS with a service; None where they say nothing of it."""
    said = words.lower().replace("_", " ")
    for parts, refusal in (
        (_ALERTS, hop.client_certificate),
        (_HOSTS, hop.wrong_host),
        (_DATES, hop.expired),
        (_AUTHORITIES, hop.unknown_authority),
        (_PLAIN, hop.no_tls),
        (_OTHERWISE, hop.failed),
    ):
        if any(part in said for part in parts):
            return refusal()
    return None
