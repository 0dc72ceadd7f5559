"""A client that asks the brokers the same questions again and again, whatever becomes of them meanwhile."""

from confluent_kafka.admin import AdminClient, OffsetSpec

from soma_schemas.settings import KafkaSettings

EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # confluent-kafka leaves it untyped
LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # see above


class RenewableAdmin:
    """A client for administration that says nothing beside the log, and can begin anew.

    Args:
        kafka: The brokers.
        client_id: What it calls itself to them.

    Attributes:
        client: To ask.
    """

    def __init__(self, kafka: KafkaSettings, client_id: str) -> None:
        self._config = kafka.librdkafka(silent=True) | {"client.id": client_id}
        self.client = AdminClient(self._config)

    def renew(self) -> None:
        """Forget what was learnt of the brokers.

        The client asks with the leader epochs that it once learned, and never learns those of a broker that
        came back: every question after that is refused with FENCED_LEADER_EPOCH.
        """
        old, self.client = self.client, AdminClient(self._config)
        _let_go(old)

    def close(self) -> None:
        """Let go of the brokers."""
        _let_go(self.client)


def _let_go(client: AdminClient) -> None:
    # The client has no `close`; left to the collector, its threads go on knocking at brokers that are gone.
    with client:
        pass
