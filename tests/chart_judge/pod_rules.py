"""What holds for every pod: locked down, bounded, watched, and ended in order."""

from collections.abc import Iterator
from typing import Any

from chart_judge.checking import Check, check, rule
from chart_judge.process_settings import PROCESS_OF, values_of
from chart_judge.rendered import Pod, Rendered, selects

_CORES = {"cpu", "memory"}


def _containers(rendered: Rendered) -> Iterator[tuple[str, Pod, dict[str, Any]]]:
    for pod in rendered.pods():
        for container in pod.containers:
            yield f"{pod.name}, container {container['name']}", pod, container


@rule
def no_pod_runs_as_root(rendered: Rendered) -> Iterator[Check]:
    for pod in rendered.pods():
        context = pod.spec.get("securityContext", {})
        yield check(pod.name, context.get("runAsNonRoot") is True, "runAsNonRoot is not true")
        yield check(pod.name, context.get("runAsUser", 0) >= 1000, "runAsUser is a user of the system")
        yield check(pod.name, context.get("runAsGroup", 0) >= 1000, "runAsGroup is a group of the system")


@rule
def system_calls_are_filtered(rendered: Rendered) -> Iterator[Check]:
    for pod in rendered.pods():
        profile = pod.spec.get("securityContext", {}).get("seccompProfile", {}).get("type")
        yield check(pod.name, profile == "RuntimeDefault", f"seccomp profile {profile}")


@rule
def containers_have_no_privileges(rendered: Rendered) -> Iterator[Check]:
    for about, _, container in _containers(rendered):
        context = container.get("securityContext", {})
        yield check(about, context.get("allowPrivilegeEscalation") is False, "privileges can be escalated")
        yield check(about, not context.get("privileged"), "it is privileged")
        capabilities = context.get("capabilities", {})
        yield check(about, capabilities == {"drop": ["ALL"]}, f"capabilities are {capabilities}")
        yield check(about, context.get("runAsNonRoot", True) is True, "runAsNonRoot is taken back")
        yield check(about, context.get("runAsUser", 1000) >= 1000, "its user is one of the system")


@rule
def root_file_systems_are_read_only(rendered: Rendered) -> Iterator[Check]:
    for about, pod, container in _containers(rendered):
        context = container.get("securityContext", {})
        yield check(about, context.get("readOnlyRootFilesystem") is True, "its root can be written")
        volumes = {volume["name"]: volume for volume in pod.spec.get("volumes", [])}
        for mount in container.get("volumeMounts", []):
            volume = volumes.get(mount["name"], {})
            writable = "emptyDir" in volume or (
                "persistentVolumeClaim" in volume and pod.component == "backup"
            )
            yield check(
                about, writable or mount.get("readOnly") is True, f"{mount['mountPath']} can be written"
            )
        temporary = [
            mount["mountPath"] for mount in container.get("volumeMounts", []) if mount["name"] == "tmp"
        ]
        yield check(about, temporary == ["/tmp"], "there is no /tmp")  # noqa: S108  # of the container


@rule
def temporary_files_have_a_limit(rendered: Rendered) -> Iterator[Check]:
    for pod in rendered.pods():
        for volume in pod.spec.get("volumes", []):
            if "emptyDir" in volume:
                yield check(pod.name, volume["emptyDir"].get("sizeLimit"), f"{volume['name']} has no limit")


@rule
def no_pod_has_a_token_of_the_cluster(rendered: Rendered) -> Iterator[Check]:
    accounts = {each["metadata"]["name"]: each for each in rendered.of_kind("ServiceAccount")}
    for pod in rendered.pods():
        yield check(pod.name, pod.spec.get("automountServiceAccountToken") is False, "a token is mounted")
        yield check(pod.name, pod.spec.get("enableServiceLinks") is False, "names of all services are given")
        account = accounts.get(pod.spec.get("serviceAccountName", ""), {})
        yield check(
            pod.name, account.get("automountServiceAccountToken") is False, "its account is not the release's"
        )


@rule
def nothing_of_the_node_is_reached(rendered: Rendered) -> Iterator[Check]:
    for pod in rendered.pods():
        for name in ("hostNetwork", "hostPID", "hostIPC"):
            yield check(pod.name, not pod.spec.get(name), f"{name} is set")
        for volume in pod.spec.get("volumes", []):
            yield check(pod.name, "hostPath" not in volume, f"{volume['name']} is a folder of the node")
        for container in pod.containers:
            for port in container.get("ports", []):
                yield check(pod.name, "hostPort" not in port, "it has a port of the node")


@rule
def containers_have_requests_and_limits(rendered: Rendered) -> Iterator[Check]:
    for about, _, container in _containers(rendered):
        for kind in ("requests", "limits"):
            missing = _CORES - container.get("resources", {}).get(kind, {}).keys()
            yield check(about, not missing, f"{kind} lack {', '.join(sorted(missing))}")


@rule
def images_are_pinned(rendered: Rendered) -> Iterator[Check]:
    for about, _, container in _containers(rendered):
        image = container["image"]
        _, _, tag = image.rpartition("/")[2].partition(":")
        pinned = "@sha256:" in image or (tag and tag != "latest")
        yield check(about, pinned, f"{image} may be another one tomorrow")


