"""The schema registry: register and check what is released, and serialize events under it."""

import io
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

import fastavro
import httpx2
from confluent_kafka.schema_registry import (
    AsyncSchemaRegistryClient,
    ConfigCompatibilityLevel,
    Schema,
    SchemaRegistryClient,
    SchemaRegistryError,
)

from soma_schemas.avro_schemas import AvroSchema, latest, released
from soma_schemas.errors import MismatchError, SomaError
from soma_schemas.events import MemoryEvent, MemoryStored, Record, SealedEvent
from soma_schemas.http_clients import client_options, stays_here, usable_environment
from soma_schemas.identity import uuid_of
from soma_schemas.limits import DEFAULT_LIMITS, Limits
from soma_schemas.native_writer import NativeWriter, Stamps
from soma_schemas.refusals import REGISTRY, AccessError, tls_refusal
from soma_schemas.settings import RegistrySettings, TopicSettings
from soma_schemas.tls_probe import refusal_at
from soma_schemas.topics import TOPICS, Topic
from soma_schemas.wire_format import wire_header

COMPATIBILITY = ConfigCompatibilityLevel.FULL_TRANSITIVE

_NOT_FOUND = 404
_REQUESTS_AT_ONCE = 4
_CONFLICT = 409
_CLIENT_ERRORS = range(400, 500)
_NO_RETRIES: dict[str, object] = {"max.retries": 0}
_HTTP_PORT = 80


class RegistryError(SomaError):
    """The schema registry did not do what was asked."""

    code = "registry"


class RegistryUnreachableError(RegistryError):
    """The registry gives no answer; asking again later may help."""

    code = "registry_unreachable"
    remedy = "Start the registry, or correct SOMA_REGISTRY__URL."


class RegistryAccessError(RegistryError, AccessError):
    """The registry and this process do not come together, however often it is tried."""


class SchemaNotRegisteredError(RegistryError):
    """A schema of this version is not in the registry."""

    code = "schema_not_registered"
    remedy = "Run `soma schemas register`, with rights to write to the registry."


class IncompatibleSchemaError(RegistryError):
    """The registry refuses a schema beside the versions that it has."""

    code = "schema_incompatible"
    remedy = "Run `soma schemas check` with the version that registered the others."


@dataclass(frozen=True)
class SchemaStatus:
    """One released schema as the registry has it.

    Attributes:
        schema_id: What events carry; None when it is not registered.
        compatibility: The subject's rule; None when it has none of its own.
    """

    subject: str
    version: int
    schema_id: int | None
    compatibility: str | None

    @property
    def fault(self) -> str | None:
        """Return what is wrong, or None."""
        if self.schema_id is None:
            return "not registered"
        if self.compatibility != COMPATIBILITY.value:
            return f"compatibility is {self.compatibility or 'not set'}, not {COMPATIBILITY.value}"
        return None


def open_registry(settings: RegistrySettings, *, retries: bool = True) -> SchemaRegistryClient:
    """Return a client of the registry. It connects when first asked; close it, or use it in a `with`.

    Args:
        settings: Where the registry is.
        retries: Whether a request is tried again, after seconds, while the registry is away. Without, the
            caller decides.

    Raises:
        ConfigurationError: The environment names a proxy or authorities that cannot be used.
    """
    with usable_environment(httpx2.InvalidURL):
        client = SchemaRegistryClient(_configuration(settings) | ({} if retries else _NO_RETRIES))
        _speak_as_settings_say(client, httpx2.Client, settings)
    return client


def open_async_registry(settings: RegistrySettings) -> AsyncSchemaRegistryClient:
    """Return a client for an event loop, which tries nothing again; otherwise as `open_registry`."""
    with usable_environment(httpx2.InvalidURL):
        client = AsyncSchemaRegistryClient(_configuration(settings) | _NO_RETRIES)
        _speak_as_settings_say(client, httpx2.AsyncClient, settings)
    return client


def _configuration(settings: RegistrySettings) -> dict[str, object]:
    # Named here, a proxy keeps the client from those of the environment, which need not even make sense; it
    # is never asked, see `_speak_as_settings_say`.
    proxy = {"proxy": settings.url} if stays_here(settings.url) else {}
    return {"url": settings.url, "timeout": settings.timeout.total_seconds()} | proxy


class _Login(httpx2.Auth):
    """Logs in with what the settings say at each request, so that a secret can be replaced meanwhile."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings

    def auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Send a request once, with the header that it needs."""
        if (authorization := self._settings.authorization()) is not None:
            request.headers["Authorization"] = authorization
        yield request


