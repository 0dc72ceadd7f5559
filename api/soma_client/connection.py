"""Where the API is: named by the caller, by the environment, or by the local stack that runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from soma_client.client_file import ClientFile, read_client_file
from soma_client.errors import NoConnectionError
from soma_client.home import home_of
from soma_schemas.settings import fits_a_header, web_address


@dataclass(frozen=True)
class Connection:
    """Where the API is, and what it lets us do.

    Attributes:
        ca_file: The PEM file of the authority that signed it; without, the public ones count.
    """

    url: str
    api_key: str = field(repr=False)
    ca_file: Path | None = None

    @classmethod
    def of(cls, local: ClientFile, api_key: str | None = None) -> Self:
        """Return the way to a local stack, with its own key unless there is another."""
        return cls(local.url, api_key or local.api_key, local.ca_file)


def find_connection(environment: Mapping[str, str], url: str | None, api_key: str | None) -> Connection:
    """Return where to send requests: what the caller says, else the environment, else the local stack.

    The key of the local stack is never sent to an address that came from elsewhere.

    Args:
        environment: SOMA_URL, SOMA_API_KEY, SOMA_CA_FILE, and SOMA_HOME for the local stack.
        url: Of the API.
        api_key: A key, or a token of the OpenID provider.

    Raises:
        NoConnectionError: There is no address, or no key for it, or one of them makes no sense.
        ConfigurationError: Another version or another user runs the local stack.
    """
    url = (url or environment.get("SOMA_URL") or "").strip() or None
    api_key = (api_key or environment.get("SOMA_API_KEY") or "").strip() or None
    if api_key is not None and not fits_a_header(api_key):
        raise NoConnectionError(
            "the API key (`api_key`, --api-key or SOMA_API_KEY) holds other than visible ASCII characters",
            remedy="copy the whole key again, or create one with `soma keys create`",
        )
    if url is None:
        home = home_of(environment)
        if (local := read_client_file(home)) is None:
            raise NoConnectionError(
                f"no local stack runs in {home}",
                remedy="start one with `soma up`, or name another with SOMA_URL and SOMA_API_KEY",
            )
        return Connection.of(local, api_key)
    try:
        web_address(url)
    except ValueError as error:
        raise NoConnectionError(
            f"the address (`url`, --url or SOMA_URL) is none of an API: {error}"
        ) from None
    if api_key is None:
        local = read_client_file(home_of(environment))
        if local is None or url.rstrip("/") != local.url.rstrip("/"):
            raise NoConnectionError(
                f"there is no API key for {url}",
                remedy="set SOMA_API_KEY; `soma keys create` creates a key",
            )
        return Connection.of(local)
    return Connection(url.rstrip("/"), api_key, _authority(environment))


def _authority(environment: Mapping[str, str]) -> Path | None:
    """Return the file in SOMA_CA_FILE.

    Raises:
        NoConnectionError: It is not there.
    """
    name = environment.get("SOMA_CA_FILE", "").strip()
    if not name:
        return None
    if not Path(name).is_file():
        raise NoConnectionError(f"there is no file {name}", remedy="correct SOMA_CA_FILE")
    return Path(name)
