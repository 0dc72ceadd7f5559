"""The client for programs without an event loop."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Concatenate, Self

import httpx

from soma_client.call import AnswerT, Call
from soma_client.calls import history_calls, link_calls, memory_calls, operation_calls, search_calls
from soma_client.change_stream import ChangeStream, Following
from soma_client.connection import find_connection
from soma_client.errors import SomaClientError
from soma_client.exchange import Answer, Exchange, Pause
from soma_client.methods import Items, ItemT, P, PageT, described
from soma_client.positions import Positions
from soma_client.retrying import Retrying
from soma_schemas.clock import BlockingClock, SystemClock
from soma_schemas.http_clients import client_options, usable_environment
from soma_schemas.versions import Position


def _asks(describe: Callable[P, Call[AnswerT]]) -> Callable[Concatenate["SomaClient", P], AnswerT]:
    def method(client: "SomaClient", /, *args: P.args, **kwargs: P.kwargs) -> AnswerT:
        return client.answer(describe(*args, **kwargs)).value

    described(method, describe)
    return method


def _pages(
    describe: Callable[P, Call[PageT]], items: Items[PageT, ItemT], told: str
) -> Callable[Concatenate["SomaClient", P], Iterator[ItemT]]:
    def method(client: "SomaClient", /, *args: P.args, **kwargs: P.kwargs) -> Iterator[ItemT]:
        call = describe(*args, **kwargs)
        while True:
            page = client.answer(call).value
            yield from items(page)
            if page.next_cursor is None:
                return
            call = call.at_cursor(page.next_cursor)

    described(method, describe, told)
    return method


class SomaClient:
    """A client of the HTTP API. Thread-safe; close it, or use it as a context manager.

    Without arguments it asks the API that SOMA_URL and SOMA_API_KEY name, or else the local stack that runs.
    Its methods are the operations of the API, by name. Each takes what the request takes, and returns what
    the answer says, as a model of `soma_schemas.responses`. `iter_...` goes through all pages of a list.

    Args:
        url: Address of the API.
        api_key: A key, or a token of the OpenID provider.
        ca_file: The PEM file of the authority that signed the API; without, SOMA_CA_FILE, or what the local
            stack says.
        read_your_writes: Whether reads wait for what this client wrote before.
        max_staleness_seconds: Answers that may be older are refused; None takes any.
        retrying: How long a request is tried.
        timeout_seconds: How long an answer is waited for.
        environment: Variables instead of those of this process.
        transport: Instead of the network, for tests.
        clock: Time.

    Raises:
        NoConnectionError: There is no address, or no key for it, or one of them makes no sense.
        ConfigurationError: The local stack is of another version or user, or a proxy cannot be used.
    """

    def __init__(
        self,
        url: str | None = None,
        api_key: str | None = None,
        *,
        ca_file: Path | None = None,
        read_your_writes: bool = True,
        max_staleness_seconds: float | None = None,
        retrying: Retrying | None = None,
        timeout_seconds: float = 30.0,
        environment: Mapping[str, str] | None = None,
        transport: httpx.BaseTransport | None = None,
        clock: BlockingClock | None = None,
    ) -> None:
        connection = find_connection(os.environ if environment is None else environment, url, api_key)
        self._positions = Positions()
        self._clock: BlockingClock = SystemClock() if clock is None else clock
        self._random = Random()  # noqa: S311  # spreads retries, guards nothing
        self._exchange = Exchange(
            connection,
            positions=self._positions,
            read_your_writes=read_your_writes,
            max_staleness_seconds=max_staleness_seconds,
            retrying=Retrying() if retrying is None else retrying,
            timeout_seconds=timeout_seconds,
            clock=self._clock,
            random=self._random,
        )
        options = client_options(connection.url, ca_file or connection.ca_file)
        with usable_environment(httpx.InvalidURL):
            self._http = httpx.Client(transport=transport, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    @property
    def url(self) -> str:
        """Address of the API."""
        return self._exchange.url

    @property
    def positions(self) -> list[Position]:
        """What reads wait for: its last write on each partition. Another client can `see` them."""
        return self._positions.all()

    def see(self, positions: Iterable[Position | str]) -> None:
        """Have later reads wait for writes of others.

        Args:
            positions: As writes answered them.

        Raises:
            ValueError: One is none.
        """
        self._positions.add(
            each if isinstance(each, Position) else Position.parse(each) for each in positions
        )

    def answer(self, call: Call[AnswerT]) -> Answer[AnswerT]:
        """Return what a call answers, and how old that is at most.

        Args:
            call: Of `soma_client.calls`.

        Raises:
            RefusedError: The API says no.
            UnreachableError: It gives no answer.
            UnexpectedError: What answers is no API of this version.
        """
        steps = self._exchange.steps(call)
        received: httpx.Response | httpx.RequestError | None = None
        while True:
            try:
                step = steps.send(received)
            except StopIteration as end:
                answer: Answer[AnswerT] = end.value
                return answer
            received = None
            if isinstance(step, Pause):
                self._clock.block(step.seconds)
                continue
            try:
                received = self._http.send(step)
            except httpx.RequestError as error:
                received = error

    def follow_changes(
        self,
        *,
        since: str = "now",
        follow: bool = True,
        namespace: str | None = None,
        namespace_prefix: str | None = None,
        where: Mapping[str, Any] | None = None,
        on_lost: Callable[[SomaClientError], None] | None = None,
    ) -> ChangeStream:
        """Return an iterator of what is applied to memories and links.

        Args:
            since: `now`, `beginning`, or the `place` of an earlier stream.
            follow: Go on for ever; False ends when all that is settled was told.
            namespace: Of exactly this namespace.
            namespace_prefix: Of this namespace and all below it.
            where: What is true of the memories now, in the filter language; what is gone is told in any case.
            on_lost: Told of each connection that is lost, before the next is made.
        """
        call = history_calls.follow_changes(
            since=since, follow=follow, namespace=namespace, namespace_prefix=namespace_prefix, where=where
        )
        return ChangeStream(
            Following(self._exchange, call, self._random), self._http, self._clock.block, on_lost
        )

    store_memory = _asks(memory_calls.store_memory)
    store_memories = _asks(memory_calls.store_memories)
    put_named_memory = _asks(memory_calls.put_named_memory)
    put_memory = _asks(memory_calls.put_memory)
    read_memory = _asks(memory_calls.read_memory)
    patch_memory = _asks(memory_calls.patch_memory)
    delete_memory = _asks(memory_calls.delete_memory)
    list_memories = _asks(memory_calls.list_memories)
    search = _asks(search_calls.search)
    search_batch = _asks(search_calls.search_batch)
    put_link = _asks(link_calls.put_link)
    delete_link = _asks(link_calls.delete_link)
    list_links = _asks(link_calls.list_links)
    list_neighbors = _asks(link_calls.list_neighbors)
    find_path = _asks(link_calls.find_path)
    list_all_links = _asks(link_calls.list_all_links)
    list_history = _asks(history_calls.list_history)
    read_revision = _asks(history_calls.read_revision)
    revert_memory = _asks(history_calls.revert_memory)
    read_write = _asks(history_calls.read_write)
    list_namespaces = _asks(operation_calls.list_namespaces)
    read_stats = _asks(operation_calls.read_stats)
    read_lag = _asks(operation_calls.read_lag)
    list_dead_letters = _asks(operation_calls.list_dead_letters)
    read_dead_letter = _asks(operation_calls.read_dead_letter)
    list_retention_policies = _asks(operation_calls.list_retention_policies)
    set_retention_policy = _asks(operation_calls.set_retention_policy)
    lift_retention_policy = _asks(operation_calls.lift_retention_policy)
    plan_retention_policy = _asks(operation_calls.plan_retention_policy)
    request_erasure = _asks(operation_calls.request_erasure)
    list_erasures = _asks(operation_calls.list_erasures)
    read_erasure = _asks(operation_calls.read_erasure)
    list_audit_log = _asks(operation_calls.list_audit_log)
    healthz = _asks(operation_calls.healthz)
    readyz = _asks(operation_calls.readyz)
    metrics = _asks(operation_calls.metrics)

    iter_memories = _pages(
        memory_calls.list_memories,
        lambda page: page.memories,
        "Yield all memories that match every filter, page by page.",
    )
    iter_links = _pages(
        link_calls.list_all_links,
        lambda page: page.links,
        "Yield all links whose both ends the key covers, page by page.",
    )
    iter_links_of = _pages(
        link_calls.list_links,
        lambda page: page.links,
        "Yield all links of a memory, those that begin there and then those that end there, page by page.",
    )
    iter_history = _pages(
        history_calls.list_history,
        lambda page: page.events,
        "Yield all events about a memory, the newest first, page by page.",
    )
    iter_dead_letters = _pages(
        operation_calls.list_dead_letters,
        lambda page: page.dead_letters,
        "Yield all dead letters, newest first, page by page.",
    )
    iter_erasures = _pages(
        operation_calls.list_erasures,
        lambda page: page.erasures,
        "Yield all erasures, newest first, page by page.",
    )
    iter_audit_log = _pages(
        operation_calls.list_audit_log,
        lambda page: page.entries,
        "Yield all administrative acts on the key's tenant, newest first, page by page.",
    )
