"""The cache of Java programs: each is fetched once, verified, and shared by all homes and processes."""

import asyncio
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
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import structlog

from soma_cli.local.bundles import KAFKA, REGISTRY, Bundle, Coordinate, Pin, Pins
from soma_cli.local.errors import ChecksumMismatchError, DownloadError
from soma_cli.local.home import make_usable, require_usable_name
from soma_cli.local.locking import Cancelled, locked

if TYPE_CHECKING:
    from jgo.maven import Artifact, MavenContext

MAVEN_CENTRAL = "https://repo.maven.apache.org/maven2"

_MANIFEST = "manifest.json"
_UNFINISHED = ".fetch-"
_DOWNLOADS_AT_ONCE = 6
_TRIES = 3
_PAUSE_SECONDS = 1.0
# One separates the files of Java's class path, one a jar from what is in it; with the others the registry's
# server does not find its own files.
_UNUSABLE = f"{os.pathsep}!?[]"
# Without a byte for so long, a connection is dead. Ctrl-C while it stalls waits for this too.
_TIMEOUT_SECONDS = 20
_REPORT_EVERY_BYTES = 256 * 1024

log = structlog.get_logger(__name__)


class Progress(Protocol):
    """Hears how far something long has come; called in the event loop's thread."""

    def __call__(self, label: str, done: int, total: int, /) -> None:
        """Say that `done` of `total` bytes are done of what the label names."""
        ...


def no_progress(label: str, done: int, total: int) -> None:
    """Draw nothing."""


class Artifacts:
    """The programs in one cache folder, which any number of homes and processes may share.

    Args:
        cache: The folder; made when missing. Deleting it costs a download, nothing else.
        progress: Hears about downloads.
        repository: The Maven repository to fetch from, such as a company's mirror of Maven Central.
        offline: Never go to the network: what is not in the cache fails with DownloadError.

    Raises:
        UnusableFolderError: The programs could not be run from a folder of that name.
    """

    def __init__(
        self,
        cache: Path,
        progress: Progress = no_progress,
        *,
        repository: str = MAVEN_CENTRAL,
        offline: bool = False,
    ) -> None:
        self.cache = cache.absolute()
        require_usable_name(self.cache, _UNUSABLE)
        self._progress = progress
        self._repository = repository
        self._offline = offline

    def has(self, bundle: Bundle) -> bool:
        """Say whether a bundle is here and whole, so that `folder` answers at once."""
        return _is_intact(self._place(bundle, bundle.pins()))

    async def folder(self, bundle: Bundle) -> Path:
        """Return the folder with a bundle's files, fetched and verified when they are not there yet.

        A folder that is there is trusted as long as every file has the size and time that it had when it was
        verified.

        Raises:
            DownloadError: A file could not be fetched.
            ChecksumMismatchError: A fetched file is not the pinned one.
            UnusableFolderError: There can be no cache where it should be.
        """
        loop = asyncio.get_running_loop()
        cancelled = threading.Event()

        def report(label: str, done: int, total: int) -> None:
            if cancelled.is_set():
                raise Cancelled
            loop.call_soon_threadsafe(self._progress, label, done, total)

        try:
            return await asyncio.to_thread(self._materialise, bundle, report, cancelled)
        finally:
            # The thread looks at it between two pieces of work.
            cancelled.set()

    def _place(self, bundle: Bundle, pins: Pins) -> Path:
        # Other pins make another folder, so that a new version never meets an old one's files.
        return self.cache / f"{bundle.name}-{pins.digest}"

    def _materialise(self, bundle: Bundle, report: Progress, cancelled: threading.Event) -> Path:
        pins = bundle.pins()
        folder = self._place(bundle, pins)
        if _is_intact(folder):
            return folder
        make_usable(self.cache)
        with locked(self.cache / f"{bundle.name}.lock", cancelled):
            if _is_intact(folder):  # another process was faster
                return folder
            if _is_intact_after_all(folder):
                return folder
            if folder.exists():
                log.warning("cached_files_altered", bundle=bundle.name, folder=str(folder))
            # Verified files stay here when the rest fails: the next try goes on from them.
            partial = self.cache / f"{folder.name}.partial"
            partial.mkdir(exist_ok=True)
            for unfinished in partial.glob(f"{_UNFINISHED}*"):
                shutil.rmtree(unfinished)
            self._fetch_all(bundle, pins, (partial, folder), report, cancelled)
            content = _unpack(partial / pins.files[0].name, report) if bundle.is_archive else partial
            _write_manifest(content)
            _replace_folder(folder, content)
            shutil.rmtree(partial, ignore_errors=True)
            log.info("bundle_ready", bundle=bundle.name, files=len(pins.files), bytes=pins.size)
        return folder

    def _fetch_all(
        self,
        bundle: Bundle,
        pins: Pins,
        places: tuple[Path, Path],
        report: Progress,
        cancelled: threading.Event,
    ) -> None:
        partial, before = places
        count = _Count(bundle.label, pins.size, report)

        def fetch(pin: Pin) -> None:
            if _matches(partial / pin.name, pin):
                count.add((partial / pin.name).stat().st_size)
            elif _matches(before / pin.name, pin):
                count.add(shutil.copyfile(before / pin.name, partial / pin.name).stat().st_size)
            elif self._offline:
                raise DownloadError(
                    f"{pin.name} of {bundle.label} is not in {self.cache}, and this run is offline",
                    remedy="run once with a network",
                )
            else:
                self._download(pin, partial / pin.name, count.add, cancelled)

        with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
            for _ in pool.map(fetch, pins.files):
                pass

    def _download(
        self, pin: Pin, target: Path, add: Callable[[int], None], cancelled: threading.Event
    ) -> None:
        for tries_left in reversed(range(_TRIES)):
            try:
                _download_once(self._repository, pin, target, add)
            except DownloadError as error:
                if tries_left == 0:
                    raise
                log.warning("download_failed", file=pin.name, error=str(error), tries_left=tries_left)
                if cancelled.wait(_PAUSE_SECONDS):
                    raise Cancelled from error
            else:
                return


