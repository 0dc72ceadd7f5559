"""A Qdrant server's collection: how both sides connect to it, and how the writing side makes it."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from qdrant_client import AsyncQdrantClient, models

from soma_schemas.errors import MismatchError
from soma_schemas.settings import VectorSettings
from soma_schemas.vectors.collection import PAYLOAD_INDEXES, REINDEX_REMEDY, Collection, FieldType
from soma_schemas.vectors.errors import IndexUnavailableError
from soma_schemas.vectors.points import DENSE, SPARSE

_INDEXES: dict[FieldType, models.PayloadSchemaType | models.KeywordIndexParams] = {
    FieldType.TENANT_KEY: models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True),
    FieldType.KEYWORD: models.PayloadSchemaType.KEYWORD,
    FieldType.INTEGER: models.PayloadSchemaType.INTEGER,
    FieldType.FLOAT: models.PayloadSchemaType.FLOAT,
}


@asynccontextmanager
async def open_client(settings: VectorSettings) -> AsyncIterator[AsyncQdrantClient]:
    """Hand out a client that speaks gRPC for points, and close it afterwards. Nothing is sent yet.

    Over HTTP the client turns the integer bounds of a range into numbers that the server misreads.
    """
    client = AsyncQdrantClient(
        url=settings.url,
        grpc_port=settings.grpc_port,
        prefer_grpc=True,
        api_key=settings.api_key.get_secret_value() if settings.api_key is not None else None,
        timeout=max(1, math.ceil(settings.timeout.total_seconds())),
        check_compatibility=False,  # it would ask the server inside the constructor
    )
    try:
        yield client
    finally:
        await client.close()


async def ensure_collection(client: AsyncQdrantClient, declared: Collection) -> None:
    """Make the collection and its alias unless they are there. Several may do so at once.

    Raises:
        MismatchError: It is there, and not as declared.
    """
    if not await client.collection_exists(declared.alias):
        await create_collection(client, declared, declared.name())
        await switch_alias(client, declared.alias, declared.name())
    await check_collection(client, declared)


async def create_collection(client: AsyncQdrantClient, declared: Collection, name: str) -> None:
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
            )
        except Exception:
            # Another worker that started at the same moment may have been first.
            if not await client.collection_exists(name):
                raise
    for field, field_type in PAYLOAD_INDEXES.items():
        await client.create_payload_index(name, field, field_schema=_INDEXES[field_type])


async def switch_alias(client: AsyncQdrantClient, alias: str, name: str) -> None:
    """Point the alias at a collection in one step; readers never see a gap."""
    # One overwriting call: deleting and creating in one request is no transaction.
    await client.update_collection_aliases(
        [models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=name, alias_name=alias))]
    )


async def check_collection(client: AsyncQdrantClient, declared: Collection) -> None:
    """Make sure that the collection behind the alias is as declared.

    Raises:
        IndexUnavailableError: There is none yet.
        MismatchError: It is not as declared.
    """
    if not await client.collection_exists(declared.alias):
        raise IndexUnavailableError(
            f"there is no collection `{declared.alias}` yet",
            remedy="Start the vector worker (`soma work vectors`): it makes the collection.",
        )
    config = (await client.get_collection(declared.alias)).config
    declared.check(Collection.recorded(declared.alias, config.metadata))
    dense = config.params.vectors
    sparse = config.params.sparse_vectors or {}
    if (
        not isinstance(dense, dict)
        or DENSE not in dense
        or dense[DENSE].size != declared.dimensions
        or dense[DENSE].distance != models.Distance.COSINE
        or SPARSE not in sparse
        or sparse[SPARSE].modifier != models.Modifier.IDF
    ):
        raise MismatchError(
            f"the vectors of collection `{declared.alias}` are not laid out as declared",
            remedy=REINDEX_REMEDY,
        )
