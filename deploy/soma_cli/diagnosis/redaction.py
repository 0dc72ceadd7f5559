"""Takes known secrets out of whatever is about to leave this machine."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress

from pydantic import BaseModel, SecretStr

from soma_cli.invocation import Invocation
from soma_cli.settings import KNOWN, PROCESSES
from soma_client.client_file import ClientFile
from soma_schemas.configuration import REDACTED, load
from soma_schemas.errors import ConfigurationError

# Shorter ones are in every text by chance.
_SHORTEST = 6


def secrets_of(root: Invocation, environment: Mapping[str, str], local: ClientFile | None) -> set[bytes]:
    """Return every secret that the settings, the environment and the local stack hold."""
    found = set()
    for process in PROCESSES.values():
        with suppress(ConfigurationError):
            found |= set(_secrets_in(load(process, environment=environment, known=KNOWN).settings))
    found.add(root.environment.get("SOMA_API_KEY", "").strip())
    if local is not None:
        found.add(local.api_key)
        for path in (root.home / "secrets").glob("*"):
            found.add(path.read_text(encoding="utf-8", errors="replace").strip())
    return {each.encode() for each in found if len(each) >= _SHORTEST}


def redacted(content: bytes, secrets: Iterable[bytes]) -> bytes:
    """Return the content without these secrets."""
    for secret in sorted(secrets, key=len, reverse=True):
        content = content.replace(secret, REDACTED.encode())
    return content


def _secrets_in(settings: BaseModel) -> Iterator[str]:
    for name in type(settings).model_fields:
        match getattr(settings, name):
            case SecretStr() as secret:
                yield secret.get_secret_value()
            case BaseModel() as part:
                yield from _secrets_in(part)
