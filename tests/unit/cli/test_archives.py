"""The archive of a backup: whole or not there, and damage anywhere is found before anything is restored."""

import io
import resource
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soma_cli.backups import encrypted_stream
from soma_cli.backups.archive_file import open_archive, write_archive
from soma_cli.backups.backup_errors import ArchiveError, BackupError
from soma_cli.backups.encrypted_stream import DecryptingReader, EncryptingWriter, read_key_file
from soma_cli.backups.manifest import DumpFile, Manifest, TableContent
from soma_cli.failures import UsageError

KEY = b"k" * 32
PIECES = [bytes(range(256)) * 40, b"the end"]
WHOLE = b"".join(PIECES)


def a_manifest(dump: DumpFile) -> Manifest:
    return Manifest(
        made_at=datetime(2026, 3, 2, 12, tzinfo=UTC),
        seconds=1.5,
        product="0.1.0",
        postgres="18.4",
        revision="0008",
        tables={"memories": TableContent(rows=3, digest="0" * 32)},
        watermarks=[],
        epoch=1,
        topics={},
        schemas=[],
        model="wordllama-256",
        dimensions=256,
        dump=dump,
    )


def written(path: Path, key: bytes | None = None, pieces: list[bytes] | None = None) -> Manifest:
    return write_archive(path, PIECES if pieces is None else pieces, a_manifest, key)


def dump_of(path: Path, key: bytes | None) -> tuple[Manifest, bytes]:
    with open_archive(path, key) as archive:
        archive.check(lambda _more: None)
        return archive.manifest, b"".join(archive.dump())


@pytest.mark.parametrize("key", [None, KEY])
def test_what_was_written_is_read_and_only_its_owner_may(tmp_path: Path, key: bytes | None) -> None:
    path = tmp_path / "a.zip"

    manifest = written(path, key)

    assert manifest.dump == DumpFile(bytes=len(WHOLE), sha256=sha256(WHOLE).hexdigest())
    assert dump_of(path, key) == (manifest, WHOLE)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["a.zip"]


