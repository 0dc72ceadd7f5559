"""What benchmarks store: the example memories under a namespace of their own, and as many more as wanted."""

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from soma_cli.benchmark.questions import copied_id
from soma_cli.formats.json_lines import parse_line

_SENTENCES = 3
_NAMESPACES = 20
_TAGS = 16


def example_memories(path: Path, below: str) -> list[dict[str, Any]]:
    """Return the memories of a file of lines, moved below a namespace, as the API takes them."""
    memories = []
    for text in path.read_bytes().splitlines():
        line = parse_line(text)
        fields = line.model_dump(mode="json", exclude_none=True)
        fields["namespace"] = f"{below}/{line.namespace}"
        if line.memory_id is not None:
            fields["memory_id"] = str(copied_id(line.memory_id))
        memories.append(fields)
    return memories


def made_up_memories(examples: list[dict[str, Any]], count: int, below: str) -> Iterator[dict[str, Any]]:
    """Yield as many memories as wanted, made of sentences of the examples: the same ones each time.

    Args:
        examples: Whose texts are taken apart.
        count: How many.
        below: The namespace below which they lie, in twenty others.
    """
    sentences = [
        sentence for each in examples for sentence in each["text"].replace("? ", ". ").split(". ") if sentence
    ]
    for number in range(count):
        random = Random(number)  # noqa: S311  # the same each time is what is wanted
        yield {
            "namespace": f"{below}/{number % _NAMESPACES}",
            "key": str(number),
            "text": ". ".join(random.choices(sentences, k=_SENTENCES)),
            "tags": [f"tag-{number % _TAGS}"],
            "importance": number % 10 / 10,
        }
