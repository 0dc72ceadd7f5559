"""Embedded indexes in a folder. The one in use is open in the process of the API, and asked over HTTP."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from uuid import UUID

from soma_cli.local.embedded_index import SPARE_BYTES, EmbeddedIndex, IndexInUseError
from soma_cli.local.index_folder import IndexFolder
from soma_cli.processes.common import Embedders
from soma_cli.reindexing.index_place import Answers, Indexes, KeptIndex, OpenedIndex
from soma_cli.reindexing.recall import TOP, Policies, answers_of
from soma_cli.tasks import in_thread
from soma_client import SomaClient
from soma_schemas.clock import Clock
from soma_schemas.vectors.collection import Collection

# A process that has just gone over to another index closes the one before a few seconds later.
_CLOSES_SECONDS = 20.0
_AGAIN_SECONDS = 0.5

# The index in use, on the same disk, is not to run out of room because of this one.
_SPARE_BYTES = 2 * SPARE_BYTES


class FolderPlace:
    """The embedded indexes of one folder; an `IndexPlace`.

    Args:
        folder: Where they are.
        client: Of the API in whose process the index in use is open.
        embedders: By their models.
        policies: What has ended is no answer.
        clock: Paces.
    """

    def __init__(
        self, folder: IndexFolder, client: SomaClient, embedders: Embedders, policies: Policies, clock: Clock
    ) -> None:
        self._folder = folder
        self._client = client
        self._embedders = embedders
        self._policies = policies
        self._clock = clock

    async def indexes(self) -> Indexes:
        """Return which index is which."""
        names = self._folder.names()
        return Indexes(
            current=self._kept(names.current),
            following=self._kept(names.following),
            former=self._kept(names.former),
        )

    async def begin(self, declared: Collection) -> KeptIndex:
        """Make a folder for an index."""
        return KeptIndex(self._folder.begin(declared), declared)

    async def follow_former(self) -> None:
        """Have the index before take the place of the one in use."""
        self._folder.follow_former()

    @asynccontextmanager
    async def open_following(self, following: KeptIndex) -> AsyncIterator[OpenedIndex]:
        """Open the index that is built.

        Raises:
            IndexInUseError: Another process has it open.
            IndexUnavailableError: There is no room to make it.
        """
        with closing(await self._opened(following)) as index:
            embedder = self._embedders.of(following.recorded)
            yield OpenedIndex(index, answers_of(index, embedder, following.recorded.language, self._policies))

    async def _opened(self, following: KeptIndex) -> EmbeddedIndex:
        since = self._clock.monotonic()
        while True:
            try:
                return EmbeddedIndex.open(self._folder.path(following.name), following.recorded, _SPARE_BYTES)
            except IndexInUseError:
                if self._clock.monotonic() - since >= _CLOSES_SECONDS:
                    raise
                await self._clock.sleep(_AGAIN_SECONDS)

    def present_answers(self, current: KeptIndex) -> Answers:
        """Return what asks the API; every question is of the tenant of its key."""
        del current

        async def ask(tenant: str, text: str) -> Sequence[UUID]:
            del tenant
            hits = await in_thread(partial(self._client.search, text, top_k=TOP))
            return [hit.memory.memory_id for hit in hits.hits]

        return ask

    async def switch(self) -> None:
        """Name the index that was built as the one in use: the process of the API goes over to it."""
        self._folder.switch()

    async def drop(self) -> Sequence[str]:
        """Delete the indexes that are not in use."""
        return await in_thread(self._folder.drop)

    def _kept(self, name: str | None) -> KeptIndex | None:
        recorded = None if name is None else self._folder.recorded(name)
        return None if name is None or recorded is None else KeptIndex(name, recorded)
