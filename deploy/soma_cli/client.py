"""Speaks to the HTTP API for the commands; every failure comes as an error that says what to do."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self, TypeVar
from uuid import UUID

import httpx
from httpx_sse import ServerSentEvent, connect_sse
from pydantic import ValidationError

from soma_cli.api_responses import (
    Answer,
    Answers,
    History,
    Hits,
    Link,
    LinkPage,
    Memory,
    MemoryList,
    MemoryPath,
    MemoryRevision,
    Namespaces,
    Neighbors,
    Policies,
    PolicyChange,
    Readiness,
    RetentionPlan,
    Stats,
    WriteState,
    Written,
    WrittenMany,
)
from soma_cli.audit_log import AuditEntries
from soma_cli.erasures import Erasure, ErasureList
from soma_cli.failures import FindingsError
from soma_client.connection import Connection
from soma_schemas.errors import SomaError
from soma_schemas.http_clients import client_options, usable_environment
from soma_schemas.versions import Position

_TIMEOUT_SECONDS = 30.0
# A stream says something every 15 seconds.
_STREAM_TIMEOUT = httpx.Timeout(_TIMEOUT_SECONDS, read=60.0)

AnswerT = TypeVar("AnswerT", bound=Answer)


class ApiUnreachableError(SomaError):
    """The API gives no answer."""

    code = "api_unreachable"


class ApiRefusedError(FindingsError):
    """The API says no.

    Attributes:
        status: The HTTP status.
        problem: The stable name of the kind of problem; empty when it is none of the API's own.
        retryable: Whether the same request can succeed later.
    """

    code = "api_refused"

    def __init__(
        self,
        message: str,
        findings: tuple[str, ...],
        *,
        status: int,
        problem: str,
        remedy: str | None,
        retryable: bool = False,
    ) -> None:
        super().__init__(message, findings, remedy=remedy)
        self.status = status
        self.problem = problem
        self.retryable = retryable


class SomaClient:
    """One connection to the API; close it, or use it as a context manager.

    Args:
        connection: Where it is, and the key.
        transport: Instead of the network, for tests.
    """

    def __init__(self, connection: Connection, transport: httpx.BaseTransport | None = None) -> None:
        self._url = connection.url
        options = client_options(connection.url, connection.ca_file)
        with usable_environment(httpx.InvalidURL):
            self._http = httpx.Client(
                base_url=connection.url,
                headers={"Authorization": f"Bearer {connection.api_key}", "User-Agent": "soma"},
                timeout=_TIMEOUT_SECONDS,
                transport=transport,
                **options,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def store(self, fields: Mapping[str, Any], *, event_id: UUID, wait_seconds: int) -> Written:
        """Store a memory.

        Args:
            fields: Of the memory, as the API names them.
            event_id: UUID of the event; an event with the same id changes nothing.
            wait_seconds: How long to wait until reads and searches see it; 0 does not.

        Raises:
            ApiRefusedError: The API says no.
            ApiUnreachableError: It gives no answer; the memory may be stored all the same.
        """
        headers = {"Idempotency-Key": str(event_id), **_prefer(wait_seconds)}
        return self._ask(Written, "POST", "/v1/memories", body=fields, headers=headers)

    def delete(
        self, memory_id: UUID, namespace: str | None, *, expected_version: int | None, wait_seconds: int
    ) -> Written:
        """Delete a memory.

        Args:
            memory_id: Which.
            namespace: Where it lies, if known.
            expected_version: Only this version; None for any.
            wait_seconds: How long to wait until it is gone from reads and searches; 0 does not.

        Raises:
            ApiRefusedError: The API says no.
            ApiUnreachableError: It gives no answer.
        """
        headers = _prefer(wait_seconds)
        if expected_version is not None:
            headers["If-Match"] = f'"{expected_version}"'
        asked = {} if namespace is None else {"namespace": namespace}
        return self._ask(Written, "DELETE", f"/v1/memories/{memory_id}", asked=asked, headers=headers)

    def patch(
        self, memory_id: UUID, change: Mapping[str, Any], *, expected_version: int, wait_seconds: int
    ) -> Written:
        """Change some fields of a memory, if it has this version.

        Args:
            memory_id: Which.
            change: Fields, as the API names them; `payload` merges.
            expected_version: Only this version.
            wait_seconds: How long to wait until reads and searches see it; 0 does not.

        Raises:
            ApiRefusedError: The API says no.
            ApiUnreachableError: It gives no answer; it may be changed all the same.
        """
        headers = {"If-Match": f'"{expected_version}"', **_prefer(wait_seconds)}
        return self._ask(Written, "PATCH", f"/v1/memories/{memory_id}", body=change, headers=headers)

    def links(self, memory_id: UUID, asked: Mapping[str, Any] | None = None) -> Iterator[Link]:
        """Yield the links of a memory, those from it and then those to it, page by page.

        Args:
            memory_id: Of which.
            asked: Types and direction, as the API names them.

        Raises:
            ApiRefusedError: There is no such memory, or the API says no.
            ApiUnreachableError: It gives no answer.
        """
        return self._links(f"/v1/memories/{memory_id}/links", asked or {})

    def every_link(self, asked: Mapping[str, Any]) -> Iterator[Link]:
        """Yield all links that the key covers, page by page.

        Args:
            asked: `namespace_prefix` and types, as the API names them.

        Raises:
            ApiRefusedError: The API says no.
            ApiUnreachableError: It gives no answer.
        """
        return self._links("/v1/links", asked)

    def _links(self, path: str, asked: Mapping[str, Any]) -> Iterator[Link]:
        cursor: dict[str, str] = {}
        while True:
            page = self._ask(LinkPage, "GET", path, asked={**asked, **cursor})
            yield from page.links
            if page.next_cursor is None:
                return
            cursor = {"cursor": page.next_cursor}

    def neighbors(self, memory_id: UUID, asked: Mapping[str, Any]) -> Neighbors:
        """Return the memories near a memory.

        Args:
            memory_id: Which.
            asked: Depth, limit, and which links are walked, as the API names them.

        Raises:
            ApiRefusedError: There is no such memory, or the API says no.
            ApiUnreachableError: It gives no answer.
        """
        return self._ask(Neighbors, "GET", f"/v1/memories/{memory_id}/neighbors", asked=asked)

    def path(self, asked: Mapping[str, Any]) -> MemoryPath:
        """Return the shortest path between two memories.

        Args:
            asked: Both ends, the cost, and which links are walked, as the API names them.

        Raises:
            ApiRefusedError: There is no path, or no such memory, or the API says no.
            ApiUnreachableError: It gives no answer.
        """
        return self._ask(MemoryPath, "GET", "/v1/paths", asked=asked)

    def delete_link(
        self, from_memory_id: UUID, to_memory_id: UUID, link_type: str, *, wait_seconds: int
    ) -> Written:
        """Delete a link.

        Raises:
            ApiRefusedError: The API says no.
            ApiUnreachableError: It gives no answer; it may be deleted all the same.
        """
        return self._ask(
            Written,
            "DELETE",
            f"/v1/memories/{from_memory_id}/links/{to_memory_id}",
            asked={"type": link_type},
            headers=_prefer(wait_seconds),
        )

    def put_link(self, link: Link, *, wait_seconds: int) -> Written:
        """Make a link.

        Raises:
            ApiRefusedError: The API says no.
            ApiUnreachableError: It gives no answer; it may be made all the same.
        """
        return self._ask(
            Written,
            "PUT",
            f"/v1/memories/{link.from_memory_id}/links/{link.to_memory_id}",
            body={"type": link.type, "weight": link.weight},
            headers=_prefer(wait_seconds),
        )

    def get(self, memory_id: UUID) -> Memory:
        """Return one memory.

        Raises:
            ApiRefusedError: There is none, or the API says no.
            ApiUnreachableError: It gives no answer.
        """
        return self._ask(Memory, "GET", f"/v1/memories/{memory_id}")

    def history(self, memory_id: UUID, limit: int) -> History:
        """Return the newest events about a memory.

        Raises:
            ApiRefusedError: There is no such memory, or the API says no.
            ApiUnreachableError: It gives no answer.
        """
        return self._ask(History, "GET", f"/v1/memories/{memory_id}/history", asked={"limit": limit})

    def revision(self, memory_id: UUID, asked: Mapping[str, str]) -> MemoryRevision:
        """Return a memory as it was.

        Args:
            memory_id: Which.
            asked: When, as the API names it.

        Raises:
            ApiRefusedError: It was not there, or its history does not tell, or the API says no.
            ApiUnreachableError: It gives no answer.
        """
        return self._ask(MemoryRevision, "GET", f"/v1/memories/{memory_id}/revision", asked=asked)

    def revert(self, memory_id: UUID, version: int, *, wait_seconds: int) -> Written:
        """Store a memory as it was at a version.

        Raises:
            ApiRefusedError: Its history does not tell, or the API says no.
            ApiUnreachableError: It gives no answer; it may be done all the same.
        """
        return self._ask(
            Written,
            "POST",
            f"/v1/memories/{memory_id}:revert",
            body={"version": version},
            headers=_prefer(wait_seconds),
        )

    def changes(self, asked: Mapping[str, Any]) -> Iterator[ServerSentEvent]:
        """Yield the messages of the stream of changes, until the API ends it.

        Args:
            asked: Where to begin, of which namespace, and whether to go on for ever, as the API names it.

        Raises:
            ApiRefusedError: The API says no, at the beginning or later.
            ApiUnreachableError: It gives no answer, or none any more.
        """
        with (
            self._reaching(),
            connect_sse(self._http, "GET", "/v1/changes", params=asked, timeout=_STREAM_TIMEOUT) as stream,
        ):
            if stream.response.is_error:
                stream.response.read()
                raise _refusal(stream.response)
            for message in stream.iter_sse():
                if message.event == "end":
                    problem = message.json()
                    raise _refused(int(problem["status"]), problem)
                yield message

    def list(self, asked: Mapping[str, Any]) -> MemoryList:
        """Return one page of memories.

        Args:
            asked: Filters, order, `limit` and `cursor`, as the API names them.

        Raises:
            ApiRefusedError: The API says no.
            ApiUnreachableError: It gives no answer.
        """
        return self._ask(MemoryList, "GET", "/v1/memories", asked=asked)

    def every(self, asked: Mapping[str, Any]) -> Iterator[Memory]:
        """Yield all memories of a list, page by page.

        Raises:
            ApiRefusedError: The API says no.
            ApiUnreachableError: It gives no answer.
        """
        cursor: str | None = None
        while True:
            page = self.list({**asked, **({} if cursor is None else {"cursor": cursor})})
            yield from page.memories
            cursor = page.next_cursor
            if cursor is None:
                return

    def erase(self, wanted: Mapping[str, str], *, request_id: UUID) -> Erasure:
        """Ask for an erasure; once this returns, reads have stopped.

        Args:
            wanted: What is to be gone, as the API names it.
            request_id: Names the request; asking again with the same one changes nothing.

        Raises:
            ApiRefusedError: The API says no.
            ApiUnreachableError: It gives no answer; the request may be accepted all the same.
        """
        headers = {"Idempotency-Key": str(request_id)}
        return self._ask(Erasure, "POST", "/v1/erasures", body=wanted, headers=headers)

    def erasure(self, request_id: UUID) -> Erasure:
        """Return an erasure as it is.

        Raises:
            ApiRefusedError: There is none, or the API says no.
            ApiUnreachableError: It gives no answer.
        """
        return self._ask(Erasure, "GET", f"/v1/erasures/{request_id}")

    def erasures(self, limit: int) -> ErasureList:
        """Return the newest erasures.

        Raises:
            ApiRefusedError: The API says no.
            ApiUnreachableError: It gives no answer.
        """
        return self._ask(ErasureList, "GET", "/v1/erasures", asked={"limit": limit})

    def audit_log(self, action: str | None, limit: int) -> AuditEntries:
        """Return the newest administrative acts on the key's tenant.

        Args:
            action: Of this kind alone.
            limit: How many.

        Raises:
            ApiRefusedError: The API says no.
            ApiUnreachableError: It gives no answer.
        """
        asked = {"limit": limit} | ({} if action is None else {"action": action})
        return self._ask(AuditEntries, "GET", "/v1/audit", asked=asked)

    def search(self, body: Mapping[str, Any]) -> Hits:
        """Return the best hits.

        Args:
            body: Question, mode, `top_k` and filter, as the API names them.

        Raises:
            ApiRefusedError: The API says no.
            ApiUnreachableError: It gives no answer.
        """
        return self._ask(Hits, "POST", "/v1/search", body=body)

    def search_many(self, searches: Sequence[Mapping[str, Any]]) -> Answers:
        """Return the answers of several searches, in their order.

        Args:
            searches: As `search` takes them.

        Raises:
            ApiRefusedError: The API says no to one of them.
            ApiUnreachableError: It gives no answer.
        """
        return self._ask(Answers, "POST", "/v1/search:batch", body={"searches": list(searches)})

    def store_many(self, memories: Sequence[Mapping[str, Any]], *, event_id: UUID) -> WrittenMany:
        """Store memories in order: all are sent, or, when one is wrong, none.

        Args:
            memories: Fields of each, as the API names them.
            event_id: The same one again changes nothing.

        Raises:
            ApiRefusedError: The API says no.
            ApiUnreachableError: It gives no answer; some may be stored all the same.
        """
        headers = {"Idempotency-Key": str(event_id)}
        body = {"memories": list(memories)}
        return self._ask(WrittenMany, "POST", "/v1/memories:batch", body=body, headers=headers)

    def namespaces(self, prefix: str | None = None) -> Namespaces:
        """Return a namespace, or the root, and those right below it, with how many memories each holds.

        Raises:
            ApiRefusedError: The API says no.
            ApiUnreachableError: It gives no answer.
        """
        within = {} if prefix is None else {"prefix": prefix}
        return self._ask(Namespaces, "GET", "/v1/namespaces", asked={**within, "depth": 1})

    def policies(self) -> Policies:
        """Return the retention policies in force.

        Raises:
            ApiRefusedError: The API says no.
            ApiUnreachableError: It gives no answer.
        """
        return self._ask(Policies, "GET", "/v1/retention-policies")

    def plan_policy(self, namespace: str | None, said: Mapping[str, Any]) -> RetentionPlan:
        """Return what a retention policy would end if it were set; where it says nothing, if it were lifted.

        Raises:
            ApiRefusedError: The API says no.
            ApiUnreachableError: It gives no answer.
        """
        return self._ask(
            RetentionPlan,
            "POST",
            "/v1/retention-policies:plan",
            asked=_of_policy(namespace),
            body=said,
        )

    def set_policy(
        self, namespace: str | None, said: Mapping[str, Any], *, wait_seconds: int
    ) -> PolicyChange:
        """Set the retention policy of a namespace or, with None, of the tenant; saying nothing lifts it.

        Args:
            namespace: With all below it.
            said: All of it: its rules and its cap, as the API takes them.
            wait_seconds: How long to wait until it is in force; 0 does not.

        Raises:
            ApiRefusedError: The API says no.
            ApiUnreachableError: It gives no answer; it may be set all the same.
        """
        return self._ask(
            PolicyChange,
            "PUT" if any(said.values()) else "DELETE",
            "/v1/retention-policies",
            asked=_of_policy(namespace),
            body=said if any(said.values()) else None,
            headers=_prefer(wait_seconds),
        )

    def write_state(self, position: Position) -> WriteState:
        """Return where a write stands.

        Raises:
            ApiRefusedError: The API says no.
            ApiUnreachableError: It gives no answer.
        """
        return self._ask(WriteState, "GET", f"/v1/writes/{position}")

    def readiness(self) -> Readiness:
        """Return how the API and the parts behind it are.

        Raises:
            ApiUnreachableError: It gives no answer.
        """
        return self._read(Readiness, self._send("GET", "/readyz"))

    def stats(self) -> Stats:
        """Return how much there is, and how far behind the log the stores are.

        Raises:
            ApiRefusedError: The API says no.
            ApiUnreachableError: It gives no answer.
        """
        return self._ask(Stats, "GET", "/v1/stats")

    def _ask(
        self,
        answer: type[AnswerT],
        method: str,
        path: str,
        *,
        asked: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AnswerT:
        response = self._send(method, path, asked=asked, body=body, headers=headers)
        if response.is_error:
            raise _refusal(response)
        return self._read(answer, response)

    def _read(self, answer: type[AnswerT], response: httpx.Response) -> AnswerT:
        try:
            return answer.model_validate_json(response.content)
        except ValidationError as error:
            raise ApiUnreachableError(
                f"{self._url} does not answer as this version of `soma` expects",
                remedy="check the address, and that `soma` and the API are of one version",
            ) from error

    def _send(
        self,
        method: str,
        path: str,
        *,
        asked: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        with self._reaching():
            return self._http.request(
                method,
                path,
                params=asked,
                content=None if body is None else json.dumps(body).encode(),
                headers={**({} if body is None else {"Content-Type": "application/json"}), **(headers or {})},
            )

    @contextmanager
    def _reaching(self) -> Iterator[None]:
        try:
            yield
        except httpx.TimeoutException as error:
            raise ApiUnreachableError(
                f"{self._url} did not answer within {_TIMEOUT_SECONDS:.0f} s",
                remedy="run `soma status`; the request may have been executed",
            ) from error
        except httpx.TransportError as error:
            raise ApiUnreachableError(
                f"{self._url} cannot be reached: {error}",
                remedy="start it with `soma up`, or correct SOMA_URL",
            ) from error


def _of_policy(namespace: str | None) -> dict[str, str]:
    return {} if namespace is None else {"namespace": namespace}


def _prefer(wait_seconds: int) -> dict[str, str]:
    return {"Prefer": f"wait={wait_seconds}"} if wait_seconds else {}


def _refusal(response: httpx.Response) -> ApiRefusedError:
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or "code" not in problem:
        return ApiRefusedError(
            f"the API answered HTTP {response.status_code}",
            (),
            status=response.status_code,
            problem="",
            remedy="check that the address is that of the API",
        )
    return _refused(response.status_code, problem)


def _refused(status: int, problem: Mapping[str, Any]) -> ApiRefusedError:
    findings = tuple(
        f"{fault.get('path') or 'request'}: {fault.get('message')}" for fault in problem.get("errors") or ()
    )
    return ApiRefusedError(
        str(problem.get("detail") or problem.get("title")),
        findings,
        status=status,
        problem=str(problem["code"]),
        remedy=problem.get("remedy"),
        retryable=problem.get("retryable") is True,
    )
