"""The platform's vector worker on an embedded index, with its embedder or with one that costs nothing."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from random import Random

from soma_cli.local.embedded_index import EmbeddedIndex
from soma_schemas.clock import SystemClock
from soma_schemas.configuration import load
from soma_schemas.logs import configure_logging
from soma_schemas.metrics import MetricSet
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.embedders import PACKAGED_DIMENSIONS, PACKAGED_MODEL, Embedder, PackagedEmbedder
from soma_streams import workers
from soma_streams.garbage_collection import collect_rarely
from soma_streams.settings import VectorWorkerSettings


class CostlessEmbedder:
    """Vectors that were there before: an embedder without the embedding."""

    name = PACKAGED_MODEL
    dimensions = PACKAGED_DIMENSIONS
    in_process = True

    def __init__(self) -> None:
        random = Random(1)  # noqa: S311  # repeatable is what is wanted
        self._vectors = [[random.gauss() for _ in range(PACKAGED_DIMENSIONS)] for _ in range(512)]

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Return a vector for each text."""
        return [self._vectors[len(text) % len(self._vectors)] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """Return a vector."""
        return self.embed_documents([text])[0]

    def close(self) -> None:
        """Nothing to give back."""


async def main(folder: Path, embedder: Embedder) -> None:
    """Work until told to stop."""
    settings = load(VectorWorkerSettings, environment=os.environ).settings
    configure_logging(settings.log)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    collection = Collection("memories", PACKAGED_MODEL, PACKAGED_DIMENSIONS)
    collect_rarely()  # as `soma serve` does
    with closing(EmbeddedIndex.open(folder, collection)) as index:
        await workers.work_vectors(
            settings,
            writer=index,
            embedder=embedder,
            collection=collection,
            clock=SystemClock(),
            random=Random(1),  # noqa: S311  # spreads retries
            metrics=MetricSet(),
            stop=stop,
        )


if __name__ == "__main__":
    asyncio.run(
        main(Path(sys.argv[1]), CostlessEmbedder() if sys.argv[2] == "costless" else PackagedEmbedder())
    )
