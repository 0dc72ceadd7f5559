"""What is sent to a server survives the way through gRPC, which the contract suite's stand-in never takes."""

from typing import Any

from qdrant_client import models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc

from contract.vectors.build import A_MOMENT, a_memory_id, a_point, a_tombstone
from soma_api.queries.filter_shorthand import selection
from soma_api.queries.filter_terms import NumberRange
from soma_api.queries.vectors.conditions import conditions_of, of_tenant
from soma_api.queries.vectors.qdrant import _filter
from soma_schemas.versions import VERSION_LIMIT
from soma_streams.sinks.vectors.qdrant import _guard, _struct


def test_the_guard_compares_with_the_exact_version() -> None:
    points = [a_point(version=VERSION_LIMIT - 1), a_point(version=2**52 + 1)]

    guard = RestToGrpc.convert_filter(_guard(points, mends=False))

    bounds = [each.filter.must[1].field.range.lt for each in guard.should]
    assert bounds == [VERSION_LIMIT - 1, 2**52 + 1]
    ids = [each.filter.must[0].has_id.has_id[0].uuid for each in guard.should]
    assert ids == [str(point.id) for point in points]


def test_every_kind_of_condition_arrives_as_it_was() -> None:
    conditions = conditions_of(
        "acme",
        selection(
            namespace_prefix="team/åäö",
            memory_ids=[a_memory_id()],
            tags_any=["red", "round"],
            occurred_from=A_MOMENT,
            payload={"flag": True},
            payload_ranges={"size.mm": NumberRange(above=1, at_most=2)},
            coordinate_min=[0.1],
            coordinate_max=[0.2],
        ),
    )
    assert conditions is not None

    there_and_back = GrpcToRest.convert_filter(RestToGrpc.convert_filter(_filter(conditions)))

    assert _said(there_and_back) == _said(_filter(conditions))


def _said(value: models.Filter) -> Any:
    """What a filter says: gRPC has no difference between an absent list and an empty one."""

    def kept(item: Any) -> Any:
        match item:
            case dict():
                return {name: kept(each) for name, each in item.items() if each not in (None, [])}
            case list():
                return [kept(each) for each in item]
            case _:
                return item

    return kept(value.model_dump())


def test_the_scope_of_rarity_arrives_as_it_was() -> None:
    params = models.SearchParams(idf=models.IdfCorpusParams(corpus=_filter([of_tenant("acme")])))

    there_and_back = GrpcToRest.convert_search_params(RestToGrpc.convert_search_params(params))

    assert isinstance(there_and_back.idf, models.IdfCorpusParams)
    assert there_and_back.idf.corpus.must == _filter([of_tenant("acme")]).must


def test_points_arrive_with_their_payload_as_it_was() -> None:
    point = a_point(
        coordinate=(0.1, -7.0),
        tags=("a",),
        payload='{"n": 1.5, "s": "x"}',
        version=VERSION_LIMIT - 1,
        embedding=(0.1, 0.2),
        embedding_model="m",
    )

    for each in (point, a_tombstone()):
        sent = RestToGrpc.convert_point_struct(_struct(each))
        assert GrpcToRest.convert_payload(sent.payload) == each.payload
