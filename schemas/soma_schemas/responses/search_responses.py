"""Hits as the API answers them."""

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from soma_schemas.memories import A_MEMORY, MemoryView
from soma_schemas.responses.health_responses import A_COMPLETE_INDEX, IndexView

_A_HIT: JsonDict = {
    "score": 1.74,
    "explanation": {
        "dense": 0.61,
        "bm25": 2.4,
        "dense_z_score": 1.62,
        "bm25_z_score": 1.86,
        "importance_boost": None,
        "recency_boost": None,
    },
    "weak": False,
    "memory": A_MEMORY,
    "version_at": None,
}
_AN_ANSWER: JsonDict = {"hits": [_A_HIT], "exhaustive": None, "at": None}


class ExplanationView(BaseModel):
    """What a score is made of."""

    dense: float | None = Field(
        description="Cosine between question and memory; null when it was not compared."
    )
    bm25: float | None = Field(description="How well the words match; null when none does.")
    dense_z_score: float | None = Field(
        description="How far `dense` lies above the mean of the candidates, in standard deviations. The "
        "score of a hybrid search is the mean of this and `bm25_z_score`; null in other searches."
    )
    bm25_z_score: float | None = Field(description="The same of `bm25`, which is 0 where no word matches.")
    importance_boost: float | None = Field(
        description="What `boost.importance` added to the score; null without a boost."
    )
    recency_boost: float | None = Field(
        description="What `boost.recency` added to the score; null without a boost."
    )


class HitView(BaseModel):
    """A memory that was found, and why."""

    score: float = Field(
        description="Greater is better; comparable within one answer only. 1 in a search for a substring, "
        "before boosts."
    )
    explanation: ExplanationView
    weak: bool | None = Field(
        description="Probably not about the question: none of its words is in the memory, or words were not "
        "asked for, and the cosine is below `SOMA_API__WEAK_BELOW`. null where that is not set for the model "
        "and in a search for a substring."
    )
    memory: MemoryView
    version_at: int | None = Field(
        description="Of a search `at` a time: the version that it had then, whose revision can be read; null "
        "where the history does not tell."
    )


_EXHAUSTIVE = (
    "Whether enough was looked through to know that no better memory is missing. What does not say the "
    "phrase, the exact text or the substring, was not there `at` the time, has faded or is being erased is "
    "taken out of at most 10,000 candidates of each kind. false: they were not enough, or no word of the "
    "query is indexed. null where nothing had to be taken out."
)
_AT = (
    "The time at which the memories had to be there. What they hold, their scores and their order are of "
    "now. null: now."
)


class HitsView(BaseModel):
    """The best hits, best first, and whether the index has everything that they could be among."""

    model_config = ConfigDict(json_schema_extra={"examples": [_AN_ANSWER | {"index": A_COMPLETE_INDEX}]})

    hits: list[HitView]
    exhaustive: bool | None = Field(description=_EXHAUSTIVE)
    at: datetime | None = Field(description=_AT)
    index: IndexView


class AnswerView(BaseModel):
    """What one search of several found, best first."""

    hits: list[HitView]
    exhaustive: bool | None = Field(description=_EXHAUSTIVE)
    at: datetime | None = Field(description=_AT)


class AnswersView(BaseModel):
    """The answers in the order of the searches, and whether the index has everything."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"answers": [_AN_ANSWER], "index": A_COMPLETE_INDEX}]}
    )

    answers: list[AnswerView]
    index: IndexView
