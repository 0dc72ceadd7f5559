"""Where a command finds the settings of the parts behind the API."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from soma_cli.failures import UsageError
from soma_cli.invocation import Invocation
from soma_client.client_file import ClientFile, read_client_file
from soma_schemas.configuration import RESERVED_NAMES
from soma_schemas.errors import ConfigurationError
from soma_schemas.settings import ENVIRONMENT_PREFIX

# Settings that say nothing of where the parts are.
_NO_PLACES = RESERVED_NAMES - {"CONFIG_FILE", "SECRETS_DIR"}
_NOT_A_PLACE = ("LOG__", "LIMITS__", "PRODUCER__", "EMBEDDER__", "NEXT_EMBEDDER__", "INDEX__")


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
    if places and (local is None or not _names(local, places)):
        return root.environment, None
    if local is None:
        raise UsageError(
            f"no settings for Kafka, registry or PostgreSQL, and no local stack runs in {root.home}",
            remedy="start one with `soma up`, or set SOMA_KAFKA__BOOTSTRAP_SERVERS and the other addresses",
        )
    others = {name: value for name, value in root.environment.items() if name not in places}
    return {**local.environment, **others}, local


def _names(local: ClientFile, places: Mapping[str, str]) -> bool:
    """Say whether variables are those of a local stack, or those that it gives to programs that publish."""
    return places.items() <= local.environment.items() or places.items() <= local.publishing.items()


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
