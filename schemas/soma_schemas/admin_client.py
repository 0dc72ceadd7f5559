"""A client that asks the brokers the same questions again and again, whatever becomes of them meanwhile."""

import logging
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, OffsetSpec

from soma_schemas.secret_files import fingerprint
from soma_schemas.settings import KafkaSettings

EARLIEST = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # confluent-kafka leaves it untyped
LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # see above


class BrokerAdmin(AdminClient):
    """A client for administration. It connects when first asked.

    Args:
        kafka: The brokers.
        client_id: What it calls itself to them.
        silent: What goes wrong is raised, and not logged beside that.

    Attributes:
        kafka: The brokers, for whoever has to explain why they do not answer.
    """

    def __init__(self, kafka: KafkaSettings, client_id: str, *, silent: bool = False) -> None:
        config: dict[str, Any] = kafka.librdkafka(silent=silent) | {"client.id": client_id}
        # Its notices at level info ("purging unserved events" when it is closed) concern nobody.
        super().__init__(config, **({} if silent else {"logger": logging.getLogger(__name__)}))
        self.kafka = kafka


class RenewableAdmin:
    """A client for administration that says nothing beside the log, and can begin anew.

    Args:
        kafka: The brokers.
        client_id: What it calls itself to them.
    """

    def __init__(self, kafka: KafkaSettings, client_id: str) -> None:
        self._kafka = kafka
        self._client_id = client_id
        self._client = self._open()

    @property
    def client(self) -> BrokerAdmin:
        """To ask. It is another one when credentials were replaced: a client reads them when it is made."""
        if fingerprint(self._kafka) != self._credentials:
            self.renew()
        return self._client

    def renew(self) -> None:
        """Forget what was learnt of the brokers.

        The client asks with the leader epochs that it once learned, and never learns those of a broker that
        came back: every question after that is refused with FENCED_LEADER_EPOCH.
        """
        try:
            fresh = self._open()
        except KafkaException:
            return  # half of a rotation: the certificate is new, its key not yet
        old, self._client = self._client, fresh
        _let_go(old)

    def close(self) -> None:
        """Let go of the brokers."""
        _let_go(self._client)

    def _open(self) -> BrokerAdmin:
        credentials = fingerprint(self._kafka)
        client = BrokerAdmin(self._kafka, self._client_id, silent=True)
        self._credentials = credentials
        return client


def _let_go(client: AdminClient) -> None:
    # The client has no `close`; left to the collector, its threads go on knocking at brokers that are gone.
    with client:
        pass
