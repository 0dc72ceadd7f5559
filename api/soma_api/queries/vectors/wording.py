"""How a memory has to say what is asked: with some of the words, in these words, or with these characters."""

import re
import unicodedata
from collections.abc import Callable
from enum import StrEnum

from soma_schemas.vectors.segments import is_unspaced

# As BM25's tokenizer has it, an underscore divides words.
_BETWEEN_WORDS = re.compile(r"[\W_]+")

Says = Callable[[str], bool]


class Match(StrEnum):
    """How the words of a question are compared with a memory."""

    WORDS = "words"
    PHRASE = "phrase"
    EXACT = "exact"
    SUBSTRING = "substring"


def says(match: Match, asked: str, *, case_sensitive: bool) -> Says:
    """Return what tells whether a text says what is asked.

    Args:
        match: Of words nothing is checked: the index compares them. A phrase is its words, unstemmed, next to
            each other and in their order, whatever divides them. Exact is the whole text. A substring is any
            characters in a row of the text, blanks and punctuation among them.
        asked: The phrase, the text, or the substring.
        case_sensitive: Whether capitals make a difference.
    """
    match match:
        case Match.WORDS:
            return lambda _: True
        case Match.EXACT:
            whole = _folded(asked, case_sensitive=case_sensitive)
            return lambda text: _folded(text, case_sensitive=case_sensitive) == whole
        case Match.SUBSTRING:
            part = _folded(asked, case_sensitive=case_sensitive)
            return lambda text: part in _folded(text, case_sensitive=case_sensitive)
        case Match.PHRASE:
            phrase = _words(_folded(asked, case_sensitive=case_sensitive))
            if not phrase:
                return lambda _: False
            # In a script without spaces, a word begins and ends anywhere in what is written together.
            before = "" if is_unspaced(phrase[0]) else " "
            after = "" if is_unspaced(phrase[-1]) else " "
            wanted = f"{before}{phrase}{after}"
            return lambda text: wanted in f" {_words(_folded(text, case_sensitive=case_sensitive))} "


def _folded(text: str, *, case_sensitive: bool) -> str:
    composed = unicodedata.normalize("NFC", text)
    return composed if case_sensitive else composed.casefold()


def _words(text: str) -> str:
    """Return the words of a text with one blank between them."""
    if text.isascii():
        return _BETWEEN_WORDS.sub(" ", text).strip()
    return " ".join(_BETWEEN_WORDS.sub(_divided, text).split())


def _divided(between: re.Match[str]) -> str:
    # A mark belongs to the letter before it.
    return "".join(each if unicodedata.category(each).startswith("M") else " " for each in between[0])
