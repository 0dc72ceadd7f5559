"""What containers are given, read by the settings of the processes themselves."""

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import BaseModel, SecretStr

from chart_judge.rendered import Object, Pod, environment_of
from soma_cli.settings import KNOWN, PROCESSES, Process
from soma_schemas.configuration import load, variable_name
from soma_schemas.errors import ConfigurationError
from soma_schemas.settings import ProcessSettings

PROCESS_OF = {
    "api": Process.API,
    "worker-postgres": Process.POSTGRES_WORKER,
    "worker-vectors": Process.VECTOR_WORKER,
    "worker-retention": Process.RETENTION_WORKER,
    "lag": Process.LAG_COLLECTOR,
    **dict.fromkeys(("prepare", "backup", "drill", "verify", "toolbox"), Process.OPERATOR),
}
SECRETS_FOLDER = "/run/secrets/soma"
FILES_FOLDER = "/run/files"

# What else a process reads, and is not a setting of ours.
OTHER_NAMES = frozenset({"SOMA_SECRETS_DIR"})
# Fits passwords, keys and headers.
_A_SECRET = "k=0123456789abcdef0123456789abcdef"
RATE_LIMIT_STORE = "SOMA_API__RATE_LIMIT_STORE"
_OTHER_SECRETS = {RATE_LIMIT_STORE: "valkeys://:password@valkey.valkey.svc:6379/0"}


@cache
def _a_pem_file() -> str:
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = Path(tempfile.mkdtemp()) / "key.pem"
    path.write_bytes(key)
    return str(path)


def settings_of(pod: Pod, container: Object) -> ProcessSettings:
    """Return what a process makes of what its container is given.

    Raises:
        ConfigurationError: It would not start.
    """
    given = {
        name: _a_pem_file() if value.startswith(f"{FILES_FOLDER}/") else value
        for name, value in environment_of(container).items()
        if name not in OTHER_NAMES
    }
    given |= {name: _OTHER_SECRETS.get(name, _A_SECRET) for name in handed_over(pod, container)[0]}
    return _load(PROCESS_OF[pod.component], tuple(sorted(given.items())))


@cache
def _load(process: Process, environment: tuple[tuple[str, str], ...]) -> ProcessSettings:
    return load(PROCESSES[process], environment=dict(environment), known=KNOWN).settings


def values_of(pod: Pod) -> dict[str, Any]:
    """Return the settings of a pod by part and field; none where its process would not start.

    That it would not is told by a rule of its own.
    """
    try:
        return settings_of(pod, pod.spec["containers"][-1]).model_dump()
    except (ConfigurationError, KeyError):
        return {}


def secret_names(process: Process) -> frozenset[str]:
    """Return the variables of a process that are secrets."""
    return frozenset(name for name, kinds in _fields(PROCESSES[process]) if SecretStr in kinds)


def names_of(process: Process) -> frozenset[str]:
    """Return all variables of a process."""
    return frozenset(name for name, _ in _fields(PROCESSES[process]))


def _fields(process: type[ProcessSettings]) -> Iterator[tuple[str, set[object]]]:
    for part, field in process.model_fields.items():
        group = type(field.default)
        assert issubclass(group, BaseModel)
        for name, inner in group.model_fields.items():
            yield variable_name((part, name)), {inner.annotation, *_kinds(inner.annotation)}


def _kinds(annotation: object) -> Iterator[object]:
    for each in get_args(annotation):
        yield each
        yield from _kinds(each)


def handed_over(pod: Pod, container: Object) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of the secrets, and the paths of the files, that are mounted into a container."""
    mounted: dict[str, set[str]] = {SECRETS_FOLDER: set(), FILES_FOLDER: set()}
    volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", [])}
    for mount in container.get("volumeMounts", []):
        sources = volumes.get(mount["name"], {}).get("projected", {}).get("sources", [])
        items = [item for source in sources for kind in source.values() for item in kind["items"]]
        mounted.setdefault(mount["mountPath"], set()).update(item["path"] for item in items)
    return (
        frozenset(mounted[SECRETS_FOLDER]),
        frozenset(f"{FILES_FOLDER}/{name}" for name in mounted[FILES_FOLDER]),
    )
