"""What Prometheus and Grafana are told is what is there, and what this repository says."""

import json
from collections.abc import Iterator
from pathlib import Path

import yaml

from chart_judge.checking import Check, check, rule
from chart_judge.rendered import Rendered, selects
from prometheus_rules import GROUPS

_DEPLOY = Path(__file__).parents[2] / "deploy"
_JOBS = {
    each["job_name"]
    for each in yaml.safe_load((_DEPLOY / "prometheus/prometheus.yml").read_text("utf-8"))["scrape_configs"]
}
_DOCS = "{{ $externalLabels.soma_docs }}"


@rule
def every_process_is_scraped(rendered: Rendered) -> Iterator[Check]:
    monitors = rendered.of_kind("ServiceMonitor", "PodMonitor")
    if not monitors:
        return
    services = rendered.of_kind("Service")
    for pod in rendered.deployments():
        found = []
        for each in monitors:
            if each["kind"] == "PodMonitor":
                seen = selects(each["spec"]["selector"], pod.labels)
            else:
                seen = any(
                    selects(each["spec"]["selector"], service["metadata"]["labels"])
                    and selects({"matchLabels": service["spec"]["selector"]}, pod.labels)
                    for service in services
                )
            if seen:
                found.append(each)
        yield check(pod.name, len(found) == 1, f"{len(found)} monitors see it")
        for each in found:
            [endpoint] = each["spec"].get("endpoints") or each["spec"]["podMetricsEndpoints"]
            asked = endpoint.get("port"), endpoint.get("path")
            yield check(pod.name, asked == ("http", "/metrics"), f"it is asked for {asked}")
            names = [
                one["replacement"] for one in endpoint.get("relabelings", []) if one["targetLabel"] == "job"
            ]
            job = f"soma-{pod.component}"
            yield check(pod.name, names == [job] and job in _JOBS, f"rules ask for job {job}, it is {names}")
            if pod.component == "api":
                key = endpoint.get("authorization", {}).get("credentials", {})
                yield check(pod.name, key.keys() == {"name", "key"}, "the API wants a key for its metrics")


@rule
def alerts_are_those_of_the_repository(rendered: Rendered) -> Iterator[Check]:
    for each in rendered.of_kind("PrometheusRule"):
        name = f"PrometheusRule {each['metadata']['name']}"
        groups = {group["name"]: group["rules"] for group in each["spec"]["groups"]}
        yield check(name, groups.keys() == GROUPS.keys(), f"groups are {sorted(groups)}")
        for group, rules in GROUPS.items():
            told = json.dumps(groups.get(group, []), sort_keys=True).replace(
                "https://docs.example.com/", f"{_DOCS}/"
            )
            yield check(name, told == json.dumps(rules, sort_keys=True), f"rules of {group} differ")


@rule
def dashboards_are_those_of_the_repository(rendered: Rendered) -> Iterator[Check]:
    given = [
        each for each in rendered.of_kind("ConfigMap") if "grafana_dashboard" in each["metadata"]["labels"]
    ]
    if not given:
        return
    held = {name: text for each in given for name, text in each["data"].items()}
    for path in (_DEPLOY / "grafana/dashboards").iterdir():
        yield check(path.name, held.get(path.name) == path.read_text("utf-8"), "it differs, or is missing")
    for each in given:
        size = len(json.dumps(each).encode())
        yield check(
            each["metadata"]["name"], size < 1_000_000, f"{size} bytes are more than an object may have"
        )
