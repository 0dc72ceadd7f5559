"""Where Faust meets the transport: the class behind the `batch://` scheme, and the way to its consumer."""

from collections.abc import AsyncIterator
from typing import Any, cast

import faust
from faust.transport.drivers import aiokafka as kafka
from faust.types import StreamT
from faust.types.transports import ConsumerCallback, ConsumerT

from .compatibility import check_runtime
from .consumer import Consumer
from .fetched import install
from .options import SCHEME, Options, check_settings
from .records import RecordBatch
from .transport_errors import MisuseError


class Transport(kafka.Transport):
    """Kafka by aiokafka, handing agents one batch per partition at a time; what `batch://host:port` names."""

    Consumer = Consumer
    options: Options = Options()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        check_runtime()
        install()
        super().__init__(*args, **kwargs)

    def create_consumer(self, callback: ConsumerCallback, **kwargs: Any) -> ConsumerT:
        """Make the application's consumer.

        Raises:
            UnsafeSettingsError: The application's settings would lose or stall records.
        """
        check_settings(self.app, self.options)
        return super().create_consumer(callback, **kwargs)


def configure(app: faust.App, options: Options) -> None:
    """Choose an application's options; before it starts.

    Raises:
        MisuseError: The application does not use this transport.
    """
    transport = app.transport
    if not isinstance(transport, Transport):
        raise MisuseError(
            f"application {app.conf.id} consumes over {app.conf.broker_consumer[0].scheme}://",
            remedy=f"Give it a broker_consumer of {SCHEME}://, as app_settings does.",
        )
    transport.options = options
    # Faust starts it with the first message sent; started at once it would need a broker at that moment.
    app.boot_strategy.enable_kafka_producer = False


def batches(stream: StreamT[RecordBatch]) -> AsyncIterator[RecordBatch]:
    """Iterate over an agent's batches; Faust acknowledges none by itself."""
    # Faust types agents by an interface that lacks what its only streams have.
    return cast("AsyncIterator[RecordBatch]", cast("faust.Stream[RecordBatch]", stream).noack())


def consumer_of(app: faust.App) -> Consumer:
    """Return the consumer that fetches for an application: it acknowledges, pauses and reports.

    Raises:
        MisuseError: The application does not use this transport.
    """
    consumer = app.consumer
    if not isinstance(consumer, Consumer):
        raise MisuseError(
            f"application {app.conf.id} consumes over {app.conf.broker_consumer[0].scheme}://",
            remedy=f"Give it a broker_consumer of {SCHEME}://, as app_settings does.",
        )
    return consumer
