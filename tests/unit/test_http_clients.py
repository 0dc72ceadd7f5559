"""What stays on this machine goes past every proxy; what leaves it goes as the environment says."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from recording_door import RecordingDoor, proxy_everywhere
from soma_api.probes import registry_probe
from soma_client import Retrying, SomaClient
from soma_schemas.errors import ConfigurationError, SomaError
from soma_schemas.http_clients import client_options, stays_here
from soma_schemas.registry import check_schemas, open_registry
from soma_schemas.settings import (
    EmbedderKind,
    EmbedderSettings,
    RegistrySettings,
    TopicSettings,
    VectorSettings,
)
from soma_schemas.vectors.endpoint import EndpointEmbedder
from soma_schemas.vectors.server import open_client
from soma_schemas.vectors.server_errors import server_errors
from soma_streams.delivery.decode import WriterSchemas


@pytest.fixture
def proxy() -> Iterator[RecordingDoor]:
    """A proxy that would learn everything that is sent through it."""
    with RecordingDoor() as door:
        yield door


@pytest.fixture
def server() -> Iterator[RecordingDoor]:
    """What the clients mean to ask."""
    with RecordingDoor() as door:
        yield door


def name_everywhere(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    """Name a proxy in every variable that any client reads."""
    for name, value in proxy_everywhere(proxy).items():
        monkeypatch.setenv(name, value)


async def ask_as_a_command(url: str) -> None:
    with SomaClient(url, "secret", retrying=Retrying(total_seconds=0.0)) as client:
        client.read_stats()


async def ask_as_a_producer(url: str) -> None:
    with open_registry(RegistrySettings(url=url), retries=False) as client:
        check_schemas(client, TopicSettings())


async def ask_as_a_worker(url: str) -> None:
    schemas = WriterSchemas(RegistrySettings(url=url, username="worker", password=SecretStr("secret")))
    try:
        await schemas.fetch([1])
    finally:
        await schemas.close()


async def ask_as_a_probe(url: str) -> None:
    await registry_probe(RegistrySettings(url=url))()


async def ask_as_an_embedder(url: str) -> None:
    settings = EmbedderSettings(kind=EmbedderKind.ENDPOINT, url=url, api_key=SecretStr("secret"))
    embedder = EndpointEmbedder(settings)
    try:
        embedder.embed_query("a secret")
    finally:
        embedder.close()


async def ask_as_the_index(url: str) -> None:
    async with open_client(VectorSettings(url=url)) as client:
        with server_errors():
            await client.get_collections()


ASK = [
    ask_as_a_command,
    ask_as_a_producer,
    ask_as_a_worker,
    ask_as_a_probe,
    ask_as_an_embedder,
    ask_as_the_index,
]
Ask = Callable[[str], Awaitable[None]]


@pytest.mark.parametrize("ask", ASK)
async def test_loopback_is_asked_past_the_proxy(
    ask: Ask, proxy: RecordingDoor, server: RecordingDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_everywhere(monkeypatch, f"http://{proxy.host_port}")

    with pytest.raises(Exception):  # noqa: B017, PT011  # each client says in its own way that it was refused
        await ask(f"http://{server.host_port}")

    assert server.asked
    assert proxy.asked == []


@pytest.mark.parametrize("senseless", ["socks://127.0.0.1:1", "socks5://127.0.0.1:1", "http://host:port"])
@pytest.mark.parametrize("ask", ASK)
async def test_loopback_is_asked_although_no_client_can_use_the_proxy(
    ask: Ask, senseless: str, server: RecordingDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_everywhere(monkeypatch, senseless)

    with pytest.raises(Exception):  # noqa: B017, PT011  # each client says in its own way that it was refused
        await ask(f"http://{server.host_port}")

    assert server.asked


@pytest.mark.parametrize("ask", ASK)
async def test_another_machine_is_asked_through_the_proxy(
    ask: Ask, proxy: RecordingDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_everywhere(monkeypatch, f"http://{proxy.host_port}")

    with pytest.raises(Exception):  # noqa: B017, PT011  # each client says in its own way that it was refused
        await ask("http://elsewhere.invalid:81")

    assert b"elsewhere.invalid:81" in proxy.asked[0]


@pytest.mark.parametrize("senseless", ["socks5://secret@elsewhere.invalid", "http://secret@host:port"])
@pytest.mark.parametrize("ask", [each for each in ASK if each is not ask_as_the_index])
async def test_a_proxy_that_cannot_be_used_is_told_by_the_names_of_its_variables(
    ask: Ask, senseless: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_everywhere(monkeypatch, senseless)

    with pytest.raises(ConfigurationError, match="HTTP_PROXY") as raised:
        await ask("http://elsewhere.invalid:81")

    assert "secret" not in f"{raised.value} {raised.value.remedy}"


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LocalHost.",
        "api.localhost",
        "127.0.0.1",
        "127.8.8.8",
        "127.1",
        "0.0.0.0",  # noqa: S104  # nothing listens
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "2130706433",
    ],
)
def test_an_address_of_this_machine_is_known_in_all_its_spellings(host: str) -> None:
    assert stays_here(f"http://{host}:8420/v1")


@pytest.mark.parametrize(
    "host", ["example.org", "localhost.example.org", "10.0.0.1", "128.0.0.1", "[fe80::1]"]
)
def test_every_other_address_is_somewhere_else(host: str) -> None:
    assert not stays_here(f"https://{host}")


def test_authorities_that_cannot_be_read_are_told_by_where_they_are_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty.pem").touch()
    for path in (tmp_path / "empty.pem", tmp_path / "missing.pem"):
        with pytest.raises(SomaError, match="TLS") as raised:
            client_options("https://elsewhere.invalid", path)
        assert "ca_file" in str(raised.value.remedy)
        monkeypatch.setenv("SSL_CERT_FILE", str(path))
        with pytest.raises(ConfigurationError, match="TLS"):
            open_registry(RegistrySettings(url="https://elsewhere.invalid"))
