"""The guide to rebuilding the index, walked from top to bottom: its commands work, and show what it says."""

import json
import shlex
from pathlib import Path

import pytest

from pages import shows, steps
from soma_command import Soma
from soma_schemas.packaged_models import MINILM
from soma_up import soma_up
from waiting import eventually_now

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize(("page", "commands"), [("guides/rebuild.md", 5)])
def test_the_guide_works(at_home: Soma, page: str, commands: int) -> None:
    at_home("store", "The zebra crossing is closed.", "--namespace", "rebuilt", "--wait", "30")

    ran = []
    for step in steps((DOCS / page).read_text(encoding="utf-8")):
        if step.language != "console":
            continue
        output = at_home(*shlex.split(step.text)[1:])
        assert output.code == 0, (step.text, output)
        missing = [line for line in step.seen if not shows(line, output.out.splitlines())]
        assert missing == [], (step.text, output.out)
        found = at_home("search", "zebra crossing", "--namespace", "rebuilt", "--json")
        assert found.code == 0, (step.text, found)
        assert json.loads(found.out)["hits"][0]["memory"]["text"] == "The zebra crossing is closed."
        ran.append(step)
    assert len(ran) == commands


def test_of_what_excludes_each_other_one_is_enough(at_home: Soma) -> None:
    refused = at_home("reindex", "--status", "--drop")

    assert refused.code == 2
    assert "one is enough" in refused.err


def test_an_index_is_rebuilt_for_the_words_of_another_language(at_home: Soma) -> None:
    def found() -> list[str]:
        answer = at_home("search", "für das Haus", "-n", "fluss", "--mode", "keyword", "--json")
        assert answer.code == 0, answer.err
        return [hit["memory"]["text"] for hit in json.loads(answer.out)["hits"]]

    for text in ("Die Häuser am Fluss", "Ein Boot für den Fluss"):
        assert at_home("store", text, "-n", "fluss", "--wait", "30").code == 0
    in_english = found()
    german = at_home(
        "reindex", "--yes", "--accept-recall", "--json", environment={"SOMA_INDEX__LANGUAGE": "german"}
    )
    assert german.code == 0, german.err
    eventually_now(found, lambda texts: texts == ["Die Häuser am Fluss"])
    back = at_home("reindex", "--rollback", "--yes")
    assert back.code == 0, back.err
    eventually_now(found, lambda texts: texts == in_english)

    assert in_english == ["Ein Boot für den Fluss"]
    assert json.loads(german.out)["built"]["language"] == "german"
    dropped = json.loads(at_home("reindex", "--drop", "--json").out)["dropped"]
    built = json.loads(german.out)["built"]["name"]
    assert dropped == [built]
    acts = json.loads(at_home("audit", "--all", "--json").out)["entries"]
    of_indexes = [each for each in acts if each["action"].startswith("index.")][:3]
    assert [each["action"] for each in of_indexes] == ["index.drop", "index.rollback", "index.switch"]
    assert [each["subject"] == built for each in of_indexes] == [True, False, True]
    assert of_indexes[2]["details"]["language"] == "german"


def test_the_packaged_transformer_takes_over_by_its_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    soma = Soma(home, capfd)

    def found() -> list[str]:
        answer = soma("search", "a hot drink", "--mode", "vector", "--json")
        return [hit["memory"]["text"] for hit in json.loads(answer.out)["hits"]]

    with soma_up(home, {"SOMA_NEXT_EMBEDDER__MODEL": MINILM}):
        for text in ("Ada boils the kettle.", "The invoice was paid twice.", "The bus was late."):
            assert soma("store", text, "--wait", "30").code == 0
        rebuilt = soma(
            "reindex", "--yes", "--accept-recall", environment={"SOMA_NEXT_EMBEDDER__MODEL": MINILM}
        )
    with soma_up(home, {"SOMA_EMBEDDER__MODEL": MINILM}):
        status = soma("reindex", "--status", "--json")
        first = found()[0]

    assert rebuilt.code == 0, rebuilt.err
    assert json.loads(status.out)["current"]["model"] == MINILM
    assert first == "Ada boils the kettle."
