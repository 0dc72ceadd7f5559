"""A broker's configuration follows from how many there are."""

from dataclasses import replace
from pathlib import Path
from uuid import UUID

from soma_cli.local.certificates import Issued
from soma_cli.local.kafka import Node, broker_properties, cluster_id, listener_properties

NODES = tuple(Node(number, 20_000 + number, 30_000 + number) for number in (1, 2, 3))


def test_a_single_broker_keeps_one_copy() -> None:
    properties = broker_properties(NODES[0], NODES[:1], "data")

    assert properties["default.replication.factor"] == "1"
    assert properties["min.insync.replicas"] == "1"
    assert properties["offsets.topic.replication.factor"] == "1"


def test_three_brokers_keep_three_copies_and_want_two() -> None:
    properties = broker_properties(NODES[1], NODES, "data")

    assert properties["default.replication.factor"] == "3"
    assert properties["min.insync.replicas"] == "2"
    assert properties["offsets.topic.replication.factor"] == "3"
    assert properties["transaction.state.log.min.isr"] == "2"


def test_every_broker_knows_all_controllers() -> None:
    properties = broker_properties(NODES[2], NODES, "data")

    assert properties["controller.quorum.voters"] == "1@127.0.0.1:30001,2@127.0.0.1:30002,3@127.0.0.1:30003"
    assert properties["node.id"] == "3"


def test_brokers_listen_on_loopback_alone() -> None:
    properties = listener_properties(NODES[0], None, None)

    assert properties["listeners"] == "PLAINTEXT://127.0.0.1:20001,CONTROLLER://127.0.0.1:30001"


def test_a_secure_broker_speaks_plain_text_nowhere_and_lets_in_only_whom_it_knows() -> None:
    shown = Issued(Path("certificate"), Path("key"), Path("both"))

    properties = listener_properties(replace(NODES[0], certificate_port=25_001), shown, Path("ca"))

    assert properties["listeners"] == (
        "SASL_SSL://127.0.0.1:20001,SSL://127.0.0.1:25001,CONTROLLER://127.0.0.1:30001"
    )
    assert "PLAINTEXT" not in "".join(properties.values())
    assert properties["allow.everyone.if.no.acl.found"] == "false"
    assert properties["listener.name.ssl.ssl.client.auth"] == "required"
    assert properties["listener.name.controller.ssl.client.auth"] == "required"


def test_a_topic_is_never_made_by_a_typing_error() -> None:
    assert broker_properties(NODES[0], NODES, "data")["auto.create.topics.enable"] == "false"


def test_no_cluster_id_looks_like_an_option() -> None:
    made = iter([UUID(int=0xF8 << 120), UUID(int=0x10 << 120)])

    assert cluster_id(lambda: next(made)) == "EAAAAAAAAAAAAAAAAAAAAA"
