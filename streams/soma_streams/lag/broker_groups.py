"""Asks the brokers about all consumer groups: who they are, who reads, and what they have committed.

Over aiokafka, because librdkafka ends the process when a group's committed offsets are asked for while its
coordinator moves (2.16, SIGSEGV in rd_kafka_cgrp_op), which is when somebody looks at lag.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from aiokafka.client import AIOKafkaClient  # type: ignore[import-untyped]
from aiokafka.coordinator.protocol import ConsumerProtocol, ConsumerProtocolMemberAssignment  # type: ignore[import-untyped]
from aiokafka.errors import KafkaError, for_code  # type: ignore[import-untyped]
from aiokafka.protocol.admin import DescribeGroupsRequest_v2, ListGroupsRequest  # type: ignore[import-untyped]
from aiokafka.protocol.api import Request  # type: ignore[import-untyped]
from aiokafka.protocol.commit import OffsetFetchRequest  # type: ignore[import-untyped]
from aiokafka.protocol.metadata import MetadataRequest  # type: ignore[import-untyped]

from soma_schemas.broker_access import tls_context
from soma_schemas.clock import SystemClock
from soma_schemas.settings import KafkaSettings
from soma_schemas.topic_admin import BrokerError
from soma_streams.lag.facts import GroupSeen, GroupsSeen, Member, Place
from soma_streams.token_provider import TokenProvider

_TIMEOUT_SECONDS = 5.0
_GROUPS_AT_ONCE = 100
# A broker that the others do not count any more had groups that its successors may not tell of at once.
_LOOKS_AFTER_LEAVING = 3
_NEVER_MS = 24 * 3600 * 1000  # we ask for the brokers ourselves, without all the topics
_GROUP_ID_NOT_FOUND = 69

_AWAY = (KafkaError, OSError, TimeoutError)


class _DescribeGroups(Request[DescribeGroupsRequest_v2]):  # type: ignore[misc]  # aiokafka is untyped
    """Asks for several groups at once: aiokafka's own request misreads all but the first (0.14)."""

    API_KEY = DescribeGroupsRequest_v2.API_KEY

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def build(self, request_struct_class: Any) -> Any:
        """Return the request as it goes over the wire."""
        return request_struct_class(list(self._names))


