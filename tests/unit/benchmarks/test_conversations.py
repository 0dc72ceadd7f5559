"""The example conversations are those that their generator makes, and hard in the way that it says."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from soma_schemas.vectors.bm25 import Bm25Encoder

_ROOT = Path(__file__).parents[3]
_MEMORIES, _QUESTIONS = "conversations.jsonl", "conversations-questions.jsonl"


def lines_of(name: str) -> list[dict[str, Any]]:
    text = (_ROOT / "docs" / "examples" / name).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_the_files_are_what_the_generator_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(_ROOT)

    memories, questions = import_module("benchmarks.conversations").lines()

    assert (lines_of(_MEMORIES), lines_of(_QUESTIONS)) == (memories, questions)


def test_what_is_asked_is_said_once_in_the_words_of_the_question_or_in_others() -> None:
    questions = lines_of(_QUESTIONS)
    said = {(line["namespace"], line["key"]): line["text"].split(": ", 1) for line in lines_of(_MEMORIES)}
    answers = [(line["answers"][0]["namespace"], line["answers"][0]["key"]) for line in questions]
    bm25 = Bm25Encoder()

    def words(text: str) -> set[int]:
        found = bm25.query(text)
        return set(found.indices) if found is not None else set()

    shared = [
        bool(words(line["question"].replace(person, "")) & words(text))
        for line, (person, text) in zip(questions, (said[answer] for answer in answers), strict=True)
    ]

    assert len(set(answers)) == len(questions)
    assert 0.3 < sum(shared) / len(shared) < 0.7
