"""What benchmarks compute and store: plain arithmetic, and the same memories each time."""

import json
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canned_api import CannedApi, a_search_answer
from soma_cli.benchmark.figures import Asked, bootstrap_interval, percentile
from soma_cli.benchmark.memories import example_memories, made_up_memories
from soma_cli.benchmark.questions import Name, copied_id, read_questions
from soma_cli.commands.bench import ExampleSet
from soma_cli.examples import example
from soma_command import Soma

A, B, C = (Name("team/notes", key, None, None) for key in "abc")


@given(st.lists(st.floats(0, 1e6), min_size=1), st.integers(1, 100))
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(
    values: list[float], percent: int
) -> None:
    found = percentile(values, percent)

    assert found in values
    assert sum(value <= found for value in values) * 100 >= percent * len(values)
    assert sum(value < found for value in values) * 100 < percent * len(values)


def test_percentiles_of_a_hundred_values() -> None:
    assert [percentile(range(1, 101), percent) for percent in (50, 95, 99, 100)] == [50, 95, 99, 100]


def test_an_interval_holds_the_mean_and_narrows_with_more_values() -> None:
    few, many = ([0.0, 1.0] * count for count in (5, 500))

    low, high = bootstrap_interval(few)
    lower, higher = bootstrap_interval(many)

    assert low < lower < 0.5 < higher < high
    # A mean of 1,000 coins lies within two standard errors, 0.0316 each way, for 95 of 100 samples.
    assert (lower, higher) == pytest.approx((0.469, 0.531), abs=0.005)
    assert bootstrap_interval(few) == (low, high)


def test_values_that_are_all_alike_have_no_width() -> None:
    assert bootstrap_interval([0.7] * 9) == pytest.approx((0.7, 0.7))


def test_no_values_have_no_interval() -> None:
    with pytest.raises(ValueError, match="no values"):
        bootstrap_interval([])


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)


@pytest.mark.parametrize(
    ("found", "answers", "at", "recall", "is_answered"),
    [
        ([A, B], [A], 1, 1.0, True),
        ([B, A], [A], 1, 0.0, False),
        ([B, A], [A], 2, 1.0, True),
        ([A, C], [A, B], 2, 0.5, True),
        ([A], [A, B, C], 1, 1.0, True),
        ([], [A], 5, 0.0, False),
    ],
)
def test_recall_is_the_share_of_answers_that_were_found_in_time(
    found: list[Name], answers: list[Name], at: int, recall: float, *, is_answered: bool
) -> None:
    asked = Asked("what?", answers, found)

    assert (asked.recall(at), asked.is_answered(at)) == (recall, is_answered)


@pytest.mark.parametrize("examples", ExampleSet)
def test_every_answer_of_the_examples_is_among_the_memories(examples: ExampleSet) -> None:
    memories = example_memories(example(examples.memories), "bench/recall")

    names = {
        Name(None, None, None, UUID(memory["memory_id"]))
        if "memory_id" in memory
        else Name(
            memory["namespace"].removeprefix("bench/recall/"),
            memory.get("key"),
            tuple(memory["coordinate"]) if "coordinate" in memory else None,
            None,
        )
        for memory in memories
    }
    answers = {
        answer for question in read_questions(example(examples.questions)) for answer in question.answers
    }
    assert answers <= names


def test_own_questions_are_asked_about_what_is_there_and_nothing_is_stored(
    soma: Soma, api: CannedApi, tmp_path: Path
) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text(
        json.dumps({"question": "tea?", "answers": [{"namespace": "team/notes", "key": "a"}]})
        + "\n"
        + json.dumps(
            {"question": "cake?", "namespace_prefix": "team", "answers": [{"memory_id": str(UUID(int=9))}]}
        )
    )
    for _ in range(6):
        api.answers(a_search_answer())

    ran = soma(
        "bench", "recall", "--questions", str(file), "--json",
        environment={"SOMA_URL": api.url, "SOMA_API_KEY": "k"},
    )  # fmt: skip

    assert ran.code == 0, ran.err
    figures = json.loads(ran.out)
    assert figures["questions"] == 2
    assert figures["modes"][0]["recall_at_10_interval"] == [0.0, 0.0]
    assert figures["unanswered"] == ["tea?", "cake?"]
    assert [asked.body["filter"] for asked in api.asked] == [{}, {"namespace_prefix": "team"}] * 3


def test_a_file_that_holds_no_questions_is_misuse(soma: Soma, tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    file.write_text('{"question": "tea?", "answers": []}\n')

    ran = soma("bench", "recall", "--questions", str(file))

    assert ran.code == 2
    assert "line 1 of" in ran.err


def test_a_copy_never_has_the_id_of_its_original(tmp_path: Path) -> None:
    original = UUID("019cfbf4-0800-7c17-b5b5-509f6a77f111")
    file = tmp_path / "memories.jsonl"
    file.write_text(json.dumps({"namespace": "team", "memory_id": str(original), "text": "a seal"}) + "\n")

    (copy,) = example_memories(file, "bench/recall")

    assert copy["memory_id"] == str(copied_id(original)) != str(original)
    assert copy["namespace"] == "bench/recall/team"


def test_made_up_memories_are_the_same_each_time() -> None:
    examples = [{"text": "Tea at four. Cake at five. Nobody at six."}]

    some, again = (list(made_up_memories(examples, count, "bench")) for count in (3, 5))

    assert again[:3] == some
    assert {memory["key"] for memory in again} == {"0", "1", "2", "3", "4"}


def test_a_search_benchmark_stores_nothing_when_enough_is_there(soma: Soma, api: CannedApi) -> None:
    api.answers({"namespaces": [{"namespace": "bench/search", "memories": 10}], "truncated": False})
    for _ in range(3):
        api.answers(a_search_answer())
    api.answers({"namespaces": [{"namespace": "bench/search", "memories": 10}], "truncated": False})

    ran = soma(
        "bench", "search", "--memories", "10", "-n", "3", "--json",
        environment={"SOMA_URL": api.url, "SOMA_API_KEY": "k"},
    )  # fmt: skip

    assert ran.code == 0, ran.err
    figures = json.loads(ran.out)
    assert (figures["count"], figures["memories"]) == (3, 10)
    assert [row["count"] for row in figures["by_filter"]] == [1, 1, 1]
    assert max(row["max_seconds"] for row in figures["by_filter"]) == figures["max_seconds"]
    assert {asked.path for asked in api.asked} == {"/v1/namespaces", "/v1/search"}
    assert [asked.body["filter"] for asked in api.asked if asked.method == "POST"] == [
        {"namespace_prefix": "bench/search"},
        {"namespace_prefix": "bench/search/3"},
        {"namespace_prefix": "bench/search", "tags": ["tag-5"]},
    ]


def test_a_store_that_nobody_can_find_in_time_ends_the_benchmark(soma: Soma, api: CannedApi) -> None:
    written = {
        "event_id": str(UUID(int=1)),
        "memory_id": str(UUID(int=2)),
        "position": "0:0",
        "version": 1,
        "outcome": None,
        "reason": None,
        "status_url": "/v1/writes/0:0",
    }
    api.answers(written, 202)

    ran = soma("bench", "latency", "-n", "1", environment={"SOMA_URL": api.url, "SOMA_API_KEY": "k"})

    assert (ran.code, ran.out) == (1, "")
    assert "error: a memory was not searchable after 30 s" in ran.err
