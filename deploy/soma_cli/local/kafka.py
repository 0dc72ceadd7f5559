"""Kafka brokers on loopback: KRaft, each node broker and controller at once.

An acknowledged record survives the SIGKILL of a broker: it is in the kernel's page cache, which belongs to no
process. It is not flushed to the disk for each record, so a power cut can lose the last moments of a single
broker; in production the other replicas cover that.
"""

import base64
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from soma_cli.local.artifacts import Artifacts
from soma_cli.local.backing_service import BackingService
from soma_cli.local.bundles import KAFKA
from soma_cli.local.certificates import Issued
from soma_cli.local.child_process import Launch, hold
from soma_cli.local.home import LOOPBACK, Home, write_private
from soma_cli.local.java import ENVIRONMENT, JavaProgram
from soma_cli.local.security import DEPLOYER, Security
from soma_cli.local.unit import Observer, PartState
from soma_cli.tasks import in_thread, together
from soma_schemas.clock import Clock
from soma_schemas.kafka_access import Service
from soma_schemas.settings import KafkaSettings, TopicSettings

_HEAP_MB = 128
_REQUESTS_BYTES = 32 * 1024 * 1024
_REPLICATED_FROM = 3

BROKER = "kafka"
"""The name in the brokers' own certificate."""
EMBEDDED = "soma-embedded"
"""The user of the process that is API and vector worker at once."""

_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"

# Below the folder that a broker runs in.
_DATA = "data"
_PROPERTIES = "server.properties"


@dataclass(frozen=True)
class Node:
    """One broker of a cluster, and where it listens."""

    id: int
    port: int
    controller_port: int
    certificate_port: int | None = None


def plan_nodes(home: Home, brokers: int, *, secure: bool = False) -> tuple[Node, ...]:
    """Return the nodes of this home's cluster, on the ports that they had before if those are free.

    Args:
        home: Whose.
        brokers: How many.
        secure: Whether there are ports for who logs in with a certificate.
    """
    return tuple(
        Node(
            number,
            home.port(f"kafka-{number}"),
            home.port(f"kafka-{number}-controller"),
            home.port(f"kafka-{number}-certificate") if secure else None,
        )
        for number in range(1, brokers + 1)
    )


