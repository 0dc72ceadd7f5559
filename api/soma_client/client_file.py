"""The file in which a running local stack leaves its address and its key for its clients."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from soma_schemas.errors import ConfigurationError

_FILE = "client.json"


class ClientFile(BaseModel):
    """The address and the credentials of a local stack, secrets in the clear.

    Attributes:
        url: Of its HTTP API.
        api_key: An admin's.
        tenant: Whose memories that key reads and writes.
        environment: Settings as variables, for commands that go to Kafka, the registry or PostgreSQL.
        publishing: Settings as variables, for programs that publish.
        ca_file: The PEM file of the authority of its HTTP API, where that speaks HTTPS.
    """

    model_config = ConfigDict(frozen=True)

    url: str
    api_key: str
    tenant: str
    environment: dict[str, str]
    publishing: dict[str, str] = {}
    ca_file: Path | None = None


def client_file_of(home: Path) -> Path:
    """Return where the stack of a home leaves its file."""
    return home / _FILE


def read_client_file(home: Path) -> ClientFile | None:
    """Return what the stack of this home left, or None when none runs there.

    Raises:
        ConfigurationError: The file is there and cannot be understood.
    """
    path = client_file_of(home)
    try:
        return ClientFile.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        raise ConfigurationError(
            f"{path} belongs to another user", remedy="set SOMA_HOME, or SOMA_URL and SOMA_API_KEY"
        ) from None
    except ValidationError:
        raise ConfigurationError(
            f"{path} was written by another version",
            remedy="stop the local stack and start it again with `soma up`",
        ) from None
