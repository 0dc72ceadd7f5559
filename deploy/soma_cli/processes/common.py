"""What every process begins with."""

import asyncio
import signal
from dataclasses import replace
from random import Random

from soma_schemas import tracing
from soma_schemas.clock import SystemClock
from soma_schemas.configuration import Loaded
from soma_schemas.errors import MismatchError
from soma_schemas.logs import configure_logging, log_settings
from soma_schemas.metrics import MetricSet
from soma_schemas.settings import (
    EmbedderSettings,
    IndexSettings,
    NextEmbedderSettings,
    ProcessSettings,
    PublishingSettings,
)
from soma_schemas.vectors.collection import MODEL_REMEDY, Collection
from soma_schemas.vectors.embedders import Embedder, open_embedder
from soma_schemas.vectors.measured_embedder import MeasuredEmbedder


def collection_of(alias: str, embedder: EmbedderSettings, index: IndexSettings) -> Collection:
    """Return the collection under an alias that is made where there is none."""
    return Collection(alias, embedder.model, embedder.dimensions, index.language)


class Embedders:
    """The embedders that a process has settings of, each opened when an index of its model is met.

    Args:
        present: What `SOMA_EMBEDDER__*` says.
        following: What `SOMA_NEXT_EMBEDDER__*` says; without a model there is none.
        metrics: Of the process.
        index: How an index is made where there is none; a process that makes none can do without.
    """

    def __init__(
        self,
        present: EmbedderSettings,
        following: NextEmbedderSettings,
        metrics: MetricSet,
        index: IndexSettings = IndexSettings(),  # noqa: B008  # frozen
    ) -> None:
        self._choices = [present, following] if following.model else [present]
        self._metrics = metrics
        self._index = index
        self._opened: dict[str, Embedder] = {}

    def target(self, alias: str) -> Collection:
        """Return what an index is rebuilt as."""
        return collection_of(alias, self._choices[-1], self._index)

    def knows(self, found: Collection) -> bool:
        """Say whether this process can work on an index: has settings of its model, and its indexing."""
        return self.declared(found, found.alias) == found

    def declared(self, found: Collection | None, alias: str) -> Collection:
        """Return the index under an alias as this process declares it.

        Args:
            found: What an index says that it holds, if there is one: that model is meant if it is known here,
                and its language stays unless it has to be filled anew.
            alias: Where it is.
        """
        choices = [collection_of(alias, each, self._index) for each in self._choices]
        if found is None:
            return choices[0]
        chosen = next((each for each in choices if each.embeds_like(found)), choices[0])
        return chosen if chosen.supersedes(found) else replace(chosen, language=found.language)

    def of(self, collection: Collection) -> Embedder:
        """Return the embedder of a collection's vectors, timed. It is closed with the others.

        Raises:
            MismatchError: None is known here, or it is of another indexing than this version.
            ConfigurationError: Its settings make no sense.
        """
        settings = next(
            (
                each
                for each in self._choices
                if (each.model, each.dimensions) == (collection.model, collection.dimensions)
            ),
            None,
        )
        if settings is None:
            raise MismatchError(
                f"collection `{collection.alias}` holds vectors of model `{collection.model}` with "
                f"{collection.dimensions} dimensions, which this process has no settings of",
                remedy=MODEL_REMEDY,
            )
        self.declared(collection, collection.alias).check(collection)
        if settings.model not in self._opened:
            embedder = MeasuredEmbedder(open_embedder(settings), self._metrics, SystemClock())
            self._opened[settings.model] = embedder
        return self._opened[settings.model]

    def close(self) -> None:
        """Give back what they hold."""
        for each in self._opened.values():
            each.close()


def tell(loaded: Loaded[ProcessSettings]) -> None:
    """Begin to log, with the settings that this process has."""
    configure_logging(loaded.settings.log)
    log_settings(loaded.effective)


def tell_and_trace(loaded: Loaded[PublishingSettings], service: str) -> None:
    """Begin to log and, where spans have a place to go, to trace under the name of a service.

    Raises:
        ConfigurationError: They have one, and what sends them is not installed.
    """
    tell(loaded)
    tracing.start(loaded.settings.tracing, service)


def stopped_by_signal() -> asyncio.Event:
    """Return what SIGINT and SIGTERM set from now on."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def jitter() -> Random:
    """Return what spreads retries."""
    return Random()  # noqa: S311  # spreads retries, guards nothing
