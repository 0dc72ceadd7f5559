"""Objects against the schemas of Kubernetes and of custom resources, strictly: what is unknown is wrong."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import yaml

from chart.checking_tools import KUBERNETES_VERSIONS, schemas
from chart_judge.rendered import Object, Rendered

# Their schemas cannot be had as a package; rules of our own look at them.
WITHOUT_SCHEMA = frozenset({"postgresql.cnpg.io/v1"})


def invalid(rendered: Rendered, version: str) -> Iterator[str]:
    """Yield what is wrong with objects for a version of Kubernetes."""
    for each in rendered.objects:
        if each["apiVersion"] in WITHOUT_SCHEMA:
            continue
        validator = _validator(each["apiVersion"], each["kind"], version)
        if validator is None:
            yield f"{each['apiVersion']} {each['kind']}: there is no such kind"
            continue
        for error in validator.iter_errors(_as_json(each)):
            place = "/".join(str(part) for part in error.instance_path)
            yield f"{each['kind']} {each['metadata']['name']}: {place}: {error.message[:300]}"


def validated(rendered: Rendered) -> int:
    """Return how many objects have a schema."""
    return sum(each["apiVersion"] not in WITHOUT_SCHEMA for each in rendered.objects)


def _as_json(each: Object) -> Any:
    return json.loads(json.dumps(each))


def folder() -> Path:
    """Return where the schemas are.

    Raises:
        AssertionError: Nowhere yet; the words say how to install them.
    """
    assert schemas().is_dir(), "the chart's schemas are not installed: python -m chart.checking_tools"
    return schemas()


@cache
def _validator(api_version: str, kind: str, version: str) -> jsonschema_rs.Draft202012Validator | None:
    assert version in KUBERNETES_VERSIONS
    custom = _custom().get((api_version, kind))
    if custom is not None:
        return jsonschema_rs.Draft202012Validator(custom)
    definitions = _kubernetes(version)
    name = _names(version).get((api_version, kind))
    if name is None:
        return None
    return jsonschema_rs.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": definitions})


@cache
def _kubernetes(version: str) -> dict[str, Any]:
    text = (folder() / f"kubernetes-{version}.json").read_text("utf-8")
    definitions: dict[str, Any] = json.loads(text.replace("/api/_definitions.json#/$defs/", "#/$defs/"))[
        "$defs"
    ]
    return definitions


@cache
def _names(version: str) -> dict[tuple[str, str], str]:
    return {
        ("/".join(filter(None, (kind["group"], kind["version"]))), kind["kind"]): name
        for name, definition in _kubernetes(version).items()
        for kind in definition.get("x-kubernetes-group-version-kind", ())
    }


@cache
def _custom() -> dict[tuple[str, str], Any]:
    found = {}
    for path in folder().glob("*.yaml"):
        for each in yaml.safe_load_all(path.read_text("utf-8")):
            for version in each["spec"]["versions"]:
                name = f"{each['spec']['group']}/{version['name']}", each["spec"]["names"]["kind"]
                schema = _strict(version["schema"]["openAPIV3Schema"])
                # Kubernetes' own, which the resource's schema leaves open.
                schema["properties"] |= {"metadata": {"type": "object"}}
                found[name] = schema
    return found


def _strict(schema: Any) -> Any:
    """Return a schema that refuses what is not described, as the API server does when it is strict."""
    match schema:
        case dict():
            made = {key: _strict(value) for key, value in schema.items()}
            if made.get("x-kubernetes-int-or-string"):
                made.pop("type", None)
                made["anyOf"] = [{"type": "integer"}, {"type": "string"}]
            if made.get("nullable") and "type" in made:
                made["type"] = [made["type"], "null"]
            described = isinstance(made.get("properties"), dict) and made.get("type") == "object"
            if (
                described
                and "additionalProperties" not in made
                and not made.get("x-kubernetes-preserve-unknown-fields")
            ):
                made["additionalProperties"] = False
            return made
        case list():
            return [_strict(each) for each in schema]
        case _:
            return schema
