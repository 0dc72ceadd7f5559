"""Programs come from a Maven repository once, exactly as pinned, and survive what happens to a cache."""

import gc
import io
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from soma_cli.local.artifacts import Artifacts
from soma_cli.local.bundles import Bundle, Coordinate
from soma_cli.local.errors import ChecksumMismatchError, DownloadError, UnusableFolderError

# jgo leaves the answer open when a file is not there.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")

JARS = {
    "org/example/broker/1.0/broker-1.0.jar": b"broker" * 1000,
    "org/example/client/1.0/client-1.0.jar": b"client" * 1000,
}


@pytest.fixture(autouse=True)
def _left_open() -> Iterator[None]:
    yield
    # Here, where such a socket is expected, and not in whatever test is running later.
    gc.collect()


class Repository:
    """A Maven repository on loopback.

    Attributes:
        requests: Paths that were asked for, checksums aside.
        failures: How many of the next requests fail.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.requests: list[str] = []
        self.failures = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=[0.02])
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def publish(self, path: str, content: bytes) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, repository: Repository, *arguments: object) -> None:
        self._repository = repository
        super().__init__(*arguments, directory=str(repository.root))  # type: ignore[arg-type]  # handed through

    def do_GET(self) -> None:
        if not self.path.endswith(".sha1"):
            self._repository.requests.append(self.path.lstrip("/"))
            if self._repository.failures > 0:
                self._repository.failures -= 1
                self.send_error(HTTPStatus.BAD_GATEWAY)
                return
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    repository = Repository(tmp_path / "repository")
    for path, content in JARS.items():
        repository.publish(path, content)
    yield repository
    repository.close()


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return pinned(tmp_path, "jars", JARS)


@pytest.fixture
def artifacts(tmp_path: Path, repository: Repository) -> Artifacts:
    return Artifacts(tmp_path / "cache", repository=repository.url)


def pinned(folder: Path, name: str, files: dict[str, bytes], *, is_archive: bool = False) -> Bundle:
    bundle = Bundle(name, name, (Coordinate("org.example", "broker", "1.0"),), is_archive, folder)
    lines = [f"# {sum(map(len, files.values()))} bytes"]
    lines += [f"{sha256(content).hexdigest()}  {path}" for path, content in files.items()]
    bundle.checksum_file.write_text("\n".join(lines) + "\n")
    return bundle


def an_archive() -> tuple[str, bytes]:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("lib/run.jar")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"jar"))
    return "org/example/broker/1.0/broker-1.0-all.tar.gz", packed.getvalue()


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.jar")}


WANTED = {Path(path).name: content for path, content in JARS.items()}


async def test_a_bundle_is_fetched_whole(artifacts: Artifacts, bundle: Bundle) -> None:
    assert content_of(await artifacts.folder(bundle)) == WANTED


async def test_a_bundle_is_fetched_once(
    artifacts: Artifacts, bundle: Bundle, repository: Repository, tmp_path: Path
) -> None:
    await artifacts.folder(bundle)
    repository.requests.clear()

    folder = await Artifacts(tmp_path / "cache", offline=True).folder(bundle)

    assert content_of(folder) == WANTED
    assert repository.requests == []


async def test_it_is_known_whether_a_bundle_is_here(artifacts: Artifacts, bundle: Bundle) -> None:
    before = artifacts.has(bundle)
    await artifacts.folder(bundle)

    assert (before, artifacts.has(bundle)) == (False, True)


async def test_another_content_than_the_pinned_one_is_refused(
    artifacts: Artifacts, bundle: Bundle, repository: Repository
) -> None:
    repository.publish(next(iter(JARS)), b"something else")

    with pytest.raises(ChecksumMismatchError, match=r"broker-1\.0\.jar") as caught:
        await artifacts.folder(bundle)

    assert caught.value.code == "checksum_mismatch"
    assert not artifacts.has(bundle)


async def test_what_was_refused_is_not_kept(
    artifacts: Artifacts, bundle: Bundle, repository: Repository
) -> None:
    path, content = next(iter(JARS.items()))
    repository.publish(path, b"something else")
    with pytest.raises(ChecksumMismatchError):
        await artifacts.folder(bundle)
    repository.publish(path, content)

    assert content_of(await artifacts.folder(bundle)) == WANTED


async def test_a_file_that_is_not_there_is_an_error_with_a_remedy(
    artifacts: Artifacts, bundle: Bundle, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soma_cli.local.artifacts._PAUSE_SECONDS", 0)
    (repository.root / next(iter(JARS))).unlink()

    with pytest.raises(DownloadError, match=r"broker-1\.0\.jar") as caught:
        await artifacts.folder(bundle)

    assert caught.value.remedy


async def test_what_arrived_is_not_fetched_again_after_a_failure(
    artifacts: Artifacts, bundle: Bundle, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soma_cli.local.artifacts._PAUSE_SECONDS", 0)
    arrived, missing = JARS
    (repository.root / missing).unlink()
    with pytest.raises(DownloadError):
        await artifacts.folder(bundle)
    repository.publish(missing, JARS[missing])
    repository.requests.clear()

    assert content_of(await artifacts.folder(bundle)) == WANTED
    assert arrived not in repository.requests


async def test_a_failure_that_passes_costs_another_try(
    artifacts: Artifacts, bundle: Bundle, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soma_cli.local.artifacts._PAUSE_SECONDS", 0)
    repository.failures = 1

    assert content_of(await artifacts.folder(bundle)) == WANTED


async def test_a_truncated_file_in_the_cache_is_noticed_and_fetched_again(
    artifacts: Artifacts, bundle: Bundle, repository: Repository
) -> None:
    folder = await artifacts.folder(bundle)
    os.truncate(folder / "broker-1.0.jar", 10)
    repository.requests.clear()

    assert content_of(await artifacts.folder(bundle)) == WANTED
    assert repository.requests == ["org/example/broker/1.0/broker-1.0.jar"]


async def test_an_altered_file_of_the_same_size_is_noticed(artifacts: Artifacts, bundle: Bundle) -> None:
    jar = await artifacts.folder(bundle) / "broker-1.0.jar"
    jar.write_bytes(b"x" * jar.stat().st_size)

    assert content_of(await artifacts.folder(bundle)) == WANTED


async def test_a_copied_cache_is_verified_anew_without_the_network(
    artifacts: Artifacts, bundle: Bundle, tmp_path: Path
) -> None:
    # A copy gives files another time, which is no reason to fetch them again.
    for path in (await artifacts.folder(bundle)).glob("*.jar"):
        os.utime(path, (1, 1))

    folder = await Artifacts(tmp_path / "cache", offline=True).folder(bundle)

    assert content_of(folder) == WANTED


async def test_offline_with_an_empty_cache_is_an_error(tmp_path: Path, bundle: Bundle) -> None:
    with pytest.raises(DownloadError, match="offline"):
        await Artifacts(tmp_path / "cache", offline=True).folder(bundle)


async def test_new_pins_never_meet_old_files(
    artifacts: Artifacts, bundle: Bundle, repository: Repository, tmp_path: Path
) -> None:
    before = await artifacts.folder(bundle)
    newer = {"org/example/broker/2.0/broker-2.0.jar": b"newer"}
    repository.publish(*next(iter(newer.items())))

    after = await artifacts.folder(pinned(tmp_path, "jars", newer))

    assert after != before
    assert content_of(after) == {"broker-2.0.jar": b"newer"}


async def test_an_archive_is_unpacked_and_not_kept(
    artifacts: Artifacts, repository: Repository, tmp_path: Path
) -> None:
    path, packed = an_archive()
    repository.publish(path, packed)
    archive = pinned(tmp_path, "archive", {path: packed}, is_archive=True)

    folder = await artifacts.folder(archive)

    assert (folder / "lib" / "run.jar").read_bytes() == b"jar"
    assert list((tmp_path / "cache").rglob("*.tar.gz")) == []


async def test_a_copied_archive_is_not_fetched_again(
    artifacts: Artifacts, repository: Repository, tmp_path: Path
) -> None:
    path, packed = an_archive()
    repository.publish(path, packed)
    archive = pinned(tmp_path, "archive", {path: packed}, is_archive=True)
    unpacked = await artifacts.folder(archive) / "lib" / "run.jar"
    os.utime(unpacked, (1, 1))

    await Artifacts(tmp_path / "cache", offline=True).folder(archive)

    assert artifacts.has(archive)


async def test_progress_ends_with_everything_done(
    tmp_path: Path, repository: Repository, bundle: Bundle
) -> None:
    heard: list[tuple[str, int, int]] = []
    artifacts = Artifacts(tmp_path / "cache", lambda *report: heard.append(report), repository=repository.url)

    await artifacts.folder(bundle)

    total = sum(map(len, JARS.values()))
    assert heard[-1] == ("jars", total, total)


def test_two_processes_at_once_fetch_a_bundle_once(
    tmp_path: Path, repository: Repository, bundle: Bundle
) -> None:
    code = (
        "import asyncio, sys; from pathlib import Path; "
        "from soma_cli.local.artifacts import Artifacts; from soma_cli.local.bundles import Bundle; "
        "cache, url, checksums = sys.argv[1:]; "
        "bundle = Bundle('jars', 'jars', (), False, Path(checksums)); "
        "print(asyncio.run(Artifacts(Path(cache), repository=url).folder(bundle)))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "cache"), repository.url, str(bundle.checksums)]

    racing = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [one.communicate()[0] for one in racing]

    assert [one.returncode for one in racing] == [0, 0]
    assert len({text.splitlines()[-1] for text in said}) == 1
    assert sorted(repository.requests) == sorted(JARS)


@pytest.mark.parametrize("character", [os.pathsep, "!", "?", "[", "]"])
def test_a_cache_of_whose_name_java_would_make_another_is_refused_at_once(
    tmp_path: Path, character: str
) -> None:
    with pytest.raises(UnusableFolderError) as refused:
        Artifacts(tmp_path / f"a{character}b")

    assert "SOMA_CACHE" in str(refused.value.remedy)
