"""Which text of a memory is indexed, by the embedder and by BM25 alike."""

import re
from collections.abc import Sequence
from datetime import datetime

# Raise with any change below, or in bm25.py, segments.py, terms.py, numbers.py or payload.py: a collection
# is searched only as it was written.
INDEXING_VERSION = 6

# English whatever the locale: the words are part of the contract.
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_BETWEEN_WORDS = re.compile(r"[\W_]+")


def indexed_text(text: str, occurred_at: datetime, key: str | None, tags: Sequence[str]) -> str:
    """Return what is indexed: the day, the words of the key, the tags, then the text itself.

    What people ask for often stands in the name they gave a memory rather than in its text, and the day lets
    `in March` find something; docs/adr/0005 has the measurements.

    Args:
        text: The memory's text.
        occurred_at: In UTC.
        key: Only its words count: ids and numbers in it would be noise.
        tags: As they are.
    """
    day = f"{occurred_at.day} {_MONTHS[occurred_at.month - 1]} {occurred_at.year}"
    words = [word for word in _BETWEEN_WORDS.split(key or "") if len(word) > 1 and word.isalpha()]
    about = " ".join((*words, *tags))
    return f"{day}: {about}: {text}" if about else f"{day}: {text}"
