"""Questions, and the memories that answer them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID, uuid5

from soma_cli.arguments import text_of
from soma_cli.failures import UsageError
from soma_schemas.memories import MemoryView


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


def read_questions(path: Path, *, copied: bool = True) -> list[Question]:
    """Return the questions of a file; `docs/examples/README.md` describes its lines.

    Args:
        path: The file.
        copied: Whether they are about a benchmark's copies of the memories that the answers name.

    Raises:
        UsageError: A line is no question, or there is none.
    """
    questions = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            questions.append(_question(json.loads(line), copied=copied))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UsageError(
                f"line {number} of {text_of(str(path), 'replace')} is not a question with its answers",
                remedy='write it as {"question": "...", "answers": [{"namespace": "...", "key": "..."}]}',
            ) from None
    if not questions:
        raise UsageError(f"{text_of(str(path), 'replace')} holds no question")
    return questions


def name_of(memory: MemoryView, below: str | None) -> Name:
    """Return what a memory is called by answers.

    Args:
        memory: That was found.
        below: The namespace below which copies of the examples were stored; None: it is no copy.
    """
    namespace = memory.namespace if below is None else memory.namespace.removeprefix(f"{below}/")
    if memory.key is not None:
        return Name(namespace, memory.key, None, None)
    if memory.coordinate is not None:
        return Name(namespace, None, tuple(memory.coordinate), None)
    return Name(None, None, None, memory.memory_id)


def _question(line: dict[str, Any], *, copied: bool) -> Question:
    answers = tuple(_name(each, copied=copied) for each in line["answers"])
    if not answers or not line["question"]:
        raise ValueError("a question has a text and an answer")
    return Question(line["question"], line.get("namespace_prefix"), answers)


def _name(answer: dict[str, Any], *, copied: bool) -> Name:
    if "memory_id" in answer:
        memory_id = UUID(answer["memory_id"])
        return Name(None, None, None, copied_id(memory_id) if copied else memory_id)
    coordinate = answer.get("coordinate")
    return Name(
        answer["namespace"],
        answer["key"] if coordinate is None else None,
        None if coordinate is None else tuple(float(number) for number in coordinate),
        None,
    )
