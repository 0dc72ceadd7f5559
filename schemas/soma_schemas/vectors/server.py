"""A Qdrant server's collection: how both sides connect to it, and how the writing side makes it."""

import math
import warnings
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import structlog
from qdrant_client import AsyncQdrantClient, models

from soma_schemas.errors import MismatchError
from soma_schemas.http_clients import stays_here
from soma_schemas.settings import GRPC_PORT, VectorSettings
from soma_schemas.vectors.collection import PAYLOAD_INDEXES, REINDEX_REMEDY, Collection, FieldType
from soma_schemas.vectors.placement import Placement
from soma_schemas.vectors.points import DENSE, SPARSE
from soma_schemas.vectors.server_errors import server_errors

log = structlog.get_logger(__name__)

_ANYWHERE = Placement()

_INDEXES: dict[FieldType, models.PayloadSchemaParams] = {
    FieldType.TENANT_KEY: models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
    FieldType.WORDS: models.TextIndexParams(
        type=models.TextIndexType.TEXT, tokenizer=models.TokenizerType.WHITESPACE, lowercase=False
    ),
    FieldType.INTEGER: models.IntegerIndexParams(
        type=models.IntegerIndexType.INTEGER, lookup=False, range=True
    ),
    FieldType.FLOAT: models.FloatIndexParams(type=models.FloatIndexType.FLOAT),
}

# gRPC by itself looks for a server that was away after up to two minutes, and for one that vanished without
# a word not at all.
_CHANNEL = {
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.min_reconnect_backoff_ms": 2000,  # how long one attempt may take
    "grpc.max_reconnect_backoff_ms": 1000,
    "grpc.dns_min_time_between_resolutions_ms": 1000,
    "grpc.keepalive_time_ms": 2000,
    "grpc.keepalive_timeout_ms": 3000,
    "grpc.http2.ping_timeout_ms": 3000,  # of pings that gRPC sends for reasons of its own: a minute otherwise
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.max_pings_without_data": 0,  # any number of them
}


@asynccontextmanager
async def open_client(settings: VectorSettings) -> AsyncIterator[AsyncQdrantClient]:
    """Hand out a client that speaks gRPC alone, and close it afterwards. Nothing is sent yet.

    Over HTTP the client turns the integer bounds of a range into numbers that the server misreads.

    Raises:
        OSError: The file of the authority cannot be read.
    """
    address = urlsplit(settings.url)
    if settings.api_key is not None and address.scheme == "http":
        log.warning("vectors_key_travels_unencrypted")
    options: dict[str, Any] = dict(_CHANNEL)
    if settings.ca_file is not None:
        options["root_certificates"] = settings.ca_file.read_bytes()
    if stays_here(settings.url):
        options["grpc.enable_http_proxy"] = 0
    with warnings.catch_warnings():
        # It warns of a key without TLS past the log, which has told that above.
        warnings.simplefilter("ignore", UserWarning)
        client = _client(settings, address.port or GRPC_PORT, options)
    try:
        yield client
    finally:
        await client.close()


def _client(settings: VectorSettings, port: int, options: Mapping[str, Any]) -> AsyncQdrantClient:
    return AsyncQdrantClient(
        url=settings.url,
        grpc_port=port,
        prefer_grpc=True,
        # Asked for at each request: a key may be replaced meanwhile. Qdrant takes keys as bearer tokens too.
        auth_token_provider=None if settings.api_key is None else settings.api_key.get_secret_value,
        timeout=max(1, math.ceil(settings.timeout.total_seconds())),
        grpc_options=dict(options),
        check_compatibility=False,  # it would ask the server inside the constructor, over HTTP
        trust_env=False,  # of its HTTP client, which is never used, and fails on proxies that it cannot use
    )


class Behind(NamedTuple):
    """What an alias leads to.

    Attributes:
        name: Of the collection itself.
        recorded: What its record says that it holds.
    """

    name: str
    recorded: Collection


async def behind(client: AsyncQdrantClient, alias: str) -> Behind | None:
    """Return what an alias leads to, or None where there is no such alias.

    Raises:
        MismatchError: The collection is not one of ours.
        IndexUnavailableError: The server does not answer.
        IndexServerError: It will not answer until an operator acts.
    """
    with server_errors():
        name = await _name_behind(client, alias)
        if name is None:
            return None
        config = (await client.get_collection(name)).config
    return Behind(name, Collection.recorded(alias, config.metadata))


def following_alias(alias: str) -> str:
    """Return the alias of a collection that is built to take the place of the one in use."""
    return f"{alias}--next"


def former_alias(alias: str) -> str:
    """Return the alias of the collection in whose place the one in use is."""
    return f"{alias}--former"


async def kept_beside(client: AsyncQdrantClient, alias: str) -> list[str]:
    """Return the names of the collections that are built or kept beside the one in use.

    Raises:
        IndexUnavailableError: The server does not answer.
        IndexServerError: It will not answer until an operator acts.
    """
    with server_errors():
        leads = {each.alias_name: each.collection_name for each in (await client.get_aliases()).aliases}
    named = {leads.get(following_alias(alias)), leads.get(former_alias(alias))}
    return sorted(each for each in named if each is not None and each != leads.get(alias))


async def _name_behind(client: AsyncQdrantClient, alias: str) -> str | None:
    aliases = (await client.get_aliases()).aliases
    return next((each.collection_name for each in aliases if each.alias_name == alias), None)


