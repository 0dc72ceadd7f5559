"""What says a phrase, an exact text or a substring, and what does not."""

import time
import unicodedata

import pytest

from soma_api.queries.vectors.wording import Match, says


@pytest.mark.parametrize(
    ("phrase", "text", "said"),
    [
        ("blue kettle", "The Blue, kettle sings.", True),
        ("blue kettle", "The kettle is blue.", False),
        ("blue kettle", "A blue old kettle.", False),
        ("blue kettle", "Two blue kettles.", False),
        ("kettle", "teakettle", False),
        ("kettle", "kettle_lid", True),
        ("the blue", "under the blue", True),
        ("blue kettle blue", "blue kettle blue kettle", True),
        ("don't", "Don't!", True),
        ("cafe\u0301", "cafe\u0301 au lait", True),
        ("caf\u00e9", "cafe\u0301 au lait", True),
        ("cafe", "caf\u00e9", False),
        ("stra\u00dfe", "STRASSE 7", True),
        ("\u4eac\u90fd", "\u6771\u4eac\u90fd", True),
        ("\u4eac\u90fd kettle", "\u6771\u4eac\u90fd kettles", False),
        ("\u0926\u0940", "\u0939\u093f\u0928\u094d\u0926\u0940", False),
        ("\u0939\u093f\u0928\u094d\u0926\u0940", "\u0939\u093f\u0928\u094d\u0926\u0940 \u0939\u0948", True),
        ("!?", "!?", False),
    ],
)
def test_a_phrase_is_its_words_in_their_order(phrase: str, text: str, *, said: bool) -> None:
    assert says(Match.PHRASE, phrase, case_sensitive=False)(text) is said


def test_capitals_make_a_difference_where_that_is_asked_for() -> None:
    for match in (Match.PHRASE, Match.EXACT, Match.SUBSTRING):
        sensitive = says(match, "Blue Kettle", case_sensitive=True)
        assert (sensitive("Blue Kettle"), sensitive("blue kettle")) == (True, False)
        assert says(match, "Blue Kettle", case_sensitive=False)("bLUE kETTLE")


def test_an_exact_text_is_the_whole_text() -> None:
    exact = says(Match.EXACT, "Caf\u00e9 at four.", case_sensitive=False)

    assert exact("caf\u00e9 AT four.")
    assert exact(unicodedata.normalize("NFD", "caf\u00e9 at four."))
    assert not exact("Caf\u00e9 at four")
    assert not exact("Caf\u00e9 at  four.")


@pytest.mark.parametrize(
    ("part", "text", "said"),
    [
        ("kettl", "Two blue Teakettles.", True),
        ("e k", "A blue kettle.", True),
        ("blue kettle", "A blue, kettle.", False),
        ("_lid.", "kettle_lid.png", True),
        ("kettle.", "kettles.", False),
        ("90%", "90% of it", True),
        (" ", "kettle", False),
        ("!?", "Really!?", True),
        ("\u4eac", "\u6771\u4eac\u90fd", True),
        ("caf\u00e9", "cafe\u0301s", True),
        ("cafe", "caf\u00e9", False),
        ("stra\u00dfe", "HAUPTSTRASSE 7", True),
    ],
)
def test_a_substring_is_its_characters_in_a_row(part: str, text: str, *, said: bool) -> None:
    assert says(Match.SUBSTRING, part, case_sensitive=False)(text) is said


def test_of_words_nothing_is_checked() -> None:
    assert says(Match.WORDS, "tea", case_sensitive=False)("coffee")


def test_what_repeats_itself_is_looked_through_once() -> None:
    phrase, text = "a " * 32_000 + "b", "a " * 32_768
    begin = time.process_time()

    assert not says(Match.PHRASE, phrase, case_sensitive=False)(text)
    assert not says(Match.SUBSTRING, phrase, case_sensitive=False)(text)

    assert time.process_time() - begin < 1.0
