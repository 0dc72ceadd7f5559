"""An HTTP server on loopback that gives prepared answers and remembers what it was asked."""

import json
from collections import deque
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from loopback_http import LoopbackHttp, QuietHandler

MEMORY_ID = "01912f4a-0000-7000-8000-000000000001"

WRITTEN = {
    "event_id": "01912f4a-0000-7000-8000-000000000002",
    "memory_id": MEMORY_ID,
    "position": "3:1042",
    "version": 1099511628818,
    "outcome": "applied",
    "reason": None,
    "status_url": "/v1/writes/3:1042",
}


def a_memory(**fields: Any) -> dict[str, Any]:
    """A memory as the API answers it."""
    return {
        "memory_id": MEMORY_ID,
        "version": 1099511628818,
        "namespace": "team/notes",
        "key": "tea",
        "coordinate": None,
        "kind": "SEMANTIC",
        "text": "Tea at four.",
        "payload": {"cups": 3},
        "tags": ["tea"],
        "importance": 0.7,
        "subject": None,
        "source": None,
        "actor": "mira",
        "embedding_model": None,
        "occurred_at": "2026-03-02T07:48:00Z",
        "created_at": "2026-03-02T07:48:01Z",
        "updated_at": "2026-03-02T07:48:01Z",
        "expires_at": None,
        "ends_at": None,
        "access_count": 0,
        "last_accessed_at": None,
    } | fields


def a_hit(dense: float, *, weak: bool | None, memory: dict[str, Any] | None = None) -> dict[str, Any]:
    """A hit by nearness as the API answers it."""
    parts = ("bm25", "dense_z_score", "bm25_z_score", "importance_boost", "recency_boost")
    return {
        "score": 10 * dense,
        "explanation": dict.fromkeys(parts) | {"dense": dense},
        "weak": weak,
        "memory": memory or a_memory(),
        "version_at": None,
    }


def a_search_answer(
    *hits: dict[str, Any], exhaustive: bool | None = None, complete: bool = True, filled: float | None = 1.0
) -> dict[str, Any]:
    """What a search found as the API answers it."""
    return {
        "hits": list(hits),
        "exhaustive": exhaustive,
        "at": None,
        "index": {"complete": complete, "filled": filled},
    }


@dataclass(frozen=True)
class Asked:
    """One request."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: Any


class CannedApi(LoopbackHttp):
    """Answers requests in the order in which answers were prepared."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._answers: deque[tuple[int, str, bytes]] = deque()
        api = self

        class Handler(QuietHandler):
            def handle_any(self) -> None:
                parts = urlsplit(self.path)
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = json.loads(content) if content else None
                api.asked.append(Asked(self.command, parts.path, parse_qs(parts.query), headers, body))
                status, media_type, answer = api._answers.popleft()
                self.answer(status, answer, media_type)

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = handle_any  # noqa: N815  # the base class looks for these names

        super().__init__(Handler)
        self.url = self.origin

    def answers(self, body: Any, status: int = 200, media_type: str = "application/json") -> None:
        """Prepare the next answer."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self._answers.append((status, media_type, content))

    def refuses(self, status: int, code: str, detail: str, **members: Any) -> None:
        """Prepare a problem as the next answer."""
        self.answers(
            {"status": status, "code": code, "detail": detail} | members, status, "application/problem+json"
        )
