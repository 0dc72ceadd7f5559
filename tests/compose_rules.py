"""What every service of docker-compose.yml has to keep to: each rule tells what breaks it."""

import re
from collections.abc import Callable, Iterator
from typing import Any

Compose = dict[str, Any]
Rule = Callable[[str, dict[str, Any], Compose], Iterator[str]]

SECRETS = "/run/secrets/"

# Prometheus sees that they are away; nothing waits for them.
_EXPORTERS = {"node-exporter", "postgres-exporter", "kafka-exporter"}
# It tells of the host's processes.
_SEES_THE_HOST = {"node-exporter"}
# Beyond what a worker and the API take for what is in flight.
_GRACE_SECONDS = 30


def faults(compose: Compose) -> list[str]:
    """Return everything in a file that breaks a rule, as sentences."""
    return [
        f"{name}: {fault}"
        for name, service in compose["services"].items()
        for rule in RULES
        for fault in rule(name, service, compose)
    ]


def runs_on(service: dict[str, Any]) -> bool:
    """Say whether a service runs until it is stopped."""
    return service.get("restart") != "no"


def files_read(service: dict[str, Any]) -> set[str]:
    """Return the files below /run/secrets that the environment or the command of a service names."""
    words = [*service.get("environment", {}).values(), *service.get("command", ())]
    return {found for word in words for found in re.findall(rf"{SECRETS}([\w.]+)", str(word))}


def files_given(service: dict[str, Any]) -> dict[str, str]:
    """Return the secret behind each file that a service has below /run/secrets."""
    given = [
        {"source": one, "target": one} if isinstance(one, str) else one for one in service.get("secrets", ())
    ]
    return {one["target"]: one["source"] for one in given}


def _is_limited(name: str, service: dict[str, Any], compose: Compose) -> Iterator[str]:
    del name, compose
    limits = service.get("deploy", {}).get("resources", {}).get("limits", {})
    for what in ("cpus", "memory"):
        if what not in limits:
            yield f"no limit of {what}"
    if any("size=" not in folder for folder in service.get("tmpfs", ())):
        yield "a folder in memory without a limit"
    if "max-size" not in service.get("logging", {}).get("options", {}):
        yield "its log grows without end"


def _is_locked_down(name: str, service: dict[str, Any], compose: Compose) -> Iterator[str]:
    del compose
    if service.get("read_only") is not True:
        yield "its root file system can be written"
    if service.get("cap_drop") != ["ALL"] or "cap_add" in service or "privileged" in service:
        yield "it has capabilities"
    if "no-new-privileges:true" not in service.get("security_opt", ()):
        yield "it can gain privileges"
    if not re.fullmatch(r"[1-9]\d*:\d+", str(service.get("user"))):
        yield "it does not say as which user without rights it runs"
    shared = {what for what in ("pid", "ipc", "network_mode", "userns_mode") if what in service}
    if shared and name not in _SEES_THE_HOST:
        yield f"it shares with the host: {', '.join(sorted(shared))}"


def _is_watched(name: str, service: dict[str, Any], compose: Compose) -> Iterator[str]:
    del compose
    if runs_on(service) and name not in _EXPORTERS and "healthcheck" not in service:
        yield "no health check"


def _waits_for_what_can_come(name: str, service: dict[str, Any], compose: Compose) -> Iterator[str]:
    del name
    for other, how in service.get("depends_on", {}).items():
        awaited = compose["services"].get(other)
        if awaited is None:
            yield f"it waits for {other}, which is not there"
        elif how["condition"] == "service_completed_successfully" and runs_on(awaited):
            yield f"it waits for the end of {other}, which runs on"
        elif how["condition"] == "service_healthy" and "healthcheck" not in awaited:
            yield f"it waits for the health of {other}, which nothing checks"
        elif how["condition"] == "service_started":
            yield f"it waits for {other} only to be started"


def _has_time_to_stop(name: str, service: dict[str, Any], compose: Compose) -> Iterator[str]:
    del name, compose
    keeps = "build" in service or any(
        "/var/lib/kafka" in str(one) or "/var/lib/postgresql" in str(one) or "/qdrant" in str(one)
        for one in service.get("volumes", ())
    )
    grace = re.fullmatch(r"(\d+)s", str(service.get("stop_grace_period", "10s")))
    if runs_on(service) and keeps and (grace is None or int(grace[1]) < _GRACE_SECONDS):
        yield "it is killed before it has stopped in order"


def _keeps_secrets_in_files(name: str, service: dict[str, Any], compose: Compose) -> Iterator[str]:
    del name
    given, read = files_given(service), files_read(service)
    for variable, value in service.get("environment", {}).items():
        if re.search("PASS|KEY|TOKEN", variable) and not str(value).startswith(SECRETS):
            yield f"{variable} is not a file below {SECRETS}"
        if "${" in str(value):
            yield f"{variable} comes from the environment of whoever starts it"
    for file in sorted(read - given.keys()):
        yield f"it reads {SECRETS}{file}, which it is not given"
    for file, secret in given.items():
        if secret not in compose["secrets"]:
            yield f"it is given the secret {secret}, which is not declared"
        elif compose["secrets"][secret] != {"file": f"secrets/{secret}"}:
            yield f"the secret {secret} does not come from a file in secrets"
        if file.startswith("SOMA_") and service["environment"].get("SOMA_SECRETS_DIR") != "/run/secrets":
            yield f"it is given {file}, but does not look there"
    if "SOMA_SECRETS_DIR" in service.get("environment", {}) and not given:
        yield "it looks for secrets, and is given none"


def _is_reached_on_loopback(name: str, service: dict[str, Any], compose: Compose) -> Iterator[str]:
    del name, compose
    for port in service.get("ports", ()):
        if not str(port).startswith("127.0.0.1:"):
            yield f"{port} is published beyond loopback"


def _is_of_one_version(name: str, service: dict[str, Any], compose: Compose) -> Iterator[str]:
    del name, compose
    if not re.fullmatch(r"[\w./-]+:v?[\w.-]*\d[\w.-]*|somafractalmemory:local", service["image"]):
        yield f"{service['image']} is whatever version there is"


RULES: tuple[Rule, ...] = (
    _is_limited,
    _is_locked_down,
    _is_watched,
    _waits_for_what_can_come,
    _has_time_to_stop,
    _keeps_secrets_in_files,
    _is_reached_on_loopback,
    _is_of_one_version,
)