def listener_properties(node: Node, shown: Issued | None, authority: Path | None) -> dict[str, str]:
    """Return where a broker listens, and who may come in.

    Args:
        node: Which it is.
        shown: Its certificate; None where everything is in plain text, and everybody may do anything.
        authority: Who signed that, and the certificates of clients.
    """
    controller = f"CONTROLLER://{LOOPBACK}:{node.controller_port}"
    if shown is None or authority is None:
        return {
            "listeners": f"PLAINTEXT://{LOOPBACK}:{node.port},{controller}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        }
    return {
        "listeners": f"SASL_SSL://{LOOPBACK}:{node.port},SSL://{LOOPBACK}:{node.certificate_port},{controller}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "SASL_SSL:SASL_SSL,SSL:SSL,CONTROLLER:SSL",
        "inter.broker.listener.name": "SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(shown.both),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority),
        "listener.name.ssl.ssl.client.auth": "required",
        "listener.name.controller.ssl.client.auth": "required",
        # Who shows a certificate is called by its common name.
        "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{_SCRAM} required;",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": f"User:{BROKER};User:{DEPLOYER}",
    }


def broker_properties(node: Node, nodes: Sequence[Node], data: str) -> dict[str, str]:
    """Return a broker's configuration: one broker keeps one copy, three keep three and want two of them.

    Args:
        node: Which of the nodes it is.
        nodes: All nodes of the cluster.
        data: The folder of its log, below its working directory.
    """
    copies = _REPLICATED_FROM if len(nodes) >= _REPLICATED_FROM else 1
    in_sync = 2 if copies > 1 else 1
    return {
        "process.roles": "broker,controller",
        "node.id": str(node.id),
        "controller.quorum.voters": ",".join(f"{one.id}@{LOOPBACK}:{one.controller_port}" for one in nodes),
        # A list: a comma in a path would make two of one.
        "log.dirs": data,
        # Topics are declared, never made by a typing error.
        "auto.create.topics.enable": "false",
        "default.replication.factor": str(copies),
        "min.insync.replicas": str(in_sync),
        "offsets.topic.num.partitions": "3",
        "offsets.topic.replication.factor": str(copies),
        "transaction.state.log.num.partitions": "3",
        "transaction.state.log.replication.factor": str(copies),
        "transaction.state.log.min.isr": str(in_sync),
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": str(copies),
        "share.coordinator.state.topic.min.isr": str(in_sync),
        # A first member waits for nobody, and a dead one is noticed as soon as its client allows.
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        # A dead broker is replaced after 3 s instead of 9.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        # The default buffer alone is larger than the heap.
        "log.cleaner.dedupe.buffer.size": "4194304",
        "log.cleaner.io.buffer.size": "131072",
        # Requests that wait for a thread must fit into the heap too: by default nothing limits them.
        "socket.request.max.bytes": str(_REQUESTS_BYTES),
        "queued.max.request.bytes": str(_REQUESTS_BYTES),
        "num.network.threads": "2",
        "num.io.threads": "4",
    }


class KafkaBroker(BackingService):
    """One broker.

    Args:
        home: Where it keeps its log.
        artifacts: Where its program is.
        clock: Measures how long it takes.
        observe: Hears of its changes.
        node: Which of the nodes it is.
        nodes: All nodes of the cluster.
        security: Certificates and users; without, everybody on this machine may do anything.
    """

    def __init__(
        self,
        home: Home,
        artifacts: Artifacts,
        clock: Clock,
        observe: Observer,
        *,
        node: Node,
        nodes: Sequence[Node],
        security: Security | None = None,
    ) -> None:
        super().__init__("kafka" if len(nodes) == 1 else f"kafka-{node.id}", home, clock, observe)
        self._program = JavaProgram(artifacts, KAFKA)
        self._node = node
        self._nodes = tuple(nodes)
        self._security = security
        self._scratch = home.folder("run")

    @property
    def bootstrap(self) -> str:
        """What clients are configured with."""
        return f"{LOOPBACK}:{self._node.port}"

    @property
    def address(self) -> str:
        """Where it listens."""
        return self.bootstrap

    def settings(self, user: str = DEPLOYER) -> KafkaSettings:
        """Return what a user needs to reach it: the deployer's certificate, or a password."""
        if self._security is None:
            return KafkaSettings(bootstrap_servers=self.bootstrap)
        if user == DEPLOYER:
            return self._security.kafka_by_certificate(f"{LOOPBACK}:{self._node.certificate_port}")
        return self._security.kafka(self.bootstrap, user)

    async def fetch(self) -> None:
        """Get Kafka's jars."""
        if not self._program.is_here:
            self.become(PartState.DOWNLOADING, self._program.label)
        await self._program.folder()

    async def prepare(self) -> Launch:
        """Write the configuration, and format the log's folder at the first start."""
        folder = self._home.folder("kafka", str(self._node.id))
        if not (folder / _DATA).exists():
            await self._format(folder)
        self._write_properties(folder, _DATA)
        return await self._launch(self.name, folder, ["kafka.Kafka", _PROPERTIES], learn=self._node.id == 1)

    async def is_ready(self) -> bool:
        """Say whether it accepts connections, which it does only once it serves."""
        return self.listens_on(self._node.port)

    async def arrange(self) -> None:
        """Make the users of a secure broker, with the rights of their services."""
        if self._security is not None:
            await in_thread(partial(self._arrange, self._security))

    def _arrange(self, security: Security) -> None:
        from soma_cli.local.broker_users import apply_rights, apply_users  # noqa: PLC0415  # loaded while it starts
        from soma_schemas.topic_admin import open_admin  # noqa: PLC0415  # see above

        with open_admin(self.settings()) as admin:
            users = {EMBEDDED: (Service.API, Service.VECTOR_WORKER)} | {each: (each,) for each in Service}
            apply_users(admin, {user: security.kafka_password(user) for user in users})
            for user, services in users.items():
                apply_rights(admin, services, TopicSettings(), user)

    async def conclude(self) -> None:
        """Keep its classes for the next start."""
        await self._program.remember_classes(self._scratch)

    async def _format(self, folder: Path) -> None:
        # Made beside its place and moved, so that a first start that was interrupted begins anew.
        unfinished = f"{_DATA}.unfinished"
        shutil.rmtree(folder / unfinished, ignore_errors=True)
        self._write_properties(folder, unfinished)
        program = ["kafka.tools.StorageTool", "format", "-t", self._cluster_id(), "-c", _PROPERTIES]
        await self.run_once(await self._launch(f"{self.name}-format", folder, program, learn=False))
        (folder / unfinished).rename(folder / _DATA)

    def _write_properties(self, folder: Path, data: str) -> None:
        security = self._security
        shown = None if security is None else security.certificate(BROKER)
        lines = (
            broker_properties(self._node, self._nodes, data)
            | listener_properties(self._node, shown, None if security is None else security.ca_file)
        ).items()
        write_private(folder / _PROPERTIES, "".join(f"{name}={value}\n" for name, value in lines))

    async def _launch(self, name: str, folder: Path, program: list[str], *, learn: bool) -> Launch:
        jars = await self._program.folder()
        # What is pinned, and not what lies there: a jar that somebody added would run unverified.
        class_path = [str(jars / pin.name) for pin in KAFKA.pins().files]
        self._scratch = self._home.scratch(name)
        command = await self._program.command(
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS'Z'",
            # 400 lines of configuration at every start, which server.properties says in 30.
            "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn",
            "-cp",
            ":".join(class_path),
            *program,
            heap_mb=_HEAP_MB,
            folder=folder,
            scratch=self._scratch,
            learn=learn,
        )
        return Launch(
            name, command, folder, ENVIRONMENT, log=self._home.log(name), pid_file=self._home.pid_file(name)
        )

    def _cluster_id(self) -> str:
        path = self._home.folder("kafka") / "cluster_id"
        if not path.exists():
            write_private(path, cluster_id(uuid.uuid4) + "\n")
        return path.read_text(encoding="ascii").strip()


def cluster_id(new: Callable[[], uuid.UUID]) -> str:
    """Return a new id as Kafka spells it; one that begins with a dash would be an option to its tools."""
    while (spelled := base64.urlsafe_b64encode(new().bytes).decode("ascii")[:22]).startswith("-"):
        pass
    return spelled


def bootstrap_of(brokers: Sequence[KafkaBroker]) -> str:
    """Return what the clients of a cluster are configured with."""
    return ",".join(broker.bootstrap for broker in brokers)


@asynccontextmanager
async def open_kafka(
    home: Home, artifacts: Artifacts, clock: Clock, observe: Observer, *, brokers: int
) -> AsyncIterator[tuple[KafkaBroker, ...]]:
    """Run a cluster of its own until the block ends; a single broker beside the other parts is in `parts`."""
    async with hold(home, clock):
        nodes = plan_nodes(home, brokers)
        cluster = tuple(
            KafkaBroker(home, artifacts, clock, observe, node=node, nodes=nodes) for node in nodes
        )
        try:
            await together(*(broker.start() for broker in cluster))
            yield cluster
        finally:
            await together(*(broker.stop() for broker in cluster))