def _speak_as_settings_say(
    client: SchemaRegistryClient | AsyncSchemaRegistryClient,
    session: type[httpx2.Client | httpx2.AsyncClient],
    settings: RegistrySettings,
) -> None:
    """Give a client what it has no options for: files and secrets that are replaced, and no proxy here."""
    rest: Any = client._rest_client  # noqa: SLF001  # see above
    options = client_options(settings.url, settings.ca_file)
    rest.session = session(auth=_Login(settings), timeout=rest.timeout, **options)


def register_schemas(client: SchemaRegistryClient, topics: TopicSettings) -> list[SchemaStatus]:
    """Register every released schema under its subjects, oldest first, and set their compatibility.

    Raises:
        RegistryError: The registry refuses one or cannot be reached.
    """
    statuses = []
    for subject, schema in _subjects(topics):
        try:
            # Set first: with the rule in place the registry itself guards every later version.
            client.set_compatibility(subject, COMPATIBILITY)
            schema_id = client.register_schema(subject, Schema(schema.text, "AVRO"))
        except (SchemaRegistryError, httpx2.HTTPError, OSError) as error:
            raise registry_error(error, subject) from error
        statuses.append(SchemaStatus(subject, schema.version, schema_id, COMPATIBILITY.value))
    return statuses


def check_schemas(client: SchemaRegistryClient, topics: TopicSettings) -> list[SchemaStatus]:
    """Look every released schema up, without changing anything.

    Raises:
        RegistryError: The registry cannot be reached.
    """

    def check(subject_and_schema: tuple[str, AvroSchema]) -> SchemaStatus:
        subject, schema = subject_and_schema
        schema_id = _lookup(client, subject, schema)
        return SchemaStatus(subject, schema.version, schema_id, _compatibility(client, subject))

    first, *others = _subjects(topics)
    # Alone, so that a registry that is away costs one request.
    found = check(first)
    # Two requests a schema, one after the other, would be most of a worker's start.
    with ThreadPoolExecutor(_REQUESTS_AT_ONCE) as threads:
        return [found, *threads.map(check, others)]


def require_schemas(client: SchemaRegistryClient, topics: TopicSettings) -> None:
    """Refuse to go on unless the registry has every released schema under the right rule.

    Raises:
        MismatchError: It has not; the differences are named.
        RegistryError: It cannot be reached.
    """
    faults = [
        f"{status.subject} version {status.version}: {status.fault}"
        for status in check_schemas(client, topics)
        if status.fault is not None
    ]
    if faults:
        raise MismatchError("; ".join(faults), remedy="Run `soma schemas register`.")


class SerializedEvent(NamedTuple):
    """An event that stores a memory, as the log takes it.

    Attributes:
        subject: Whom the memory is about.
    """

    event_id: UUID
    memory_id: UUID
    key: bytes
    value: bytes
    subject: str | None

    def log_key(self) -> bytes:
        """Return the key."""
        return self.key


class EventSerializer:
    """Events to bytes in Confluent's wire format, under schemas that somebody else has registered.

    Args:
        client: Knows the schemas.
        limits: How large an event may be.
    """

    def __init__(self, client: SchemaRegistryClient, limits: Limits = DEFAULT_LIMITS) -> None:
        self._client = client
        self._native = NativeWriter.where_installed(limits)
        self._writers: dict[tuple[str, str], _Writer] = {}

    def serialize(self, event: Record, full_topic_name: str) -> bytes:
        """Return the event as it goes to the topic.

        Raises:
            RegistryError: Its schema is not registered, or the registry cannot be reached.
        """
        writer = self._writer(full_topic_name, type(event).__name__)
        if self._native is not None and isinstance(event, MemoryStored):
            written = self._native.event(event)
            if written is not None:
                return writer.header + written[1]
        value = io.BytesIO()
        value.write(writer.header)
        # These hold no models, whose values a copy would have to be made of.
        fields = vars(event) if isinstance(event, MemoryEvent | SealedEvent) else event.model_dump()
        fastavro.schemaless_writer(value, writer.schema, fields)
        return value.getvalue()

    def serialize_natively(
        self, stamps: Stamps, memory: object, full_topic_name: str
    ) -> SerializedEvent | None:
        """Return the event that stores a memory as it goes to the topic, where that can be said without one.

        Args:
            stamps: What the producer says.
            memory: Has the other fields of MemoryStored as attributes; its payload may be a mapping.
            full_topic_name: Of the topic.

        Returns:
            None where the model has to look at it, or without the native extension.

        Raises:
            RegistryError: As of `serialize`.
        """
        written = None if self._native is None else self._native.memory(stamps, memory)
        if written is None:
            return None
        key, body = written
        memory_id = stamps.memory_id or uuid_of(int(key[-36:].replace(b"-", b""), 16))
        header = self._writer(full_topic_name, MemoryStored.__name__).header
        subject: str | None = getattr(memory, "subject")  # noqa: B009  # of what the writer has taken
        return SerializedEvent(stamps.event_id, memory_id, key, header + body, subject)

    def _writer(self, full_topic_name: str, record: str) -> "_Writer":
        writer = self._writers.get((full_topic_name, record))
        if writer is None:
            schema = latest(record)
            schema_id = _lookup(self._client, f"{full_topic_name}-{schema.full_name}", schema)
            if schema_id is None:
                raise _not_registered(record)
            writer = _Writer(wire_header(schema_id), fastavro.parse_schema(schema.parsed()))
            self._writers[full_topic_name, record] = writer
        return writer


