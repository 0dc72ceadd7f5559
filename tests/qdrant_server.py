"""A stand-in for a Qdrant server: its gRPC interface over the embedded engine, with faults on demand."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import grpc
import qdrant_edge as edge
from qdrant_client import grpc as wire
from qdrant_client import models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc

_RECORD = "collection.json"
_ALIASES = "aliases.json"
_DISTANCES = {
    models.Distance.COSINE: edge.Distance.Cosine,
    models.Distance.DOT: edge.Distance.Dot,
    models.Distance.EUCLID: edge.Distance.Euclid,
}
_SCHEMA_TYPES = {
    edge.PayloadSchemaType.Keyword: wire.PayloadSchemaType.Keyword,
    edge.PayloadSchemaType.Text: wire.PayloadSchemaType.Text,
    edge.PayloadSchemaType.Integer: wire.PayloadSchemaType.Integer,
    edge.PayloadSchemaType.Float: wire.PayloadSchemaType.Float,
}


class _RefusedError(Exception):
    """Answered as a status of gRPC."""

    def __init__(self, status: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.status = status


class Faults:
    """What is wrong with a server at the moment.

    Attributes:
        api_key: What a client must show; None lets everybody in.
        former_key: What it may show too, while keys are replaced.
        statuses: The status that a method answers with, by its name (`Upsert`), or every method by `*`.
        torn: How an upsert ends of which only the first half was applied; None applies it whole.
        answering: Cleared, no call is answered.
        calls: The names of all calls that came, in order.
    """

    def __init__(self, api_key: str | None = None) -> None:
        self.api_key = api_key
        self.former_key: str | None = None
        self.statuses: dict[str, grpc.StatusCode] = {}
        self.torn: grpc.StatusCode | None = None
        self.answering = asyncio.Event()
        self.answering.set()
        self.calls: list[str] = []


class QdrantServer:
    """Collections in a folder, served over gRPC for as long as it is started.

    Args:
        folder: Holds the collections; they survive `stop`, and the death of the process.
        host: The address to listen at.
        port: Where to listen; 0 takes a free one, and keeps it.
        api_key: What clients must show.
        tls: Key and certificate, in PEM.
        indexing_threshold_kb: From which size of a segment `optimize` builds its graph; None is the engine's.
    """

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        api_key: str | None = None,
        tls: tuple[bytes, bytes] | None = None,
        indexing_threshold_kb: int | None = None,
    ) -> None:
        self.faults = Faults(api_key)
        self.port = port
        self._host = host
        self._folder = folder
        self._tls = tls
        self._optimizers = edge.EdgeOptimizersConfig(indexing_threshold=indexing_threshold_kb)
        self._server: grpc.aio.Server | None = None
        self._collections: dict[str, _Collection] = {}
        self._aliases: dict[str, str] = {}

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Open what is in the folder, and listen."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for record in self._folder.glob(f"*/{_RECORD}"):
            self._collections[record.parent.name] = _Collection.load(record.parent, self._optimizers)
        with suppress(FileNotFoundError):
            self._aliases = json.loads((self._folder / _ALIASES).read_text())
        # A client may ask whether it is still there as often as it likes, as it may with the real one.
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.http2.min_ping_interval_without_data_ms", 1),
            ("grpc.http2.max_ping_strikes", 0),
            ("grpc.so_reuseport", 0),
        ]
        server = grpc.aio.server(interceptors=[_FaultsFirst(self.faults)], options=options)
        services: Any = wire  # the generated ones say nothing of types
        services.add_CollectionsServicer_to_server(_Collections(self), server)
        services.add_PointsServicer_to_server(_Points(self), server)
        services.add_QdrantServicer_to_server(_Health(), server)
        address = f"{self._host}:{self.port}"
        if self._tls is None:
            self.port = server.add_insecure_port(address)
        else:
            self.port = server.add_secure_port(address, grpc.ssl_server_credentials([self._tls]))
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Go away in the middle of whatever is asked; `start` brings it back to the same port."""
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None
        for collection in self._collections.values():
            collection.shard.close()
        self._collections.clear()
        self._aliases.clear()

    async def wipe(self) -> None:
        """Lose everything, and come back."""
        await self.stop()
        shutil.rmtree(self._folder)
        await self.start()

    def shard(self, name: str) -> edge.EdgeShard:
        """The engine behind a collection or an alias."""
        return self.collection(name).shard

    def collection(self, name: str) -> "_Collection":
        """What is behind a name."""
        found = self._collections.get(self._aliases.get(name, name))
        if found is None:
            raise _RefusedError(grpc.StatusCode.NOT_FOUND, f"Not found: Collection `{name}` doesn't exist!")
        return found

    def names(self) -> list[str]:
        """The names of all collections."""
        return sorted(self._collections)

    @property
    def aliases(self) -> dict[str, str]:
        """The collection behind each alias."""
        return self._aliases

    def has(self, name: str) -> bool:
        """Whether a collection or alias is there."""
        return self._aliases.get(name, name) in self._collections

    def create(self, request: wire.CreateCollection) -> None:
        """Make a collection."""
        name = request.collection_name
        if self.has(name):
            raise _RefusedError(grpc.StatusCode.ALREADY_EXISTS, f"Collection `{name}` already exists!")
        self._collections[name] = _Collection.make(self._folder / name, request, self._optimizers)

    def drop(self, name: str) -> bool:
        """Delete a collection and the aliases that lead to it; False when it is not there."""
        found = self._collections.pop(name, None)
        if found is None:
            return False
        found.shard.close()
        shutil.rmtree(self._folder / name)
        self._set_aliases({alias: of for alias, of in self._aliases.items() if of != name})
        return True

    def change_aliases(self, actions: Any) -> None:
        """Create and delete aliases."""
        changed = dict(self._aliases)
        for action in actions:
            if action.HasField("create_alias"):
                self.collection(action.create_alias.collection_name)
                changed[action.create_alias.alias_name] = action.create_alias.collection_name
            elif action.HasField("delete_alias"):
                changed.pop(action.delete_alias.alias_name, None)
        self._set_aliases(changed)

    def _set_aliases(self, aliases: dict[str, str]) -> None:
        fresh = self._folder / "aliases.new"
        fresh.write_text(json.dumps(aliases))
        fresh.rename(self._folder / _ALIASES)
        self._aliases = aliases


