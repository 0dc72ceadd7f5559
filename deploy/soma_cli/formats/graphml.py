"""Memories and links as GraphML, which graph tools read: http://graphml.graphdrawing.org/specification.html."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TextIO
from xml.sax.saxutils import escape

from soma_cli.naming import memory_name
from soma_schemas.memories import MemoryView
from soma_schemas.responses.link_responses import LinkView

# What no XML 1.0 document can hold, however it is written.
_UNWRITABLE = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_REPLACEMENT = "\ufffd"

_OF_NODES = {
    "namespace": "string",
    "name": "string",
    "kind": "string",
    "text": "string",
    "tags": "string",
    "importance": "double",
    "occurred_at": "string",
}
_OF_EDGES = {"type": "string", "weight": "double"}


class GraphmlWriter:
    """Writes nodes, then edges, one at a time; open it with `graphml_to`."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def node(self, memory: MemoryView) -> None:
        """Write a memory."""
        self._element(
            "node",
            f'id="{memory.memory_id}"',
            {
                "namespace": memory.namespace,
                "name": memory_name(memory),
                "kind": memory.kind.value,
                "text": memory.text,
                "tags": ", ".join(memory.tags),
                "importance": repr(memory.importance),
                "occurred_at": memory.occurred_at.isoformat(),
            },
        )

    def edge(self, link: LinkView) -> None:
        """Write a link; both its memories are among the nodes."""
        ends = f'source="{link.from_memory_id}" target="{link.to_memory_id}"'
        self._element("edge", ends, {"type": link.type, "weight": repr(link.weight)})

    def _element(self, name: str, attributes: str, values: Mapping[str, str]) -> None:
        self._file.write(f"<{name} {attributes}>")
        for key, value in values.items():
            self._file.write(
                f'<data key="{name}-{key}">{escape(_UNWRITABLE.sub(_REPLACEMENT, value))}</data>'
            )
        self._file.write(f"</{name}>\n")


@contextmanager
def graphml_to(file: TextIO) -> Iterator[GraphmlWriter]:
    """Yield what writes a directed graph to a file."""
    file.write(
        '<?xml version="1.0" encoding="UTF-8"?>\n<graphml xmlns="http://graphml.graphdrawing.org/xmlns">\n'
    )
    for of, values in (("node", _OF_NODES), ("edge", _OF_EDGES)):
        file.writelines(
            f'<key id="{of}-{name}" for="{of}" attr.name="{name}" attr.type="{kind}"/>\n'
            for name, kind in values.items()
        )
    file.write('<graph edgedefault="directed">\n')
    yield GraphmlWriter(file)
    file.write("</graph>\n</graphml>\n")
