"""The best points of the embedded engine under conditions: of all that meet them, or of the nearest."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import qdrant_edge as edge

from soma_cli.local.embedded_filters import Asked, Nearest

# What the score of a point loses that does not meet all conditions: more than any score is.
_UNMET = -1e9
_TO_THE_END = edge.Expression.Constant(_UNMET)


class Ranking(NamedTuple):
    """What points are ranked by.

    Attributes:
        query: The question.
        params: How it is asked.
        among_nearest: How it is asked for the nearest that are looked at.
        checks_all: Whether the engine checks conditions on every point before it scores any. Else it does on
            those that score among the best so far.
    """

    query: edge.Query
    params: edge.SearchParams | None
    among_nearest: edge.SearchParams | None
    checks_all: bool


def best_points(
    rankings: Mapping[str, Ranking],
    asked: Asked,
    limit: int,
    ask: Callable[[Sequence[edge.QueryRequest]], Sequence[list[edge.ScoredPoint]]],
) -> dict[str, list[edge.ScoredPoint]]:
    """Return the best points by each ranking, by its name.

    Where too few of the nearest meet the conditions, all points are asked.

    Args:
        rankings: At least one.
        asked: The conditions.
        limit: Most points of each.
        ask: Asks the engine.

    Raises:
        SearchTooCostlyError: Too few of the nearest do, and to ask all takes too long.
    """
    directly = {name: _directly(each, asked.where, limit) for name, each in rankings.items()}
    if asked.nearest is None:
        return dict(zip(rankings, ask(list(directly.values())), strict=True))
    requests = directly | {
        name: _among_nearest(each, asked.nearest, limit)
        for name, each in rankings.items()
        if each.checks_all or asked.refusal is not None
    }
    found = dict(zip(requests, ask(list(requests.values())), strict=True))
    again = []
    for name, request in requests.items():
        points = found[name]
        if request is not directly[name]:
            found[name] = [point for point in points if point.score > _UNMET / 2][:limit]
            # Fewer than were asked for: no point is left that was not looked at.
            if len(found[name]) < limit and len(points) == request.limit:
                again.append(name)
    if again:
        if asked.refusal is not None:
            raise asked.refusal
        found |= zip(again, ask([directly[name] for name in again]), strict=True)
    return found


def _directly(ranking: Ranking, where: edge.Filter, limit: int) -> edge.QueryRequest:
    return edge.QueryRequest(
        limit=limit,
        query=ranking.query,
        filter=where,
        with_payload=False,
        with_vector=False,
        params=ranking.params,
    )


def _among_nearest(ranking: Ranking, nearest: Nearest, limit: int) -> edge.QueryRequest:
    """Return the request for the nearest points, of which those that do not meet all conditions come last."""
    points = edge.Prefetch(
        limit=nearest.most, query=ranking.query, filter=nearest.labelled, params=ranking.among_nearest
    )
    unmet = edge.Expression.Mult([_TO_THE_END, edge.Expression.Condition(nearest.unmet)])
    return edge.QueryRequest(
        # All of them tell whether words have more points than were looked at; vectors always do.
        limit=limit if ranking.checks_all else nearest.most,
        prefetches=[points],
        query=edge.Formula(edge.Expression.Sum([edge.Expression.Variable("$score"), unmet])),
        with_payload=False,
        with_vector=False,
    )
