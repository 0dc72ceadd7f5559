"""What the demonstration of retention does on a stack that runs, and what it looks for."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pyarrow.dataset as ds

from builders import policy_set
from dead_letter_makers import handover_settings
from postgres_tables import accessed
from soma_client.client_file import ClientFile
from soma_schemas.clock import SystemClock
from soma_schemas.producer import EventPublisher, MemoryProducer, NewMemory
from soma_schemas.topics import MEMORY_POLICIES
from waiting import eventually_now

EXAMPLES = Path(__file__).parents[2] / "docs/examples/consumers"
NAMESPACE = "retention-demo"
TTL_SECONDS, NOTICE_SECONDS = 25, 20
_NOTES = ("a note on tea", "a note on rain", "a note on keys")
_IN_USE = "a note that somebody reads"

Say = Callable[[str], None]


def play(local: ClientFile, archive: Path, say: Say) -> None:
    """Set a policy, store notes, and watch them end; raise when anything is not as it is to be."""
    settings = handover_settings(local.environment)
    environment = os.environ | local.environment | {"SOMA_URL": local.url, "SOMA_API_KEY": local.api_key}
    headers = {"Authorization": f"Bearer {local.api_key}"}
    with ExitStack() as opened:
        api = opened.enter_context(
            httpx.Client(base_url=local.url, headers=headers, trust_env=False, timeout=30)
        )
        say(f"Policy of {NAMESPACE}: {TTL_SECONDS} s, notice {NOTICE_SECONDS} s before, archived")
        publisher = EventPublisher(settings)
        opened.callback(publisher.close)
        policy = policy_set(
            NAMESPACE,
            ttl_seconds=TTL_SECONDS,
            notice_seconds=NOTICE_SECONDS,
            archive=True,
            tenant=local.tenant,
        )
        publisher.send([policy], MEMORY_POLICIES).result()
        producer = opened.enter_context(MemoryProducer(settings, tenant=local.tenant))
        notes = [producer.stored(NewMemory(namespace=NAMESPACE, text=text)) for text in (*_NOTES, _IN_USE)]
        read = accessed(notes[-1], at=SystemClock().now())
        producer.publish([*notes, read]).result()
        say(f"Stored {len(notes)} notes; one of them was read")
        archiver = opened.enter_context(
            example(archive.parent, "archive_expired.py", environment, str(archive))
        )
        extender = opened.enter_context(
            example(archive.parent, "extend_in_use.py", environment, "--within", "1", "--by", "1")
        )
        ids = [str(note.memory_id) for note in notes]
        seen: list[Any] = []

        def look() -> tuple[list[str], int, list[str]]:
            living = [
                text
                for memory_id, text in zip(ids, (*_NOTES, _IN_USE), strict=True)
                if api.get(f"/v1/memories/{memory_id}").status_code == httpx.codes.OK
            ]
            state = (living, len(archived(archive)), extender.lines())
            if not seen or seen[-1] != state:
                seen.append(state)
                say(f"living {len(living)}, extended {len(state[2])}, archived {state[1]}")
            return state

        try:
            eventually_now(look, lambda state: state[0] == [_IN_USE] and state[1] == len(_NOTES), seconds=90)
        finally:
            for program in (archiver, extender):
                assert program.process.poll() is None, program.errors.read_text()
        assert extender.lines() == [f"extended {ids[-1]}"]
        rows = archived(archive)
        assert sorted(row["text"] for row in rows) == sorted(_NOTES)
        for row in rows:
            say(f"archive: {row['tenant']} {row['day']} {row['text']!r}, version {row['version']}")

        def found() -> list[str]:
            answer = api.post("/v1/search", json={"query": "a note", "filter": {"namespace": NAMESPACE}})
            answer.raise_for_status()
            return [hit["memory"]["text"] for hit in answer.json()["hits"]]

        eventually_now(found, lambda texts: texts == [_IN_USE])
        say(f"Searches find only {_IN_USE!r}")


def archived(folder: Path) -> list[dict[str, Any]]:
    """What the archive holds, as any reader of Parquet sees it."""
    if not any(folder.rglob("*.parquet")):
        return []
    files = [str(path) for path in folder.rglob("*.parquet")]
    table = ds.dataset(files, format="parquet", partitioning="hive", partition_base_dir=str(folder))
    rows: list[dict[str, Any]] = table.to_table().to_pylist()
    return rows


class Program:
    """An example that runs, with its output in a file."""

    def __init__(self, process: "subprocess.Popen[bytes]", output: Path, errors: Path) -> None:
        self.process = process
        self._output = output
        self.errors = errors

    def lines(self) -> list[str]:
        """What it has printed."""
        return self._output.read_text(encoding="utf-8").splitlines()


@contextmanager
def example(folder: Path, name: str, environment: dict[str, str], *arguments: str) -> Iterator[Program]:
    """Run an example as its user does, until the block ends; its output goes to files of a folder."""
    output, errors = (folder / f"{name}.{kind}" for kind in ("out", "err"))
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    with output.open("wb") as out, errors.open("wb") as err:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=err)
    try:
        yield Program(process, output, errors)
    finally:
        process.terminate()
        process.wait()