def test_a_plain_archive_opens_with_any_zip_program(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    written(path)

    with zipfile.ZipFile(path) as content:
        assert content.read("tables.dump") == WHOLE


def test_an_encrypted_archive_shows_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.zip.enc"
    written(path, KEY, [b"a secret thought"])

    content = path.read_bytes()

    assert b"secret thought" not in content
    assert b"memories" not in content


@pytest.mark.parametrize("key", [None, KEY])
def test_damage_anywhere_is_refused_or_changes_nothing(tmp_path: Path, key: bytes | None) -> None:
    path = tmp_path / "a.zip"
    whole = written(path, key), WHOLE
    content = path.read_bytes()
    harmless = 0
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = dump_of(path, key)
        except (ArchiveError, UsageError):
            continue
        # Times and modes in a zip file, which say nothing of what is in it.
        assert found == whole, place
        harmless += 1

    assert harmless == 0 or key is None


@pytest.mark.parametrize("key", [None, KEY])
def test_an_archive_that_was_cut_off_is_refused_wherever(tmp_path: Path, key: bytes | None) -> None:
    path = tmp_path / "a.zip"
    written(path, key)
    content = path.read_bytes()

    for end in range(0, len(content), max(1, len(content) // 300)):
        path.write_bytes(content[:end])
        with pytest.raises((ArchiveError, UsageError)):
            dump_of(path, key)


def test_a_wrong_key_is_told_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.zip.enc"
    written(path, KEY)

    with pytest.raises(ArchiveError, match="another key"), open_archive(path, b"x" * 32):
        pass


@pytest.mark.parametrize(("key", "given_key"), [(KEY, None), (None, KEY)])
def test_a_key_goes_with_an_encrypted_archive_alone(
    tmp_path: Path, key: bytes | None, given_key: bytes | None
) -> None:
    path = tmp_path / "a.zip"
    written(path, key)

    with pytest.raises(UsageError, match="encrypted"), open_archive(path, given_key):
        pass


def test_a_dump_that_is_not_the_manifests_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    write_archive(path, PIECES, lambda dump: a_manifest(DumpFile(bytes=dump.bytes, sha256="0")), None)

    with pytest.raises(ArchiveError, match="not the one that its manifest names"):
        dump_of(path, None)


def test_an_archive_of_a_later_version_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as content:
        content.writestr("manifest.json", '{"format": 2}')

    with pytest.raises(ArchiveError, match="this version reads"), open_archive(path, None):
        pass


def test_nothing_is_replaced_and_a_dump_that_fails_leaves_nothing(tmp_path: Path) -> None:
    taken, path = tmp_path / "taken.zip", tmp_path / "a.zip"
    taken.write_text("something")

    def failing() -> Iterator[bytes]:
        yield b"a beginning"
        raise BackupError("pg_dump ended")

    with pytest.raises(UsageError, match="is there already"):
        written(taken)
    with pytest.raises(BackupError, match="pg_dump ended"):
        write_archive(path, failing(), a_manifest, KEY)

    assert taken.read_text() == "something"
    assert [each.name for each in tmp_path.iterdir()] == ["taken.zip"]


@contextmanager
def at_most(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("key", [None, KEY])
@pytest.mark.parametrize("size", [0, 100, 70_000, 1_100_000])
def test_a_full_disk_leaves_nothing_and_says_so(tmp_path: Path, key: bytes | None, size: int) -> None:
    noise = [Random(number).randbytes(20_000) for number in range(100)]

    with at_most(size), pytest.raises(BackupError, match=r"no room .* nothing is left of it") as told:
        written(tmp_path / "a.zip", key, noise)

    assert "--output" in (told.value.remedy or "")
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_the_content_of_its_file_and_long_enough(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"\n" + KEY + b"\n")

    assert read_key_file(path) == KEY
    path.write_bytes(b"short\n")
    with pytest.raises(UsageError, match="shorter than 32 bytes"):
        read_key_file(path)


def test_the_key_that_the_help_tells_to_make_is_one(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(
        subprocess.run(["openssl", "rand", "-base64", "32"], capture_output=True, check=True).stdout
    )

    assert len(read_key_file(path)) == 44


@given(
    pieces=st.lists(st.binary(max_size=70), max_size=6),
    seeks=st.lists(st.tuples(st.integers(0, 450), st.integers(0, 90)), max_size=5),
)
def test_an_encrypted_stream_reads_as_what_was_written(
    pieces: list[bytes], seeks: list[tuple[int, int]]
) -> None:
    with small_chunks():
        file = io.BytesIO()
        writer = EncryptingWriter(file, KEY)
        for piece in pieces:
            writer.write(piece)
        writer.finish()
        whole = b"".join(pieces)
        reader = io.BufferedReader(DecryptingReader(file, KEY))

        assert reader.read() == whole
        for place, size in seeks:
            reader.seek(place)
            assert reader.read(size) == whole[place : place + size]


@pytest.mark.parametrize(
    "change",
    [
        lambda chunks: chunks[::-1],
        lambda chunks: chunks[:-1],
        lambda chunks: [chunks[0], *chunks[2:]],
        lambda chunks: [*chunks, chunks[-1]],
    ],
    ids=["moved", "cut off", "left out", "repeated"],
)
def test_chunks_stay_where_they_were(change: Callable[[list[bytes]], list[bytes]]) -> None:
    with small_chunks():
        file = io.BytesIO()
        writer = EncryptingWriter(file, KEY)
        writer.write(bytes(64 * 3))
        writer.finish()
        content = file.getvalue()
        header, sealed = content[:40], content[40:]
        chunks = [sealed[place : place + 80] for place in range(0, len(sealed), 80)]

        with pytest.raises(ArchiveError, match="damaged"):
            DecryptingReader(io.BytesIO(header + b"".join(change(chunks))), KEY).read()


@contextmanager
def small_chunks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encrypted_stream, "_CHUNK_BYTES", 64)
        patch.setattr(encrypted_stream, "_SEALED_BYTES", 80)
        yield
