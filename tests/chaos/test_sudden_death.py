"""Workers that are killed in the middle of an import: both stores hold exactly the log's memories."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import LocalParts
from judge.verdict import judge
from judging import embedded_points, installation
from own_processes import SomaProcess, api_with_vectors, postgres_worker
from postgres_tables import rows
from soma_schemas.groups import SinkGroup
from soma_schemas.producer import MemoryProducer, NewMemory
from soma_schemas.settings import PublishingSettings
from waiting import eventually_now

MEMORIES = 20_000
# Every seventh memory replaces one that was stored before: what is folded matters, not only what is inserted.
KEYS = MEMORIES * 17 // 20
KILLED_AT = {SinkGroup.POSTGRES: MEMORIES * 9 // 20, SinkGroup.VECTORS: MEMORIES // 4}


def new_memories() -> Iterator[NewMemory]:
    for number in range(MEMORIES):
        yield NewMemory(
            namespace=f"import/{number % 10}",
            key=f"memory {number % KEYS - number % KEYS % 10 + number % 10}",
            text=f"Memory number {number} is about subject {number % 97} and place {number % 31}.",
            tags=[f"tag{number % 5}"],
            payload={"number": number},
        )


def progress(dsn: str, group: SinkGroup) -> int:
    (row,) = rows(
        dsn,
        "SELECT coalesce(sum(next_offset), 0)::bigint AS total FROM sink_watermarks"
        " WHERE consumer_group = %(group)s AND topic LIKE '%%memory.events'",
        group=group.value,
    )
    return int(row["total"])


def caught_up(dsn: str, group: SinkGroup, events: int) -> None:
    eventually_now(lambda: progress(dsn, group), lambda total: total >= events, seconds=300)


def kill_on_the_way(process: SomaProcess, dsn: str, group: SinkGroup) -> None:
    caught_up(dsn, group, KILLED_AT[group])
    process.kill()
    process.launch()


@pytest.mark.long
def test_a_kill_in_the_middle_of_an_import_loses_and_doubles_nothing(
    local_parts: LocalParts, publishing_settings: PublishingSettings, owner_dsn: str, tmp_path: Path
) -> None:
    def publish() -> None:
        with MemoryProducer(publishing_settings, tenant="acme") as producer:
            producer.store_many(new_memories())

    with (
        postgres_worker(local_parts, publishing_settings, tmp_path) as worker,
        api_with_vectors(local_parts, publishing_settings, tmp_path) as api,
    ):
        publishing = threading.Thread(target=publish)
        killing = threading.Thread(target=kill_on_the_way, args=(worker, owner_dsn, SinkGroup.POSTGRES))
        publishing.start()
        killing.start()
        kill_on_the_way(api, owner_dsn, SinkGroup.VECTORS)
        publishing.join()
        killing.join()
        for group in KILLED_AT:
            caught_up(owner_dsn, group, MEMORIES)
        assert worker.terminate() == 0
        assert api.terminate() == 0
    verdict = judge(installation(publishing_settings, owner_dsn), embedded_points(tmp_path / "vectors"))

    assert verdict.right, str(verdict)
    assert verdict.events == MEMORIES
    assert {
        name for outcomes in verdict.outcomes.values() for name in outcomes if name.startswith("dead")
    } == set()
