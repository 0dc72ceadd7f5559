"""Every credential is replaced while memories are stored: none is lost or refused, nobody restarts."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import httpx
import psycopg
import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType
from pydantic import SecretStr
from qdrant_client import models

from builders import an_id
from conftest import Counting
from secure_site import QDRANT_KEY, TENANT, SecureSite
from soma_cli.local.home import write_private
from soma_cli.local.kafka import BROKER
from soma_cli.local.postgres import Login
from soma_schemas.kafka_access import Service
from soma_schemas.topic_admin import open_admin
from soma_schemas.vectors.payload import LABELS, tenant_label
from soma_schemas.vectors.server import open_client
from waiting import eventually_now

# Every credential in turn, with brokers and connections broken between: minutes.
pytestmark = pytest.mark.long

WORKERS = (Service.POSTGRES_WORKER, Service.VECTOR_WORKER, Service.RETENTION_WORKER)
NAMESPACE = "rotation"
NEW_KEY = "second-key-of-the-index"


class Load:
    """Stores memories one after the other, and tries each again with the same event until it is taken.

    Attributes:
        stored: How many were acknowledged.
        refused: How often one was refused for good.
        again: How often one was tried again.
    """

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load")
        self.stored = self.refused = self.again = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def goes_on(self) -> None:
        """Wait until some more were stored."""
        begun = self.stored
        eventually_now(lambda: self.stored, lambda stored: stored >= begun + 10, seconds=90)

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            self._store(number)
            self._stop.wait(0.02)

    def _store(self, number: int) -> None:
        event = {"Idempotency-Key": str(an_id())}
        memory = {"namespace": NAMESPACE, "key": f"note-{number}", "text": f"note {number}"}
        while True:
            try:
                answer = self._client.post("/v1/memories", json=memory, headers=event)
            except httpx.TransportError:
                self.again += 1
            else:
                if answer.is_success:
                    self.stored += 1
                    return
                if not answer.json().get("retryable"):
                    self.refused += 1
                    return
                self.again += 1
            self._stop.wait(0.2)


@contextmanager
def loaded(site: SecureSite) -> Iterator[Load]:
    """Store memories until the block ends."""
    with site.client() as client:
        load = Load(client)
        load.start()
        try:
            yield load
        finally:
            load.stop()


def noticed(site: SecureSite, service: Service, event: str, times: int) -> None:
    """Wait until a process has said so often that it has noticed."""
    eventually_now(lambda: site.log(service).count(f'"{event}"'), lambda count: count >= times, seconds=60)


def test_every_credential_is_replaced_under_load(site: SecureSite, counting: Counting) -> None:
    rotations = 0
    pids = {service: process.pid for service, process in site.processes.items()}
    with loaded(site) as load:
        load.goes_on()

        # Passwords on the brokers; then the broker ends, so that everybody has to log in anew.
        for service in (*WORKERS, Service.API):
            site.replace_kafka_password(service, f"another password of {service}")
            rotations += 1
        for service in WORKERS:
            noticed(site, service, "credentials_replaced", 1)
        noticed(site, Service.API, "producer_renewed", 1)
        load.goes_on()
        site.parts.run(site.parts.parts.kafka.restart())
        load.goes_on()

        # The certificate of the broker, which reads it again when it is told to; and one of a client.
        site.renew_certificate(BROKER)
        told_to_read_again(site)
        site.renew_certificate(Service.LAG_COLLECTOR)
        rotations += 2
        load.goes_on()

        # Logins of the database; then every connection breaks.
        for login, services in ((Login.WORKER, WORKERS), (Login.API, (Service.API,))):
            site.replace_postgres_password(login, f"another password of {login}", *services)
            rotations += 1
        for service in WORKERS:
            noticed(site, service, "credentials_replaced", 2)
        break_connections(site)
        load.goes_on()

        # The certificate of the database; then every connection breaks again.
        site.renew_certificate("postgres")
        site.parts.run(site.relay.hang_up())
        rotations += 1
        load.goes_on()

        # The key of the index: the server takes both for a while, as Qdrant does.
        site.qdrant.faults.former_key, site.qdrant.faults.api_key = QDRANT_KEY, NEW_KEY
        for service in (Service.VECTOR_WORKER, Service.API):
            write_private(site.secret_file(service, "SOMA_VECTORS__API_KEY"), f"{NEW_KEY}\n")
        site.qdrant.faults.former_key = None
        rotations += 1
        load.goes_on()

        # The certificate of the API itself: whoever connects anew sees the new one.
        site.renew_certificate("api")
        rotations += 1
    with loaded(site) as anew:
        anew.goes_on()

    stored = load.stored
    assert load.refused + anew.refused == 0
    expected = max(load.stored, anew.stored)
    eventually_now(
        lambda: kept(site),
        lambda seen: seen.of_rotation == expected and seen.points == seen.rows,
        seconds=120,
    )
    assert {service: process.pid for service, process in site.processes.items()} == pids
    assert all(process.exit_code is None for process in site.processes.values())
    counting("credentials replaced under load", rotations)
    counting("memories stored meanwhile", stored + anew.stored)
    counting("memories lost meanwhile", 0)
    counting("memories tried again meanwhile", load.again + anew.again)


def told_to_read_again(site: SecureSite) -> None:
    """Tell the broker to read its key store again, under the same name."""
    path = str(site.security.certificate(BROKER).both)
    entries = [
        ConfigEntry(
            f"listener.name.{listener}.ssl.keystore.location",
            path,
            incremental_operation=AlterConfigOpType.SET,
        )
        for listener in ("sasl_ssl", "ssl")
    ]
    resource = ConfigResource(ResourceType.BROKER, "1", incremental_configs=entries)
    with open_admin(site.deployer()) as admin:
        for answer in admin.incremental_alter_configs([resource]).values():
            answer.result(20)


def break_connections(site: SecureSite) -> None:
    with psycopg.connect(site.parts.parts.postgres.dsn(Login.ADMIN), autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE usename IN ('soma_worker', 'soma_api')"
        )


class Kept(NamedTuple):
    """What both stores have: memories of this test, all of them, and their points."""

    of_rotation: int
    rows: int
    points: int


def kept(site: SecureSite) -> Kept:
    with psycopg.connect(site.parts.parts.postgres.dsn(Login.OWNER)) as owner:
        row = owner.execute(
            "SELECT count(*) FILTER (WHERE namespace = %s), count(*) FROM memories", [NAMESPACE]
        ).fetchone()
    assert row is not None
    return Kept(int(row[0]), int(row[1]), site.parts.run(points(site)))


async def points(site: SecureSite) -> int:
    """Return how many memories the index has; it keeps notes of its own beside them."""
    settings = site.vectors().model_copy(update={"api_key": SecretStr(NEW_KEY)})
    of_tenant = models.FieldCondition(key=LABELS, match=models.MatchText(text=tenant_label(TENANT)))
    async with open_client(settings) as client:
        found = await client.count(settings.collection, models.Filter(must=[of_tenant]), exact=True)
    return found.count
