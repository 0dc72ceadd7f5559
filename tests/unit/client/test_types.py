"""What type checkers see of the clients. mypy reads this; the test only shows that it says something."""

from collections.abc import AsyncIterator, Iterator
from inspect import iscoroutinefunction
from typing import assert_type

from soma_client import AsyncSomaClient, SomaClient
from soma_client.calls import memory_calls
from soma_client.change_stream import AsyncChangeStream, ChangeStream
from soma_client.exchange import Answer
from soma_schemas.memories import MemoryView
from soma_schemas.responses.change_responses import AppliedChangeView
from soma_schemas.responses.health_responses import Readiness
from soma_schemas.responses.history_responses import HistoryEventView
from soma_schemas.responses.link_responses import LinkView
from soma_schemas.responses.search_responses import HitsView
from soma_schemas.responses.write_responses import BatchView, WriteView


def with_a_thread(client: SomaClient) -> None:
    assert_type(client.store_memory("x", namespace="a", tags=["b"], importance=0.5), WriteView)
    assert_type(client.store_memories([{"namespace": "a", "text": "x"}]), BatchView)
    assert_type(client.search("x", filter={"tags": ["b"]}), HitsView)
    assert_type(client.readyz(), Readiness)
    assert_type(client.metrics(), str)
    assert_type(client.iter_memories(namespace="a"), Iterator[MemoryView])
    assert_type(client.iter_links(), Iterator[LinkView])
    assert_type(client.iter_history("x"), Iterator[HistoryEventView])
    assert_type(client.follow_changes(), ChangeStream)
    assert_type(next(iter(client.follow_changes())), AppliedChangeView)
    assert_type(client.answer(memory_calls.read_memory("x")), Answer[MemoryView])
    # What the API does not take is an error, which these would not be if it were none.
    client.store_memory("x", namespace="a", importanc=0.5)  # type: ignore[call-arg]
    client.store_memory("x")  # type: ignore[call-arg]
    client.search("x", mode="loud")  # type: ignore[arg-type]
    client.search("x", filter={"tag": "b"})  # type: ignore[arg-type]
    client.list_memories(sort="text")  # type: ignore[arg-type]
    client.delete_memory("x", "a")  # type: ignore[call-arg]


async def with_a_loop(client: AsyncSomaClient) -> None:
    assert_type(await client.store_memory("x", namespace="a"), WriteView)
    assert_type(await client.search("x"), HitsView)
    assert_type(client.iter_memories(), AsyncIterator[MemoryView])
    assert_type(client.follow_changes(), AsyncChangeStream)
    async for change in client.follow_changes():
        assert_type(change, AppliedChangeView)
    await client.search("x", mode="loud")  # type: ignore[arg-type]


def test_methods_are_what_their_types_say() -> None:
    assert iscoroutinefunction(AsyncSomaClient.search)
    assert not iscoroutinefunction(SomaClient.search)
