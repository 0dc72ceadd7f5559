"""Reads what both stores hold, each through its own client."""

import base64
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from uuid import UUID

import psycopg
import qdrant_edge as edge
from psycopg.rows import dict_row
from qdrant_client import QdrantClient

_PAGE = 1000


class Point(NamedTuple):
    """A point of the vector index.

    Attributes:
        vectors: By name.
    """

    id: UUID
    payload: Mapping[str, Any]
    vectors: Mapping[str, Any]


def shard_points(folder: Path) -> list[Point]:
    """Return every point of an embedded index that nobody has open.

    Args:
        folder: With the engine's files.
    """
    shard = edge.EdgeShard.load(str(folder))
    try:
        points: list[Point] = []
        offset = None
        while True:
            request = edge.ScrollRequest(offset=offset, limit=_PAGE, with_payload=True, with_vector=True)
            found, offset = shard.scroll(request)
            for each in found:
                vectors = each.vector if isinstance(each.vector, dict) else {}
                points.append(Point(UUID(str(each.id)), each.payload or {}, vectors))
            if offset is None:
                return points
    finally:
        shard.close()


def server_points(url: str, collection: str) -> list[Point]:
    """Return every point of a collection, asked over gRPC."""
    client = QdrantClient(url, grpc_port=urlsplit(url).port or 0, prefer_grpc=True, check_compatibility=False)
    try:
        points: list[Point] = []
        offset = None
        while True:
            found, offset = client.scroll(
                collection, offset=offset, limit=_PAGE, with_payload=True, with_vectors=True
            )
            for each in found:
                vectors = each.vector if isinstance(each.vector, dict) else {}
                points.append(Point(UUID(str(each.id)), each.payload or {}, vectors))
            if offset is None:
                return points
    finally:
        client.close()


def rows(dsn: str, query: str) -> list[dict[str, Any]]:
    """Return what a query finds; numbers come in full, not as the server spells them."""
    with psycopg.connect(dsn) as connection, connection.cursor(row_factory=dict_row, binary=True) as cursor:
        return cursor.execute(query.encode()).fetchall()


def point_document(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Return the state that a point carries as one text, with the embedding that lies beside it."""
    document: dict[str, Any] = json.loads(payload["document"])
    if (content := document["content"]) is not None:
        packed = payload.get("embedding")
        data = base64.b64decode(packed) if packed is not None else None
        content["embedding"] = None if data is None else list(struct.unpack(f"<{len(data) // 8}d", data))
    return document


def point_labels(payload: Mapping[str, Any]) -> list[str]:
    """Return the words that a point is found by, which are spelt in hexadecimal digits."""
    return [bytes.fromhex(word).decode() for word in payload.get("labels", "").split()]
