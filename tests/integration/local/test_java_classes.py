"""The classes of a Java program's first run are at hand at its second."""

import asyncio
import shutil
import subprocess
from pathlib import Path

import pytest
import pytest_asyncio

from soma_cli.local.artifacts import Artifacts
from soma_cli.local.bundles import KAFKA
from soma_cli.local.java import ENVIRONMENT, JavaProgram

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def program(tmp_path_factory: pytest.TempPathFactory, artifacts: Artifacts) -> JavaProgram:
    """Kafka in a cache of its own, in which it has never run."""
    folder = await artifacts.folder(KAFKA)
    fresh = tmp_path_factory.mktemp("cache")
    shutil.copytree(folder, fresh / folder.name, ignore=shutil.ignore_patterns("*.jsa"))
    return JavaProgram(Artifacts(fresh, offline=True), KAFKA)


async def run(program: JavaProgram, scratch: Path, *options: str) -> str:
    """Run one of Kafka's tools, and return what it says."""
    folder = await program.folder()
    class_path = ":".join(str(folder / pin.name) for pin in KAFKA.pins().files)
    command = await program.command(
        *options,
        "-cp",
        class_path,
        "kafka.tools.StorageTool",
        "random-uuid",
        heap_mb=64,
        folder=scratch,
        scratch=scratch,
        learn=True,
    )
    said = await asyncio.to_thread(
        subprocess.check_output, command, cwd=scratch, env=ENVIRONMENT, timeout=60, text=True
    )
    await program.remember_classes(scratch)
    return said


async def test_a_second_run_takes_its_classes_from_the_first(program: JavaProgram, tmp_path: Path) -> None:
    first = await run(program, tmp_path, "-Xlog:class+load")
    second = await run(program, tmp_path, "-Xlog:class+load")

    tool = "kafka.tools.StorageTool source:"
    assert "shared objects file" not in next(line for line in first.splitlines() if tool in line)
    assert "shared objects file" in next(line for line in second.splitlines() if tool in line)


async def test_a_damaged_archive_slows_a_start_and_does_not_prevent_it(
    program: JavaProgram, tmp_path: Path
) -> None:
    await run(program, tmp_path)
    archive = next((await program.folder()).glob("*.jsa"))
    archive.write_bytes(archive.read_bytes()[: 1024 * 1024])

    assert len((await run(program, tmp_path)).split()[-1]) == 22
