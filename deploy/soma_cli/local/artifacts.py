"""The Java programs of the local stack: fetched by Maven coordinate, pinned by SHA-256, shared by homes."""

import asyncio
import fcntl
import hashlib
import json
import os
import shutil
import sys
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog

from soma_cli.local.errors import ChecksumMismatchError, DownloadError

if TYPE_CHECKING:
    from jgo.maven import Artifact, MavenContext

_CHECKSUMS = Path(__file__).with_name("checksums")
_MANIFEST = "manifest.json"
_DOWNLOADS_AT_ONCE = 6
_TRIES = 3
_PAUSE_SECONDS = 1.0
_LOCK_PAUSE_SECONDS = 0.2
_TIMEOUT_SECONDS = 60
_CHUNK = 1024 * 1024

log = structlog.get_logger(__name__)


class Progress(Protocol):
    """Hears how far something long has come; called in the event loop's thread."""

    def __call__(self, label: str, done: int, total: int) -> None:
        """Say that `done` of `total` bytes are done of what the label names."""
        ...


def no_progress(label: str, done: int, total: int) -> None:
    """Draw nothing."""


class Coordinate(NamedTuple):
    """The name of one file in every Maven repository."""

    group: str
    artifact: str
    version: str
    classifier: str = ""
    packaging: str = "jar"


@dataclass(frozen=True)
class Pin:
    """One file of a Maven repository and the only content that we accept for it.

    Attributes:
        path: Where it lies below the repository's root.
        sha256: In hexadecimal.
    """

    path: PurePosixPath
    sha256: str

    @property
    def coordinate(self) -> Coordinate:
        """The coordinate that the layout of a Maven repository gives this path."""
        *group, artifact, version, name = self.path.parts
        classifier, _, packaging = name.removeprefix(f"{artifact}-{version}").partition(".")
        return Coordinate(".".join(group), artifact, version, classifier.removeprefix("-"), packaging)


@dataclass(frozen=True)
class Bundle:
    """Files that make one program.

    Attributes:
        name: Of its checksum file, and of its folder in the cache.
        label: What people call it.
        roots: The files from which the others follow, as their dependencies.
        unpacked: Whether its one file is an archive of which only the content is kept.
    """

    name: str
    label: str
    roots: tuple[Coordinate, ...]
    unpacked: bool = False

    @property
    def checksum_file(self) -> Path:
        """Where its pins are; in the format of `sha256sum`, below the root of a Maven repository."""
        return _CHECKSUMS / f"{self.name}.sha256"

    def pins(self) -> tuple[tuple[Pin, ...], int]:
        """Return the pinned files, and their bytes in total."""
        size_line, *lines = self.checksum_file.read_text(encoding="utf-8").splitlines()
        pins = tuple(
            Pin(PurePosixPath(path), digest) for digest, path in (line.split("  ") for line in lines)
        )
        return pins, int(size_line.split()[1])


KAFKA = Bundle(
    "kafka",
    "Kafka 4.3.1",
    # Without an SLF4J binding the broker dies without a word. The simple one starts faster than log4j and
    # writes to stderr, which is the part's log.
    (
        Coordinate("org.apache.kafka", "kafka_2.13", "4.3.1"),
        Coordinate("org.slf4j", "slf4j-simple", "1.7.36"),
    ),
)
REGISTRY = Bundle(
    "registry",
    "Apicurio Registry 3.3.3",
    (Coordinate("io.apicurio", "apicurio-registry-app", "3.3.3", "all", "tar.gz"),),
    unpacked=True,
)


class Cancelled(Exception):  # noqa: N818  # not an error: the caller has gone
    """The caller no longer waits."""


class Artifacts:
    """The programs in one cache folder, which any number of homes and processes may share.

    Args:
        cache: The folder; made when missing. Deleting it costs a download, nothing else.
        progress: Hears about downloads.
        offline: Never go to the network: what is not in the cache fails with DownloadError.
    """

    def __init__(self, cache: Path, progress: Progress = no_progress, *, offline: bool = False) -> None:
        self._cache = cache.absolute()
        self._progress = progress
        self._offline = offline

    def has(self, bundle: Bundle) -> bool:
        """Say whether a bundle is here and whole, so that `folder` answers at once."""
        return _is_intact(self._place(bundle))

    async def folder(self, bundle: Bundle) -> Path:
        """Return the folder with a bundle's files, fetched and verified when they are not there yet.

        A folder that is there is trusted as long as every file has the size and time that it had when it was
        verified.

        Raises:
            DownloadError: A file could not be fetched.
            ChecksumMismatchError: A fetched file is not the pinned one.
        """
        loop = asyncio.get_running_loop()
        cancelled = threading.Event()

        def report(done: int, total: int) -> None:
            if cancelled.is_set():
                raise Cancelled
            loop.call_soon_threadsafe(self._progress, bundle.label, done, total)

        try:
            return await asyncio.to_thread(self._materialise, bundle, report, cancelled)
        finally:
            # The thread looks at it between two pieces of work.
            cancelled.set()

    def _materialise(
        self, bundle: Bundle, report: Callable[[int, int], None], cancelled: threading.Event
    ) -> Path:
        pins, total = bundle.pins()
        folder = self._place(bundle)
        if _is_intact(folder):
            return folder
        self._cache.mkdir(parents=True, exist_ok=True)
        with _locked(self._cache / f"{bundle.name}.lock", cancelled):
            if _is_intact(folder):  # another process was faster
                return folder
            if folder.exists():
                log.warning("cached_files_altered", bundle=bundle.name, folder=str(folder))
            partial = self._cache / f"{folder.name}.partial"
            partial.mkdir(exist_ok=True)
            self._fetch_all(bundle, pins, total, (partial, folder), report)
            content = _unpack(partial / pins[0].path.name, report) if bundle.unpacked else partial
            _write_manifest(content)
            _replace_folder(folder, content)
            shutil.rmtree(partial, ignore_errors=True)
            log.info("bundle_ready", bundle=bundle.name, files=len(pins), bytes=total)
        return folder

    def _place(self, bundle: Bundle) -> Path:
        # Other pins make another folder, so that a new version never meets an old one's files.
        digest = hashlib.sha256(bundle.checksum_file.read_bytes()).hexdigest()
        return self._cache / f"{bundle.name}-{digest[:12]}"

    def _fetch_all(
        self,
        bundle: Bundle,
        pins: tuple[Pin, ...],
        total: int,
        places: tuple[Path, Path],
        report: Callable[[int, int], None],
    ) -> None:
        partial, before = places
        count = _Count(total, report)

        def fetch(pin: Pin) -> None:
            name = pin.path.name
            if _matches(partial / name, pin):
                count.add((partial / name).stat().st_size)
            elif _matches(before / name, pin):
                count.add(shutil.copyfile(before / name, partial / name).stat().st_size)
            elif self._offline:
                raise DownloadError(
                    f"{name} of {bundle.label} is not in {self._cache}, and this run is offline"
                )
            else:
                _download(pin, partial / name, count.add)

        with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
            for _ in pool.map(fetch, pins):
                pass


