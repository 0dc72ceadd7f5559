"""Builds an index beside the one in use, compares both, and switches: the steps, and what stops them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from random import Random

import psycopg

from soma_cli.reindexing.catching_up import caught_up
from soma_cli.reindexing.index_place import Indexes, IndexPlace, KeptIndex, OpenedIndex, ReindexError
from soma_cli.reindexing.phases import Phase, Tell, Told
from soma_cli.reindexing.recall import Question, Recall, compare, question_of
from soma_schemas.clock import Clock
from soma_schemas.errors import MismatchError, SomaError, told
from soma_schemas.tables import check_head
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.embedders import Embedder
from soma_streams.audit.drift import NOT_DRIFT, Findings, Tally
from soma_streams.cancellation import end
from soma_streams.index_rebuild import IndexRebuild, SampledText
from soma_streams.settings import VectorWorkerSettings
from soma_streams.sinks.sessions import Pool

# Of several commands the one that holds it rebuilds.
_LOCK = 0x736F6D615F69
# One that was just ended lets go as soon as the server has noticed.
_PATIENCE = "SET lock_timeout = '2s'"
_TAKE = "SELECT pg_advisory_lock(%(lock)s::bigint)"

_DROP = "`soma reindex --drop` deletes it"


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What somebody wants of a rebuild.

    Attributes:
        target: What the index is to hold; None brings the index before back.
        questions: Asked of both; None takes them from stored texts.
        draw: How many are taken.
        tenant: Whose texts they are taken from; None takes everybody's.
        least_recall: Below this share the index is not switched.
        accept_recall: It is all the same.
        switches: Whether it is switched at all.
    """

    target: Collection | None
    questions: Sequence[Question] | None
    draw: int
    tenant: str | None
    least_recall: float
    accept_recall: bool
    switches: bool


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What became of it.

    Attributes:
        current: The index that was in use.
        following: The one that was built.
        memories: How many rows it was compared with.
        recall: How its answers compare; None where there was nothing to compare with.
        switched: Whether it is in use now.
    """

    current: KeptIndex | None
    following: KeptIndex
    memories: int
    recall: Recall | None
    switched: bool


class Rebuilding:
    """One run of `soma reindex`.

    Args:
        place: Where the indexes are.
        settings: Everything else.
        embedder_of: Returns the embedder of an index.
        pool: Connections to PostgreSQL.
        clock: Time.
        random: Draws.
        tell: Hears how far it has come.
        agree: Asks whether to switch.
    """

    def __init__(
        self,
        place: IndexPlace,
        settings: VectorWorkerSettings,
        *,
        embedder_of: Callable[[Collection], Embedder],
        pool: Pool,
        clock: Clock,
        random: Random,
        tell: Tell,
        agree: Callable[[Recall | None], Awaitable[bool]],
    ) -> None:
        self._place = place
        self._settings = settings
        self._embedder_of = embedder_of
        self._pool = pool
        self._clock = clock
        self._random = random
        self._tell = tell
        self._agree = agree

    async def run(self, wishes: Wishes) -> Rebuilt:
        """Build, compare and switch; go on with what an earlier run has built.

        Raises:
            ReindexError: Something is in the way, or the new index is not good enough. The one in use is
                untouched.
            Exception: What made going on impossible; likewise.
        """
        async with alone(self._settings) as still_alone:
            following = await self._begun(wishes)
            current = (await self._place.indexes()).current
            async with self._place.open_following(following) as opened:
                rebuilt = await self._build(wishes, current, following, opened)
            if rebuilt.switched:
                await still_alone()
                await self._place.switch()
        return rebuilt

    async def _begun(self, wishes: Wishes) -> KeptIndex:
        indexes = await self._place.indexes()
        if wishes.target is None:
            await self._follow_former(indexes)
            indexes = await self._place.indexes()
        elif indexes.following is None:
            if indexes.former is not None:
                raise ReindexError(
                    f"the index before the one in use is still there: `{indexes.former.name}`", remedy=_DROP
                )
            return await self._place.begin(wishes.target)
        following = indexes.following
        if following is None:
            raise ReindexError("there is no index before the one in use", remedy="nothing is to be done")
        if wishes.target is not None and following.recorded.metadata() != wishes.target.metadata():
            raise ReindexError(
                f"an index for model `{following.recorded.model}` was begun: `{following.name}`",
                remedy=f"go on with it by the same settings; or {_DROP}",
            )
        return following

    async def _follow_former(self, indexes: Indexes) -> None:
        if indexes.following is not None and indexes.following != indexes.former:
            raise ReindexError(f"an index is being built: `{indexes.following.name}`", remedy=_DROP)
        await self._place.follow_former()

    async def _build(
        self, wishes: Wishes, current: KeptIndex | None, following: KeptIndex, opened: OpenedIndex
    ) -> Rebuilt:
        rebuild = IndexRebuild(
            self._settings,
            writer=opened.writer,
            embedder=self._embedder_of(following.recorded),
            collection=following.recorded,
            name=following.name,
            pool=self._pool,
            clock=self._clock,
            random=self._random,
        )
        stop = asyncio.Event()
        building = asyncio.create_task(rebuild.run(stop))
        deciding = asyncio.create_task(self._decide(wishes, current, following, opened, rebuild))
        try:
            await asyncio.wait({building, deciding}, return_when=asyncio.FIRST_COMPLETED)
            if not deciding.done():
                building.result()
            rebuilt = await deciding
            stop.set()
            await building
        finally:
            await end(deciding, building)
        return rebuilt

    async def _decide(
        self,
        wishes: Wishes,
        current: KeptIndex | None,
        following: KeptIndex,
        opened: OpenedIndex,
        rebuild: IndexRebuild,
    ) -> Rebuilt:
        await caught_up(rebuild.progress, self._clock, self._tell)
        findings, texts = await rebuild.compare(self._compared, wishes.draw)
        require_agreement(findings)
        recall = None
        if wishes.target is not None and current is not None:
            recall = await self._recall(wishes, current, opened, texts)
        switched = wishes.switches and await self._agree(recall)
        if switched:
            # It may have been a while until somebody said yes.
            await caught_up(rebuild.progress, self._clock, self._tell)
        return Rebuilt(current, following, findings.memories, recall, switched)

    async def _compared(self, done: int, total: int) -> None:
        self._tell(Told(Phase.COMPARING, done, total))

    async def _recall(
        self, wishes: Wishes, current: KeptIndex, opened: OpenedIndex, texts: Sequence[SampledText]
    ) -> Recall | None:
        questions = wishes.questions
        if questions is None:
            own = [each for each in texts if wishes.tenant in {None, each.tenant}]
            questions = [question_of(each, self._random) for each in own]
        asked = partial(_asked, self._tell, len(questions))
        try:
            recall = await compare(self._place.present_answers(current), opened.answers, questions, asked)
        except (SomaError, ConnectionError, TimeoutError) as error:
            if wishes.accept_recall:
                return None
            raise ReindexError(
                f"the answers of the two indexes cannot be compared: {told(error) or type(error).__name__}",
                remedy=_unasked(error),
            ) from error
        if recall.share < wishes.least_recall and not wishes.accept_recall:
            raise ReindexError(
                f"of what {recall.questions} questions found before, the new index finds "
                f"{recall.share:.0%}, and {wishes.least_recall:.0%} is the least",
                remedy="look at what other questions find (--questions FILE), or switch all the same with "
                "--accept-recall; what was built is kept",
            )
        return recall


@asynccontextmanager
async def alone(settings: VectorWorkerSettings) -> AsyncIterator[Callable[[], Awaitable[object]]]:
    """Be the only one that changes which index is which, until the block ends or this process.

    Yields:
        What raises once the session with PostgreSQL is lost, and with it this right.

    Raises:
        ReindexError: Somebody else does.
        MismatchError: The tables are not those of this version, or a point in time.
        psycopg.Error: PostgreSQL does not answer.
    """
    await asyncio.to_thread(check_head, settings.postgres.conninfo())
    async with await psycopg.AsyncConnection.connect(
        settings.postgres.conninfo(), autocommit=True
    ) as session:
        await session.execute(_PATIENCE)
        try:
            await session.execute(_TAKE, {"lock": _LOCK})
        except psycopg.errors.LockNotAvailable as error:
            raise ReindexError(
                "another `soma reindex` is at work", remedy="wait for it, or end it: the next one goes on"
            ) from error
        yield partial(session.execute, "SELECT 1")


def require_agreement(findings: Findings) -> None:
    """Refuse an index that differs from the rows.

    Raises:
        ReindexError: It does.
    """
    drift = [
        f"{each.found:,} {kind} ({_first_of(each)})"
        for kind, each in findings.tallies.items()
        if each.found and kind not in NOT_DRIFT
    ]
    if drift:
        raise ReindexError(
            "the new index differs from PostgreSQL: " + ", ".join(drift),
            remedy="texts that the new model does not take are in the log of this command as "
            "`record_not_indexable`; mend what else differs with `soma verify --repair`, and run it again",
        )


def _first_of(tally: Tally) -> str:
    named = ("/".join(map(str, each.values())) for each in tally.examples[:1])
    return next(named, "no example")


def _asked(tell: Tell, total: int, done: int) -> None:
    tell(Told(Phase.ASKING, done, total))


def _unasked(error: Exception) -> str:
    if isinstance(error, MismatchError):
        return f"{error.remedy} Or go on without a comparison, with --accept-recall."
    return "run it again: it goes on where it was; or go on without a comparison, with --accept-recall"