class _Count:
    """Adds up bytes from several threads, and reports now and then."""

    def __init__(self, label: str, total: int, report: Progress) -> None:
        self._lock = threading.Lock()
        self._label = label
        self._total = total
        self._report = report
        self._done = 0
        self._reported = 0

    def add(self, size: int) -> None:
        with self._lock:
            self._done += size
            if self._done - self._reported >= _REPORT_EVERY_BYTES or self._done >= self._total:
                self._reported = self._done
                # What arrives twice, after a failed try, is no progress.
                self._report(self._label, min(self._done, self._total), self._total)


def _download_once(repository: str, pin: Pin, target: Path, add: Callable[[int], None]) -> None:
    # jgo and its HTTP client take a third of a second to import, and only a first start needs them.
    import requests  # noqa: PLC0415  # see above
    from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415  # see above

    @contextmanager
    def follow(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
        yield add

    with tempfile.TemporaryDirectory(dir=target.parent, prefix=_UNFINISHED) as temporary:
        context = MavenContext(
            resolver=PythonResolver(progress_callback=follow),
            repo_cache=Path(temporary),
            remote_repos={"": repository},
            timeout=_TIMEOUT_SECONDS,
        )
        try:
            fetched = _artifact(context, pin.coordinate).resolve()
        except (requests.RequestException, RuntimeError, OSError) as error:
            raise DownloadError(f"cannot fetch {pin.name} from {repository}: {error}") from error
        # jgo itself only warns of a wrong checksum.
        if not _matches(fetched, pin):
            raise ChecksumMismatchError(f"{pin.name} is {sha256(fetched)}, expected {pin.sha256}")
        fetched.replace(target)


def _artifact(context: "MavenContext", coordinate: Coordinate) -> "Artifact":
    group, artifact, version, classifier, packaging = coordinate
    return context.project(group, artifact).at_version(version).artifact(classifier, packaging)


def _unpack(archive: Path, report: Progress) -> Path:
    content = archive.parent / "content"
    shutil.rmtree(content, ignore_errors=True)
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
        count = _Count("unpacking", sum(member.size for member in members), report)
        for member in members:
            tar.extract(member, content, filter="data")
            count.add(member.size)
    return content


def _write_manifest(folder: Path) -> None:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    manifest = {str(path.relative_to(folder)): [*_stamp(path), sha256(path)] for path in paths}
    (folder / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def _read_manifest(folder: Path) -> dict[str, list[int | str]] | None:
    try:
        manifest: dict[str, list[int | str]] = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return manifest


def _is_intact(folder: Path) -> bool:
    manifest = _read_manifest(folder)
    try:
        return manifest is not None and all(
            _stamp(folder / name) == stamp for name, (*stamp, _) in manifest.items()
        )
    except FileNotFoundError:
        return False


def _is_intact_after_all(folder: Path) -> bool:
    """Look into every file, because a copied cache has other times and may be good all the same."""
    manifest = _read_manifest(folder)
    try:
        if manifest is None or any(sha256(folder / name) != found[-1] for name, found in manifest.items()):
            return False
    except FileNotFoundError:
        return False
    stamped = {name: [*_stamp(folder / name), digest] for name, (*_, digest) in manifest.items()}
    (folder / _MANIFEST).write_text(json.dumps(stamped), encoding="utf-8")
    return True


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _matches(path: Path, pin: Pin) -> bool:
    return path.is_file() and sha256(path) == pin.sha256


def _replace_folder(folder: Path, content: Path) -> None:
    old = folder.with_name(f"{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    content.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


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
            if not bundle.is_archive:
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
