"""A point in time comes back beside the live database, and nothing that came later with it."""

import asyncio
import json
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pytest
from psycopg import sql

from builders import A_MOMENT
from conftest import LocalParts
from integration.backups.test_backup_and_restore import dsn_of
from integration.workers.test_workers import COLLECTION, postgres_worker
from soma_cli.backups import point_in_time
from soma_cli.formats.json_lines import MemoryLine, parse_line
from soma_cli.local.embedded_index import EmbeddedIndex
from soma_cli.local.postgres import Login
from soma_cli.settings import KNOWN
from soma_command import Soma
from soma_schemas.clock import SystemClock, yield_now
from soma_schemas.configuration import load
from soma_schemas.encryption.data_keys import open_data_keys
from soma_schemas.encryption.master_keys import new_master_key
from soma_schemas.errors import MismatchError
from soma_schemas.events import PatchField
from soma_schemas.groups import SinkGroup
from soma_schemas.metrics import MetricSet
from soma_schemas.producer import MemoryProducer, NewMemory
from soma_schemas.settings import EncryptionSettings, PublishingSettings
from soma_schemas.tables import check_head
from soma_schemas.topic_admin import BrokerError
from soma_schemas.vectors.embedders import PackagedEmbedder
from soma_streams import workers
from soma_streams.committed import committed_watermarks
from soma_streams.settings import VectorWorkerSettings
from waiting import eventually

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "backup.md"
BEFORE = "before"
RICH_LINE: dict[str, Any] = {
    "namespace": "a",
    "text": "before",
    "coordinate": [1.0, -2.5],
    "payload": {"cups": 2, "milk": None},
    "tags": ["tea", "green"],
    "importance": 0.25,
    "embedding": [0.5, 0.25],
    "embedding_model": "theirs",
    "source": "kitchen",
    "occurred_at": A_MOMENT,
    "actor": "cook",
}
RICH = NewMemory(**RICH_LINE)
TEXTS = "SELECT text FROM memories WHERE NOT deleted ORDER BY text"


@pytest.fixture
def before(local_parts: LocalParts) -> Iterator[str]:
    """Where the database of a point in time can be reached; it is dropped afterwards."""
    yield dsn_of(local_parts, BEFORE)
    with psycopg.connect(local_parts.parts.postgres.dsn(Login.ADMIN), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(BEFORE)))


def texts(dsn: str) -> list[str]:
    with psycopg.connect(dsn) as connection:
        return [text for (text,) in connection.execute(TEXTS).fetchall()]


