"""Hits as the API answers them."""

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
}
_AN_ANSWER: JsonDict = {"hits": [_A_HIT], "exhaustive": None}


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

    score: float = Field(description="Greater is better; comparable within one answer only.")
    explanation: ExplanationView
    weak: bool | None = Field(
        description="Probably not about the question: none of its words is in the memory, or words were not "
        "asked for, and the cosine is below `SOMA_API__WEAK_BELOW`. null where that is not set for the model."
    )
    memory: MemoryView


_EXHAUSTIVE = (
    "Whether no better memory that says the phrase or the exact text was left out. false: there may be some, "
    "since none of its words is indexed, or more than 10,000 memories have one. null where words alone are "
    "compared."
)


class HitsView(BaseModel):
    """The best hits, best first, and whether the index has everything that they could be among."""

    model_config = ConfigDict(json_schema_extra={"examples": [_AN_ANSWER | {"index": A_COMPLETE_INDEX}]})

    hits: list[HitView]
    exhaustive: bool | None = Field(description=_EXHAUSTIVE)
    index: IndexView


class AnswerView(BaseModel):
    """What one search of several found, best first."""

    hits: list[HitView]
    exhaustive: bool | None = Field(description=_EXHAUSTIVE)


class AnswersView(BaseModel):
    """The answers in the order of the searches, and whether the index has everything."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"answers": [_AN_ANSWER], "index": A_COMPLETE_INDEX}]}
    )

    answers: list[AnswerView]
    index: IndexView
