"""Where a command finds the API, and the settings of the parts behind it."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from soma_cli.client_file import ClientFile, read_client_file
from soma_cli.failures import UsageError
from soma_cli.invocation import Invocation
from soma_schemas.configuration import RESERVED_NAMES
from soma_schemas.errors import ConfigurationError
from soma_schemas.settings import ENVIRONMENT_PREFIX, fits_a_header, web_address

_NO_STACK = "start one with `soma up`, or name another with SOMA_URL and SOMA_API_KEY"

# Settings that say nothing of where the parts are.
_NO_PLACES = RESERVED_NAMES - {"CONFIG_FILE", "SECRETS_DIR"}
_NOT_A_PLACE = ("LOG__", "LIMITS__", "PRODUCER__", "EMBEDDER__", "NEXT_EMBEDDER__")


@dataclass(frozen=True)
class Connection:
    """Where the API is, and what it lets us do."""

    url: str
    api_key: str


def find_connection(root: Invocation, url: str | None, api_key: str | None) -> Connection:
    """Return where to send requests: what the command line says, else the environment, else the local stack.

    The key of the local stack is never sent to an address that came from elsewhere.

    Raises:
        UsageError: There is no address, or no key for it, or one of them makes no sense.
    """
    url = (url or root.environment.get("SOMA_URL") or "").strip() or None
    api_key = (api_key or root.environment.get("SOMA_API_KEY") or "").strip() or None
    if api_key is not None and not fits_a_header(api_key):
        raise UsageError(
            "the key in SOMA_API_KEY or --api-key is none: it holds other than visible ASCII characters",
            remedy="copy the whole key again, or create one with `soma keys create`",
        )
    local = read_client_file(root.home)
    if url is None:
        if local is None:
            raise UsageError(f"no local stack runs in {root.home}", remedy=_NO_STACK)
        return Connection(local.url, api_key or local.api_key)
    try:
        web_address(url)
    except ValueError as error:
        raise UsageError(f"the address in SOMA_URL or --url is none of an API: {error}") from None
    if api_key is None and local is not None and url.rstrip("/") == local.url.rstrip("/"):
        api_key = local.api_key
    if api_key is None:
        raise UsageError(
            f"there is no API key for {url}",
            remedy="set SOMA_API_KEY; `soma keys create` creates a key",
        )
    return Connection(url.rstrip("/"), api_key)


def running_stack(home: Path) -> ClientFile:
    """Return what the local stack of this home left for commands.

    Raises:
        UsageError: None runs there.
        ConfigurationError: Another version or another user runs it.
    """
    if (local := read_client_file(home)) is None:
        raise UsageError(f"no local stack runs in {home}", remedy="start one with `soma up`")
    return local


def find_settings(root: Invocation) -> tuple[Mapping[str, str], ClientFile | None]:
    """Return the variables that say where Kafka, the registry and PostgreSQL are.

    They come from the environment when it names any of these places, else whole from the local stack:
    the two are never mixed, so that no command reads from one installation and writes to the other. What
    `soma env` prints names the local stack.

    Returns:
        The variables; and the local stack, when they are its.

    Raises:
        UsageError: The environment names no place, and no local stack runs.
    """
    places = named_places(root.environment)
    local = _readable_client_file(root.home) if places else read_client_file(root.home)
    if places and (local is None or not places.items() <= local.environment.items()):
        return root.environment, None
    if local is None:
        raise UsageError(
            f"no settings for Kafka, registry or PostgreSQL, and no local stack runs in {root.home}",
            remedy="start one with `soma up`, or set SOMA_KAFKA__BOOTSTRAP_SERVERS and the other addresses",
        )
    return {**local.environment, **root.environment}, local


def named_places(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that tell where a part is, directly or in a file."""
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(ENVIRONMENT_PREFIX)
        and (rest := name.removeprefix(ENVIRONMENT_PREFIX)) not in _NO_PLACES
        and not rest.startswith(_NOT_A_PLACE)
    }


def _readable_client_file(home: Path) -> ClientFile | None:
    # Whoever works elsewhere is not kept from it by a local stack of another version.
    with suppress(ConfigurationError):
        return read_client_file(home)
    return None
