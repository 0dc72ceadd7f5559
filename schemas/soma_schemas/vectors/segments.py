"""Scripts that put no spaces between words, cut so that a part of a run of characters can be found."""

import re
import unicodedata
from itertools import pairwise

# Chinese and Japanese, Korean (whose particles stick to words), Thai, Lao, Myanmar and Khmer; marks included,
# so that a run goes on over them.
_RUN = re.compile(
    "["
    "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # Kana
    "\u3105-\u312f\u31a0-\u31bf"  # Bopomofo
    "\u1100-\u11ff\u3131-\u318e\ua960-\ua97c\uac00-\ud7ff\uffa0-\uffdc"  # Hangul
    "\u0e01-\u0e3a\u0e40-\u0e4e"  # Thai
    "\u0e81-\u0ebd\u0ec0-\u0ece\u0edc-\u0edf"  # Lao
    "\u1000-\u103f\u1050-\u108f\u109a-\u109f\ua9e0-\ua9ef\ua9fa-\ua9fe\uaa60-\uaa7f"  # Myanmar
    "\u1780-\u17d3\u17d7\u17dc\u17dd"  # Khmer
    "]+"
)


def is_unspaced(character: str) -> bool:
    """Say whether a character is of a script that puts no spaces between words."""
    return _RUN.match(character) is not None


def segmented_document(text: str) -> str:
    """Return a text with each run of such a script as its single characters and its pairs of neighbours."""
    return _segmented(text, singles=True)


def segmented_query(text: str) -> str:
    """Return a query with each such run as its pairs of neighbours; a lone character stands for itself."""
    return _segmented(text, singles=False)


def _segmented(text: str, *, singles: bool) -> str:
    if text.isascii():
        return text

    def cut(run: re.Match[str]) -> str:
        # Marks divide words to BM25's tokenizer; without them the characters around are neighbours.
        characters = [each for each in unicodedata.normalize("NFKC", run[0]) if each.isalpha()]
        pairs = [one + other for one, other in pairwise(characters)]
        return f" {' '.join([*characters, *pairs] if singles or not pairs else pairs)} "

    return _RUN.sub(cut, text)
