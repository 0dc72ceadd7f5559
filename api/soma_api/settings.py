"""The settings of the HTTP API."""

import re
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, StringConstraints, field_validator, model_validator

from soma_api.roles import Role
from soma_schemas import packaged_models
from soma_schemas.http_clients import stays_here
from soma_schemas.lag import CollectorPlace
from soma_schemas.settings import (
    Duration,
    EmbedderSettings,
    EncryptionSettings,
    HostPorts,
    NextEmbedderSettings,
    PemFile,
    PostgresSettings,
    PublishingSettings,
    SettingsGroup,
    VectorSettings,
)

_LOGIN = "soma_api"
_STORE = re.compile(r"valkeys?://([^@/\s]*@)?(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:[0-9]{1,5})?(/[0-9]*)?(\?\S*)?")

_WEAK_BELOW = ", ".join(f"{below} for `{model}`" for model, below in packaged_models.WEAK_BELOW.items())

SigningAlgorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]

# What a browser sends as `Origin`: no path, and no wildcard, which would let every page in.
Origin = Annotated[
    str,
    StringConstraints(pattern=r"^https?://(\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9.-]*[a-z0-9])?)(:[0-9]{1,5})?$"),
]


class OidcSettings(SettingsGroup):
    """Which OpenID provider's tokens are taken beside API keys, and what their claims mean."""

    issuer: str | None = Field(
        None,
        min_length=1,
        description="`iss` of the tokens that are taken. Unset: API keys alone are taken.",
    )
    audience: str | None = Field(
        None, min_length=1, description="What `aud` of a token has to be or hold. Needed with an issuer."
    )
    jwks_url: str | None = Field(
        None,
        pattern="^https?://",
        description="Where the issuer publishes its keys (`jwks_uri` of its discovery document); `https`, "
        "but on this machine. Needed with an issuer.",
    )
    algorithms: list[SigningAlgorithm] = Field(
        ["RS256", "ES256"],
        min_length=1,
        description="Signatures that are taken: RS, PS, ES or EdDSA; none with a shared secret.",
    )
    leeway: Duration = Field(
        timedelta(seconds=30),
        ge=timedelta(0),
        le=timedelta(minutes=10),
        description="How far the clocks of issuer and API may differ.",
    )
    jwks_ttl: Duration = Field(
        timedelta(minutes=5),
        ge=timedelta(seconds=10),
        description="How long keys are used before they are asked for again: how long a withdrawn key "
        "still counts. A token with an unknown key has them asked for at once, at most every 10 s.",
    )
    jwks_grace: Duration = Field(
        timedelta(hours=1),
        ge=timedelta(0),
        description="How much longer keys are used while the issuer does not answer. Then tokens get 503 "
        "`identity_provider_unavailable`; API keys go on.",
    )
    tenant_claim: str = Field("tenant", min_length=1, description="Claim with the tenant.")
    role_claim: str = Field(
        "role", min_length=1, description="Claim with the role, or with a list, of which the highest counts."
    )
    roles: dict[str, Role] = Field(
        {},
        description='Which values of that claim are which role, such as `{"memory-admins": "admin"}`. None: '
        "they are the roles' own names.",
    )
    namespaces_claim: str | None = Field(
        None,
        min_length=1,
        description="Claim with a list of namespaces, each with all below it; it has to be there. Unset: a "
        "token opens all namespaces of its tenant.",
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.issuer is not None and (self.audience is None or self.jwks_url is None):
            raise ValueError("an issuer needs an audience and the address of its keys")
        if self.jwks_url is not None and self.jwks_url.startswith("http:") and not stays_here(self.jwks_url):
            raise ValueError("keys that come without TLS can be anybody's: jwks_url needs https")
        return self


class GatewaySettings(SettingsGroup):
    """How the API answers."""

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every interface.")
    port: int = Field(8420, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    tls_certificate_file: PemFile | None = Field(
        None,
        description="PEM file of the certificate and its chain, with which the API speaks HTTPS alone. "
        "Unset: plain HTTP, for loopback or behind a proxy that ends TLS.",
    )
    tls_key_file: PemFile | None = Field(None, description="PEM file of its key.")
    max_wait: Duration = Field(
        timedelta(seconds=30),
        gt=timedelta(0),
        description="Maximum `Prefer: wait`. A higher value keeps more connections open while a sink is "
        "behind.",
    )
    read_wait: Duration = Field(
        timedelta(seconds=2),
        gt=timedelta(0),
        description="How long a read with `Soma-Position` and without `Prefer: wait` waits before it "
        "returns `not_yet_visible`.",
    )
    publish_timeout: Duration = Field(
        timedelta(seconds=10),
        gt=timedelta(0),
        description="How long a write waits for the log before it returns 503. The event may still be "
        "written; a retry with the same `Idempotency-Key` is applied once.",
    )
    keep_alive: Duration = Field(
        timedelta(seconds=75),
        ge=timedelta(seconds=1),
        description="How long an idle connection stays open, in whole seconds. Keep it above the idle time "
        "of clients and load balancers: whoever reuses a connection as the API closes it gets a reset.",
    )
    statement_timeout: Duration = Field(
        timedelta(seconds=10),
        gt=timedelta(0),
        description="How long all queries of one request may take PostgreSQL, which then cancels the query: "
        "503 `query_timeout`.",
    )
    max_body_bytes: int = Field(
        16 * 1024 * 1024,
        ge=1024,
        description="Maximum size of a request body. A full batch of large memories needs more, and as "
        "much memory.",
    )
    body_timeout: Duration = Field(
        timedelta(seconds=30),
        gt=timedelta(0),
        description="How long a request's body may take to arrive; a slower one gets 408 `body_too_slow`.",
    )
    max_concurrent_requests: int = Field(
        1000,
        ge=1,
        description="Maximum number of concurrent requests; more get 503 `overloaded`.",
    )
    max_change_streams: int = Field(
        100,
        ge=1,
        description="Maximum number of clients that follow `/v1/changes` at the same time; more get 503 "
        "`overloaded`. Each counts as a concurrent request.",
    )
    rate_limit_per_principal: int | None = Field(
        None,
        ge=1,
        description="Maximum number of requests of one API key or one subject of tokens in a minute; "
        "more get 429 `rate_limited`. A batch counts as one. Unset: no limit.",
    )
    rate_limit_per_tenant: int | None = Field(
        None,
        ge=1,
        description="Likewise, of all keys and subjects of one tenant together.",
    )
    rate_limit_store: SecretStr | None = Field(
        None,
        description="Where all API processes count together: a Valkey or Redis server, as "
        "`valkeys://:PASSWORD@HOST:6379/0` (TLS) or `valkey://`. Takes the extra `shared-limits`. Unset, or "
        "while it does not answer, each process counts by itself.",
    )
    failed_authentications_per_address: int = Field(
        100,
        ge=0,
        description="How many requests without a valid credential one address (IPv6: one /64) may send in a "
        "minute; more get 429 `rate_limited`. A valid credential is taken all the same. Each API process "
        "counts by itself. 0: no limit.",
    )
    trusted_proxies: int = Field(
        0,
        ge=0,
        le=16,
        description="How many proxies of your own stand between clients and the API. Each adds the address "
        "that it was asked from to `X-Forwarded-For`; the entry that many from its end is the client's. 0: "
        "whoever is connected is the client, whatever the header says.",
    )
    weak_below: float | None = Field(
        None,
        ge=-1.0,
        le=1.0,
        description="A hit that shares no word with the question is marked `weak` when its cosine is below "
        f"this; -1 marks none. Unset: as measured for the packaged models ({_WEAK_BELOW}), and no mark for "
        "others.",
    )
    cors_origins: list[Origin] = Field(
        [],
        description="Origins whose pages may call the API from a browser, such as "
        '`["https://app.example.com"]`. None: no page of another origin may.',
    )
    hsts_max_age: Duration | None = Field(
        None,
        gt=timedelta(0),
        description="Sends `Strict-Transport-Security` with this age. Set it where clients reach the API "
        "through TLS alone: browsers refuse plain HTTP to this host from then on.",
    )
    docs: bool = Field(True, description="Serve /docs and /openapi.json, without a key.")
    metrics_on_loopback: bool = Field(
        True,
        description="Serve /metrics without a key to clients on this machine that use no proxy. "
        "Others need a key with role operator.",
    )
    api_key_cache_ttl: Duration = Field(
        timedelta(seconds=10),
        ge=timedelta(0),
        description="How long an API key is cached: a revoked key works for up to this time. 0 looks it "
        "up in PostgreSQL on every request.",
    )
    cursor_secret: SecretStr | None = Field(
        None,
        min_length=32,
        description="Signs page cursors; the same for all replicas. Unset: generated at start, so that "
        "cursors are valid until the process ends.",
    )
    drain_timeout: Duration = Field(
        timedelta(seconds=10),
        gt=timedelta(0),
        description="How long a stop waits for running requests.",
    )

    @model_validator(mode="after")
    def _certificate_has_its_key(self) -> Self:
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_certificate_file and tls_key_file come together")
        return self

    @field_validator("rate_limit_store")
    @classmethod
    def _is_a_store(cls, store: SecretStr | None) -> SecretStr | None:
        if store is not None and _STORE.fullmatch(store.get_secret_value()) is None:
            raise ValueError("is not `valkey://HOST:PORT` or `valkeys://HOST:PORT`")
        return store


class ReadReplicaSettings(SettingsGroup):
    """Hot standbys of PostgreSQL that answer reads in place of the primary."""

    hosts: HostPorts | None = Field(
        None,
        description="Comma-separated `host:port` of hot standbys, which answer reads of records. Several may "
        "be behind one name. Login, database and TLS are those of `SOMA_POSTGRES__*`. Unset: the primary "
        "answers.",
    )
    max_lag: Duration = Field(
        timedelta(seconds=5),
        ge=timedelta(seconds=1),
        le=timedelta(minutes=5),
        description="How far a replica that is asked may be behind the primary. Erased memories are hidden "
        "from all reads so long after an erasure was accepted, and the request for it waits that long. The "
        "same for all API processes.",
    )


def _as_the_api(postgres: object) -> object:
    # Also where only the port is set: a default of the whole part would be gone then.
    return {"user": _LOGIN, **postgres} if isinstance(postgres, dict) else postgres


class ApiSettings(PublishingSettings):
    """Everything that the HTTP API needs to know."""

    postgres: Annotated[PostgresSettings, BeforeValidator(_as_the_api)] = Field(
        PostgresSettings(user=_LOGIN), description="The database; the API reads it as soma_api."
    )
    read_replicas: ReadReplicaSettings = Field(
        ReadReplicaSettings(), description="Hot standbys that answer reads."
    )
    vectors: VectorSettings = Field(VectorSettings(), description="The vector index.")
    embedder: EmbedderSettings = Field(EmbedderSettings(), description="What turns queries into vectors.")
    encryption: EncryptionSettings = Field(
        EncryptionSettings(), description="How events are encrypted that name a subject."
    )
    next_embedder: NextEmbedderSettings = Field(
        NextEmbedderSettings(), description="What the index is being rebuilt for."
    )
    api: GatewaySettings = Field(GatewaySettings(), description="How the API answers.")
    oidc: OidcSettings = Field(OidcSettings(), description="Tokens of an OpenID provider.")
    collector: CollectorPlace = Field(CollectorPlace(), description="The lag collector.")

    def replicas(self) -> list[PostgresSettings]:
        """Return where each read replica is, with the login of the primary."""
        hosts = self.read_replicas.hosts
        found = []
        for each in () if hosts is None else hosts.split(","):
            host, _, port = each.strip().rpartition(":")
            found.append(self.postgres.model_copy(update={"host": host, "port": int(port)}))
        return found

    def weak_below(self, model: str) -> float | None:
        """Return below which cosine a hit without a word in common is weak; None when nobody has said so.

        Args:
            model: Made the vectors of the index that was searched.
        """
        return packaged_models.WEAK_BELOW.get(model) if self.api.weak_below is None else self.api.weak_below
