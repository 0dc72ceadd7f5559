"""The models that come as packages, by name, and what is known of their vectors."""

from collections.abc import Mapping

WORDLLAMA = "wordllama-256"
# The weights are rounded to 8 bits: its vectors are near to those of the original, not equal.
MINILM = "minilm-l6-v2-int8"

DIMENSIONS: Mapping[str, int] = {WORDLLAMA: 256, MINILM: 384}
# A hit without a word in common and with a cosine below that is weak, as measured (docs/adr/0040 and 0086).
WEAK_BELOW: Mapping[str, float] = {WORDLLAMA: 0.25, MINILM: 0.3}
