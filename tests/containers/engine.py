"""A Docker engine for tests: the one that DOCKER_HOST names, or one of their own that ends with them."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from waiting import eventually_now

_START_SECONDS = 60.0
_STOP_SECONDS = 120.0


class EngineMissingError(Exception):
    """There is no Docker engine, and none can be started."""


@dataclass(frozen=True)
class Engine:
    """A Docker engine that runs.

    Attributes:
        environment: With it, `docker` and `docker compose` speak to this engine.
        pulls: Whether it gets images from their registries, as somebody's own engine does.
    """

    environment: Mapping[str, str]
    pulls: bool

    def docker(self, *arguments: str) -> str:
        """Return what `docker` with some arguments prints.

        Raises:
            AssertionError: It failed; with what it said.
        """
        ran = subprocess.run(
            ["docker", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        said = "\n".join((ran.stdout + ran.stderr).splitlines()[-40:])
        assert ran.returncode == 0, f"docker {' '.join(arguments)} ended with {ran.returncode}:\n{said}"
        return ran.stdout

    def has(self, image: str) -> bool:
        """Say whether an image is there."""
        return bool(self.docker("image", "ls", "--quiet", image).strip())

    def build(self, image: str, context: Path, dockerfile: Path) -> None:
        """Build an image."""
        self.docker("build", "--quiet", "--tag", image, "--file", str(dockerfile), str(context))


@contextmanager
def open_engine(folder: Path) -> Iterator[Engine]:
    """Use an engine until the block ends.

    Args:
        folder: Keeps the images of an engine that is started here, from one run to the next.

    Raises:
        EngineMissingError: None is named, and none can be started.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **_compose(folder / "configuration")}
    if "DOCKER_HOST" in environment:
        yield Engine(environment, pulls=True)
        return
    if os.geteuid() != 0 or not all(shutil.which(each) for each in ("dockerd", "docker", "iptables")):
        raise EngineMissingError(
            "these tests need a Docker engine: name one in DOCKER_HOST, or run them as root with `dockerd` "
            "and `iptables` installed (on Debian: apt-get install docker.io iptables)"
        )
    socket, pid_file = folder / "docker.sock", folder / "docker.pid"
    # BuildKit needs a plugin that Debian does not have.
    reached = {"DOCKER_HOST": f"unix://{socket}", "DOCKER_BUILDKIT": "0"}
    engine = Engine({**environment, **reached}, pulls=False)
    command = ["dockerd", "--host", f"unix://{socket}", "--pidfile", str(pid_file)]
    command += ["--data-root", str(folder / "data"), "--exec-root", str(folder / "run")]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            eventually_now(lambda: _answers(engine, running, folder / "log"), seconds=_START_SECONDS)
            yield engine
        finally:
            running.terminate()
            running.wait(_STOP_SECONDS)


def _answers(engine: Engine, running: subprocess.Popen[bytes], log: Path) -> bool:
    if running.poll() is not None:
        raise EngineMissingError(f"dockerd ended: {log.read_text(errors='replace')[-2000:]}")
    asked = subprocess.run(["docker", "version"], env=engine.environment, capture_output=True, check=False)
    return asked.returncode == 0


def _compose(folder: Path) -> dict[str, str]:
    """Make `docker compose` the version that is installed beside this Python."""
    plugin = folder / "cli-plugins" / "docker-compose"
    plugin.parent.mkdir(parents=True, exist_ok=True)
    plugin.unlink(missing_ok=True)
    plugin.symlink_to(Path(sys.executable).with_name("docker-compose"))
    return {"DOCKER_CONFIG": str(folder)}
