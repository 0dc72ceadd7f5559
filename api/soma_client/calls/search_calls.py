"""Calls that search."""

from collections.abc import Mapping, Sequence

from soma_client.call import Call, Moment, said
from soma_client.request_types import Boost, Context, MatchName, ModeName, Search, SearchFilter, Threshold
from soma_schemas.responses.search_responses import AnswersView, HitsView


def search(
    query: str | None = None,
    *,
    vector: Sequence[float] | None = None,
    mode: ModeName | None = None,
    top_k: int | None = None,
    filter: SearchFilter | None = None,  # noqa: A002  # as the API names it
    threshold: Threshold | None = None,
    boost: Boost | None = None,
    diversity: float | None = None,
    context: Context | None = None,
    match: MatchName | None = None,
    case_sensitive: bool | None = None,
    term_boosts: Mapping[str, float] | None = None,
    at: Moment | None = None,
) -> Call[HitsView]:
    """Search memories by meaning, by words, or by both.

    Args:
        query: Text to search for; needed, except for a vector search with a `vector`.
        vector: A vector of the index's model, instead of the embedded query.
        mode: `hybrid` unless given.
        top_k: Maximum number of hits; 10 unless given.
        filter: Which memories are considered.
        threshold: What the parts of a hit's score reach.
        boost: What is added to scores for importance and recency.
        diversity: How much hits are to differ from each other in meaning, 0 to 1.
        context: What the question is asked in the light of.
        match: How a memory has to say the query; `phrase` and `exact` go with mode `keyword`.
        case_sensitive: Whether capitals make a difference in a phrase or an exact text.
        term_boosts: How much words count, by term.
        at: Only what was there at this time, with a time zone; it is found and shown as it is now.
    """
    body = said(
        query=query,
        vector=vector,
        mode=mode,
        top_k=top_k,
        filter=filter,
        threshold=threshold,
        boost=boost,
        diversity=diversity,
        context=context,
        match=match,
        case_sensitive=case_sensitive,
        term_boosts=term_boosts,
        at=at,
    )
    return Call(
        "POST", "/v1/search", HitsView, body=body, reads=True, sees_writes=True, bounds_staleness=True
    )


def search_batch(searches: Sequence[Search]) -> Call[AnswersView]:
    """Search several times in one request; the answers have the order of the searches.

    Args:
        searches: As `search` takes them; at most 20.
    """
    body = {"searches": [said(**each) for each in searches]}
    return Call(
        "POST",
        "/v1/search:batch",
        AnswersView,
        body=body,
        reads=True,
        sees_writes=True,
        bounds_staleness=True,
    )
