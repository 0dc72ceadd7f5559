"""What a replay does to both stores, on the real broker, registry, database and index."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from psycopg.rows import dict_row
from pydantic import SecretStr

from builders import A_MOMENT, A_TENANT, an_id, stored
from conftest import LocalParts
from cranked_sinks import Sinks
from dead_letter_makers import RawLog
from soma_api.change_feed import Beginning, ChangeFeed
from soma_api.queries.change_queries import AppliedChange, ChangeQueries
from soma_api.queries.database import Database, database_pool
from soma_api.watermark_waiter import WatermarkWaiter
from soma_cli.local.embedded_index import EmbeddedIndex
from soma_cli.local.postgres import Login
from soma_schemas.clock import SystemClock
from soma_schemas.events import MemoryStored
from soma_schemas.limits import Limits
from soma_schemas.settings import PublishingSettings
from soma_schemas.topics import DEAD_LETTERS, MEMORY_EVENTS
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.embedders import (
    PACKAGED_DIMENSIONS,
    PACKAGED_MODEL,
    Embedder,
    PackagedEmbedder,
)
from soma_schemas.vectors.points import point_id
from soma_schemas.versions import pack_version
from soma_streams.replay.index import DeadLetterStore
from soma_streams.replay.originals import Gone, Originals
from soma_streams.replay.outcomes import Outcome, Outcomes, Sent, State
from soma_streams.replay.replaying import Pace, Replayer, Report, Unpublished
from soma_streams.replay.republishing import Republisher, original_headers
from soma_streams.replay.session import RoleError, open_session
from soma_streams.replay.stored_dead_letters import Action, Deed, Filters, Status, StoredDeadLetter
from soma_streams.transport.records import Record
from waiting import eventually

COLLECTION = Collection("memories", PACKAGED_MODEL, PACKAGED_DIMENSIONS)
SMALL = Limits(text_bytes=20)
LONG = "a text that is longer than twenty bytes"
ALL = tuple(Status)


@pytest.fixture(scope="module")
def embedder() -> Iterator[Embedder]:
    """The packaged model, loaded once."""
    with closing(PackagedEmbedder()) as opened:
        yield opened


@dataclass
class Site:
    """A log, both stores, and an operator at their session."""

    settings: PublishingSettings
    log: RawLog
    sinks: Sinks
    vectors: EmbeddedIndex
    owner_dsn: str
    connection: psycopg.AsyncConnection[Any]
    originals: Originals
    publisher: Republisher

    @property
    def index(self) -> DeadLetterStore:
        return DeadLetterStore(self.connection, MEMORY_EVENTS.full_name(self.settings.topics))

    async def dead_letters(self, count: int, *statuses: Status) -> list[StoredDeadLetter]:
        """Return the dead letters once there are so many, oldest first."""
        filters = Filters(statuses=statuses or ALL)
        found = await eventually(lambda: self.index.page(filters, None, 100), lambda seen: len(seen) == count)
        return found[::-1]

    async def rows(self, query: str) -> list[dict[str, Any]]:
        async with await psycopg.AsyncConnection.connect(self.owner_dsn, row_factory=dict_row) as owner:
            return await (await owner.execute(query.encode())).fetchall()

    async def point(self, event: MemoryStored) -> Mapping[str, Any] | None:
        wanted = point_id(event.tenant, event.memory_id)
        return (await self.vectors.read([wanted])).get(wanted)

    async def replay(
        self, filters: Filters | None = None, index: Any = None, pace: Pace | None = None
    ) -> Report:
        outcomes = Outcomes(self.connection, self.originals, self.settings.topics, SystemClock())
        replayer = Replayer(
            index=index or self.index,
            reader=self.originals,
            publisher=self.publisher,
            watcher=outcomes,
            topics=self.settings.topics,
            clock=SystemClock(),
        )
        deed = Deed(Action.REPLAY, an_id(), "tester", A_MOMENT, "a test")
        ends = await self.index.ends()
        return await replayer.replay(filters or Filters(), ends, deed, pace or Pace(rate=1000))


@asynccontextmanager
async def opened_site(
    local_parts: LocalParts, settings: PublishingSettings, folder: Path, embedder: Embedder, owner_dsn: str
) -> AsyncIterator[Site]:
    async with AsyncExitStack() as opened:
        vectors = opened.enter_context(closing(EmbeddedIndex.open(folder, COLLECTION)))
        postgres = local_parts.parts.postgres
        connection = await opened.enter_async_context(open_session(postgres.settings(Login.OWNER)))
        yield Site(
            settings=settings,
            log=RawLog(settings),
            sinks=Sinks(settings, postgres.dsn(Login.WORKER), vectors, embedder, COLLECTION),
            vectors=vectors,
            owner_dsn=owner_dsn,
            connection=connection,
            originals=opened.enter_context(Originals(settings.kafka, settings.topics, SystemClock())),
            publisher=opened.enter_context(closing(Republisher(settings.kafka, settings.topics))),
        )


@pytest.fixture
async def site(
    local_parts: LocalParts,
    publishing_settings: PublishingSettings,
    owner_dsn: str,
    tmp_path: Path,
    embedder: Embedder,
) -> AsyncIterator[Site]:
    """A site of this test alone."""
    folder = tmp_path / "vectors"
    async with opened_site(local_parts, publishing_settings, folder, embedder, owner_dsn) as opened:
        yield opened


async def test_a_late_replay_never_overwrites_newer_state_in_either_store(site: Site) -> None:
    old = stored(key="tea", text=LONG)
    new = stored(key="tea", text="tea at five")
    site.log.send([site.log.an_event(old)])
    (later,) = site.log.send([site.log.an_event(new)])
    async with site.sinks.running(records=SMALL, vectors=SMALL):
        await site.dead_letters(2)
        await eventually(lambda: site.point(new), lambda seen: seen is not None)
        await eventually(lambda: site.rows("SELECT * FROM memories"), lambda seen: len(seen) == 1)
    before = await site.point(new)

    async with site.sinks.running():
        report = await site.replay()

    (row,) = await site.rows("SELECT text, version FROM memories")
    assert row == {"text": "tea at five", "version": pack_version(1, later.offset)}
    assert await site.point(new) == before
    (event,) = report.events
    assert event.outcome is not None
    assert (event.outcome.records, event.outcome.reason) == (State.SUPERSEDED, "older")
    assert event.outcome.vectors is State.SETTLED
    assert [dead_letter.status for dead_letter in await site.dead_letters(2)] == [Status.REPLAYED] * 2


async def test_a_dead_letter_of_the_vector_sink_is_applied_there_and_changes_nothing_elsewhere(
    site: Site,
) -> None:
    event = stored(key="tea", text=LONG)
    site.log.send([site.log.an_event(event)])
    async with site.sinks.running(vectors=SMALL):
        (dead_letter,) = await site.dead_letters(1)
        await eventually(lambda: site.rows("SELECT * FROM memories"), lambda seen: len(seen) == 1)
    assert (dead_letter.consumer_group, dead_letter.code) == ("soma-vectors", "too_long")
    assert await site.point(event) is None
    before = await site.rows("SELECT * FROM memories")
    history = await site.rows("SELECT * FROM memory_history")

    async with site.sinks.running():
        report = await site.replay()

    point = await site.point(event)
    assert point is not None
    assert point["version"] == before[0]["version"]
    assert await site.rows("SELECT * FROM memories") == before
    assert await site.rows("SELECT * FROM memory_history") == history
    assert report.records == {State.APPLIED: 1}
    assert report.vectors == {State.SETTLED: 1}
    await site.dead_letters(1)


async def test_an_event_that_both_gave_up_on_is_applied_as_if_it_had_never_failed(site: Site) -> None:
    event = stored(key="tea", text=LONG)
    (position,) = site.log.send([site.log.an_event(event)])
    async with site.sinks.running(records=SMALL, vectors=SMALL):
        dead_letters = await site.dead_letters(2)

    async with site.sinks.running():
        report = await site.replay()

    (row,) = await site.rows("SELECT text, version, updated_at FROM memories")
    (told,) = await site.rows("SELECT partition, version, logged_at, outcome FROM memory_history")
    version = pack_version(1, position.offset)
    assert row == {"text": LONG, "version": version, "updated_at": dead_letters[0].logged_at}
    assert told == {
        "partition": position.partition,
        "version": version,
        "logged_at": dead_letters[0].logged_at,
        "outcome": "applied",
    }
    assert (report.published, report.dead_letters) == (1, 2)


async def test_whoever_follows_changes_is_told_of_a_replay_that_was_applied(
    site: Site, local_parts: LocalParts
) -> None:
    event = stored(key="tea", text=LONG)
    (first,) = site.log.send([site.log.an_event(event)])
    async with site.sinks.running(records=SMALL):
        await site.dead_letters(1)
    api = local_parts.parts.postgres.settings(Login.API)
    async with database_pool(api, timedelta(seconds=60)) as pool:
        queries = ChangeQueries(Database(pool), site.settings.topics)
        feed = ChangeFeed(queries, WatermarkWaiter(), 1)
        place = await feed.begin(Beginning.NOW)

        async with site.sinks.running():
            report = await site.replay()
        told: list[AppliedChange] = []
        while not (batch := await feed.next(A_TENANT, place, 0)).at_end:
            told += batch.changes
            place = batch.place

    (replayed,) = report.events
    (change,) = told
    assert (change.memory_id, change.version) == (event.memory_id, first.version)
    assert change.position == replayed.position
    assert change.position != first


async def test_poison_that_is_replayed_comes_back_as_a_new_dead_letter_and_keeps_its_first_place(
    site: Site,
) -> None:
    (position,) = site.log.send([site.log.poison("avro", 1)])
    async with site.sinks.running():
        first = await site.dead_letters(2)
        report = await site.replay()
        await site.dead_letters(4)
        (event,) = report.events
        assert event.position is not None
        assert event.outcome is not None
        assert (event.outcome.records, event.outcome.reason) == (State.DEAD_LETTERED, "avro")
        assert (event.outcome.vectors, event.outcome.vectors_code) == (State.DEAD_LETTERED, "avro")

        again = await site.dead_letters(2, Status.OPEN)
        assert {dead_letter.log_offset for dead_letter in again} == {event.position.offset}
        assert {dead_letter.id for dead_letter in again}.isdisjoint(dead_letter.id for dead_letter in first)
        record = (await site.originals.read(again[:1]))[again[0].id]
        assert not isinstance(record, Gone)
        headers = dict(original_headers(record))
        assert headers["x-replay-offset"] == str(position.offset).encode()

        # The run that made new dead letters left them alone; the next one takes them.
        assert (await site.replay()).published == 1


async def test_a_run_that_was_interrupted_before_it_marked_is_simply_run_again(site: Site) -> None:
    event = stored(key="tea", text=LONG)
    site.log.send([site.log.an_event(event)])
    async with site.sinks.running(records=SMALL, vectors=SMALL):
        await site.dead_letters(2)

    class Breaking(DeadLetterStore):
        async def decide(self, *_: Any) -> None:
            raise asyncio.CancelledError

    breaking = Breaking(site.connection, MEMORY_EVENTS.full_name(site.settings.topics))
    async with site.sinks.running():
        with pytest.raises(asyncio.CancelledError):
            await site.replay(index=breaking)
        assert len(await site.dead_letters(2, Status.OPEN)) == 2
        report = await site.replay()
        third = await site.replay()

    (row,) = await site.rows("SELECT text, recent_event_ids FROM memories")
    assert row == {"text": LONG, "recent_event_ids": [event.event_id]}
    assert report.records == {State.APPLIED: 1}
    assert third.published == 0


async def test_an_original_that_retention_took_is_told_and_its_dead_letter_stays(
    site: Site, admin: AdminClient
) -> None:
    site.log.send([site.log.poison("avro", 1)])
    async with site.sinks.running():
        old = await site.dead_letters(2)
        await retention(admin, site)
        site.log.send([site.log.poison("avro", 2)])
        new = [
            dead_letter
            for dead_letter in await site.dead_letters(4)
            if dead_letter.id not in {each.id for each in old}
        ]

        found = await site.originals.read([*new, *old])
        plan = await site.index.plan(Filters(), await site.originals.begins())
        report = await site.replay()
        still_open = await site.dead_letters(4, Status.OPEN)

    assert [found[dead_letter.id] for dead_letter in old] == [Gone.TRIMMED] * 2
    assert all(isinstance(found[dead_letter.id], Record) for dead_letter in new)
    assert plan == (2, 4, 1)
    assert report.unpublished == {Unpublished.TRIMMED: 1}
    assert report.published == 1
    # The other two are what the one that was published became.
    assert {dead_letter.id for dead_letter in old} < {dead_letter.id for dead_letter in still_open}


async def retention(admin: AdminClient, site: Site) -> None:
    """Trim the whole dead-letter topic."""
    topic = DEAD_LETTERS.full_name(site.settings.topics)
    ends = await site.originals.ends()
    trimmed = admin.delete_records([TopicPartition(topic, *place) for place in ends.items() if place[1]])
    for each in trimmed.values():
        await asyncio.to_thread(each.result)


async def test_what_lies_at_a_dead_letters_place_without_being_it_is_not_taken_for_it(site: Site) -> None:
    site.log.send([site.log.poison("avro", 1)])
    async with site.sinks.running():
        dead_letter, other = await site.dead_letters(2)

    wrong = replace(dead_letter, dlq_partition=other.dlq_partition, dlq_offset=other.dlq_offset)
    beyond = replace(dead_letter, dlq_offset=10_000)

    assert await site.originals.read([wrong]) == {dead_letter.id: Gone.REPLACED}
    assert await site.originals.read([beyond]) == {dead_letter.id: Gone.REPLACED}


async def test_dead_letters_are_found_by_every_filter_and_page_by_page(site: Site) -> None:
    codes = ("avro", "key_mismatch", "out_of_range")
    site.log.send([site.log.poison(code, number) for code in codes for number in range(3)])
    site.log.send([site.log.poison("avro", 9, "other")])
    async with site.sinks.running():
        dead_letters = await site.dead_letters(20)

    async def found(**asked: Any) -> set[Any]:
        return {dead_letter.id for dead_letter in await site.index.page(Filters(**asked), None, 100)}

    def those(is_one: Any) -> set[Any]:
        return {dead_letter.id for dead_letter in dead_letters if is_one(dead_letter)}

    some = dead_letters[7]
    assert await found(groups=["soma-vectors"]) == those(lambda each: each.consumer_group == "soma-vectors")
    assert await found(stages=["decode"]) == those(lambda each: each.stage == "decode")
    assert await found(codes=["avro", "out_of_range"]) == those(lambda each: each.code != "key_mismatch")
    assert await found(tenant=A_TENANT) == those(lambda each: each.tenant == A_TENANT)
    assert await found(ids=[some.id]) == {some.id}
    assert await found(since=some.first_failed_at) == those(
        lambda each: each.first_failed_at >= some.first_failed_at
    )
    assert await found(until=some.first_failed_at) == those(
        lambda each: each.first_failed_at < some.first_failed_at
    )
    named = next(dead_letter for dead_letter in dead_letters if dead_letter.memory_id is not None)
    assert await found(memory_id=named.memory_id) == those(lambda each: each.memory_id == named.memory_id)
    assert await found(statuses=[Status.REPLAYED]) == set()

    pages: list[StoredDeadLetter] = []
    while page := await site.index.page(Filters(), pages[-1] if pages else None, 7):
        pages += page
    assert [dead_letter.id for dead_letter in pages] == [dead_letter.id for dead_letter in dead_letters[::-1]]
    tally = await site.index.tally(Filters(), {})
    assert sum(each.dead_letters for each in tally) == 20
    assert {each.code for each in tally} == set(codes)


async def test_a_sink_that_is_away_leaves_an_event_pending(site: Site) -> None:
    (position,) = site.log.send([site.log.an_event(stored(key="tea"))])
    outcomes = Outcomes(site.connection, site.originals, site.settings.topics, SystemClock())

    found, in_time = await outcomes.of([Sent(position, pack_version(1, position.offset), None)], 0.2)

    assert found == [Outcome(State.PENDING, None, State.PENDING, None)]
    assert not in_time


async def test_a_change_after_a_dead_letters_event_is_known(site: Site) -> None:
    event = stored(key="tea", text="tea at five")
    first, second = site.log.send([site.log.poison("avro", 1), site.log.an_event(event)], partition=0)
    async with site.sinks.running():
        await eventually(lambda: site.rows("SELECT * FROM memories"), lambda seen: len(seen) == 1)

    older = await site.index.newer_change(A_TENANT, event.memory_id, pack_version(1, first.offset))
    own = await site.index.newer_change(A_TENANT, event.memory_id, pack_version(1, second.offset))

    (row,) = await site.rows("SELECT updated_at FROM memories")
    assert older == row["updated_at"]
    assert own is None


async def test_a_login_that_has_nothing_but_the_role_can_do_everything(
    site: Site, local_parts: LocalParts
) -> None:
    async with await psycopg.AsyncConnection.connect(site.owner_dsn) as owner:
        await owner.execute("CREATE ROLE somebody LOGIN PASSWORD 'x'")
        await owner.execute("GRANT soma_operators TO somebody")
    settings = local_parts.parts.postgres.settings(Login.OWNER)
    login = settings.model_copy(update={"user": "somebody", "password": SecretStr("x")})
    site.log.send([site.log.poison("avro", 1)])

    async with site.sinks.running(), open_session(login) as connection:
        await site.dead_letters(2)
        theirs = replace(site, connection=connection)
        report = await theirs.replay()
        runs = await theirs.index.runs(10)

    assert report.records == {State.DEAD_LETTERED: 1}
    assert [(run.actor, run.reason, run.dead_letters) for run in runs] == [("tester", "a test", 2)]


async def test_a_login_without_the_role_is_told_how_to_get_it(local_parts: LocalParts) -> None:
    with pytest.raises(RoleError, match="does not have role soma_operators") as refusal:
        async with open_session(local_parts.parts.postgres.settings(Login.API)):
            pass

    assert refusal.value.remedy == ("as the owner of the database: GRANT soma_operators TO soma_api")