class BrokerGroups:
    """Asks every broker for the groups that it coordinates, so that no coordinator has to be searched for.

    Args:
        kafka: The brokers.
        wanted: Says of a group's name whether it is of interest.
    """

    def __init__(self, kafka: KafkaSettings, wanted: Callable[[str], bool]) -> None:
        self._kafka = kafka
        self._wanted = wanted
        self._client: AIOKafkaClient | None = None
        self._awaited: dict[int, int] = {}  # brokers, with the looks in which they are missed

    async def look(self) -> GroupsSeen:
        """Return what there is now.

        Raises:
            BrokerError: No broker answers.
        """
        client, brokers = await self._brokers()
        told = await asyncio.gather(*(self._groups_of(client, broker) for broker in brokers))
        groups: dict[str, GroupSeen] = {}
        refused: dict[str, str] = {}
        missed = self._missed(brokers)
        silent = []
        for broker, answer in zip(brokers, told, strict=True):
            if isinstance(answer, str):
                silent.append(f"broker {broker} does not answer: {answer}")
                continue
            for name, group in answer.items():
                if isinstance(group, str):
                    refused[name] = group
                else:
                    groups[name] = group
        if len(silent) == len(brokers):
            await self.close()
            raise BrokerError("; ".join(silent))
        # Two brokers may both tell of a group that has just moved: who has its commits is right.
        return GroupsSeen(
            groups, {name: why for name, why in refused.items() if name not in groups}, (*silent, *missed)
        )

    async def close(self) -> None:
        """Let go of the brokers; the next look finds them again."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def _missed(self, brokers: Sequence[int]) -> list[str]:
        """Return what to say of brokers that have just left, whose groups may be between two brokers."""
        left = {
            broker: looks - 1
            for broker, looks in self._awaited.items()
            if broker not in brokers and looks > 0
        }
        self._awaited = left | dict.fromkeys(brokers, _LOOKS_AFTER_LEAVING)
        return [f"broker {broker} is away" for broker in left]

    async def _brokers(self) -> tuple[AIOKafkaClient, list[int]]:
        if self._client is None:
            client = self._open()
            try:
                await client.bootstrap()
            except _AWAY as error:
                await client.close()
                raise BrokerError(f"no broker answers: {_why(error)}") from error
            self._client = client
        client = self._client
        why = "none is known"
        for broker in client.cluster.brokers():
            try:
                described = await client.send(broker.nodeId, MetadataRequest([]))
            except _AWAY as error:
                why = _why(error)
                continue
            client.cluster.update_metadata(described)
            return client, sorted(each.nodeId for each in client.cluster.brokers())
        await self.close()
        raise BrokerError(f"no broker answers: {why}")

    def _open(self) -> AIOKafkaClient:
        kafka = self._kafka
        password = kafka.sasl_password
        tokens = None if kafka.oauth_token_url is None else TokenProvider(kafka, SystemClock())
        return AIOKafkaClient(
            bootstrap_servers=kafka.bootstrap_servers,
            client_id="soma-lag",
            request_timeout_ms=int(_TIMEOUT_SECONDS * 1000),
            metadata_max_age_ms=_NEVER_MS,
            security_protocol=kafka.security_protocol.value,
            ssl_context=tls_context(kafka),
            sasl_mechanism="SCRAM-SHA-512" if tokens is None else "OAUTHBEARER",
            sasl_oauth_token_provider=tokens,
            sasl_plain_username=kafka.sasl_username,
            sasl_plain_password=None if password is None else password.get_secret_value(),
        )

    async def _groups_of(self, client: AIOKafkaClient, broker: int) -> dict[str, GroupSeen | str] | str:
        """Return the groups that a broker coordinates, or why it does not tell."""
        found: dict[str, GroupSeen | str] = {}
        try:
            listed = await client.send(broker, ListGroupsRequest())
            if listed.error_code:
                return _words(listed.error_code)
            names = [
                name
                for name, protocol, *_ in listed.groups
                if protocol in {"", ConsumerProtocol.PROTOCOL_TYPE} and self._wanted(name)
            ]
            for first in range(0, len(names), _GROUPS_AT_ONCE):
                found |= await _described(client, broker, names[first : first + _GROUPS_AT_ONCE])
        except _AWAY as error:
            return _why(error)
        return found


async def groups_now(kafka: KafkaSettings, names: Collection[str]) -> GroupsSeen:
    """Return some groups as the brokers tell them now.

    Raises:
        BrokerError: No broker answers.
    """
    groups = BrokerGroups(kafka, names.__contains__)
    try:
        return await groups.look()
    finally:
        await groups.close()


async def _described(client: AIOKafkaClient, broker: int, names: Sequence[str]) -> dict[str, GroupSeen | str]:
    described, *offsets = await asyncio.gather(
        client.send(broker, _DescribeGroups(names)),
        *(client.send(broker, OffsetFetchRequest(name, None)) for name in names),
    )
    committed = dict(zip(names, offsets, strict=True))
    found: dict[str, GroupSeen | str] = {}
    for code, name, state, _, _, members, *_ in described.groups:
        fetched = committed[name]
        # A group of the newer protocol is listed and has commits, but is not told under this request.
        untold = code == _GROUP_ID_NOT_FOUND or state == "Dead"
        if fetched.error_code or (code and not untold):
            found[name] = _words(fetched.error_code or code)
            continue
        found[name] = GroupSeen(
            "Unknown" if untold else state,
            None if untold else tuple(_members(members)),
            {
                Place(topic, partition): offset
                for topic, partitions in fetched.topics
                for partition, offset, _, error in partitions
                if not error and offset >= 0
            },
        )
    return found


def _members(members: Iterable[tuple[Any, ...]]) -> Iterator[Member]:
    for member_id, client_id, host, _, assignment in members:
        # Empty while the group settles who reads what.
        assigned = ConsumerProtocolMemberAssignment.decode(assignment).partitions() if assignment else ()
        places = tuple(Place(each.topic, each.partition) for each in assigned)
        yield Member(member_id, client_id, host.lstrip("/"), places)


def _words(code: int) -> str:
    return str(for_code(code)())


def _why(error: BaseException) -> str:
    return str(error) or type(error).__name__
