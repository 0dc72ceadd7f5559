"""The embedded shard keeps both contracts."""

from collections.abc import Iterator

import pytest

from contract.vectors.build import A_COLLECTION
from contract.vectors.engines import ShardEngine
from contract.vectors.reader_contract import PointReaderContract
from contract.vectors.writer_contract import PointWriterContract
from soma_cli.local.embedded_index import EmbeddedIndex


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedIndex]:
    """A shard for all tests of this file: making one takes the disk a second or two."""
    opened = EmbeddedIndex.open(tmp_path_factory.mktemp("embedded") / "vectors", A_COLLECTION)
    yield opened
    opened.close()


@pytest.fixture
async def engine(index: EmbeddedIndex) -> ShardEngine:
    """The shard, emptied."""
    engine = ShardEngine.embedded(index)
    await engine.clear()
    return engine


class TestEmbeddedWriter(PointWriterContract):
    """Against the shard."""


class TestEmbeddedReader(PointReaderContract):
    """Against the shard."""
