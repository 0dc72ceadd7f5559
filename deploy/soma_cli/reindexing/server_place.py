"""Indexes on a Qdrant server: collections, told apart by aliases.

The alias that everybody uses leads to the one in use, `<alias>--next` to the one that is built, and
`<alias>--former` to the one before. A switch is three requests, each of which can be repeated: the first two
overwrite an alias, and only the second one is seen by anybody else.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from qdrant_client import AsyncQdrantClient, models

from soma_api.queries.vectors.qdrant import QdrantReader
from soma_cli.processes.common import Embedders
from soma_cli.reindexing.index_place import Answers, Indexes, KeptIndex, OpenedIndex
from soma_cli.reindexing.recall import Policies, answers_of
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.placement import Placement
from soma_schemas.vectors.server import (
    Behind,
    behind,
    create_collection,
    following_alias,
    former_alias,
    switch_alias,
)
from soma_schemas.vectors.server_errors import server_errors
from soma_streams.sinks.vectors.qdrant import QdrantWriter


class ServerPlace:
    """The collections of one alias; an `IndexPlace`. Errors are those of `server_errors`.

    Args:
        client: Of the server.
        alias: That everybody uses.
        embedders: By their models.
        policies: What has ended is no answer.
        placement: How a new collection lies on the nodes.
    """

    def __init__(
        self,
        client: AsyncQdrantClient,
        alias: str,
        embedders: Embedders,
        policies: Policies,
        placement: Placement,
    ) -> None:
        self._client = client
        self._alias = alias
        self._following = following_alias(alias)
        self._former = former_alias(alias)
        self._embedders = embedders
        self._policies = policies
        self._placement = placement

    async def indexes(self) -> Indexes:
        """Return which collection is which; a switch that was interrupted leaves two aliases for one."""
        current, following, former = [
            await behind(self._client, alias) for alias in (self._alias, self._following, self._former)
        ]
        name = current and current.name
        return Indexes(
            current=_kept(current),
            following=_kept(following) if following and following.name != name else None,
            former=_kept(former) if former and former.name != name else None,
        )

    async def begin(self, declared: Collection) -> KeptIndex:
        """Make a collection under a name of its own; one that was made and never begun is taken."""
        with server_errors():
            used = {each.collection_name for each in (await self._client.get_aliases()).aliases}
            generation = 1
            while await self._is_taken(name := declared.name(generation), used):
                generation += 1
            await create_collection(self._client, declared, name, self._placement)
            await switch_alias(self._client, self._following, name)
        return KeptIndex(name, declared)

    async def _is_taken(self, name: str, used: set[str]) -> bool:
        if name in used:
            return True
        return await self._client.collection_exists(name) and (await self._client.count(name)).count > 0

    async def follow_former(self) -> None:
        """Have the collection before take the place of the one in use."""
        former = await behind(self._client, self._former)
        if former is not None:
            with server_errors():
                await switch_alias(self._client, self._following, former.name)

    @asynccontextmanager
    async def open_following(self, following: KeptIndex) -> AsyncIterator[OpenedIndex]:
        """Open the collection that is built."""
        declared = replace(following.recorded, alias=self._following)
        yield OpenedIndex(
            QdrantWriter(self._client, declared, self._placement), self.present_answers(following)
        )

    def present_answers(self, current: KeptIndex) -> Answers:
        """Return what asks a collection with its own model."""
        embedder = self._embedders.of(current.recorded)
        reader = QdrantReader(self._client, current.name)
        return answers_of(reader, embedder, current.recorded.language, self._policies)

    async def switch(self) -> None:
        """Point the alias at the collection that was built, and remember the one before."""
        indexes = await self.indexes()
        with server_errors():
            if indexes.following is not None:
                if indexes.current is not None:
                    await switch_alias(self._client, self._former, indexes.current.name)
                await switch_alias(self._client, self._alias, indexes.following.name)
            await self._forget(self._following)

    async def drop(self) -> Sequence[str]:
        """Delete the collections that are built or were in use; with them go their aliases."""
        indexes = await self.indexes()
        dropped = sorted({each.name for each in (indexes.following, indexes.former) if each is not None})
        with server_errors():
            for name in dropped:
                await self._client.delete_collection(name)
            for alias in (self._following, self._former):
                await self._forget(alias)
        return dropped

    async def _forget(self, alias: str) -> None:
        aliases = (await self._client.get_aliases()).aliases
        if alias in {each.alias_name for each in aliases}:
            delete = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
            await self._client.update_collection_aliases([delete])


def _kept(found: Behind | None) -> KeptIndex | None:
    return None if found is None else KeptIndex(found.name, found.recorded)
