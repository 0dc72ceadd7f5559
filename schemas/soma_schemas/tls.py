"""TLS of clients and servers written in Python, whose files may be replaced while a process runs."""

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import structlog

log = structlog.get_logger(__name__)


class TlsFiles(NamedTuple):
    """The PEM files of one side of a connection.

    Attributes:
        ca: Who signed the other side; None where the public authorities count.
        certificate: Our own certificate and its chain.
        key: Its key.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def there(self) -> Sequence[Path]:
        """Return those that are named."""
        return [path for path in self if path is not None]


class RotatingContext(ssl.SSLContext):
    """A context that reads its files again before a connection when one of them was replaced.

    A connection that is open keeps what it began with. A new authority counts beside the former ones, which
    this process trusts until it ends.
    """

    _files: TlsFiles
    _read: object

    @classmethod
    def of_client(cls, files: TlsFiles) -> Self:
        """Return a context that checks the server's certificate and its host name.

        Raises:
            OSError: A file cannot be read, or holds no PEM that fits.
        """
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        if files.ca is None:
            context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        context._begin(files)  # of its own class
        return context

    @classmethod
    def of_server(cls, files: TlsFiles) -> Self:
        """Return a context that shows a certificate and asks for none.

        Raises:
            OSError: A file cannot be read, or holds no PEM that fits.
        """
        context = cls(ssl.PROTOCOL_TLS_SERVER)
        context._begin(files)  # of its own class
        return context

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        """Begin a connection of an event loop."""
        self._read_again()
        return super().wrap_bio(*args, **options)

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        """Begin a connection over a socket."""
        self._read_again()
        return super().wrap_socket(*args, **options)

    def _begin(self, files: TlsFiles) -> None:
        self._files = files
        self._read = _seen(files)
        self._load()

    def _load(self) -> None:
        if self._files.ca is not None:
            self.load_verify_locations(cafile=self._files.ca)
        if self._files.certificate is not None:
            self.load_cert_chain(self._files.certificate, self._files.key)

    def _read_again(self) -> None:
        try:
            seen = _seen(self._files)
            if seen != self._read:
                self._load()
                self._read = seen
                log.info("tls_files_read_again", files=[str(path) for path in self._files.there()])
        except OSError as error:
            # Half of a rotation: the certificate is new, its key not yet. What was read before still counts.
            log.warning("tls_files_not_read", error=type(error).__name__)


def _seen(files: TlsFiles) -> object:
    """Return what changes when a file is written or replaced."""
    looks = [path.stat() for path in files.there()]
    return [(look.st_mtime_ns, look.st_ino, look.st_size) for look in looks]