@asynccontextmanager
async def qdrant_server(folder: Path, **options: Any) -> AsyncIterator[QdrantServer]:
    """A server that runs, and is gone afterwards."""
    server = QdrantServer(folder, **options)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


class _Collection:
    """One collection: the engine, and how it was asked for."""

    def __init__(self, shard: edge.EdgeShard, request: wire.CreateCollection) -> None:
        self.shard = shard
        self._request = request

    @classmethod
    def make(
        cls, folder: Path, request: wire.CreateCollection, optimizers: edge.EdgeOptimizersConfig
    ) -> Self:
        """Make it."""
        shutil.rmtree(folder, ignore_errors=True)  # half made by a process that was killed
        shard = edge.EdgeShard.create(str(folder), _edge_config(request, optimizers))
        (folder / _RECORD).write_bytes(request.SerializeToString())
        return cls(shard, request)

    @classmethod
    def load(cls, folder: Path, optimizers: edge.EdgeOptimizersConfig) -> Self:
        """Open it again."""
        request = wire.CreateCollection.FromString((folder / _RECORD).read_bytes())
        return cls(edge.EdgeShard.load(str(folder), _edge_config(request, optimizers)), request)

    def info(self) -> wire.CollectionInfo:
        """What a client is told about it."""
        info = self.shard.info()
        return wire.CollectionInfo(
            status=wire.CollectionStatus.Green,
            optimizer_status=wire.OptimizerStatus(ok=True),
            segments_count=info.segments_count,
            points_count=info.points_count,
            indexed_vectors_count=info.indexed_vectors_count,
            config=wire.CollectionConfig(
                params=wire.CollectionParams(
                    shard_number=self._request.shard_number or 1,
                    replication_factor=self._request.replication_factor or 1,
                    write_consistency_factor=self._request.write_consistency_factor or 1,
                    vectors_config=self._request.vectors_config,
                    sparse_vectors_config=self._request.sparse_vectors_config,
                ),
                hnsw_config=wire.HnswConfigDiff(m=16, ef_construct=100, full_scan_threshold=10_000),
                optimizer_config=wire.OptimizersConfigDiff(
                    deleted_threshold=0.2,
                    vacuum_min_vector_number=1000,
                    default_segment_number=0,
                    flush_interval_sec=5,
                ),
                wal_config=wire.WalConfigDiff(wal_capacity_mb=32, wal_segments_ahead=0),
                metadata=dict(self._request.metadata),
            ),
            payload_schema={
                name: wire.PayloadSchemaInfo(data_type=_SCHEMA_TYPES[each.data_type], points=each.points)
                for name, each in info.payload_schema.items()
            },
        )