@rule
def processes_have_probes(rendered: Rendered) -> Iterator[Check]:
    for pod in rendered.deployments():
        for container in pod.spec["containers"]:
            ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
            listening = values_of(pod).get(_listening_part(pod), {}).get("port")
            yield check(
                pod.name, ports == {"http": listening}, f"ports are {ports}, it listens on {listening}"
            )
            for probe, path in {
                "startupProbe": "/healthz",
                "livenessProbe": "/healthz",
                "readinessProbe": "/readyz",
            }.items():
                asked = container.get(probe, {}).get("httpGet", {})
                wanted = {"path": path, "port": "http", "scheme": asked.get("scheme", "HTTP")}
                yield check(pod.name, {"scheme": "HTTP"} | asked == wanted, f"{probe} asks {asked}")
                seconds = container.get(probe, {}).get("timeoutSeconds", 1)
                yield check(pod.name, seconds >= 5, f"{probe} waits {seconds} s: a busy process looks dead")


def _listening_part(pod: Pod) -> str:
    return pod.component if pod.component in {"api", "lag"} else "worker"


@rule
def processes_listen_where_probes_reach_them(rendered: Rendered) -> Iterator[Check]:
    for pod in rendered.deployments():
        host = values_of(pod).get(_listening_part(pod), {}).get("host")
        yield check(pod.name, host == "0.0.0.0", f"it listens on {host}")  # noqa: S104  # within its pod


@rule
def a_stop_has_longer_than_the_drain(rendered: Rendered) -> Iterator[Check]:
    for pod in rendered.deployments():
        [container] = pod.spec["containers"]
        part = values_of(pod).get("api" if pod.component == "api" else "delivery", {})
        drain = part["drain_timeout"].total_seconds() if part else 0
        before = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        given = pod.spec.get("terminationGracePeriodSeconds", 30)
        yield check(
            pod.name, given >= before + drain + 5, f"{given} s for {before} s and a drain of {drain} s"
        )
        if pod.component == "api":
            yield check(pod.name, before > 0, "it ends before proxies have noticed")


@rule
def pods_of_a_process_are_spread(rendered: Rendered) -> Iterator[Check]:
    for pod in rendered.deployments():
        constraints = pod.spec.get("topologySpreadConstraints", [])
        keys = {each["topologyKey"] for each in constraints}
        wanted = {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
        yield check(pod.name, keys == wanted, f"spread over {sorted(keys)}")
        for each in constraints:
            others = [
                other for other in rendered.deployments() if selects(each["labelSelector"], other.labels)
            ]
            yield check(
                pod.name, others == [pod], f"the constraint counts {[other.name for other in others]}"
            )


@rule
def every_process_has_a_disruption_budget(rendered: Rendered) -> Iterator[Check]:
    budgets = rendered.of_kind("PodDisruptionBudget")
    for pod in rendered.deployments():
        own = [each for each in budgets if selects(each["spec"]["selector"], pod.labels)]
        yield check(pod.name, len(own) == 1, f"{len(own)} budgets")
        for each in own:
            yield check(pod.name, each["spec"].get("maxUnavailable") == 1, "a node could never be emptied")
            always = each["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow"
            yield check(pod.name, always, "a pod that is not ready holds up its node")


@rule
def an_update_never_leaves_less_than_there_was(rendered: Rendered) -> Iterator[Check]:
    for pod in rendered.deployments():
        strategy = pod.owner["spec"].get("strategy", {})
        rolling = strategy.get("rollingUpdate", {})
        if pod.component == "api":
            yield check(pod.name, rolling.get("maxUnavailable") == 0, "requests meet fewer replicas")
        else:
            yield check(pod.name, rolling.get("maxSurge") == 0, "partitions move twice")


@rule
def jobs_end(rendered: Rendered) -> Iterator[Check]:
    for pod in rendered.pods():
        if pod.owner["kind"] not in {"Job", "CronJob"}:
            continue
        spec = pod.owner["spec"]
        if pod.owner["kind"] == "CronJob":
            yield check(pod.name, spec.get("concurrencyPolicy") == "Forbid", "two may run at once")
            yield check(pod.name, spec.get("timeZone"), "nobody knows in which time zone it runs")
            spec = spec["jobTemplate"]["spec"]
        yield check(pod.name, spec.get("activeDeadlineSeconds", 0) > 0, "it may hang for ever")
        yield check(pod.name, "backoffLimit" in spec, "how often it is tried is left open")
        yield check(pod.name, pod.spec.get("restartPolicy") == "Never", "its log is lost when it fails")


@rule
def every_pod_is_a_process_that_is_known(rendered: Rendered) -> Iterator[Check]:
    for pod in rendered.pods():
        yield check(pod.name, pod.component in PROCESS_OF, f"component {pod.component}")


@rule
def nobody_holds_the_keys_all_the_time(rendered: Rendered) -> Iterator[Check]:
    """The toolbox has the owner's login: it is started by hand, and ends at once."""
    for pod in rendered.pods():
        if pod.component == "toolbox":
            command = pod.spec["containers"][0]["command"]
            seconds = pod.spec.get("terminationGracePeriodSeconds", 30)
            yield check(pod.name, pod.owner["spec"].get("replicas") == 0, "it runs all the time")
            yield check(pod.name, command == ["sleep", "infinity"], f"it does {command}")
            yield check(pod.name, seconds <= 5, f"it stays for {seconds} s when it is to end")
