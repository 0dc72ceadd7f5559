"""The parts that every process's settings are made of; the descriptions are the reference page."""

import base64
from contextlib import suppress
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from soma_schemas import packaged_models
from soma_schemas.languages import Language
from soma_schemas.limits import Limits
from soma_schemas.versions import MAX_EPOCH

ENVIRONMENT_PREFIX = "SOMA_"
NESTED_DELIMITER = "__"

_CRITICAL = 2  # of syslog's levels


def _seconds(value: object) -> object:
    if isinstance(value, str):
        with suppress(ValueError):
            return float(value)
    return value


# A number is seconds, also in an environment variable; ISO 8601 is understood too.
Duration = Annotated[timedelta, BeforeValidator(_seconds)]


# A wait of no time at all would fail every call.
Timeout = Annotated[Duration, Field(gt=timedelta(0))]

GRPC_PORT = 6334
_LAST_PORT = 65_535


def web_address(value: str) -> str:
    """Return a base URL as it was given.

    Raises:
        ValueError: It is none, or holds what does not belong there. The reason does not quote it.
    """
    try:
        address = urlsplit(value)
        port = address.port
    except ValueError:
        raise ValueError("its host or port makes no sense") from None
    spelt = value.isprintable() and " " not in value
    if address.scheme not in {"http", "https"} or not address.hostname or port == 0 or not spelt:
        raise ValueError("it has to look like `http://host:port` or `https://host:port`")
    if address.username is not None or address.password is not None:
        raise ValueError("names and passwords have settings of their own, which are kept out of logs")
    if address.query or address.fragment:
        raise ValueError("it ends with the path")
    return value


def _bare(value: str) -> str:
    if urlsplit(value).path not in {"", "/"}:
        raise ValueError("gRPC has no path")
    return value


def _host_ports(value: str) -> str:
    for each in value.split(","):
        host, _, port = each.strip().rpartition(":")
        if not host or "/" in host or not port.isdecimal() or not 1 <= int(port) <= _LAST_PORT:
            raise ValueError("it has to look like `host:port,host:port`")
    return value


HostPorts = Annotated[str, AfterValidator(_host_ports)]
WebAddress = Annotated[str, AfterValidator(web_address)]


def fits_a_header(key: str) -> bool:
    """Say whether a key can travel in a header of HTTP and of gRPC."""
    return key != "" and all("!" <= character <= "~" for character in key)


def _key(value: SecretStr) -> SecretStr:
    if not fits_a_header(value.get_secret_value()):
        raise ValueError("a key is made of visible ASCII characters, and of one at least")
    return value


def _pem_file(path: Path) -> Path:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from error
    if b"-----BEGIN " not in content:
        raise ValueError("the file is no PEM")
    return path


PemFile = Annotated[Path, AfterValidator(_pem_file)]
Key = Annotated[SecretStr, AfterValidator(_key)]


