"""What every process begins with."""

import asyncio
import signal
from random import Random

from soma_schemas import tracing
from soma_schemas.clock import SystemClock
from soma_schemas.configuration import Loaded
from soma_schemas.logs import configure_logging, log_settings
from soma_schemas.metrics import MetricSet
from soma_schemas.settings import EmbedderSettings, ProcessSettings, PublishingSettings
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.embedders import Embedder, open_embedder
from soma_schemas.vectors.measured_embedder import MeasuredEmbedder


def collection_of(alias: str, embedder: EmbedderSettings) -> Collection:
    """Return the collection under an alias whose vectors this embedder makes."""
    return Collection(alias, embedder.model, embedder.dimensions)


def measured_embedder(settings: EmbedderSettings, metrics: MetricSet) -> Embedder:
    """Return the embedder that settings choose, timed; the caller closes it."""
    return MeasuredEmbedder(open_embedder(settings), metrics, SystemClock())


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
