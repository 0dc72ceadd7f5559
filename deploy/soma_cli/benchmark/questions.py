"""The example questions, and the memories that answer them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from soma_cli.api_responses import Memory


class Name(NamedTuple):
    """What a memory is called, in whichever of the three ways; the others are None."""

    namespace: str | None
    key: str | None
    coordinate: tuple[float, ...] | None
    memory_id: UUID | None


@dataclass(frozen=True)
class Question:
    """One question.

    Attributes:
        namespace_prefix: Where to look; None is everywhere.
        answers: Every memory that answers it.
    """

    text: str
    namespace_prefix: str | None
    answers: tuple[Name, ...]


def copied_id(memory_id: UUID) -> UUID:
    """Return the id of a benchmark's copy of a memory: the original may lie in the same tenant."""
    return uuid5(memory_id, "soma bench")


def read_questions(path: Path) -> list[Question]:
    """Return the questions of a file about the copies; `docs/examples/README.md` describes its lines."""
    return [_question(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def name_of(memory: Memory, below: str) -> Name:
    """Return what a memory is called in the examples, given the namespace below which they were stored."""
    namespace = memory.namespace.removeprefix(f"{below}/")
    if memory.key is not None:
        return Name(namespace, memory.key, None, None)
    if memory.coordinate is not None:
        return Name(namespace, None, tuple(memory.coordinate), None)
    return Name(None, None, None, memory.memory_id)


def _question(line: dict[str, Any]) -> Question:
    return Question(
        line["question"], line.get("namespace_prefix"), tuple(_name(each) for each in line["answers"])
    )


def _name(answer: dict[str, Any]) -> Name:
    coordinate = answer.get("coordinate")
    return Name(
        answer.get("namespace"),
        answer.get("key"),
        None if coordinate is None else tuple(float(number) for number in coordinate),
        copied_id(UUID(answer["memory_id"])) if "memory_id" in answer else None,
    )