def _edge_config(request: wire.CreateCollection, optimizers: edge.EdgeOptimizersConfig) -> edge.EdgeConfig:
    vectors: Any = GrpcToRest.convert_vectors_config(request.vectors_config)
    sparse = GrpcToRest.convert_sparse_vector_config(request.sparse_vectors_config)
    return edge.EdgeConfig(
        vectors={
            name: edge.EdgeVectorParams(params.size, _DISTANCES[params.distance])
            for name, params in vectors.items()
        },
        sparse_vectors={
            name: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf if params.modifier else None)
            for name, params in sparse.items()
        },
        optimizers=optimizers,
        wal_enabled=True,
    )


class _FaultsFirst(grpc.aio.ServerInterceptor):
    """Looks at what is wrong before any call is answered."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        """Answer, or refuse, or wait."""
        faults, handler = self._faults, await continuation(details)
        method = details.method.rpartition("/")[2]
        # The real one takes a key under either name.
        metadata = dict(details.invocation_metadata or ())
        shown = metadata.get("api-key") or str(metadata.get("authorization", "")).removeprefix("Bearer ")

        async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            faults.calls.append(method)
            await faults.answering.wait()
            if faults.api_key is not None and shown not in {faults.api_key, faults.former_key}:
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, "Invalid API key or JWT")
            status = faults.statuses.get(method) or faults.statuses.get("*")
            if status is not None:
                await context.abort(status, f"{method} fails on demand")
            if method == "Upsert" and faults.torn is not None:
                del request.points[len(request.points) // 2 :]
                await handler.unary_unary(request, context)
                await context.abort(faults.torn, "half of it is written")
            try:
                with _engine_errors_as_statuses():
                    return await handler.unary_unary(request, context)
            except _RefusedError as refused:
                await context.abort(refused.status, str(refused))

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


@contextmanager
def _engine_errors_as_statuses() -> Iterator[None]:
    """Call wrong input what the server calls so; the engine has one class for everything."""
    try:
        yield
    except Exception as error:
        if type(error) is not Exception:
            raise
        raise _RefusedError(grpc.StatusCode.INVALID_ARGUMENT, f"Wrong input: {error}") from error


class _Health(wire.QdrantServicer):
    async def HealthCheck(self, request: Any, context: Any) -> Any:  # noqa: N802  # the service spells it so
        del request, context
        return wire.HealthCheckReply(title="stand-in", version="1.19.0")


class _Collections(wire.CollectionsServicer):
    def __init__(self, server: QdrantServer) -> None:
        self._server = server

    async def CollectionExists(self, request: Any, context: Any) -> Any:  # noqa: N802
        del context
        exists = self._server.has(request.collection_name)
        return wire.CollectionExistsResponse(result=wire.CollectionExists(exists=exists))

    async def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        del context
        info = self._server.collection(request.collection_name).info()
        return wire.GetCollectionInfoResponse(result=info)

    async def List(self, request: Any, context: Any) -> Any:  # noqa: N802
        del request, context
        names = self._server.names()
        return wire.ListCollectionsResponse(
            collections=[wire.CollectionDescription(name=name) for name in names]
        )

    async def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        del context
        self._server.create(request)
        return wire.CollectionOperationResponse(result=True)

    async def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        del context
        return wire.CollectionOperationResponse(result=self._server.drop(request.collection_name))

    async def ListAliases(self, request: Any, context: Any) -> Any:  # noqa: N802
        del request, context
        return wire.ListAliasesResponse(
            aliases=[
                wire.AliasDescription(alias_name=alias, collection_name=name)
                for alias, name in self._server.aliases.items()
            ]
        )

    async def UpdateAliases(self, request: Any, context: Any) -> Any:  # noqa: N802
        del context
        self._server.change_aliases(request.actions)
        return wire.CollectionOperationResponse(result=True)


class _Points(wire.PointsServicer):
    def __init__(self, server: QdrantServer) -> None:
        self._server = server

    async def CreateFieldIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        del context
        schema = _index_of(request)
        return self._updated(request, edge.UpdateOperation.create_field_index(request.field_name, schema))

    async def DeleteFieldIndex(self, request: Any, context: Any) -> Any:  # noqa: N802
        del context
        return self._updated(request, edge.UpdateOperation.delete_field_index(request.field_name))

    async def Upsert(self, request: Any, context: Any) -> Any:  # noqa: N802
        del context
        points = [_edge_point(GrpcToRest.convert_point_struct(each)) for each in request.points]
        guard = _edge_filter(request.update_filter) if request.HasField("update_filter") else None
        return self._updated(request, edge.UpdateOperation.upsert_points(points, condition=guard))

    async def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        del context
        if request.points.HasField("filter"):
            where = _edge_filter(request.points.filter)
            return self._updated(request, edge.UpdateOperation.delete_points_by_filter(where))
        ids = [_edge_id(GrpcToRest.convert_point_id(each)) for each in request.points.points.ids]
        return self._updated(request, edge.UpdateOperation.delete_points(ids))

    async def Get(self, request: Any, context: Any) -> Any:  # noqa: N802
        del context
        records = self._server.shard(request.collection_name).retrieve(
            [_edge_id(GrpcToRest.convert_point_id(each)) for each in request.ids],
            with_payload=_with_payload(request),
            with_vector=request.with_vectors.enable,
        )
        return wire.GetResponse(result=[_retrieved(each) for each in records])

    async def Scroll(self, request: Any, context: Any) -> Any:  # noqa: N802
        del context
        records, offset = self._server.shard(request.collection_name).scroll(
            edge.ScrollRequest(
                offset=_edge_id(GrpcToRest.convert_point_id(request.offset))
                if request.HasField("offset")
                else None,
                limit=request.limit,
                filter=_edge_filter(request.filter) if request.HasField("filter") else None,
                with_payload=_with_payload(request),
                with_vector=list(request.with_vectors.include.names) or request.with_vectors.enable,
                order_by=_edge_order(request.order_by) if request.HasField("order_by") else None,
            )
        )
        following = RestToGrpc.convert_extended_point_id(str(offset)) if offset is not None else None
        return wire.ScrollResponse(result=[_retrieved(each) for each in records], next_page_offset=following)

    async def Count(self, request: Any, context: Any) -> Any:  # noqa: N802
        del context
        where = _edge_filter(request.filter) if request.HasField("filter") else None
        counted = self._server.shard(request.collection_name).count(
            edge.CountRequest(filter=where, exact=True)
        )
        return wire.CountResponse(result=wire.CountResult(count=counted))

    async def QueryBatch(self, request: Any, context: Any) -> Any:  # noqa: N802
        del context
        queries = [_edge_query(GrpcToRest.convert_query_points(each)) for each in request.query_points]
        answers = self._server.shard(request.collection_name).query_batch(edge.QueryBatchRequest(queries))
        return wire.QueryBatchResponse(
            result=[wire.BatchResult(result=[_scored(each) for each in points]) for points in answers]
        )

    def _updated(self, request: Any, operation: edge.UpdateOperation) -> Any:
        self._server.shard(request.collection_name).update(operation)
        return wire.PointsOperationResponse(
            result=wire.UpdateResult(operation_id=0, status=wire.UpdateStatus.Completed)
        )


def _edge_id(point_id: Any) -> Any:
    return point_id if isinstance(point_id, int) else UUID(str(point_id))


def _edge_point(point: models.PointStruct) -> edge.Point:
    given: Any = point.vector or {}
    vectors = {
        name: edge.SparseVector(each.indices, each.values)
        if isinstance(each, models.SparseVector)
        else list(each)
        for name, each in given.items()
    }
    return edge.Point(_edge_id(point.id), vectors, point.payload or {})


def _edge_query(request: models.QueryRequest) -> edge.QueryRequest:
    if request.prefetch or not isinstance(request.query, models.NearestQuery):
        raise _RefusedError(grpc.StatusCode.UNIMPLEMENTED, "the stand-in answers queries of one vector")
    nearest: Any = request.query.nearest
    if isinstance(nearest, models.SparseVector):
        nearest = edge.SparseVector(nearest.indices, nearest.values)
    idf = request.params.idf if request.params is not None else None
    corpus = _edge_conditions(idf.corpus) if isinstance(idf, models.IdfCorpusParams) else None
    return edge.QueryRequest(
        limit=request.limit or 10,
        query=edge.Query.Nearest(nearest, using=request.using),
        filter=_edge_conditions(request.filter) if request.filter is not None else None,
        params=edge.SearchParams(
            hnsw_ef=request.params.hnsw_ef if request.params is not None else None,
            idf=edge.IdfParams(corpus=corpus) if corpus is not None else None,
        ),
        with_payload=False,
        with_vector=False,
    )


def _edge_order(order: Any) -> edge.OrderBy:
    wanted = GrpcToRest.convert_order_by(order)
    descending = wanted.direction is models.Direction.DESC
    return edge.OrderBy(wanted.key, edge.Direction.Desc if descending else edge.Direction.Asc)


def _edge_filter(where: Any) -> edge.Filter:
    return _edge_conditions(GrpcToRest.convert_filter(where))


def _edge_conditions(where: models.Filter) -> edge.Filter:
    def listed(conditions: Any) -> list[Any] | None:
        if conditions is None:
            return None
        return [_edge_condition(each) for each in conditions]

    return edge.Filter(must=listed(where.must), should=listed(where.should), must_not=listed(where.must_not))


def _index_of(request: Any) -> Any:
    params = request.field_index_params
    match params.WhichOneof("index_params"):
        case "keyword_index_params":
            return edge.KeywordIndexParams(is_tenant=params.keyword_index_params.is_tenant)
        case "text_index_params":
            if params.text_index_params.tokenizer != wire.TokenizerType.Whitespace:
                raise _RefusedError(grpc.StatusCode.UNIMPLEMENTED, "the stand-in parts words at spaces only")
            return edge.TextIndexParams(
                tokenizer=edge.TokenizerType.Whitespace, lowercase=params.text_index_params.lowercase
            )
        case "integer_index_params":
            integer = params.integer_index_params
            return edge.IntegerIndexParams(lookup=integer.lookup, range=integer.range)
        case "float_index_params":
            return edge.FloatIndexParams()
        case other:
            raise _RefusedError(grpc.StatusCode.UNIMPLEMENTED, f"the stand-in has no {other}")


def _edge_condition(condition: Any) -> Any:
    match condition:
        case models.Filter():
            return _edge_conditions(condition)
        case models.HasIdCondition(has_id=ids):
            return edge.HasIdCondition({_edge_id(each) for each in ids})
        case models.FieldCondition(key=key, match=models.MatchText(text=text)):
            return edge.FieldCondition(key, match=edge.MatchText(text))
        case models.FieldCondition(key=key, match=models.MatchTextAny(text_any=text)):
            return edge.FieldCondition(key, match=edge.MatchTextAny(text))
        case models.FieldCondition(key=key, range=models.Range(gte=gte, gt=gt, lte=lte, lt=lt)):
            return edge.FieldCondition(key, range=edge.RangeFloat(gte=gte, gt=gt, lte=lte, lt=lt))
        case _:
            raise _RefusedError(grpc.StatusCode.UNIMPLEMENTED, f"the stand-in has no {condition}")


def _with_payload(request: Any) -> bool | list[str]:
    selected = request.with_payload
    return list(selected.include.fields) if selected.HasField("include") else selected.enable


def _retrieved(record: edge.Record) -> Any:
    held: Any = record.vector or {}
    vectors = {
        name: models.SparseVector(indices=each.indices, values=each.values)
        if isinstance(each, edge.SparseVector)
        else list(each)
        for name, each in held.items()
    }
    return RestToGrpc.convert_retrieved_point(
        models.Record(id=str(record.id), payload=record.payload or {}, vector=vectors or None)
    )


def _scored(point: edge.ScoredPoint) -> Any:
    return wire.ScoredPoint(id=RestToGrpc.convert_extended_point_id(str(point.id)), score=point.score)


class Line:
    """A way to a server that can go dead without a word, as when a machine or a cable is gone.

    Attributes:
        port: Where it begins.
        tries: How many connections were asked for.
    """

    def __init__(self, to_port: int) -> None:
        self.port = 0
        self.tries = 0
        self._to_port = to_port
        self._passes = asyncio.Event()
        self._passes.set()
        self._opened: list[asyncio.StreamWriter] = []
        self._pumps: set[asyncio.Task[None]] = set()

    def cut(self) -> None:
        """Let nothing pass any more, neither on what is open nor on what is opened later."""
        self._passes.clear()
        for pump in self._pumps:
            pump.cancel()

    def mend(self) -> None:
        """Let new connections pass. Those that were cut stay dead: nobody at the other end knows them."""
        self._passes.set()

    @classmethod
    @asynccontextmanager
    async def to(cls, port: int, begins: int = 0) -> AsyncIterator[Self]:
        """A line to a port of this machine; it begins at a free one if none is named."""
        line = cls(port)
        listening = await asyncio.start_server(line._connect, "127.0.0.1", begins)
        line.port = listening.sockets[0].getsockname()[1]
        try:
            yield line
        finally:
            listening.close()
            line.cut()
            for writer in line._opened:
                writer.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tries += 1
        self._opened.append(writer)
        if not self._passes.is_set():
            return
        try:
            there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._to_port)
        except OSError:
            writer.close()
            return
        self._opened.append(there_writer)
        for one, other in ((reader, there_writer), (there_reader, writer)):
            pump = asyncio.create_task(_pump(one, other))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while some := await reader.read(65_536):
            writer.write(some)
            await writer.drain()
    writer.close()
