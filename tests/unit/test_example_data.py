"""The example month and its questions keep the promises that the demo and the recall benchmark rely on."""

import json
import unicodedata
from collections import Counter, defaultdict
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

from soma_schemas.events import MemoryStored
from soma_schemas.identity import identified
from soma_schemas.namespaces import contains, namespace_fault

Line = dict[str, Any]

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
TENANT = "example"
FIELDS = (
    "namespace",
    "key",
    "coordinate",
    "memory_id",
    "kind",
    "text",
    "payload",
    "tags",
    "importance",
    "subject",
    "occurred_at",
    "actor",
    "expires_at",
)
REQUIRED = {"namespace", "kind", "text", "occurred_at"}
NAMES = {"key", "coordinate", "memory_id"}


def lines_of(name: str) -> list[Line]:
    return [json.loads(line) for line in (EXAMPLES / name).read_text(encoding="utf-8").splitlines()]


MEMORIES = lines_of("assistant-month.jsonl")
QUESTIONS = lines_of("assistant-month-questions.jsonl")


def id_of(named: Line) -> UUID:
    """The id of a line or of an answer: what its key or coordinate gives, or the one it states."""
    given = identified(TENANT, named.get("namespace", ""), named.get("key"), named.get("coordinate"))
    return given if given is not None else UUID(named["memory_id"])


def versions() -> dict[UUID, list[Line]]:
    told: dict[UUID, list[Line]] = defaultdict(list)
    for line in MEMORIES:
        told[id_of(line)].append(line)
    return told


def final_state() -> dict[UUID, Line]:
    return {memory_id: lines[-1] for memory_id, lines in versions().items()}


def event_of(line: Line) -> MemoryStored:
    return MemoryStored.validated(
        {
            "event_id": UUID(int=1),
            "tenant": TENANT,
            "memory_id": id_of(line),
            "namespace": line["namespace"],
            "key": line.get("key"),
            "coordinate": line.get("coordinate"),
            "kind": line["kind"],
            "text": line["text"],
            "payload": json.dumps(line.get("payload", {})),
            "tags": line.get("tags", []),
            "importance": line.get("importance", 0.5),
            "embedding": None,
            "embedding_model": None,
            "subject": line.get("subject"),
            "occurred_at": line["occurred_at"],
            "actor": line.get("actor", "assistant"),
            "expires_at": line.get("expires_at"),
            "expected_version": None,
        }
    )


def test_every_line_has_the_documented_fields_in_the_documented_order() -> None:
    strange = [
        line
        for line in MEMORIES
        if list(line) != [field for field in FIELDS if field in line] or not set(line) >= REQUIRED
    ]

    assert strange == []


def test_every_line_is_named_by_exactly_one_of_key_coordinate_and_id() -> None:
    assert [line for line in MEMORIES if len(NAMES & set(line)) != 1] == []


def test_every_line_makes_an_event_that_the_contract_accepts() -> None:
    assert [event_of(line).text for line in MEMORIES] == [line["text"] for line in MEMORIES]


def test_names_of_namespaces_and_keys_have_one_spelling() -> None:
    names = [line["namespace"] for line in MEMORIES] + [line["key"] for line in MEMORIES if "key" in line]

    assert [name for name in names if not unicodedata.is_normalized("NFC", name)] == []


def test_explicit_ids_are_version_seven_and_made_at_the_time_of_the_line() -> None:
    explicit = [line for line in MEMORIES if "memory_id" in line]

    assert len(explicit) >= 3
    for line in explicit:
        memory_id = UUID(line["memory_id"])
        moment = datetime.fromisoformat(line["occurred_at"])
        assert (memory_id.version, memory_id.int >> 80) == (7, int(moment.timestamp() * 1000))


def test_lines_stand_in_the_order_in_which_they_occurred() -> None:
    moments = [line["occurred_at"] for line in MEMORIES]

    assert moments == sorted(moments)
    assert {moment[:7] for moment in moments} == {"2026-03"}


def test_more_than_three_hundred_memories_remain_after_replacing() -> None:
    assert len(MEMORIES) >= 340
    assert len(final_state()) >= 320


def test_no_two_texts_are_the_same() -> None:
    texts = Counter(line["text"] for line in MEMORIES)

    assert [text for text, count in texts.items() if count > 1] == []


def test_both_kinds_and_many_namespaces_occur() -> None:
    namespaces = {line["namespace"] for line in MEMORIES}

    assert Counter(line["kind"] for line in MEMORIES).keys() == {"EPISODIC", "SEMANTIC"}
    assert len(namespaces) >= 20
    assert any(not namespace.isascii() for namespace in namespaces)


def test_a_sibling_namespace_starts_with_the_same_letters_without_lying_below() -> None:
    namespaces = {line["namespace"] for line in MEMORIES}
    siblings = [name for name in namespaces if name.startswith("projects/harbour-old")]

    assert siblings
    assert not any(contains("projects/harbour", sibling) for sibling in siblings)


def test_at_least_fifteen_memories_are_replaced_by_a_later_line() -> None:
    replaced = [lines for lines in versions().values() if len(lines) > 1]

    assert len(replaced) >= 15
    for lines in replaced:
        moments = [line["occurred_at"] for line in lines]
        assert all(earlier < later for earlier, later in pairwise(moments))


def test_some_decisions_are_revised_by_a_memory_of_their_own() -> None:
    assert len([line for line in MEMORIES if "revised" in line.get("tags", [])]) >= 12


def test_there_are_sixty_different_questions_of_the_documented_shape() -> None:
    assert len({question["question"] for question in QUESTIONS}) == len(QUESTIONS) == 60
    fields = ("question", "namespace_prefix", "answers", "note")
    assert [q for q in QUESTIONS if list(q) != [field for field in fields if field in q]] == []


def test_every_answer_exists_once_in_the_final_state_below_the_asked_prefix() -> None:
    remaining = final_state()
    for question in QUESTIONS:
        prefix = question.get("namespace_prefix")
        answers = [id_of(answer) for answer in question["answers"]]
        assert answers, question["question"]
        assert len(set(answers)) == len(answers), question["question"]
        for answer in answers:
            assert answer in remaining, question["question"]
            assert prefix is None or contains(prefix, remaining[answer]["namespace"]), question["question"]


def test_no_answer_has_an_expiry_that_would_remove_it_after_an_import() -> None:
    remaining = final_state()
    answers = {id_of(answer) for question in QUESTIONS for answer in question["answers"]}

    assert [remaining[answer] for answer in answers if "expires_at" in remaining[answer]] == []
    assert any("expires_at" in line for line in remaining.values())


def test_the_readme_counts_what_is_there() -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")

    assert f"{len(MEMORIES)} memories to store" in readme
    assert f"{len(final_state())} remain" in readme
    assert f"{len({line['namespace'] for line in MEMORIES})} namespaces" in readme


def test_every_asked_prefix_is_a_canonical_namespace() -> None:
    prefixes = {question["namespace_prefix"] for question in QUESTIONS if "namespace_prefix" in question}

    assert len(prefixes) >= 4
    assert {prefix: namespace_fault(prefix) for prefix in prefixes} == dict.fromkeys(prefixes)
