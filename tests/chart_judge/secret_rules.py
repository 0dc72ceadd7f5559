"""Secrets are referred to and never written down; what a process is given is what it knows."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

from chart_judge.checking import Check, check, rule
from chart_judge.process_settings import (
    OTHER_NAMES,
    PROCESS_OF,
    SECRETS_FOLDER,
    handed_over,
    names_of,
    secret_names,
    settings_of,
)
from chart_judge.rendered import Object, Rendered, environment_of
from soma_cli.main import COMMANDS, run
from soma_schemas.errors import ConfigurationError

_LOOKS_SECRET = re.compile(r"(PASSWORD|TOKEN|SECRET|API_KEY|CREDENTIAL)(?!S_DIR)", re.IGNORECASE)
_URL_WITH_PASSWORD = re.compile(r"\w+://[^/\s:@]+:[^/\s@]+@")


@rule
def no_secret_is_written_down(rendered: Rendered) -> Iterator[Check]:
    for each in rendered.objects:
        name = f"{each['kind']} {each['metadata']['name']}"
        yield check(name, each["kind"] != "Secret", "the chart brings a secret")
        yield check(name, not _URL_WITH_PASSWORD.search(str(each)), "an address holds a password")
    for pod in rendered.pods():
        for container in pod.containers:
            for variable in environment_of(container):
                plain = variable in secret_names(PROCESS_OF[pod.component]) or (
                    _LOOKS_SECRET.search(variable) and variable not in names_of(PROCESS_OF[pod.component])
                )
                yield check(pod.name, not plain, f"{variable} stands in the object")


@rule
def every_variable_is_a_setting_of_its_process(rendered: Rendered) -> Iterator[Check]:
    for pod in rendered.pods():
        known = names_of(PROCESS_OF[pod.component]) | OTHER_NAMES
        for container in pod.containers:
            for variable in container.get("env", []):
                yield check(pod.name, variable["name"] in known, f"it does not read {variable['name']}")
                yield check(
                    pod.name, "value" in variable, f"{variable['name']} is no value, and no file either"
                )
            for secret in handed_over(pod, container)[0]:
                kept = secret in secret_names(PROCESS_OF[pod.component])
                yield check(pod.name, kept, f"{SECRETS_FOLDER}/{secret} is no secret that it reads")


@rule
def every_file_that_is_read_is_mounted(rendered: Rendered) -> Iterator[Check]:
    for pod in rendered.pods():
        for container in pod.containers:
            secrets, files = handed_over(pod, container)
            read = {value for value in environment_of(container).values() if value.startswith("/run/")}
            read |= {word for line in _lines(container) for word in line if word.startswith("/run/")}
            there = files | ({SECRETS_FOLDER} if secrets or _is_mounted(container, SECRETS_FOLDER) else set())
            yield check(pod.name, read <= there, f"{sorted(read - there)} are not there")
            yield check(pod.name, there <= read, f"nobody reads {sorted(there - read)}")


def _is_mounted(container: Object, path: str) -> bool:
    return any(mount["mountPath"] == path for mount in container.get("volumeMounts", []))


@rule
def every_process_would_start(rendered: Rendered) -> Iterator[Check]:
    for pod in rendered.pods():
        for container in pod.containers:
            try:
                settings_of(pod, container)
            except ConfigurationError as error:
                yield Check(pod.name, str(error))
            else:
                yield Check(pod.name, None)


@rule
def every_command_is_there(rendered: Rendered) -> Iterator[Check]:
    for pod in rendered.pods():
        if pod.component == "toolbox":
            continue
        for container in pod.containers:
            commands = [line[1:] for line in _lines(container) if line[:1] == ["soma"]]
            yield check(pod.name, commands, "it runs no command of ours")
            for command in commands:
                named = [word for word in command if not word.startswith(("/", "$"))]
                yield check(pod.name, _is_taken(tuple(named)), f"`soma {' '.join(command)}` is no command")


def _lines(container: Object) -> list[list[str]]:
    """Return what a container runs, as words: the entry point of the image is `soma`."""
    arguments = container.get("args", [])
    if "command" not in container:
        return [["soma", *arguments]]
    if container["command"][0] != "sh":
        return [container["command"]]
    return [shlex.split(line) for line in "\n".join(arguments).splitlines()]


_taken: dict[tuple[str, ...], bool] = {}


def _is_taken(command: tuple[str, ...]) -> bool:
    if command not in _taken:
        # What options want is left out: a folder, a file that is in a pod alone.
        options = {"--output", "--encrypt-with", "--key-file"}
        words = [word for word in command if word not in options]
        _taken[command] = run([*words, "--help"], {}) == 0 and _options_are_known(command)
    return _taken[command]


def _options_are_known(command: tuple[str, ...]) -> bool:
    [entry] = [entry for entry in COMMANDS if entry.name == command[0]]
    found: Any = entry.load()
    parameters = list(found.params)
    for word in command[1:]:
        if word in getattr(found, "commands", {}):
            found = found.commands[word]
            parameters += found.params
    known = {option for parameter in parameters for option in parameter.opts}
    return {word for word in command if word.startswith("--")} <= known


@rule
def secrets_are_files_and_not_variables(rendered: Rendered) -> Iterator[Check]:
    for pod in rendered.pods():
        for container in pod.containers:
            sources = [each for each in container.get("env", []) if "valueFrom" in each]
            yield check(pod.name, not sources, f"{[each['name'] for each in sources]} cannot be rotated")
            yield check(pod.name, "envFrom" not in container, "whole objects become its environment")
            folder = environment_of(container).get("SOMA_SECRETS_DIR")
            yield check(pod.name, folder == SECRETS_FOLDER, f"it looks for secrets in {folder}")
        for volume in pod.spec.get("volumes", []):
            mode = volume.get("projected", {}).get("defaultMode", 0o440)
            yield check(pod.name, mode == 0o440, f"{volume['name']} can be read by all")
            whole = "secret" in volume or "configMap" in volume
            yield check(pod.name, not whole, f"{volume['name']} mounts an object with all its keys")


@rule
def nothing_is_encrypted_on_paper_alone(rendered: Rendered) -> Iterator[Check]:
    """Where it is asked for, each hop has TLS and proves who it is."""
    if "encrypted" not in rendered.expectations:
        return
    for pod in rendered.pods():
        container = pod.spec["containers"][-1]
        environment = environment_of(container)
        process = PROCESS_OF[pod.component]
        protocol = environment.get("SOMA_KAFKA__SECURITY_PROTOCOL")
        yield check(pod.name, protocol in {"SSL", "SASL_SSL"}, f"brokers are reached by {protocol}")
        for name, value in environment.items():
            if value.startswith("http:"):
                own = name == "SOMA_COLLECTOR__URL"
                yield check(pod.name, own, f"{name} is reached without TLS")
        authorities = ["SOMA_KAFKA__SSL_CA_FILE"]
        if "SOMA_POSTGRES__HOST" in names_of(process):
            mode = environment.get("SOMA_POSTGRES__SSLMODE")
            yield check(pod.name, mode == "verify-full", f"sslmode is {mode}")
            authorities.append("SOMA_POSTGRES__CA_FILE")
        secrets, files = handed_over(pod, container)
        for name in authorities:
            yield check(pod.name, environment.get(name) in files, f"{name} is no file that it has")
        kept = {"SOMA_POSTGRES__PASSWORD"} & names_of(process)
        yield check(pod.name, kept <= secrets, f"it lacks {sorted(kept - secrets)}")


@rule
def whoever_logs_in_to_brokers_has_one_secret_for_it(rendered: Rendered) -> Iterator[Check]:
    by_password, by_token = "SOMA_KAFKA__SASL_PASSWORD", "SOMA_KAFKA__OAUTH_CLIENT_SECRET"
    for pod in rendered.pods():
        container = pod.spec["containers"][-1]
        environment = environment_of(container)
        wanted = set()
        if environment.get("SOMA_KAFKA__SECURITY_PROTOCOL") == "SASL_SSL":
            wanted = {by_token if "SOMA_KAFKA__OAUTH_TOKEN_URL" in environment else by_password}
        has = handed_over(pod, container)[0] & {by_password, by_token}
        yield check(pod.name, has == wanted, f"it has {sorted(has)} and not {sorted(wanted)}")
