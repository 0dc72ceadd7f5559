"""`python -m benchmarks.vector_stages`: what an event costs from its decoding to the embedded index.

Needs no stack. Times are those of the thread, so that what others do on the machine counts little.
"""

import argparse
import asyncio
import gc
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.events import made_up_events
from soma_cli.local.embedded_index import EmbeddedIndex
from soma_schemas.limits import DEFAULT_LIMITS
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.embedders import PACKAGED_DIMENSIONS, PACKAGED_MODEL, PackagedEmbedder
from soma_schemas.versions import Position, pack_version
from soma_streams.delivery.fold import fold
from soma_streams.delivery.state import LoggedEvent
from soma_streams.sinks.vectors.points import PointMaker
from soma_streams.sinks.vectors.states import id_of, state_of

_EVENTS = 12_000
_BATCH = 1_000


class Stages:
    """Adds up the thread's time of each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what runs within for a stage."""
        began = time.thread_time()
        try:
            yield
        finally:
            self.seconds[name] += time.thread_time() - began


async def measure(events: int, folder: Path) -> Stages:
    """Bring so many made-up events into an empty index."""
    collection = Collection("memories", PACKAGED_MODEL, PACKAGED_DIMENSIONS)
    stages = Stages()
    logged_at = datetime(2026, 1, 1, tzinfo=UTC)
    log = [
        LoggedEvent(event, Position(0, offset), Position(0, offset), pack_version(1, offset), logged_at)
        for offset, event in enumerate(made_up_events(events))
    ]
    gc.freeze()
    with closing(PackagedEmbedder()) as embedder, closing(EmbeddedIndex.open(folder, collection)) as index:
        bm25 = Bm25Encoder()
        maker = PointMaker(embedder, bm25, collection)
        for start in range(0, events, _BATCH):
            batch = log[start : start + _BATCH]
            with stages.stage("read"):
                found = await index.read({id_of(each.name) for each in batch})
                current = {state.name: state for state in map(state_of, found.values())}
            with stages.stage("fold"):
                folded = fold(batch, current, DEFAULT_LIMITS)
            with stages.stage("make points"):
                points = await maker.points(folded.states, {})
            # Again, to tell what of it is the vectors.
            texts = [each.content.text for each in folded.states if each.content is not None]
            with stages.stage("  of which embedding"):
                embedder.embed_documents(texts)
            with stages.stage("  of which words"):
                for text in texts:
                    bm25.document(text)
            with stages.stage("write"):
                await index.write(points)
            with stages.stage("flush"):
                await index.flush()
    return stages


def main() -> None:
    """Measure, and say what was found."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vector_stages", description=__doc__)
    parser.add_argument("--events", type=int, default=_EVENTS)
    events = parser.parse_args().events
    with tempfile.TemporaryDirectory() as folder:
        stages = asyncio.run(measure(events, Path(folder) / "index"))
    whole = sum(seconds for name, seconds in stages.seconds.items() if not name.startswith(" "))
    for name, seconds in stages.seconds.items():
        print(f"{name:20} {seconds / events * 1e6:7.1f} us")
    print(f"{'all':20} {whole / events * 1e6:7.1f} us an event")


if __name__ == "__main__":
    main()
