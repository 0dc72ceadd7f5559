"""What holds for every object, and for the hooks that prepare a release."""

from collections.abc import Iterator

from chart_judge.checking import Check, check, rule
from chart_judge.rendered import Rendered, selects

_LABELS = {
    "app.kubernetes.io/name",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/version",
    "app.kubernetes.io/part-of",
    "app.kubernetes.io/managed-by",
    "helm.sh/chart",
}
_STABLE = {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"}
_LONGEST_NAME = 63
# What an operator calls pods begins with the name, and is a name itself.
_LONGEST_CRON_NAME = 52


@rule
def objects_can_be_told_apart(rendered: Rendered) -> Iterator[Check]:
    names = [(each["kind"], each["metadata"]["name"]) for each in rendered.objects]
    for each in rendered.objects:
        name = f"{each['kind']} {each['metadata']['name']}"
        missing = _LABELS - each["metadata"].get("labels", {}).keys()
        yield check(name, not missing, f"labels {sorted(missing)} are missing")
        yield check(name, "namespace" not in each["metadata"], "it is in a namespace of its own choice")
        yield check(name, names.count((each["kind"], each["metadata"]["name"])) == 1, "there are two of it")
        longest = _LONGEST_CRON_NAME if each["kind"] == "CronJob" else _LONGEST_NAME
        yield check(name, len(each["metadata"]["name"]) <= longest, "its name is too long")


@rule
def selectors_hold_through_an_upgrade(rendered: Rendered) -> Iterator[Check]:
    for pod in rendered.deployments():
        selector = pod.owner["spec"]["selector"]
        yield check(pod.name, selector["matchLabels"].keys() == _STABLE, "it selects by what changes")
        yield check(pod.name, selects(selector, pod.labels), "it does not select its own pods")
        others = [other.name for other in rendered.deployments() if selects(selector, other.labels)]
        yield check(pod.name, len(others) == 1, f"it selects pods of {others}")


@rule
def a_release_is_prepared_in_order(rendered: Rendered) -> Iterator[Check]:
    """Topics, schemas, tables; before the processes, or after what operators make."""
    hooked = [pod for pod in rendered.pods() if pod.owner["kind"] == "Job"]
    if "not prepared" in rendered.expectations:
        return
    yield check("hooks", [pod.component for pod in hooked] == ["prepare"], f"{[pod.name for pod in hooked]}")
    for pod in hooked:
        order = [container["args"] for container in pod.containers]
        wanted = [["topics", "apply"], ["schemas", "register"], ["migrate"]]
        yield check(pod.name, order == wanted, f"it runs {order}")
        made = rendered.of_kind("Kafka", "Cluster")
        when = {"post-install" if made else "pre-install", "pre-upgrade"}
        annotations = pod.owner["metadata"]["annotations"]
        yield check(
            pod.name,
            set(annotations["helm.sh/hook"].split(",")) == when,
            f"it runs at {annotations['helm.sh/hook']}",
        )
        yield check(
            pod.name,
            annotations.get("helm.sh/hook-delete-policy") == "before-hook-creation",
            "its log is lost, or the next finds it in the way",
        )
        needed = [rendered.one("ServiceAccount", pod.spec["serviceAccountName"])]
        needed += [
            each
            for each in rendered.of_kind("NetworkPolicy")
            if each["metadata"]["name"].endswith("-prepare")
        ]
        for each in needed:
            own = each["metadata"].get("annotations", {})
            earlier = int(own.get("helm.sh/hook-weight", "0")) < int(annotations["helm.sh/hook-weight"])
            yield check(
                pod.name,
                earlier and own.get("helm.sh/hook") == annotations["helm.sh/hook"],
                f"{each['kind']} comes too late",
            )


@rule
def archives_are_kept_and_tried(rendered: Rendered) -> Iterator[Check]:
    jobs = {pod.component: pod for pod in rendered.pods() if pod.owner["kind"] == "CronJob"}
    for name in ("backup", "drill"):
        if name not in jobs:
            continue
        volumes = [
            one["persistentVolumeClaim"]["claimName"]
            for one in jobs[name].spec["volumes"]
            if "persistentVolumeClaim" in one
        ]
        yield check(jobs[name].name, len(volumes) == 1, "archives are kept nowhere")
    if {"backup", "drill"} <= jobs.keys():
        claims = [
            [
                one["persistentVolumeClaim"]["claimName"]
                for one in jobs[name].spec["volumes"]
                if "persistentVolumeClaim" in one
            ]
            for name in ("backup", "drill")
        ]
        yield check("CronJobs", claims[0] == claims[1], "what is tried is not what is kept")
    if "archived" in rendered.expectations:
        yield check("CronJobs", {"backup", "drill", "verify"} <= jobs.keys(), f"there are {sorted(jobs)}")
        for name in jobs.keys() & {"backup", "drill"}:
            script = "\n".join(jobs[name].spec["containers"][0]["args"])
            yield check(jobs[name].name, "/run/files/backup.key" in script, "archives are not encrypted")
