"""What questions find in two indexes, and how much of the one's answers the other gives."""

from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import NamedTuple
from uuid import UUID

from soma_api.queries.vectors.hybrid_search import Search, SearchRequest
from soma_api.queries.vectors.reader import PointReader
from soma_cli.reindexing.index_place import Answers
from soma_schemas.clock import SystemClock
from soma_schemas.languages import Language
from soma_schemas.retention import TenantPolicies
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.embedders import Embedder
from soma_streams.index_rebuild import SampledText

TOP = 10

# As long as questions that people ask.
_WORDS = 10

Policies = Callable[[str], Awaitable[TenantPolicies]]


class Question(NamedTuple):
    """A question.

    Attributes:
        source: The memory whose text it was taken from; None when somebody wrote it down.
    """

    tenant: str
    text: str
    source: UUID | None


class Recall(NamedTuple):
    """How the answers of two indexes compare.

    Attributes:
        questions: That found anything before.
        share: Of the memories found before, how many are found after.
        own_before: Share of the questions that found the memory they were taken from, before; None where
            they were taken from none.
        own_after: The same after.
    """

    questions: int
    share: float
    own_before: float | None
    own_after: float | None


def question_of(sampled: SampledText, random: Random) -> Question:
    """Return some words in a row of a text that was drawn, as a question of its tenant."""
    words = sampled.text.split()
    start = random.randrange(max(1, len(words) - _WORDS + 1))
    return Question(sampled.tenant, " ".join(words[start : start + _WORDS]), sampled.memory_id)


def answers_of(reader: PointReader, embedder: Embedder, language: Language, policies: Policies) -> Answers:
    """Return what asks an index as the API would."""
    search = Search(reader, embedder, Bm25Encoder(language), SystemClock())

    async def ask(tenant: str, text: str) -> Sequence[UUID]:
        asked = SearchRequest(tenant=tenant, policies=await policies(tenant), text=text, top_k=TOP)
        return [hit.memory.memory_id for hit in (await search(asked)).hits]

    return ask


async def compare(
    before: Answers, after: Answers, questions: Sequence[Question], asked: Callable[[int], None]
) -> Recall:
    """Ask both, and return how their answers compare.

    Args:
        before: Asks the index in use.
        after: Asks the one that was built.
        questions: What is asked.
        asked: Hears how many were.

    Raises:
        SomaError: An index or an embedder does not answer.
    """
    shares: list[float] = []
    own: list[tuple[bool, bool]] = []
    for number, each in enumerate(questions, 1):
        old = await before(each.tenant, each.text)
        new = await after(each.tenant, each.text)
        if old:
            shares.append(len(set(old) & set(new)) / len(old))
            if each.source is not None:
                own.append((each.source in old, each.source in new))
        asked(number)
    return Recall(
        questions=len(shares),
        share=_mean(shares) if shares else 1.0,
        own_before=_mean([there for there, _ in own]) if own else None,
        own_after=_mean([there for _, there in own]) if own else None,
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