def lines_of(dsn: str) -> list[MemoryLine]:
    """What the guide's query copies out of the namespace."""
    (query,) = re.findall("```sql\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    with psycopg.connect(dsn) as connection:
        found = connection.execute(query.replace("'teas'", "'a'").encode()).fetchall()
    return [parse_line(json.dumps(line).encode()) for (line,) in found]


def until(moment: datetime) -> tuple[str, ...]:
    return ("--until", moment.isoformat(), "--database", BEFORE)


async def a_moment() -> datetime:
    """A time that is later than all that was logged, and over: the log counts milliseconds."""
    clock = SystemClock()
    moment = clock.now() + timedelta(milliseconds=2)
    while clock.now() < moment + timedelta(milliseconds=2):
        await yield_now()
    return moment


async def test_what_was_logged_before_the_time_is_there_and_nothing_after_it(
    local_parts: LocalParts,
    publishing_settings: PublishingSettings,
    operator: dict[str, str],
    soma: Soma,
    before: str,
    *,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive, live = str(tmp_path / "a.zip"), dsn_of(local_parts, "soma")
    kafka, topics = publishing_settings.kafka, publishing_settings.topics

    async def there() -> list[str]:
        return await asyncio.to_thread(texts, live)

    def away(*_: object, **__: object) -> None:
        raise BrokerError("the brokers are away")

    async with MemoryProducer(publishing_settings, tenant="acme") as producer:
        async with postgres_worker(local_parts, publishing_settings):
            kept = await producer.store_async(NewMemory(namespace="a", text="in the backup"))
            await eventually(there, lambda seen: seen == ["in the backup"])
            made = await asyncio.to_thread(soma, "backup", "-o", archive, environment=operator)
            gone = await producer.store_async(RICH)
            moment = await a_moment()
            await asyncio.to_thread(producer.patch, "a", kept.memory_id, {PatchField.TEXT: "spoilt"})
            await asyncio.to_thread(producer.delete, "a", gone.memory_id)
            await producer.store_async(NewMemory(namespace="a", text="after"))
            await eventually(there, lambda seen: seen == ["after", "spoilt"])
            with monkeypatch.context() as patch:
                patch.setattr(point_in_time, "replay", away)
                interrupted = await asyncio.to_thread(
                    soma, "restore", archive, *until(moment), environment=operator
                )
        assert "the brokers are away" in interrupted.err
        began = texts(before)
        committed = committed_watermarks(kafka, topics, SinkGroup.POSTGRES)
        restored = await asyncio.to_thread(
            soma, "restore", archive, *until(moment), "--json", environment=operator
        )
        again = await asyncio.to_thread(soma, "restore", archive, *until(moment), environment=operator)

    assert (made.code, restored.code, again.code) == (0, 0, 0), restored.err + again.err
    assert began == ["in the backup"]
    assert texts(before) == ["before", "in the backup"]
    assert "database `before` holds 2 memories" in again.out
    copied = {line.text: line for line in lines_of(before)}
    assert {name: getattr(copied["before"], name) for name in RICH_LINE} == RICH_LINE
    assert copied["in the backup"].memory_id == kept.memory_id
    result = json.loads(restored.out)
    assert (result["memories"], result["applied"], result["dead_lettered"]) == (2, 1, 0)
    # Of the live installation nothing has changed.
    assert texts(live) == ["after", "spoilt"]
    assert committed_watermarks(kafka, topics, SinkGroup.POSTGRES) == committed != []


def test_what_is_about_a_subject_is_opened_with_the_keys_that_the_log_has(
    local_parts: LocalParts,
    publishing_settings: PublishingSettings,
    operator: dict[str, str],
    soma: Soma,
    before: str,
    *,
    tmp_path: Path,
) -> None:
    archive, master = str(tmp_path / "a.zip"), tmp_path / "master.key"
    master.write_text(new_master_key())
    encryption = EncryptionSettings(master_key_file=master)
    assert soma("backup", "-o", archive, environment=operator).code == 0
    with (
        open_data_keys(local_parts.parts.postgres.settings(Login.API), encryption) as keys,
        MemoryProducer(publishing_settings, tenant="acme", keys=keys) as producer,
    ):
        producer.store(NewMemory(namespace="a", text="about somebody", subject="somebody"))
    moment = until(SystemClock().now())

    without = soma("restore", archive, *moment, environment=operator)
    keyed = operator | {"SOMA_ENCRYPTION__MASTER_KEY_FILE": str(master)}
    restored = soma("restore", archive, *moment, environment=keyed)

    assert (without.code, restored.code) == (1, 0), restored.err
    assert "master key" in without.err
    assert "\n\nhint: " in without.err
    assert texts(before) == ["about somebody"]


async def work_vectors(settings: VectorWorkerSettings, folder: Path) -> None:
    """The vector worker with an index of its own."""
    with (
        closing(EmbeddedIndex.open(folder, COLLECTION)) as index,
        closing(PackagedEmbedder()) as embedder,
    ):
        await workers.work_vectors(
            settings,
            writer=index,
            embedder=embedder,
            collection=COLLECTION,
            clock=SystemClock(),
            random=Random(1),
            metrics=MetricSet(),
            stop=asyncio.Event(),
        )


def test_nothing_starts_on_a_point_in_time_and_nothing_changes_it(
    operator: dict[str, str], soma: Soma, before: str, tmp_path: Path
) -> None:
    archive = str(tmp_path / "a.zip")
    made = soma("backup", "-o", archive, environment=operator)
    restored = soma("restore", archive, *until(SystemClock().now()), environment=operator)
    assert (made.code, restored.code) == (0, 0), restored.err

    with pytest.raises(MismatchError, match="holds what there was until"):
        check_head(before)
    other = operator | {"SOMA_POSTGRES__DATABASE": BEFORE}
    of_worker = load(VectorWorkerSettings, environment=other, known=KNOWN).settings
    with pytest.RaisesGroup(pytest.RaisesExc(MismatchError, match="holds what there was until")):
        asyncio.run(work_vectors(of_worker, tmp_path / "index"))
    for command in (
        ("migrate",),
        ("backup", "-o", str(tmp_path / "b.zip")),
        ("restore", archive),
        ("reindex", "--yes"),
        ("reindex", "--drop"),
    ):
        refused = soma(*command, environment=other)
        assert (refused.code, refused.out) == (1, ""), command
        assert "holds what there was until" in refused.err
        assert "hint: name the live database" in refused.err
    with psycopg.connect(before) as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("DELETE FROM memories")


def test_what_cannot_be_brought_back_is_refused_before_anything_is_made(
    publishing_settings: PublishingSettings, operator: dict[str, str], soma: Soma, before: str, tmp_path: Path
) -> None:
    archive = str(tmp_path / "a.zip")
    clock = SystemClock()
    long_ago = clock.now() - timedelta(days=1)
    with MemoryProducer(publishing_settings, tenant="acme") as producer:
        position = producer.store(NewMemory(namespace="a", text="tea")).position
    with psycopg.connect(before.replace(f"'{BEFORE}'", "'soma'")) as connection:
        connection.execute(
            "INSERT INTO sink_watermarks VALUES ('soma-postgres', %s, %s, 1, %s, now())",
            [f"{publishing_settings.topics.prefix}memory.events", position.partition, position.offset + 1],
        )
    assert soma("backup", "-o", archive, environment=operator).code == 0

    def refused(*options: str, code: int = 1) -> str:
        ran = soma("restore", archive, *options, environment=operator)
        assert (ran.code, ran.out) == (code, "")
        assert "\n\nhint: " in ran.err
        return ran.err

    assert "is not over" in refused(*until(clock.now() + timedelta(hours=1)))
    assert "holds events that were logged at" in refused(*until(long_ago))
    assert "wants both" in refused("--until", long_ago.isoformat(), code=2)
    assert "is not a time" in refused("--until", "yesterday", "--database", BEFORE, code=2)
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(before)
    assert "is not the beginning of this restore" in refused(
        "--until", clock.now().isoformat(), "--database", "soma"
    )