class _Writer(NamedTuple):
    """What every value of a record begins with, and its schema."""

    header: bytes
    schema: Any


def _not_registered(subject: str) -> SchemaNotRegisteredError:
    return SchemaNotRegisteredError(f"the schema of {subject} is not registered")


def registry_error(error: Exception, subject: str) -> RegistryError:
    """Translate what the registry's client raises."""
    if (refusal := registry_refusal(error, subject)) is not None:
        return refusal
    match error:
        case SchemaRegistryError(http_status_code=404):
            return _not_registered(subject)
        case SchemaRegistryError(http_status_code=409):
            return IncompatibleSchemaError(
                f"the registry refuses the schema of {subject}: {error.error_message}"
            )
        case SchemaRegistryError(http_status_code=status) if status in _CLIENT_ERRORS:
            return RegistryError(f"the registry refuses {subject} (HTTP {status}): {error.error_message}")
        case _:
            return RegistryUnreachableError(f"the schema registry gives no answer for {subject}")


def registry_refusal(error: Exception, subject: str) -> RegistryAccessError | None:
    """Return why the registry will not answer until an operator acts; None where it may. May block."""
    match error:
        case SchemaRegistryError(http_status_code=401):
            refusal: AccessError | None = REGISTRY.credentials_refused()
        case SchemaRegistryError(http_status_code=403):
            refusal = REGISTRY.not_allowed(f"to do that with {subject}")
        case httpx2.HTTPError() | OSError():
            refusal = tls_refusal(REGISTRY, str(error)) or _refusal_of_plain_text(error)
        case _:
            return None
    return None if refusal is None else RegistryAccessError.of(refusal)


def _refusal_of_plain_text(error: Exception) -> AccessError | None:
    """Return why a connection without TLS broke, if it is because there has to be TLS; blocks for seconds."""
    if not isinstance(error, httpx2.ReadError | httpx2.RemoteProtocolError):
        return None
    url = error.request.url
    if url.scheme != "http":
        return None
    return refusal_at(REGISTRY, url.host, url.port or _HTTP_PORT, None)


def _subjects(settings: TopicSettings) -> Iterator[tuple[str, AvroSchema]]:
    for topic in TOPICS:
        for record in topic.records:
            for schema in released(record.__name__):
                yield _subject(topic, schema, settings), schema


def _subject(topic: Topic, schema: AvroSchema, settings: TopicSettings) -> str:
    return f"{topic.full_name(settings)}-{schema.full_name}"


def _lookup(client: SchemaRegistryClient, subject: str, schema: AvroSchema) -> int | None:
    try:
        return client.lookup_schema(subject, Schema(schema.text, "AVRO")).schema_id
    except SchemaRegistryError as error:
        if error.http_status_code == _NOT_FOUND:
            return None
        raise registry_error(error, subject) from error
    except (httpx2.HTTPError, OSError) as error:
        raise registry_error(error, subject) from error


def _compatibility(client: SchemaRegistryClient, subject: str) -> str | None:
    try:
        return client.get_compatibility(subject)
    except SchemaRegistryError as error:
        if error.http_status_code == _NOT_FOUND:
            return None
        raise registry_error(error, subject) from error
    except (httpx2.HTTPError, OSError) as error:
        raise registry_error(error, subject) from error
