"""The folder in which one local stack, and never a second one, keeps its data, logs, secrets and ports."""

import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from soma_cli.local.errors import HomeInUseError, NoFreePortError, UnusableFolderError
from soma_cli.local.locking import open_lock_file, try_lock

LOOPBACK = "127.0.0.1"

# Below the ports that Linux and macOS give to outgoing connections. A client that reconnects to a part that
# is down can otherwise be given the part's own port as its source, connect to itself, and keep the part
# from coming back.
PORTS = range(20_000, 32_000)
_PORT_TRIES = 200
_PORTS = "ports.json"


class Home:
    """One local stack's folder. Everything below it belongs to the stack; removing it removes the stack.

    Args:
        path: The folder; made, with mode 0700, when missing.
        random: Chooses ports.

    Raises:
        UnusableFolderError: The parts cannot work in a folder of that name, or there can be none.
    """

    def __init__(self, path: Path, random: Random) -> None:
        self.path = path.absolute()
        self._random = random
        require_usable_name(self.path)
        make_usable(self.path)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep every other stack out of this home until the block ends, or this process does.

        Raises:
            HomeInUseError: Another process holds the home; the message names it.
        """
        descriptor = open_lock_file(self.path / "lock")
        try:
            if not try_lock(descriptor):
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                raise HomeInUseError(f"{self.path} is in use by process {holder}")
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode("ascii"), 0)
            yield
        finally:
            os.close(descriptor)

    def folder(self, *names: str) -> Path:
        """Return a private folder below the home, made when missing."""
        path = self.path
        for name in names:
            path = path / name
            make_private(path)
        return path

    def log(self, part: str) -> Path:
        """Return where a part's output goes."""
        return self.folder("logs") / f"{part}.log"

    def pid_file(self, part: str) -> Path:
        """Return where a part's process is written down."""
        return self.folder("run") / f"{part}.json"

    def pid_files(self) -> list[Path]:
        """Return where processes are written down that run, or ended without us noticing."""
        return sorted(self.folder("run").glob("*.json"))

    def scratch(self, part: str) -> Path:
        """Return an empty folder for a part's temporary files; what was in it is gone."""
        path = self.folder("run") / f"{part}.tmp"
        shutil.rmtree(path, ignore_errors=True)
        make_private(path)
        return path

    def secret(self, name: str) -> str:
        """Return a secret of this home, made up once and then kept in a file of mode 0600."""
        path = self.folder("secrets") / name
        try:
            return path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            value = secrets.token_urlsafe(32)
            write_private(path, value + "\n")
            return value

    def port(self, name: str, preferred: int | None = None) -> int:
        """Return a free loopback port for this purpose: the last one when that is free, else a new one.

        Args:
            name: The purpose.
            preferred: Taken at first when it is free: the port that people know by heart.

        Raises:
            NoFreePortError: Many were tried, none was free.
        """
        known = ports_of(self.path)
        last = known.get(name)
        if last is not None and is_free(last):
            return last
        taken = set(known.values())
        candidates = [] if preferred is None else [preferred]
        candidates += [self._random.choice(PORTS) for _ in range(_PORT_TRIES)]
        for candidate in candidates:
            if candidate not in taken and is_free(candidate):
                write_private(self.path / _PORTS, json.dumps({**known, name: candidate}, indent=2) + "\n")
                return candidate
        raise NoFreePortError(f"none of {_PORT_TRIES} ports between {PORTS.start} and {PORTS.stop} is free")


def ports_of(home: Path) -> dict[str, int]:
    """Return the loopback ports that a home has used, by purpose."""
    path = home / _PORTS
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def is_free(port: int) -> bool:
    """Say whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        # As every server does: a port whose last connections are still in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def require_usable_name(path: Path, unusable: str = "") -> None:
    """Refuse a folder with whose name programs of others cannot work.

    Args:
        path: The folder.
        unusable: Characters that programs cannot take in it.

    Raises:
        UnusableFolderError: The name holds one of them, a control character, or bytes that are no UTF-8.
    """
    try:
        text = os.fsencode(path).decode("utf-8")
    except UnicodeDecodeError:
        raise UnusableFolderError(
            f"the path {str(path)!r} is no UTF-8, without which Java finds nothing"
        ) from None
    for character in text:
        if character < " " or character == "\x7f" or character in unusable:
            raise UnusableFolderError(
                f"the path {str(path)!r} holds {character!r}, with which the parts cannot work"
            )


def make_usable(path: Path) -> None:
    """Make a folder that only its owner can enter; an existing one keeps its mode.

    Raises:
        UnusableFolderError: It cannot be made, or not be written to.
    """
    try:
        make_private(path)
    except OSError as error:
        reason = "it is a file" if path.is_file() else error.strerror
        raise UnusableFolderError(f"there can be no folder {path}: {reason}") from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise UnusableFolderError(f"the folder {path} belongs to another user")


def make_private(path: Path) -> None:
    """Make a folder that only its owner can enter; an existing one keeps its mode."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_private(path: Path, text: str) -> None:
    """Replace a file at once by one of mode 0600, so that a reader sees the old or the new text, whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
