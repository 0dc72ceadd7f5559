"""The guide to search and filters, walked from top to bottom."""

from pathlib import Path

from pages import walk
from soma_command import Soma

GUIDE = (Path(__file__).parents[3] / "docs/guides/search.md").read_text(encoding="utf-8")


def test_the_guide_works_as_written(at_home: Soma) -> None:
    walk(GUIDE, at_home)


def test_a_filter_that_is_wrong_is_refused_and_said_where(at_home: Soma) -> None:
    ran = at_home("list", "--filter", '{"importance": {"gte": "much"}}')

    assert ran.code == 1
    assert "/filter/importance/gte" in ran.err


def test_a_filter_that_is_no_object_is_misuse(at_home: Soma) -> None:
    ran = at_home("search", "tea", "--filter", "[]")

    assert ran.code == 2
    assert "the filter is not a JSON object" in ran.err
