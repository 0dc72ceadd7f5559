"""Walks over links: compared with all pairs of random graphs, and bounded in what they read."""

import asyncio
from collections.abc import Collection
from itertools import pairwise, product
from math import inf, isclose
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soma_api.link_walks import Cost, LinksRead, Path, neighbourhood, shortest_path
from soma_api.problems import PathTooCostlyError
from soma_api.queries.link_queries import Direction, Link, LinkOf

NODES = [UUID(int=number) for number in range(1, 9)]
WEIGHTS = st.sampled_from([0.0, 0.25, 1.0, 3.0])
GRAPHS = st.dictionaries(st.tuples(st.sampled_from(NODES), st.sampled_from(NODES)), WEIGHTS, max_size=24)
Graph = dict[tuple[UUID, UUID], float]


class Links:
    """Links of a graph in memory, and how often which memory was asked for."""

    def __init__(self, graph: Graph, direction: Direction) -> None:
        self._links = [Link(*ends, "about", weight) for ends, weight in graph.items()]
        self._direction = direction
        self.asked: list[UUID] = []

    async def __call__(self, memory_ids: Collection[UUID], most: int) -> LinksRead:
        self.asked += memory_ids
        found = []
        for near in memory_ids:
            for link in self._links:
                if self._direction is not Direction.IN and link.from_memory_id == near:
                    found.append(LinkOf(link, near, link.to_memory_id, "n"))
                elif self._direction is not Direction.OUT and link.to_memory_id == near:
                    found.append(LinkOf(link, near, link.from_memory_id, "n"))
        return LinksRead(len(found[:most]), found[:most])


def steps(graph: Graph, direction: Direction, cost: Cost) -> dict[tuple[UUID, UUID], float]:
    """How long the shortest step between two memories is."""
    found: dict[tuple[UUID, UUID], float] = {}
    for (start, end), weight in graph.items():
        length = {Cost.WEIGHT: weight, Cost.HOPS: 1.0, Cost.INVERSE_WEIGHT: 1 / weight if weight else inf}[
            cost
        ]
        for each in [(start, end)] * (direction is not Direction.IN) + [(end, start)] * (
            direction is not Direction.OUT
        ):
            found[each] = min(length, found.get(each, inf))
    return found


def distances(graph: Graph, direction: Direction, cost: Cost) -> dict[tuple[UUID, UUID], float]:
    """Floyd and Warshall's algorithm."""
    known = steps(graph, direction, cost)
    found = {
        (start, end): 0.0 if start == end else known.get((start, end), inf)
        for start, end in product(NODES, NODES)
    }
    for middle, start, end in product(NODES, NODES, NODES):
        found[start, end] = min(found[start, end], found[start, middle] + found[middle, end])
    return found


def walked(path: Path, direction: Direction, cost: Cost) -> float:
    """How long the path is, when each of its links leads from one of its memories to the next."""
    total = 0.0
    assert len(path.memory_ids) == len(path.links) + 1
    for here, there, link in zip(path.memory_ids, path.memory_ids[1:], path.links, strict=False):
        ends = (link.from_memory_id, link.to_memory_id)
        assert (direction is not Direction.IN and ends == (here, there)) or (
            direction is not Direction.OUT and ends == (there, here)
        )
        total += {Cost.WEIGHT: link.weight, Cost.HOPS: 1.0}.get(cost, 1 / link.weight if link.weight else inf)
    return total


@given(
    GRAPHS, st.sampled_from(NODES), st.sampled_from(NODES), st.sampled_from(Direction), st.sampled_from(Cost)
)
def test_the_shortest_path_is_as_long_as_no_other(
    graph: Graph, start: UUID, goal: UUID, direction: Direction, cost: Cost
) -> None:
    onward, backward = Links(graph, direction), Links(graph, direction.reversed)

    path = asyncio.run(shortest_path(start, goal, onward, backward, cost))

    shortest = distances(graph, direction, cost)[start, goal]
    if path is None:
        assert shortest == inf
    else:
        assert (path.memory_ids[0], path.memory_ids[-1]) == (start, goal)
        assert isclose(path.cost, shortest)
        assert isclose(walked(path, direction, cost), shortest)
    for side in (onward, backward):
        assert len(set(side.asked)) == len(side.asked), "the links of a memory are read once"


@given(GRAPHS, st.sampled_from(NODES), st.sampled_from(Direction), st.integers(1, 4))
def test_neighbours_are_all_that_are_within_reach_by_fewest_links(
    graph: Graph, start: UUID, direction: Direction, depth: int
) -> None:
    near = asyncio.run(neighbourhood(start, Links(graph, direction), depth=depth, limit=100))

    hops = distances(graph, direction, Cost.HOPS)
    within = {node: hops[start, node] for node in NODES if node != start and hops[start, node] <= depth}
    assert {each.memory_id: len(each.way) for each in near.reached} == within
    assert not near.truncated
    assert [len(each.way) for each in near.reached] == sorted(len(each.way) for each in near.reached)
    for each in near.reached:
        at = start
        for link in each.way:
            ends = {link.from_memory_id, link.to_memory_id}
            assert at in ends
            at = (ends - {at} or ends).pop()
        assert at == each.memory_id


def star(*weights: float) -> Graph:
    return {(NODES[0], NODES[1 + number]): weight for number, weight in enumerate(weights)}


def test_of_equally_near_ones_the_one_with_the_heavier_link_comes_first() -> None:
    near = asyncio.run(neighbourhood(NODES[0], Links(star(1.0, 3.0, 2.0), Direction.OUT), depth=1, limit=2))

    assert [each.memory_id for each in near.reached] == [NODES[2], NODES[3]]
    assert near.truncated


def test_as_many_as_the_limit_are_all() -> None:
    near = asyncio.run(neighbourhood(NODES[0], Links(star(1.0, 3.0, 2.0), Direction.OUT), depth=2, limit=3))

    assert (len(near.reached), near.truncated) == (3, False)


def test_a_walk_stops_at_what_it_may_read_and_says_so() -> None:
    links = Links(star(1.0, 3.0, 2.0), Direction.OUT)

    near = asyncio.run(neighbourhood(NODES[0], links, depth=3, limit=100, most_read=2))

    assert near.truncated
    assert links.asked == [NODES[0]]


def test_a_path_that_takes_too_much_reading_is_refused() -> None:
    chain = dict.fromkeys(pairwise(NODES), 1.0)

    def search(most_read: int) -> Path | None:
        ways = Links(chain, Direction.OUT), Links(chain, Direction.IN)
        return asyncio.run(shortest_path(NODES[0], NODES[-1], *ways, Cost.WEIGHT, most_read=most_read))

    path = search(7)
    assert path is not None
    assert path.memory_ids == NODES
    with pytest.raises(PathTooCostlyError):
        search(6)