async def ensure_collection(
    client: AsyncQdrantClient, declared: Collection, placement: Placement = _ANYWHERE
) -> None:
    """Make the collection, alias and payload indexes unless they are there. Several may do so at once.

    One of an older indexing gives way to a new one, which is filled like one that was lost. One that lies on
    the nodes in another way than is set stays, and the log tells the difference.

    Raises:
        MismatchError: It is there, and not as declared.
        IndexUnavailableError: The server does not answer.
        IndexServerError: It will not answer until an operator acts.
    """
    with server_errors():
        if not await client.collection_exists(declared.alias):
            await create_collection(client, declared, declared.name(), placement)
            await switch_alias(client, declared.alias, declared.name())
        elif declared.supersedes(await _recorded(client, declared.alias)):
            await renew_collection(client, declared, keep_former=False, placement=placement)
        await check_collection(client, declared)
        if differences := await misplaced(client, declared.alias, placement):
            log.warning("collection_placed_otherwise", alias=declared.alias, differences=differences)
        await _index_payloads(client, declared.alias)


async def misplaced(client: AsyncQdrantClient, alias: str, placement: Placement) -> Sequence[str]:
    """Return where the collection behind an alias lies on the nodes in another way than is set.

    Raises:
        MismatchError: There is no such alias.
        IndexUnavailableError: The server does not answer.
        IndexServerError: It will not answer until an operator acts.
    """
    with server_errors():
        params = (await client.get_collection(alias)).config.params
    found = Placement(params.shard_number, params.replication_factor, params.write_consistency_factor)
    return placement.differences(found)


async def create_collection(
    client: AsyncQdrantClient, declared: Collection, name: str, placement: Placement = _ANYWHERE
) -> None:
    """Make a collection under its own name unless it is there; no reader sees it before its alias is set."""
    if not await client.collection_exists(name):
        try:
            await client.create_collection(
                name,
                vectors_config={
                    DENSE: models.VectorParams(size=declared.dimensions, distance=models.Distance.COSINE)
                },
                sparse_vectors_config={SPARSE: models.SparseVectorParams(modifier=models.Modifier.IDF)},
                metadata=declared.metadata(),
                shard_number=placement.shards,
                replication_factor=placement.replicas,
                write_consistency_factor=placement.write_consistency,
            )
        except Exception:
            # Another worker that started at the same moment may have been first.
            if not await client.collection_exists(name):
                raise
    await _index_payloads(client, name)


async def _index_payloads(client: AsyncQdrantClient, name: str) -> None:
    """Make the payload indexes that are missing: an interrupted start or an older release left some out."""
    there = (await client.get_collection(name)).payload_schema
    for field, field_type in PAYLOAD_INDEXES.items():
        if field not in there:
            await client.create_payload_index(name, field, field_schema=_INDEXES[field_type])


async def new_collection(
    client: AsyncQdrantClient, declared: Collection, placement: Placement = _ANYWHERE
) -> str:
    """Make an empty collection under a name of its own that nobody has, and return the name."""
    generation = 1
    while await client.collection_exists(declared.name(generation)):
        generation += 1
    await create_collection(client, declared, declared.name(generation), placement)
    return declared.name(generation)


async def renew_collection(
    client: AsyncQdrantClient,
    declared: Collection,
    *,
    keep_former: bool,
    placement: Placement = _ANYWHERE,
) -> None:
    """Put a new, empty collection behind the alias, and delete the one that was there.

    Args:
        client: Of the server.
        declared: What the new one is to be.
        keep_former: Do not delete: it may be another installation's.
        placement: How the new one lies on the nodes.

    Raises:
        IndexUnavailableError: The server does not answer.
        IndexServerError: It will not answer until an operator acts.
    """
    with server_errors():
        former = await _name_behind(client, declared.alias)
        name = await new_collection(client, declared, placement)
        await switch_alias(client, declared.alias, name)
        log.info("collection_renewed", alias=declared.alias, collection=name, former=former, kept=keep_former)
        if former is not None and not keep_former:
            await client.delete_collection(former)


async def switch_alias(client: AsyncQdrantClient, alias: str, name: str) -> None:
    """Point the alias at a collection in one step; readers never see a gap."""
    # One overwriting call: deleting and creating in one request is no transaction.
    await client.update_collection_aliases(
        [models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=name, alias_name=alias))]
    )


async def check_collection(client: AsyncQdrantClient, declared: Collection) -> None:
    """Make sure that the collection behind the alias is as declared.

    Raises:
        MismatchError: There is none, or it is not as declared.
        IndexUnavailableError: The server does not answer.
        IndexServerError: It will not answer until an operator acts.
    """
    with server_errors():
        config = (await client.get_collection(declared.alias)).config
    declared.check(Collection.recorded(declared.alias, config.metadata))
    expected, found = _layout(declared), _layout_of(config.params)
    if differences := [
        f"`{part}` is {found.get(part, 'missing')}, not {layout}"
        for part, layout in expected.items()
        if found.get(part) != layout
    ]:
        raise MismatchError(
            f"the vectors of collection `{declared.alias}` are not laid out as declared: "
            f"{' and '.join(differences)}",
            remedy=REINDEX_REMEDY,
        )


def _layout(declared: Collection) -> dict[str, str]:
    return {DENSE: f"{declared.dimensions} numbers by {models.Distance.COSINE.value}", SPARSE: "with rarity"}


def _layout_of(params: models.CollectionParams) -> dict[str, str]:
    dense = params.vectors if isinstance(params.vectors, dict) else {}
    sparse = params.sparse_vectors or {}
    return {name: f"{each.size} numbers by {each.distance.value}" for name, each in dense.items()} | {
        name: "with rarity" if each.modifier is models.Modifier.IDF else "without rarity"
        for name, each in sparse.items()
    }


async def _recorded(client: AsyncQdrantClient, alias: str) -> Collection:
    return Collection.recorded(alias, (await client.get_collection(alias)).config.metadata)
