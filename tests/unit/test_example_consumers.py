"""What the example consumers make of what they read."""

import importlib.util
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import httpx
import pyarrow.dataset as ds

from builders import A_MOMENT, a_log, stored
from postgres_tables import expired
from soma_schemas.clock import SystemClock
from soma_schemas.events import ExpiredMemory
from soma_streams.delivery.fold import fold
from soma_streams.sinks.postgres.rows import outbox_rows

EXAMPLES = Path(__file__).parents[2] / "docs/examples/consumers"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def a_last_state(text: str, expires_at: datetime = A_MOMENT, **fields: Any) -> dict[str, Any]:
    """The last state of a memory, as it comes from the topic."""
    memory = stored(text=text, expires_at=expires_at, **fields)
    folded = fold(a_log([memory, expired(memory, expires_at, archive=True)]), {})
    (row,) = outbox_rows(folded.settlements)
    assert isinstance(row.content, bytes)
    return ExpiredMemory.model_validate_json(row.content).model_dump()


def archived(folder: Path) -> list[dict[str, Any]]:
    table = ds.dataset(str(folder), format="parquet", partitioning="hive").to_table()
    return sorted(table.to_pylist(), key=lambda row: row["text"])


def test_an_archive_has_each_last_state_once_by_tenant_and_day(tmp_path: Path) -> None:
    archive = example("archive_expired").archive
    first = a_last_state("a", coordinate=[1.0, 2.0], tags=["x"], source="a file")
    second = a_last_state("b", tenant="globex")
    third = a_last_state("c", A_MOMENT + timedelta(days=1))

    # The first comes twice in one batch, and all of the batch comes again, cut elsewhere.
    assert archive(tmp_path, [first, second, first]) == 2
    assert archive(tmp_path, [second, third]) == 1
    assert archive(tmp_path, [first, second, third]) == 0

    rows = archived(tmp_path)
    assert [(row["text"], row["tenant"], row["day"]) for row in rows] == [
        ("a", "acme", "2026-03-02"),
        ("b", "globex", "2026-03-02"),
        ("c", "acme", "2026-03-03"),
    ]
    assert {name: rows[0][name] for name in ("coordinate", "tags", "source", "expires_at")} == {
        "coordinate": [1.0, 2.0],
        "tags": ["x"],
        "source": "a file",
        "expires_at": A_MOMENT,
    }
    assert [path for path in tmp_path.rglob("*") if path.suffix == ".unfinished"] == []


def an_api(last_accessed_at: datetime | None, asked: list[httpx.Request], status: int = 200) -> httpx.Client:
    """An API that has one memory, last accessed then."""

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        accessed = None if last_accessed_at is None else last_accessed_at.isoformat()
        return httpx.Response(status, json={"last_accessed_at": accessed}, headers={"ETag": '"7"'})

    return httpx.Client(base_url="http://api", transport=httpx.MockTransport(answer))


NOTICE = {"memory_id": UUID(int=7), "expires_at": datetime(2026, 5, 1, tzinfo=UTC)}


def test_a_memory_that_was_accessed_lately_gets_a_later_deadline_onto_the_state_that_was_seen() -> None:
    asked: list[httpx.Request] = []
    with an_api(SystemClock().now(), asked) as api:
        extended = example("extend_in_use").extend(api, NOTICE, timedelta(days=1), timedelta(days=30))

    assert extended
    assert [request.method for request in asked] == ["GET", "PATCH"]
    assert asked[1].content == b'{"expires_at":"2026-05-31T00:00:00+00:00"}'
    assert asked[1].headers["If-Match"] == '"7"'


def test_a_memory_that_nobody_accessed_and_one_that_is_gone_are_left_alone() -> None:
    for accessed, status in ((None, 200), (A_MOMENT - timedelta(days=900), 200), (None, 404)):
        asked: list[httpx.Request] = []
        with an_api(accessed, asked, status) as api:
            extend = example("extend_in_use").extend
            assert not extend(api, NOTICE, timedelta(days=1), timedelta(days=30))

        assert [request.method for request in asked] == ["GET"]
