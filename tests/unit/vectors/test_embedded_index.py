"""The folder of the embedded index: making it, opening it again, and surviving a kill."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from uuid import UUID

import pytest

from contract.vectors.build import A_COLLECTION, A_MOMENT, AN_AXIS, a_point, a_tombstone
from contract.vectors.engines import ShardEngine
from soma_api.queries.filter_shorthand import selection
from soma_api.queries.vectors.conditions import conditions_of, of_tenant
from soma_api.queries.vectors.reader import Question
from soma_cli.local.embedded_index import EmbeddedIndex, IndexInUseError, translate
from soma_cli.local.index_folder import IndexFolder
from soma_schemas.errors import MismatchError, SomaError
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.index_errors import IndexRefusedError, IndexUnavailableError
from soma_schemas.vectors.payload import TENANT, memory_of
from soma_streams.delivery.failures import FailureClass, classify

_WRITE_FLUSH_AND_WAIT = """
import asyncio, sys
from pathlib import Path
from contract.vectors.build import A_COLLECTION, a_point
from soma_cli.local.embedded_index import EmbeddedIndex

async def work():
    index = EmbeddedIndex.open(Path(sys.argv[1]), A_COLLECTION)
    for batch in range(5):
        await index.write([a_point(key=f"{batch}-{n}", version=batch + 1) for n in range(100)])
        await index.flush()
        print("flushed", batch, flush=True)
    while True:
        await index.write([a_point(version=9) for n in range(64)])

