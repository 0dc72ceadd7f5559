"""The guide to links, walked from top to bottom; and what graph tools make of an export."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

from pages import walk
from soma_command import Soma

GUIDE = (Path(__file__).parents[3] / "docs/guides/graph.md").read_text(encoding="utf-8")
_GRAPHML = "{http://graphml.graphdrawing.org/xmlns}"


def test_the_guide_works_as_written(at_home: Soma) -> None:
    walk(GUIDE, at_home)


def test_graphml_has_every_memory_and_link(at_home: Soma, tmp_path: Path) -> None:
    file = tmp_path / "graph.graphml"
    for key, text in (("a", "less < more & \x01 control"), ("b", "größe")):
        assert at_home("store", text, "-n", "graphs/one", "--key", key).code == 0
    assert at_home("store", "elsewhere", "-n", "graphs/two", "--key", "c").code == 0
    for end in ("a", "b"):
        assert at_home("link", "a", end, "-n", "graphs/one", "--type", 'quotes "<"', "-w", "0.1").code == 0
    inside, outside = (
        json.loads(at_home("get", "-n", namespace, "--key", key, "--json").out)["memory_id"]
        for namespace, key in (("graphs/one", "a"), ("graphs/two", "c"))
    )
    assert at_home("link", inside, outside, "--type", "leaves").code == 0

    ran = at_home("export", "-n", "graphs/one", "--format", "graphml", "-o", str(file), "--json")

    exported = json.loads(ran.out)
    assert (exported["memories"], exported["links"]) == (2, 2)
    graph = ET.parse(file).getroot().find(f"{_GRAPHML}graph")  # noqa: S314  # written a moment ago
    assert graph is not None
    texts = {
        node.get("id"): node.findtext(f"{_GRAPHML}data[@key='node-text']")
        for node in graph.iter(f"{_GRAPHML}node")
    }
    assert sorted(map(str, texts.values())) == ["größe", "less < more & \ufffd control"]
    edges = list(graph.iter(f"{_GRAPHML}edge"))
    assert {edge.get("source") for edge in edges} == {inside}
    assert {edge.get("target") for edge in edges} == set(texts)
    assert {edge.findtext(f"{_GRAPHML}data[@key='edge-type']") for edge in edges} == {'quotes "<"'}
    assert {edge.findtext(f"{_GRAPHML}data[@key='edge-weight']") for edge in edges} == {"0.1"}
