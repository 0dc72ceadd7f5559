"""What Helm made of the chart, as objects, and the pods that they lead to.

Nothing here knows the templates: objects are read as Kubernetes reads them.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

Object = dict[str, Any]
NAMESPACE = "soma"


@dataclass(frozen=True)
class Pod:
    """The template of pods, and the object that it stands in."""

    owner: Object
    labels: dict[str, str]
    spec: Object

    @property
    def name(self) -> str:
        return f"{self.owner['kind']} {self.owner['metadata']['name']}"

    @property
    def component(self) -> str:
        return self.labels["app.kubernetes.io/component"]

    @property
    def runs_on(self) -> bool:
        """Whether it is to run all the time."""
        return bool(self.owner["kind"] == "Deployment") and self.component != "toolbox"

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]


class Rendered:
    """Objects of one release.

    Args:
        objects: All of them, hooks too.
        expectations: What the values of this release ask for beyond what every release has to be.
    """

    def __init__(self, objects: list[Object], expectations: frozenset[str] = frozenset()) -> None:
        self.objects = objects
        self.expectations = expectations

    @classmethod
    def read(cls, text: str, expectations: frozenset[str] = frozenset()) -> "Rendered":
        objects = [each for each in yaml.load_all(text, Loader=_LOADER) if each]
        return cls(objects, expectations)

    def copy(self) -> "Rendered":
        return Rendered(copy.deepcopy(self.objects), self.expectations)

    def of_kind(self, *kinds: str) -> list[Object]:
        return [each for each in self.objects if each["kind"] in kinds]

    def one(self, kind: str, ending: str) -> Object:
        [found] = [each for each in self.of_kind(kind) if each["metadata"]["name"].endswith(ending)]
        return found

    def pods(self) -> Iterator[Pod]:
        for owner in self.objects:
            match owner:
                case {"kind": "Deployment" | "Job", "spec": {"template": template}}:
                    pass
                case {"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": template}}}}:
                    pass
                case _:
                    continue
            yield Pod(owner, template["metadata"]["labels"], template["spec"])

    def deployments(self) -> list[Pod]:
        return [pod for pod in self.pods() if pod.runs_on]


def selects(selector: Object, labels: dict[str, str]) -> bool:
    """Say whether a label selector selects labels; an empty one selects all."""
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(name) != value for name, value in wanted.items()):
        return False
    for expression in selector.get("matchExpressions") or []:
        value = labels.get(expression["key"])
        match expression["operator"]:
            case "In":
                fits = value in expression["values"]
            case "NotIn":
                fits = value not in expression["values"]
            case "Exists":
                fits = value is not None
            case "DoesNotExist":
                fits = value is None
            case other:
                raise ValueError(other)
        if not fits:
            return False
    return True


def environment_of(container: Object) -> dict[str, str]:
    """Return the variables that stand in the object as values."""
    return {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}


# libyaml's, where it is there: a release has hundreds of kilobytes.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
