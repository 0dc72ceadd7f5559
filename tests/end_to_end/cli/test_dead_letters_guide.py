"""The guide to dead letters, walked from top to bottom: its commands work, and show what it says."""

import asyncio
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from conftest import LocalParts
from cranked_sinks import Sinks
from dead_letter_makers import handover_settings
from pages import shows, steps
from soma_cli.client_file import write_client_file
from soma_cli.local.embedded_index import EmbeddedIndex
from soma_cli.local.postgres import Login
from soma_client.client_file import ClientFile
from soma_command import Soma
from soma_schemas.limits import Limits
from soma_schemas.registry import open_registry, register_schemas
from soma_schemas.settings import PublishingSettings, TopicSettings
from soma_schemas.topic_admin import apply_topics, open_admin
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.embedders import PACKAGED_DIMENSIONS, PACKAGED_MODEL, PackagedEmbedder
from waiting import eventually_now

GUIDE = (Path(__file__).parents[3] / "docs/guides/dead-letters.md").read_text(encoding="utf-8")
COLLECTION = Collection("memories", PACKAGED_MODEL, PACKAGED_DIMENSIONS)
# Does what the guide tells people to do.
EDITOR = """sed -i 's/"importance": 7\\.0/"importance": 0.7/'"""
DEAD_LETTERS = 100  # fifty events, two sinks


class Stack:
    """What `soma up` runs of it: both sinks and the index, in a thread of their own."""

    def __init__(self, settings: PublishingSettings, dsn: str, folder: Path) -> None:
        self._settings = settings
        self._dsn = dsn
        self._folder = folder
        self._orders: list[Limits] = []
        self._loop = asyncio.new_event_loop()
        self._again = asyncio.Event()
        self._done = False
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    def up(self, limits: Limits) -> None:
        """Start, or stop and start again, with these limits."""
        self._orders.append(limits)
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._again.set)
        else:
            self._thread.start()

    def stop(self) -> None:
        """End."""
        self._done = True
        self._loop.call_soon_threadsafe(self._again.set)
        self._thread.join(60)
        self._loop.close()

    async def _run(self) -> None:
        with (
            closing(EmbeddedIndex.open(self._folder, COLLECTION)) as index,
            closing(PackagedEmbedder()) as embedder,
        ):
            sinks = Sinks(self._settings, self._dsn, index, embedder, COLLECTION)
            while not self._done:
                self._again.clear()
                limits = self._orders[-1]
                async with sinks.running(records=limits, vectors=limits):
                    await self._again.wait()


@pytest.fixture
def stack_at(local_parts: LocalParts, operator: dict[str, str], tmp_path: Path) -> Iterator[Stack]:
    """A stack that commands in this test's home find as they find one of `soma up`."""
    parts = local_parts.parts
    apply_topics(open_admin(parts.kafka.settings()), TopicSettings())
    with open_registry(parts.registry.settings()) as registry:
        register_schemas(registry, TopicSettings())
    publishing = {
        name: value for name, value in operator.items() if name.startswith(("SOMA_KAFKA", "SOMA_REG"))
    }
    left = ClientFile(
        url="http://127.0.0.1:9",
        api_key="none",
        tenant="local",
        environment=operator,
        publishing=publishing,
    )
    write_client_file(tmp_path, left)
    stack = Stack(handover_settings(operator), parts.postgres.dsn(Login.WORKER), tmp_path / "vectors")
    yield stack
    stack.stop()


def test_the_guide_works_from_top_to_bottom(
    stack_at: Stack, soma: Soma, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran: list[str] = []
    shell = {"EDITOR": EDITOR}

    def dead_letter(code: str) -> str:
        found = soma("dlq", "list", "--code", code, "--limit", "1")
        return found.out.splitlines()[1].split()[0]

    for step in steps(GUIDE):
        ran.append(step.text)
        if step.language == "python":
            (tmp_path / "letters.py").write_text(step.text, encoding="utf-8")
            continue
        words = shlex.split(step.text)
        if words[-2:] == ["soma", "up"]:
            stack_at.up(Limits(text_bytes=1000) if len(words) > 2 else Limits())
            continue
        if words[-2:] == ["python", "letters.py"]:
            path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
            environment = {**os.environ, "SOMA_HOME": str(tmp_path), "PATH": path}
            typed = ["bash", "-e", "-c", f"{step.text}\nenv -0"]
            has = subprocess.run(typed, check=True, env=environment, capture_output=True, text=True).stdout
            # What the shell has from then on, the commands after it have too.
            shell |= dict(each.split("=", 1) for each in has.split("\0") if each.startswith("SOMA_"))
            eventually_now(
                lambda: soma("dlq", "list").err,
                lambda said: f"of {DEAD_LETTERS} dead letters" in said,
                seconds=60,
            )
            continue
        if step.code is not None:
            words[words.index("ID")] = dead_letter(step.code)
        output = soma(*words[1:], environment=shell)
        assert output.code == 0, (step.text, output)
        missing = [line for line in step.seen if not shows(line, output.out.splitlines())]
        assert missing == [], (step.text, output.out)

    assert len(ran) > 12
    assert len((tmp_path / "letters.jsonl").read_text(encoding="utf-8").splitlines()) == 20
    assert (tmp_path / "letters.jsonl").stat().st_mode & 0o777 == 0o600
