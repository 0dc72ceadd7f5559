"""Leaves the address and the key of a local stack for its clients, and takes them away."""

from pathlib import Path

from soma_cli.local.home import write_private
from soma_client.client_file import ClientFile, client_file_of


def write_client_file(home: Path, left: ClientFile) -> Path:
    """Leave this in a home, readable by its owner alone, and return the file."""
    path = client_file_of(home)
    write_private(path, left.model_dump_json(indent=2) + "\n")
    return path


def remove_client_file(home: Path) -> None:
    """Take it away again: nobody answers there any more, and somebody else may be given the port."""
    client_file_of(home).unlink(missing_ok=True)