asyncio.run(work())
"""


async def test_what_was_flushed_survives_a_kill_in_the_middle_of_a_write(tmp_path: Path) -> None:
    folder = tmp_path / "vectors"
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        _WRITE_FLUSH_AND_WAIT,
        str(folder),
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert child.stdout is not None
    for batch in range(5):
        assert await child.stdout.readline() == f"flushed {batch}\n".encode()
    child.kill()
    assert await child.wait() == -signal.SIGKILL

    index = EmbeddedIndex.open(folder, A_COLLECTION)

    stored = await ShardEngine.embedded(index).stored()
    held = [memory_of(each.payload).content for each in stored.values() if each.payload["version"] < 9]
    flushed = {each.key for each in held if each is not None}
    assert flushed == {f"{batch}-{n}" for batch in range(5) for n in range(100)}
    conditions = conditions_of("acme", selection(equal={"key": "2-50"}))
    assert conditions is not None
    found = await index.candidates(Question(conditions, of_tenant("acme"), AN_AXIS, None, 10))
    assert [each.score for each in found.dense] == pytest.approx([1.0])
    index.close()


async def test_one_that_is_deleted_while_it_is_open_is_closed_without_a_fault(tmp_path: Path) -> None:
    folder = IndexFolder(tmp_path)
    following = folder.begin(A_COLLECTION)
    index = EmbeddedIndex.open(folder.path(following), A_COLLECTION)
    await index.write([a_point(text="tea")])

    assert folder.drop() == [following]

    await index.write([a_point(text="coffee")])
    await index.flush()
    index.close()
    assert not folder.path(following).exists()


async def test_one_that_is_deleted_while_it_is_open_is_none_of_those_that_are_begun_later(
    tmp_path: Path,
) -> None:
    folder = IndexFolder(tmp_path)
    former = folder.begin(A_COLLECTION)
    index = EmbeddedIndex.open(folder.path(former), A_COLLECTION)
    await index.write([a_point(text="tea")])
    folder.drop()

    following = folder.begin(A_COLLECTION)
    EmbeddedIndex.open(folder.path(following), A_COLLECTION).close()
    index.close()

    assert following != former
    assert folder.recorded(following) is not None


async def test_opening_it_again_finds_what_was_written(tmp_path: Path) -> None:
    point = a_point(text="tea")
    index = EmbeddedIndex.open(tmp_path, A_COLLECTION)
    await index.write([point])
    index.close()

    again = EmbeddedIndex.open(tmp_path, A_COLLECTION)

    assert await again.read([point.id]) == {point.id: point.payload}
    again.close()


def test_an_index_that_was_made_with_more_threads_is_asked_with_one(tmp_path: Path) -> None:
    EmbeddedIndex.open(tmp_path, A_COLLECTION).close()
    configuration = tmp_path / "shard" / "edge_config.json"
    made = json.loads(configuration.read_text())
    configuration.write_text(json.dumps(made | {"max_search_threads": 4}))

    EmbeddedIndex.open(tmp_path, A_COLLECTION).close()

    assert json.loads(configuration.read_text()) == made | {"max_search_threads": 1}


def test_it_is_open_in_one_place_at_a_time(tmp_path: Path) -> None:
    index = EmbeddedIndex.open(tmp_path, A_COLLECTION)

    with pytest.raises(IndexInUseError):
        EmbeddedIndex.open(tmp_path, A_COLLECTION)

    index.close()


def test_an_index_of_another_model_is_refused_with_the_way_out(tmp_path: Path) -> None:
    EmbeddedIndex.open(tmp_path, A_COLLECTION).close()

    with pytest.raises(MismatchError, match="test-model") as raised:
        EmbeddedIndex.open(tmp_path, Collection("memories", "other-model", 4))

    assert "soma reindex" in str(raised.value.remedy)


def test_an_index_that_does_not_say_what_it_holds_is_refused(tmp_path: Path) -> None:
    EmbeddedIndex.open(tmp_path, A_COLLECTION).close()
    (tmp_path / "collection.json").write_text("{")

    with pytest.raises(MismatchError, match="does not say"):
        EmbeddedIndex.open(tmp_path, A_COLLECTION)


async def test_what_a_crash_left_of_the_making_is_swept_away(tmp_path: Path) -> None:
    half_made = tmp_path / "shard.unfinished" / "segments"
    half_made.mkdir(parents=True)
    (half_made / "something").write_text("half")

    index = EmbeddedIndex.open(tmp_path, A_COLLECTION)

    assert await ShardEngine.embedded(index).stored() == {}
    assert not half_made.exists()
    index.close()


@pytest.mark.parametrize(
    ("message", "error", "failure"),
    [
        (
            "Service runtime error: failed to open WAL x/wal: Can't init WAL: Kind(WouldBlock)",
            IndexInUseError,
            FailureClass.SYSTEMIC,
        ),
        (
            "Service runtime error: config is incompatible with existing segments: Incompatible config",
            MismatchError,
            FailureClass.SYSTEMIC,
        ),
        ("Not existing vector name error: dense", MismatchError, FailureClass.SYSTEMIC),
        (
            "Service runtime error: IO Error: No space left on device (os error 28)",
            IndexUnavailableError,
            FailureClass.TRANSIENT,
        ),
        (
            "Service runtime error: IO Error: Too many open files (os error 24)",
            IndexUnavailableError,
            FailureClass.TRANSIENT,
        ),
        ("Out of memory, free: 5, x", IndexUnavailableError, FailureClass.TRANSIENT),
        ("Timeout error: 5s", IndexUnavailableError, FailureClass.TRANSIENT),
    ],
)
def test_what_the_engine_says_is_told_apart_by_whose_task_it_is(
    message: str, error: type[SomaError], failure: FailureClass
) -> None:
    meaning = translate(message)

    assert isinstance(meaning, error)
    assert classify(meaning) is failure


@pytest.mark.parametrize(
    "message",
    [
        "Vector dimension error: expected dim: 4, got 2",
        "Wrong usage of sparse vectors",
        "Validation error: x",
    ],
)
def test_a_refused_point_is_told_apart(message: str) -> None:
    assert isinstance(translate(message), IndexRefusedError)


def test_what_the_engine_never_said_before_has_no_meaning() -> None:
    assert translate("Service runtime error: Shard is not initialized") is None


async def test_the_engine_still_says_what_is_translated(tmp_path: Path) -> None:
    index = EmbeddedIndex.open(tmp_path, A_COLLECTION)
    conditions = conditions_of("acme", selection())
    assert conditions is not None

    with pytest.raises(IndexRefusedError):
        await index.candidates(Question(conditions, of_tenant("acme"), [1.0, 0.0], None, 10))

    index.close()


async def test_using_it_after_closing_it_is_nobodys_outage(tmp_path: Path) -> None:
    index = EmbeddedIndex.open(tmp_path, A_COLLECTION)
    index.close()

    with pytest.raises(Exception, match="not open any more") as closed:
        await index.write([a_point()])

    assert classify(closed.value) is FailureClass.SYSTEMIC


async def test_the_write_ahead_log_is_not_kept_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("soma_cli.local.embedded_index._POINTS_PER_CHECKPOINT", 10)
    index = EmbeddedIndex.open(tmp_path, A_COLLECTION)
    needed_from = (tmp_path / "shard" / "wal" / "first-index").read_text

    await index.write([a_point(key=f"{n}") for n in range(9)])
    await index.flush()
    before = needed_from()
    await index.write([a_point(key="ten")])
    await index.flush()

    assert needed_from() > before
    index.close()


async def test_flushing_does_not_mind_the_engine_renaming_a_file_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = EmbeddedIndex.open(tmp_path, A_COLLECTION)
    await index.write([a_point()])
    passing = tmp_path / "shard" / "wal" / "tmp-open-9"
    passing.touch()
    opened = os.open

    def renamed_before_opening(path: Path, flags: int) -> int:
        if path == passing and passing.exists():
            passing.rename(passing.with_name("renamed"))
        return opened(path, flags)

    monkeypatch.setattr("soma_cli.local.embedded_index.os.open", renamed_before_opening)

    await index.flush()

    assert not passing.exists()
    index.close()


_RANGES = {
    "most": (selection(importance_min=0.1), 90),
    "few": (selection(importance_min=0.9), 10),
    "between": (selection(importance_min=0.3, importance_max=0.6), 40),
    "wide and empty": (selection(importance_min=0.1, occurred_before=A_MOMENT), 0),
    "of a field that most points lack": (selection(coordinate_min=[0.0], coordinate_max=[9.0]), 10),
    "wide and narrow": (selection(importance_min=0.1, coordinate_min=[0.0], coordinate_max=[9.0]), 9),
}


async def test_a_range_lets_the_same_points_through_however_wide_it_is(tmp_path: Path) -> None:
    index = EmbeddedIndex.open(tmp_path, A_COLLECTION)
    await index.write(
        [a_point(importance=n % 10 / 10, coordinate=(float(n),) if n < 10 else None) for n in range(100)]
    )
    found = {}
    plainly = {}
    for name, (wanted, _) in _RANGES.items():
        conditions = conditions_of("acme", wanted)
        assert conditions is not None
        candidates = await index.candidates(Question(conditions, of_tenant("acme"), AN_AXIS, None, 100))
        ids = [each.id for each in candidates.dense]
        found[name] = len(ids)
        plainly[name] = len(await index.payloads(ids, conditions, [TENANT]))
    index.close()

    assert found == plainly == {name: count for name, (_, count) in _RANGES.items()}


async def test_words_are_as_rare_for_the_only_tenant_as_for_one_among_others(tmp_path: Path) -> None:
    index = EmbeddedIndex.open(tmp_path, A_COLLECTION)
    memories = [UUID(int=n) for n in range(1, 41)]
    texts = [f"tea {'lemon' if n % 3 else 'milk'} {'sugar' if n % 5 else 'salt'}" for n in range(40)]
    await index.write(
        [a_point(memory_id=each, text=text) for each, text in zip(memories, texts, strict=True)]
    )
    await index.write([a_tombstone(memory_id=each, version=101) for each in memories[:15]])
    await index.write([a_point(memory_id=each, text="lemon cake", version=101) for each in memories[15:20]])
    conditions = conditions_of("acme", selection())
    assert conditions is not None
    question = Question(conditions, of_tenant("acme"), None, Bm25Encoder().query("milk lemon salt"), 100)

    alone = await index.candidates(question)
    await index.write([a_point(tenant="other", text="milk milk salt cake")])
    among_others = await index.candidates(question)
    index.close()
    again = EmbeddedIndex.open(tmp_path, A_COLLECTION)
    reopened = await again.candidates(question)
    again.close()

    assert dict(alone.sparse) == pytest.approx(dict(among_others.sparse))
    assert dict(reopened.sparse) == pytest.approx(dict(among_others.sparse))
    assert len(alone.sparse) == 25


async def test_an_index_of_an_older_indexing_is_made_anew_and_one_of_a_newer_is_refused(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "vectors"
    now = A_COLLECTION.indexing
    newer = Collection(A_COLLECTION.alias, A_COLLECTION.model, A_COLLECTION.dimensions, indexing=now + 1)
    index = EmbeddedIndex.open(folder, A_COLLECTION)
    await index.write([a_point()])
    index.close()

    again = EmbeddedIndex.open(folder, newer)

    assert await again.is_empty()
    again.close()
    with pytest.raises(MismatchError, match=f"indexed by version {now + 1} of the text"):
        EmbeddedIndex.open(folder, A_COLLECTION)


async def test_an_index_leaves_room_on_its_disk_and_answers_on(tmp_path: Path) -> None:
    folder, more_than_any = tmp_path / "vectors", 1 << 60
    with pytest.raises(IndexUnavailableError, match="MiB left") as unmade:
        EmbeddedIndex.open(folder, A_COLLECTION, more_than_any)
    index = EmbeddedIndex.open(folder, A_COLLECTION)
    kept = a_point(version=1)
    await index.write([kept])
    index.close()

    index = EmbeddedIndex.open(folder, A_COLLECTION, more_than_any)
    with pytest.raises(IndexUnavailableError, match="MiB left") as full:
        await index.write([a_point(key="another", version=2)])
    with pytest.raises(IndexUnavailableError, match="MiB left"):
        await index.renew(keep_former=False)
    found = await index.read([kept.id])
    index.close()

    assert "Make room" in str(unmade.value.remedy)
    assert classify(full.value) is FailureClass.TRANSIENT
    assert list(found) == [kept.id]
