"""What was measured, kept in files as soon as it is known, so that a run that ends early can go on."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import psutil

_OURS = (
    "somafractalmemory",
    "aiokafka",
    "confluent-kafka",
    "fastavro",
    "faust-streaming",
    "numpy",
    "psycopg",
)


@dataclass(frozen=True)
class Run:
    """One run of something that handles events.

    Attributes:
        seconds: From the first event in hand to the last one durable.
        cpu_seconds: Of its process alone.
        rss_mb: The most memory that its process had.
    """

    events: int
    seconds: float
    cpu_seconds: float
    rss_mb: float

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.events / self.seconds

    @property
    def cpu_micros(self) -> float:
        """Microseconds of processor time per event."""
        return self.cpu_seconds / self.events * 1e6


def write_page(page: Path, found: Mapping[str, Any], lines: Sequence[str]) -> None:
    """Write a page, and beside it as JSON what it was made of."""
    page.with_suffix(".json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")


class Results:
    """Measurements by name, each a file of JSON.

    Args:
        folder: Where they are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def clear(self) -> None:
        """Forget everything."""
        for file in self._folder.glob("*.json"):
            file.unlink()

    def save(self, name: str, found: dict[str, Any]) -> None:
        """Keep what was found, with where it was found."""
        text = json.dumps({"machine": machine(), **found}, indent=2)
        (self._folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")

    def all(self) -> dict[str, dict[str, Any]]:
        """Return everything that was found, by name."""
        return {
            file.stem: json.loads(file.read_text(encoding="utf-8"))
            for file in sorted(self._folder.glob("*.json"))
        }

    def load(self, name: str) -> dict[str, Any] | None:
        """Return what was found, or None."""
        file = self._folder / f"{name}.json"
        if not file.exists():
            return None
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found


def machine() -> dict[str, Any]:
    """Return the shape of the machine and the versions of what runs on it."""
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "processor": _processor(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in _OURS},
    }


def peer_versions(python: Path) -> dict[str, str]:
    """Return the versions of the frameworks in another environment."""
    program = (
        "import json; from importlib.metadata import version; "
        "print(json.dumps({n: version(n) for n in ('faststream', 'quixstreams')}))"
    )
    said = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    found: dict[str, str] = json.loads(said.stdout)
    return found


def middle(values: Sequence[float]) -> float:
    """Return the median."""
    return median(values)


def spread(values: Sequence[float]) -> float:
    """Return how far apart smallest and largest are, as a share of the median."""
    return (max(values) - min(values)) / median(values)


def as_json(run: Run) -> dict[str, Any]:
    """Return a run as it is kept."""
    return asdict(run)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return platform.processor() or "unknown"
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown"
    )