class SettingsGroup(BaseModel):
    """One group of settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SecurityProtocol(StrEnum):
    """How clients speak to the brokers."""

    PLAINTEXT = "PLAINTEXT"
    SSL = "SSL"
    SASL_SSL = "SASL_SSL"


def _encrypted(value: str) -> str:
    if urlsplit(value).scheme != "https":
        raise ValueError("a secret is sent there: it has to begin with `https://`")
    return value


class KafkaSettings(SettingsGroup):
    """The addresses of the brokers, and the credentials."""

    bootstrap_servers: HostPorts = Field(
        "127.0.0.1:9092", description="Comma-separated `host:port` of brokers."
    )
    security_protocol: SecurityProtocol = Field(
        SecurityProtocol.PLAINTEXT,
        description="Use PLAINTEXT on loopback only, SSL or SASL_SSL elsewhere.",
    )
    sasl_username: str | None = Field(None, description="User for SCRAM-SHA-512, with SASL_SSL.")
    sasl_password: SecretStr | None = Field(None, description="Its password.")
    oauth_token_url: Annotated[WebAddress, AfterValidator(_encrypted)] | None = Field(
        None,
        description="Token endpoint of an OpenID provider, with SASL_SSL and instead of a user: brokers are "
        "shown tokens that it gives to this client (OAUTHBEARER, client credentials).",
    )
    oauth_client_id: str | None = Field(None, description="The client's id there.")
    oauth_client_secret: SecretStr | None = Field(None, description="Its secret.")
    oauth_scope: str | None = Field(
        None, description="Scopes that tokens are asked for, separated by spaces. Default: the provider's."
    )
    oauth_ca_file: PemFile | None = Field(
        None, description="PEM file of the CA of the token endpoint. Default: the public CAs."
    )
    ssl_ca_file: PemFile | None = Field(
        None, description="PEM file of the CA of the brokers. Default: the public CAs."
    )
    ssl_certificate_file: PemFile | None = Field(
        None, description="PEM file of the client certificate and its chain, for mTLS."
    )
    ssl_key_file: PemFile | None = Field(None, description="PEM file of its key (PKCS8).")

    @model_validator(mode="after")
    def _credentials_fit_the_protocol(self) -> "KafkaSettings":
        user = (self.sasl_username, self.sasl_password)
        client = (self.oauth_token_url, self.oauth_client_id, self.oauth_client_secret)
        of_oauth = any(each is not None for each in (*client, self.oauth_scope, self.oauth_ca_file))
        if self.security_protocol is not SecurityProtocol.SASL_SSL and (
            of_oauth or self.sasl_password is not None
        ):
            found = "oauth_*" if of_oauth else "sasl_password"
            raise ValueError(f"{found} is set, but security_protocol is not SASL_SSL: it would not be used")
        by_password = None not in user and not of_oauth
        by_token = None not in client and user == (None, None)
        if self.security_protocol is SecurityProtocol.SASL_SSL and not (by_password or by_token):
            raise ValueError(
                "SASL_SSL wants either sasl_username and sasl_password, or oauth_token_url, oauth_client_id "
                "and oauth_client_secret"
            )
        if (self.ssl_certificate_file is None) != (self.ssl_key_file is None):
            raise ValueError("ssl_certificate_file and ssl_key_file come together")
        if self.security_protocol is SecurityProtocol.PLAINTEXT and (
            self.ssl_ca_file is not None or self.ssl_certificate_file is not None
        ):
            raise ValueError(
                "files for TLS are set, but security_protocol is PLAINTEXT: they would not be used"
            )
        return self

    def librdkafka(self, *, silent: bool = False) -> dict[str, str | int | float | bool]:
        """Return these settings as confluent-kafka wants them.

        Args:
            silent: What goes wrong is raised, so the client is not to write a line for every try to connect
                beside the log.
        """
        config: dict[str, str | int | float | bool] = {
            "bootstrap.servers": self.bootstrap_servers,
            "security.protocol": self.security_protocol.value,
        }
        if self.sasl_username is not None and self.sasl_password is not None:
            config["sasl.mechanism"] = "SCRAM-SHA-512"
            config["sasl.username"] = self.sasl_username
            config["sasl.password"] = self.sasl_password.get_secret_value()
        if self.oauth_client_id is not None and self.oauth_client_secret is not None:
            config["sasl.mechanism"] = "OAUTHBEARER"
            config["sasl.oauthbearer.method"] = "oidc"
            config["sasl.oauthbearer.token.endpoint.url"] = str(self.oauth_token_url)
            config["sasl.oauthbearer.client.id"] = self.oauth_client_id
            config["sasl.oauthbearer.client.secret"] = self.oauth_client_secret.get_secret_value()
            # Its own libcurl does not know where this system has the public CAs.
            config["https.ca.location"] = str(self.oauth_ca_file or "probe")
            if self.oauth_scope is not None:
                config["sasl.oauthbearer.scope"] = self.oauth_scope
        if self.ssl_ca_file is not None:
            config["ssl.ca.location"] = str(self.ssl_ca_file)
        if self.ssl_certificate_file is not None and self.ssl_key_file is not None:
            config["ssl.certificate.location"] = str(self.ssl_certificate_file)
            config["ssl.key.location"] = str(self.ssl_key_file)
        if silent:
            config["log_level"] = _CRITICAL
        return config


class TopicSettings(SettingsGroup):
    """How the topics are laid out on the brokers."""

    prefix: str = Field(
        "",
        pattern=r"^[a-zA-Z0-9._-]{0,64}$",
        description="Prefix of every topic name, for brokers that are shared.",
    )
    partitions: int = Field(
        6,
        ge=1,
        le=10_000,
        description="Partitions of the topics keyed by memory: 6 locally, 48 in production. For an epoch of "
        "`memory.events` that `soma topics migrate` began, what it was told counts instead.",
    )
    replication_factor: int = Field(1, ge=1, le=9, description="Replicas of each partition; 3 in production.")
    min_insync_replicas: int = Field(
        1,
        ge=1,
        le=9,
        description="Replicas that must have a record before it is acknowledged; 2 in production.",
    )
    epoch: int = Field(
        1,
        ge=1,
        le=MAX_EPOCH,
        description="Increase by one when memory.events was lost and is made anew, so that new events have "
        "higher versions than all earlier ones; from 2 on its topic is called `memory.events.e2` and so on. "
        "An epoch that `soma topics migrate` began is found without this.",
    )
    _declared: "TopicSettings | None" = PrivateAttr(None)

    @property
    def declared(self) -> "TopicSettings":
        """As the operator declares them: so are the topics that no migration touches."""
        return self._declared or self

    def at(self, epoch: int, partitions: int) -> Self:
        """Return how the topics are laid out while `memory.events` is in an epoch that a migration began."""
        moved = self.model_copy(update={"epoch": epoch, "partitions": partitions})
        moved._declared = self.declared  # noqa: SLF001  # of its own class
        return moved

    @model_validator(mode="after")
    def _enough_replicas(self) -> "TopicSettings":
        if self.min_insync_replicas > self.replication_factor:
            raise ValueError(
                "min_insync_replicas is above replication_factor: no write could be acknowledged"
            )
        return self


# docs/adr/0085 has the measurements behind this number.
HNSW_EF = 512


class RegistrySettings(SettingsGroup):
    """Where the schema registry is."""

    url: WebAddress = Field(
        "http://127.0.0.1:8081", description="Base URL of its Confluent-compatible API, version 7."
    )
    username: str | None = Field(None, description="User for basic authentication.")
    password: SecretStr | None = Field(None, description="Its password.")
    token: Key | None = Field(None, description="Bearer token, instead of a user.")
    ca_file: PemFile | None = Field(
        None, description="PEM file of the CA of the registry. Default: the public CAs."
    )
    timeout: Timeout = Field(timedelta(seconds=10), description="Timeout of one request.")

    @model_validator(mode="after")
    def _one_way_to_log_in(self) -> "RegistrySettings":
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password come together")
        if self.username is not None and self.token is not None:
            raise ValueError("a registry takes username and password, or a token")
        return self

    def authorization(self) -> str | None:
        """Return the header `Authorization`, with the secret in it: never log it."""
        if self.token is not None:
            return f"Bearer {self.token.get_secret_value()}"
        if self.username is None or self.password is None:
            return None
        user = f"{self.username}:{self.password.get_secret_value()}"
        return f"Basic {base64.b64encode(user.encode()).decode('ascii')}"


class PostgresSettings(SettingsGroup):
    """Where PostgreSQL is. Each process logs in as a user of its own with no more rights than it needs."""

    host: str = Field("127.0.0.1", description="Host, or the folder of a Unix socket.")
    port: int = Field(5432, ge=1, le=65535, description="Port.")
    database: str = Field("soma", description="Database.")
    user: str = Field("soma_worker", description="Login: soma_worker for workers, soma_api for the API.")
    password: SecretStr = Field(SecretStr(""), description="Its password.")
    sslmode: Annotated[str, Field(pattern="^(disable|prefer|require|verify-ca|verify-full)$")] = Field(
        "prefer", description="As libpq has it; verify-full in production."
    )
    ca_file: PemFile | None = Field(
        None, description="PEM file of the CA of the server, for verify-ca and verify-full. Default: libpq's."
    )
    certificate_file: PemFile | None = Field(
        None, description="PEM file of the client certificate, where the server asks for one."
    )
    key_file: PemFile | None = Field(
        None, description="PEM file of its key; libpq refuses one that others than its owner can read."
    )
    pool_size: int = Field(8, ge=1, le=200, description="Maximum number of connections of this process.")
    connect_timeout: Timeout = Field(timedelta(seconds=5), description="Timeout for a connection.")

    @model_validator(mode="after")
    def _files_are_used(self) -> "PostgresSettings":
        if (self.certificate_file is None) != (self.key_file is None):
            raise ValueError("certificate_file and key_file come together")
        if self.ca_file is not None and not self.sslmode.startswith("verify-"):
            raise ValueError(f"ca_file is set, but sslmode is {self.sslmode}: it would not be used")
        return self

    def conninfo(self) -> str:
        """Return a libpq connection string, with the password in it: never log it."""
        values = {
            "host": self.host,
            "port": str(self.port),
            "dbname": self.database,
            "user": self.user,
            "password": self.password.get_secret_value(),
            "sslmode": self.sslmode,
            "sslrootcert": str(self.ca_file or ""),
            "sslcert": str(self.certificate_file or ""),
            "sslkey": str(self.key_file or ""),
            "connect_timeout": str(max(1, round(self.connect_timeout.total_seconds()))),
        }
        return " ".join(f"{name}={_quoted(value)}" for name, value in values.items() if value)


def _quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


class VectorSettings(SettingsGroup):
    """Where the vector index is: a Qdrant server."""

    url: Annotated[WebAddress, AfterValidator(_bare)] = Field(
        f"http://127.0.0.1:{GRPC_PORT}",
        description="Qdrant's gRPC address; `https` is gRPC over TLS. Its HTTP port is not used.",
    )
    api_key: Key | None = Field(None, description="Qdrant's API key.")
    ca_file: PemFile | None = Field(
        None, description="PEM file of the CA of Qdrant. Default: the public CAs."
    )
    collection: str = Field(
        "memories", pattern="^[a-zA-Z0-9_-]{1,128}$", description="Alias of the collection."
    )
    timeout: Timeout = Field(timedelta(seconds=10), description="Timeout of one request.")
    hnsw_ef: int = Field(
        HNSW_EF,
        ge=100,
        le=10_000,
        description="How many points the graph of Qdrant keeps in view during a search. More points find "
        "more of what an exact search finds, and take longer.",
    )
    shards: int | None = Field(
        None,
        ge=1,
        le=1_000,
        description="Into how many shards a new collection is divided, which lie on the nodes of a Qdrant "
        "cluster. A collection that is there stays as it is until `soma reindex`. Unset: Qdrant decides.",
    )
    replicas: int | None = Field(
        None,
        ge=1,
        le=9,
        description="Copies of each shard of a new collection, on nodes of their own; with 2 or more, reads "
        "go on without a node. Likewise until `soma reindex`. Unset: Qdrant decides.",
    )
    write_consistency: int | None = Field(
        None,
        ge=1,
        le=9,
        description="How many copies must have a write in a new collection before it counts. More survives "
        "more, and stops writing while fewer are there. Likewise until `soma reindex`. Unset: Qdrant "
        "decides.",
    )

    @model_validator(mode="after")
    def _enough_copies(self) -> Self:
        wanted, copies = self.write_consistency, self.replicas
        if wanted is not None and copies is not None and wanted > copies:
            raise ValueError("write_consistency is above replicas: no write could be acknowledged")
        return self


class EmbedderKind(StrEnum):
    """What computes embeddings."""

    PACKAGED = "packaged"
    ENDPOINT = "endpoint"


def _packaged_dimensions(given: dict[str, Any]) -> int:
    return packaged_models.DIMENSIONS.get(given.get("model", ""), 256)


class EmbedderSettings(SettingsGroup):
    """What computes embeddings. Workers and API must have the same settings."""

    kind: EmbedderKind = Field(
        EmbedderKind.PACKAGED,
        description="`packaged` runs offline on the CPU; `endpoint` calls an OpenAI-compatible service.",
    )
    model: str = Field(
        packaged_models.WORDLLAMA,
        description="Name of the model; stored with the collection. Packaged are "
        f"`{packaged_models.WORDLLAMA}`, which is fast, and `{packaged_models.MINILM}`, which finds more and "
        "needs the extra `minilm`.",
    )
    dimensions: int = Field(
        default_factory=_packaged_dimensions,
        ge=1,
        le=4096,
        validate_default=True,
        description="Dimensions of a vector. Default: those of the packaged model, 256 for others.",
    )
    url: WebAddress | None = Field(None, description="Base URL of the endpoint, for kind `endpoint`.")
    api_key: Key | None = Field(None, description="Its key.")
    timeout: Timeout = Field(timedelta(seconds=30), description="Timeout of one request.")

    @model_validator(mode="after")
    def _endpoint_has_url(self) -> "EmbedderSettings":
        if self.kind is EmbedderKind.ENDPOINT and self.url is None:
            raise ValueError("kind `endpoint` wants a url")
        return self


class NextEmbedderSettings(EmbedderSettings):
    """The model that `soma reindex` builds an index for; without a name, it builds one for the present model.

    Workers and API know both models and take the one that the index in use was built with. So nothing has to
    be started again at the moment of the switch.
    """

    model: str = Field(
        "", description="Name of the model that `soma reindex` rebuilds the index for. Empty: no other model."
    )


class IndexSettings(SettingsGroup):
    """How a new vector index is made. One that is there stays as it is until `soma reindex`."""

    language: Language = Field(
        Language.ENGLISH,
        description="Language of the memories: a search finds the words of it in all their forms. `none`: "
        "words are found as they stand.",
    )


class LogFormat(StrEnum):
    """How log lines look."""

    JSON = "json"
    CONSOLE = "console"


class LogSettings(SettingsGroup):
    """What is logged, on stderr."""

    level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = Field(
        "info", description="Lowest level that is logged."
    )
    format: LogFormat = Field(LogFormat.JSON, description="`json` for machines, `console` for people.")


def _header_fields(value: SecretStr) -> SecretStr:
    for each in filter(None, value.get_secret_value().split(",")):
        name, separator, content = each.partition("=")
        if not separator or not fits_a_header(name.strip()) or not fits_a_header(content.strip()):
            raise ValueError("it has to look like `name=value,name=value`, in visible ASCII characters")
    return value


class TracingSettings(SettingsGroup):
    """Where spans go. Without an endpoint there are none."""

    endpoint: WebAddress | None = Field(
        None,
        description="Base URL of what takes OTLP over HTTP, such as `http://127.0.0.1:4318`; spans go to its "
        "`/v1/traces`. Default: no tracing. Needs the extra `tracing`.",
    )
    headers: Annotated[SecretStr, AfterValidator(_header_fields)] = Field(
        SecretStr(""), description="Headers sent there, as `name=value,name=value`; for keys of a service."
    )
    ca_file: PemFile | None = Field(
        None, description="PEM file of the CA of the endpoint. Default: the public CAs."
    )
    sample_ratio: float = Field(
        1.0,
        ge=0.0,
        le=1.0,
        description="Share of the traces begun here that are kept. Where a caller or a sender has begun one, "
        "its decision holds.",
    )

    def header_fields(self) -> dict[str, str]:
        """Return the headers by name, with the secrets in them: never log them."""
        pairs = (each.partition("=") for each in self.headers.get_secret_value().split(",") if each)
        return {name.strip().lower(): content.strip() for name, _, content in pairs}


class ProducerSettings(SettingsGroup):
    """How events are sent."""

    linger: Duration = Field(
        timedelta(0),
        ge=timedelta(0),
        description="How long to wait for more events before a request. A longer wait sends fewer, larger "
        "requests; without one, events that arrive during a request share the next one.",
    )
    delivery_timeout: Duration = Field(
        timedelta(seconds=120),
        gt=timedelta(0),
        description="After this time an event that was not acknowledged is an error. It may still have been "
        "written: publish it again with the same event_id.",
    )


class EncryptionSettings(SettingsGroup):
    """How events are encrypted that name a subject."""

    master_key_file: Path | None = Field(
        None,
        description="File of the master key, which wraps the keys that encrypt events: 32 bytes in base64, "
        "as `openssl rand -base64 32` makes them. Of several lines the first wraps, all unwrap. Without it "
        "an event that names a subject is neither published nor applied.",
    )
    plain_tenants: str = Field(
        "",
        pattern=r"^(\*|[a-z0-9._, -]*)$",
        description="Comma-separated tenants whose events are published in plain text, so that erasing a "
        "subject leaves them in the log until they age out; `*` for every tenant.",
    )

    def encrypts(self, tenant: str) -> bool:
        """Say whether events of a tenant that name a subject are encrypted."""
        plain = {each.strip() for each in self.plain_tenants.split(",")}
        return plain.isdisjoint({tenant, "*"})


class ProcessSettings(BaseSettings):
    """The root of one process's settings. Built by `soma_schemas.configuration.load`, never from thin air."""

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter=NESTED_DELIMITER,
        extra="forbid",
        frozen=True,
    )

    log: LogSettings = Field(LogSettings(), description="What is logged.")
    limits: Limits = Field(Limits(), description="Maximum sizes of a memory.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from the caller alone: `configuration.load` has read and merged the sources."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


class PublishingSettings(ProcessSettings):
    """What a process needs to publish events."""

    kafka: KafkaSettings = Field(KafkaSettings(), description="The brokers.")
    topics: TopicSettings = Field(TopicSettings(), description="The topics.")
    registry: RegistrySettings = Field(RegistrySettings(), description="The schema registry.")
    producer: ProducerSettings = Field(ProducerSettings(), description="How events are sent.")
    tracing: TracingSettings = Field(TracingSettings(), description="Where spans go.")
