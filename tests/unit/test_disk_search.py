"""What looks for a word on a disk finds it in every form, or proves nothing by finding none."""

import base64
from pathlib import Path

import cramjam
import pytest

from disk_search import files_with

WORD = "canary-7f3a9c51"


def a_batch(records: bytes, codec: int) -> bytes:
    """A batch of Kafka's, as far as its header tells where it ends and how it is compressed."""
    rest = b"\0" * 9 + codec.to_bytes(2, "big") + b"\0" * 38 + records
    return (0).to_bytes(8, "big") + len(rest).to_bytes(4, "big") + rest


TEXT = f"she said {WORD} and went".encode()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain", TEXT),
        ("utf-16", TEXT.decode().encode("utf-16-le")),
        ("hex", TEXT.hex().encode()),
        *((f"base64 {skip}", base64.b64encode(TEXT[skip:])) for skip in range(4)),
        ("zstd.log", a_batch(b"first", 0) + a_batch(bytes(cramjam.zstd.compress(TEXT)), 4)),
        ("lz4.log", a_batch(bytes(cramjam.lz4.compress(TEXT * 9)), 3)),
        ("open.log", a_batch(bytes(cramjam.zstd.compress(TEXT)), 4) + b"\0" * 1000),
    ],
)
def test_a_word_is_found_in_every_form(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / name).write_bytes(content)
    (tmp_path / "other").write_bytes(b"she said nothing")

    assert files_with(tmp_path, WORD) == [Path("below") / name]
