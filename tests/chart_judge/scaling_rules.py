"""How many there are: scaled by one thing, within what can work."""

import re
from collections.abc import Iterator

from chart_judge.checking import Check, check, rule
from chart_judge.process_settings import values_of
from chart_judge.rendered import NAMESPACE, Pod, Rendered
from soma_schemas.groups import SinkGroup
from soma_schemas.lag import REPORT_PATH, GroupLag, LagReport


def _target(rendered: Rendered, name: str) -> Pod | None:
    return next((pod for pod in rendered.deployments() if pod.owner["metadata"]["name"] == name), None)


@rule
def what_is_scaled_has_no_fixed_number(rendered: Rendered) -> Iterator[Check]:
    scaled = [
        each["spec"]["scaleTargetRef"]["name"]
        for each in rendered.of_kind("HorizontalPodAutoscaler", "ScaledObject")
    ]
    for pod in rendered.deployments():
        count = scaled.count(pod.owner["metadata"]["name"])
        yield check(pod.name, count <= 1, "two things scale it")
        fixed = "replicas" in pod.owner["spec"]
        yield check(
            pod.name,
            fixed != (count == 1),
            "an update sets back what scales it" if fixed else "nobody says how many",
        )
    for name in scaled:
        yield check(name, _target(rendered, name), "it scales nothing of the release")


@rule
def the_api_is_scaled_by_its_load(rendered: Rendered) -> Iterator[Check]:
    for each in rendered.of_kind("HorizontalPodAutoscaler"):
        name, spec = each["metadata"]["name"], each["spec"]
        pod = _target(rendered, spec["scaleTargetRef"]["name"])
        yield check(name, pod is not None and pod.component == "api", "it is for the API alone")
        yield check(name, 2 <= spec["minReplicas"] <= spec["maxReplicas"], "it may leave one alone")
        resources = [metric["resource"]["name"] for metric in spec["metrics"] if metric["type"] == "Resource"]
        yield check(name, resources == ["cpu"], f"it looks at {resources}")


@rule
def workers_are_never_more_than_partitions(rendered: Rendered) -> Iterator[Check]:
    for pod in rendered.deployments():
        if pod.component not in {"worker-postgres", "worker-vectors"}:
            continue
        partitions = values_of(pod).get("topics", {}).get("partitions", 0)
        own = pod.owner["metadata"]["name"]
        scaled = [
            each["spec"]["maxReplicaCount"]
            for each in rendered.of_kind("ScaledObject")
            if each["spec"]["scaleTargetRef"]["name"] == own
        ]
        most = scaled[0] if scaled else pod.owner["spec"].get("replicas", 0)
        yield check(pod.name, most <= partitions, f"{most} workers for {partitions} partitions")


@rule
def workers_are_scaled_by_what_the_collector_tells(rendered: Rendered) -> Iterator[Check]:
    services = {each["metadata"]["name"]: each for each in rendered.of_kind("Service")}
    for each in rendered.of_kind("ScaledObject"):
        name, spec = each["metadata"]["name"], each["spec"]
        yield check(name, spec["minReplicaCount"] >= 1, "nobody would work while there is no lag")
        yield check(name, "fallback" in spec, "nobody says how many there are while the collector is away")
        [trigger] = spec["triggers"]
        metadata = trigger["metadata"]
        [(host, port, path)] = re.findall(
            r"^http://([\w-]+)\." + NAMESPACE + r"\.svc:(\d+)(/.*)$", metadata["url"]
        ) or [("", "0", "")]
        ports = [port["port"] for port in services.get(host, {}).get("spec", {}).get("ports", [])]
        yield check(name, host.endswith("-lag") and int(port) in ports, f"{metadata['url']} leads nowhere")
        yield check(name, path == REPORT_PATH, f"the report is at {REPORT_PATH}")
        [(listed, key, group, value)] = re.findall(
            r'^(\w+)\.#\((\w+)=="([^"]+)"\)\.(\w+)$', metadata["valueLocation"]
        ) or [("",) * 4]
        known = listed in LagReport.model_fields and {key, value} <= GroupLag.model_fields.keys()
        yield check(name, known, f"the report has no {metadata['valueLocation']}")
        pod = _target(rendered, spec["scaleTargetRef"]["name"])
        sink = {"worker-postgres": SinkGroup.POSTGRES, "worker-vectors": SinkGroup.VECTORS}.get(
            pod.component if pod else ""
        )
        prefix = values_of(pod).get("topics", {}).get("prefix", "") if pod else ""
        yield check(name, sink is not None and group == prefix + sink, f"group {group} is not its own")
        yield check(name, metadata["targetValue"].isdecimal(), f"the target is {metadata['targetValue']}")