class _Count:
    """Adds up bytes from several threads."""

    def __init__(self, total: int, report: Callable[[int, int], None]) -> None:
        self._lock = threading.Lock()
        self._done = 0
        self._total = total
        self._report = report

    def add(self, size: int) -> None:
        with self._lock:
            self._done += size
            self._report(min(self._done, self._total), self._total)


def _download(pin: Pin, target: Path, add: Callable[[int], None]) -> None:
    # jgo and its HTTP client take a third of a second to import, and only a first start needs them.
    import requests  # noqa: PLC0415  # see above
    from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415  # see above

    @contextmanager
    def follow(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield add

    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetch-") as temporary:
        context = MavenContext(
            resolver=PythonResolver(progress_callback=follow),
            repo_cache=Path(temporary),
            timeout=_TIMEOUT_SECONDS,
        )
        try:
            fetched = _artifact(context, pin.coordinate).resolve()
        except (requests.RequestException, RuntimeError, OSError) as error:
            raise DownloadError(f"cannot fetch {pin.path.name} from Maven Central: {error}") from error
        if not _matches(fetched, pin):
            raise ChecksumMismatchError(f"{pin.path.name} is {sha256(fetched)}, expected {pin.sha256}")
        fetched.replace(target)


def _artifact(context: "MavenContext", coordinate: Coordinate) -> "Artifact":
    group, artifact, version, classifier, packaging = coordinate
    return context.project(group, artifact).at_version(version).artifact(classifier, packaging)


def _unpack(archive: Path, report: Callable[[int, int], None]) -> Path:
    content = archive.parent / "content"
    shutil.rmtree(content, ignore_errors=True)
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
        total = sum(member.size for member in members)
        done = 0
        for member in members:
            tar.extract(member, content, filter="data")
            done += member.size
            report(done, total)
    return content


def _write_manifest(folder: Path) -> None:
    files = {str(path.relative_to(folder)): _stamp(path) for path in folder.rglob("*") if path.is_file()}
    (folder / _MANIFEST).write_text(json.dumps(files), encoding="utf-8")


def _is_intact(folder: Path) -> bool:
    try:
        files = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        return all(_stamp(folder / name) == stamp for name, stamp in files.items())
    except (FileNotFoundError, ValueError):
        return False


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _matches(path: Path, pin: Pin) -> bool:
    return path.is_file() and sha256(path) == pin.sha256


def _replace_folder(folder: Path, content: Path) -> None:
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    content.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def _locked(path: Path, cancelled: threading.Event) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if cancelled.wait(_LOCK_PAUSE_SECONDS):
                    raise Cancelled from None
        yield
    finally:
        os.close(descriptor)


def sha256(path: Path) -> str:
    """Return a file's SHA-256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_checksums(bundle: Bundle) -> None:
    """Resolve a bundle's coordinates anew and write down what Maven Central has for them now."""
    from jgo.maven import MavenContext  # noqa: PLC0415  # only maintenance and first starts need it

    with tempfile.TemporaryDirectory() as temporary:
        repository = Path(temporary)
        context = MavenContext(repo_cache=repository, timeout=_TIMEOUT_SECONDS)
        files: list[Path] = []
        for root in bundle.roots:
            files.append(_artifact(context, root).resolve())
            if not bundle.unpacked:
                dependency = context.create_dependency(":".join(root[:3]))
                # Raw: otherwise jgo reads every root as a bill of materials for the others, and log4j's names
                # an older kafka-clients than the broker's own.
                dependency.raw = True
                files += [one.artifact.resolve() for one in context.resolver.resolve([dependency])[1]]
        unique = sorted({file.relative_to(repository).as_posix(): file for file in files}.items())
        total = sum(file.stat().st_size for _, file in unique)
        lines = [f"# {total} bytes", *(f"{sha256(file)}  {path}" for path, file in unique)]
        bundle.checksum_file.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] != ["--write-checksums"]:
        sys.exit("usage: python -m soma_cli.local.artifacts --write-checksums")
    for each in (KAFKA, REGISTRY):
        write_checksums(each)
        sys.stderr.write(f"wrote {each.checksum_file}\n")
