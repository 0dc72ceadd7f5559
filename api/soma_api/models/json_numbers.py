"""One spelling for the numbers of a payload, whichever store answers.

PostgreSQL keeps a decimal value and spells it out, 1e30 with thirty zeros; the vector index keeps the text as
it was published.
"""

import re
from decimal import Decimal

# The longest 64-bit integer with its sign is not longer.
_SPELT_OUT = 21
_UNUSUAL = re.compile(rf"[0-9][eE]|-0|[0-9.]{{{_SPELT_OUT + 1}}}")
_STRING_OR_NUMBER = re.compile(r'"(?:[^"\\]|\\.)*"|(-?[0-9][0-9.eE+-]*)')


def with_one_spelling(text: str) -> str:
    """Return JSON with each number spelt out, or, where that is long and it is no less, as a double is.

    Texts that differ only in how they spell numbers become one, up to zeros at the end of a fraction, which
    both stores keep.
    """
    if _UNUSUAL.search(text) is None:
        return text
    return _STRING_OR_NUMBER.sub(lambda found: _spelt(found[1]) if found[1] else found[0], text)


def _spelt(literal: str) -> str:
    value = Decimal(literal)
    out = f"{value or abs(value):f}"
    if len(out) <= _SPELT_OUT:
        return out
    short = repr(float(value))
    return short if Decimal(short) == value else out
