"""The errors of the API: RFC 9457 problems with a stable code.

ApiError
├── InvalidInputError, NotJsonError, UnsupportedMediaTypeError, BodyTooLargeError   the body or the query
├── BodyTooSlowError
├── InvalidHeaderError, ConditionUnsupportedError, InvalidCursorError              other parts of the request
├── UnauthenticatedError, IdentityProviderUnavailableError                         who asks, and what they may
├── RoleTooLowError, NamespaceForbiddenError, TenantMismatchError, RateLimitedError
├── RouteNotFoundError, MethodNotAllowedError
├── MemoryNotFoundError, WriteNotFoundError, DeadLetterNotFoundError
├── NamespaceUnknownError, NamespaceMismatchError                                  a change to a memory
├── PreconditionFailedError, SupersededError, DeadLetteredError                    what became of a write
├── SearchTooCostlyError, ListTooCostlyError, PathTooCostlyError                   what is asked for
├── NotYetVisibleError, TooStaleError                                              what a read waits for
├── LogUnavailableError, StoreUnavailableError, IndexUnavailableError, OverloadedError
└── InternalError
"""

import inspect
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, ClassVar

import orjson
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from soma_schemas.errors import SomaError
from soma_schemas.violations import Violation, ViolationCode

PROBLEM_JSON = "application/problem+json"
_A_REQUEST = "74684f1eebfa59cf20e720c9ca181b3c"
# Identifies the kind of problem; the page of that code stands in the reference.
_TYPE = "https://somafractalmemory.example/problems/"


class ProblemCode(StrEnum):
    """The stable names of what the API refuses; each has a page in the reference."""

    INVALID_INPUT = "invalid_input"
    NOT_JSON = "not_json"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    BODY_TOO_LARGE = "body_too_large"
    BODY_TOO_SLOW = "body_too_slow"
    INVALID_HEADER = "invalid_header"
    CONDITION_UNSUPPORTED = "condition_unsupported"
    INVALID_CURSOR = "invalid_cursor"
    UNAUTHENTICATED = "unauthenticated"
    ROLE_TOO_LOW = "role_too_low"
    NAMESPACE_FORBIDDEN = "namespace_forbidden"
    TENANT_MISMATCH = "tenant_mismatch"
    RATE_LIMITED = "rate_limited"
    ROUTE_NOT_FOUND = "route_not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    MEMORY_NOT_FOUND = "memory_not_found"
    REVISION_NOT_FOUND = "revision_not_found"
    PATH_NOT_FOUND = "path_not_found"
    WRITE_NOT_FOUND = "write_not_found"
    DEAD_LETTER_NOT_FOUND = "dead_letter_not_found"
    ERASURE_NOT_FOUND = "erasure_not_found"
    ERASURE_CONFLICT = "erasure_conflict"
    NAMESPACE_UNKNOWN = "namespace_unknown"
    NAMESPACE_MISMATCH = "namespace_mismatch"
    PRECONDITION_FAILED = "precondition_failed"
    SUPERSEDED = "superseded"
    DEAD_LETTERED = "dead_lettered"
    SEARCH_TOO_COSTLY = "search_too_costly"
    LIST_TOO_COSTLY = "list_too_costly"
    PATH_TOO_COSTLY = "path_too_costly"
    NOT_YET_VISIBLE = "not_yet_visible"
    TOO_STALE = "too_stale"
    LOG_UNAVAILABLE = "log_unavailable"
    IDENTITY_PROVIDER_UNAVAILABLE = "identity_provider_unavailable"
    ENCRYPTION_UNAVAILABLE = "encryption_unavailable"
    STORE_UNAVAILABLE = "store_unavailable"
    QUERY_TIMEOUT = "query_timeout"
    INDEX_UNAVAILABLE = "index_unavailable"
    LAG_UNAVAILABLE = "lag_unavailable"
    OVERLOADED = "overloaded"
    INTERNAL = "internal"


class Source(StrEnum):
    """Which part of a request a pointer points into."""

    BODY = "body"
    QUERY = "query"
    PATH = "path"
    HEADER = "header"


class FieldError(BaseModel):
    """One thing that is wrong with a request."""

    source: Source = Field(description="Which part of the request `path` points into.")
    path: str = Field(description="Where, as a JSON pointer (RFC 6901); empty for the whole.")
    code: ViolationCode = Field(description="What, as a stable name.")
    message: str = Field(description="The same in words, without the value itself.")


class Problem(BaseModel):
    """A refusal or a failure, as RFC 9457 has it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "https://somafractalmemory.example/problems/invalid_input",
                    "title": "The request breaks the contract",
                    "status": 422,
                    "detail": "the body breaks the contract; nothing was sent",
                    "code": "invalid_input",
                    "request_id": _A_REQUEST,
                    "retryable": False,
                    "remedy": "Correct the fields in `errors` and send the request again.",
                    "errors": [
                        {
                            "source": "body",
                            "path": "/coordinate",
                            "code": "too_many",
                            "message": "has 17 items, at most 16 are allowed",
                        }
                    ],
                }
            ]
        }
    )

    type: str = Field(description="Identifies the kind of problem.")
    title: str = Field(description="The kind of problem in words; the same each time.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What happened this time.")
    code: ProblemCode = Field(description="Stable name of the kind of problem.")
    request_id: str = Field(description="Names this request in the logs.")
    retryable: bool = Field(description="Whether the same request can succeed later.")
    remedy: str | None = Field(None, description="What to do next.")
    errors: list[FieldError] | None = Field(None, description="What is wrong with the request, item by item.")


class ApiError(SomaError):
    """A request that is not answered as asked.

    Args:
        message: What happened, to what. Never memory content or secrets.
        remedy: What the caller can do next; overrides the class's own.
        errors: What is wrong with the request, item by item.
        headers: Sent with the answer.
        members: Extension members of the problem.
    """

    status: ClassVar[int]
    problem: ClassVar[ProblemCode]
    title: ClassVar[str]
    retryable: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        """Let the code of the error be the code of its problem."""
        super().__init_subclass__()
        cls.code = cls.problem.value

    def __init__(
        self,
        message: str,
        *,
        remedy: str | None = None,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        members: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        self.members = dict(members or {})


class InvalidInputError(ApiError):
    """The body or the query breaks the contract; nothing was published."""

    status, problem, title = 422, ProblemCode.INVALID_INPUT, "The request breaks the contract"
    remedy = "Correct the fields in `errors` and send the request again."


class NotJsonError(ApiError):
    """The body is not JSON."""

    status, problem, title = 400, ProblemCode.NOT_JSON, "The body is not JSON"
    remedy = "Send a JSON object in UTF-8."


class UnsupportedMediaTypeError(ApiError):
    """The request declares a body that is not JSON, or is compressed."""

    status, problem, title = (
        415,
        ProblemCode.UNSUPPORTED_MEDIA_TYPE,
        "The format of the body is not supported",
    )
    remedy = "Send uncompressed JSON: `Content-Type: application/json`, without `Content-Encoding`."


class BodyTooLargeError(ApiError):
    """The body is larger than this installation accepts."""

    status, problem, title = 413, ProblemCode.BODY_TOO_LARGE, "The body is too large"
    remedy = "Send smaller batches, or raise SOMA_API__MAX_BODY_BYTES."


class BodyTooSlowError(ApiError):
    """The body did not arrive in time."""

    status, problem, title = 408, ProblemCode.BODY_TOO_SLOW, "The body did not arrive in time"
    retryable = True
    remedy = "Send it again, over a faster connection or in smaller batches, or raise SOMA_API__BODY_TIMEOUT."


class InvalidHeaderError(ApiError):
    """A header is malformed, or contradicts another one."""

    status, problem, title = 400, ProblemCode.INVALID_HEADER, "A header is invalid"


class ConditionUnsupportedError(ApiError):
    """The request has a condition that this route cannot hold it to; nothing was published."""

    status, problem, title = 400, ProblemCode.CONDITION_UNSUPPORTED, "This write takes no condition"
    remedy = (
        "Leave the header out. In a batch, an item's `expected_version` is its condition; links have none."
    )


class InvalidCursorError(ApiError):
    """The cursor was not made by this API for this query."""

    status, problem, title = 400, ProblemCode.INVALID_CURSOR, "The cursor is not valid here"
    remedy = "Start again without a cursor; use `next_cursor` unchanged, with the same filters and sort."


class UnauthenticatedError(ApiError):
    """The request has no credential, or an invalid one."""

    status, problem, title = 401, ProblemCode.UNAUTHENTICATED, "A valid credential is required"
    remedy = (
        "Send `Authorization: Bearer` with an API key, `soma_...`, or a token of the provider in "
        "SOMA_OIDC__ISSUER; `soma keys create` creates a key."
    )

    def __init__(self, message: str) -> None:
        super().__init__(message, headers={"WWW-Authenticate": 'Bearer realm="soma"'})


class IdentityProviderUnavailableError(ApiError):
    """The request has a token, and the keys of the provider that signed it cannot be had."""

    status, problem, title = (
        503,
        ProblemCode.IDENTITY_PROVIDER_UNAVAILABLE,
        "The provider of tokens does not respond",
    )
    retryable = True
    remedy = "Retry after `Retry-After`. API keys still work. If it goes on, check SOMA_OIDC__JWKS_URL."


class RoleTooLowError(ApiError):
    """The API key is valid, but its role is too low for this route."""

    status, problem, title = 403, ProblemCode.ROLE_TOO_LOW, "This key's role does not allow it"
    remedy = "Use a key with the required role; `soma keys create --role` creates one."


class NamespaceForbiddenError(ApiError):
    """The API key is valid, but does not cover this namespace."""

    status, problem, title = 403, ProblemCode.NAMESPACE_FORBIDDEN, "This key does not cover the namespace"
    remedy = "Use a key that covers the namespace, or a namespace that this key covers."


class TenantMismatchError(ApiError):
    """The body names a tenant that is not the key's; nothing was published."""

    status, problem, title = 403, ProblemCode.TENANT_MISMATCH, "The body names another tenant"
    remedy = "Leave `tenant` out: it comes from the key."


class RateLimitedError(ApiError):
    """The principal or its tenant sent more requests than they may, or the address failed too often."""

    status, problem, title = 429, ProblemCode.RATE_LIMITED, "Too many requests within a minute"
    retryable = True
    remedy = (
        "Retry after `Retry-After`; write and search in batches. An operator can raise "
        "SOMA_API__RATE_LIMIT_PER_PRINCIPAL or SOMA_API__RATE_LIMIT_PER_TENANT."
    )


class RouteNotFoundError(ApiError):
    """There is no route with this path."""

    status, problem, title = 404, ProblemCode.ROUTE_NOT_FOUND, "There is no route with this path"
    remedy = "See /docs for all routes."


class MethodNotAllowedError(ApiError):
    """The route does not support this method."""

    status, problem, title = 405, ProblemCode.METHOD_NOT_ALLOWED, "The route does not support this method"
    remedy = "See the `Allow` header for the methods that it has."


class MemoryNotFoundError(ApiError):
    """The memory does not exist, is not visible yet, or is not visible to this key."""

    status, problem, title = 404, ProblemCode.MEMORY_NOT_FOUND, "There is no such memory"
    remedy = "After a write, send its position as `Soma-Position` to wait for it."


class RevisionNotFoundError(ApiError):
    """The memory was not there then, or its history does not reach back so far."""

    status, problem, title = 404, ProblemCode.REVISION_NOT_FOUND, "There is no such revision"
    remedy = "`GET /v1/memories/{memory_id}/history` lists the versions that the history has."


class PathNotFoundError(ApiError):
    """No links that may be walked lead from the one memory to the other."""

    status, problem, title = 404, ProblemCode.PATH_NOT_FOUND, "There is no such path"
    remedy = "Leave out `type`, or walk links in both directions with `direction=both`."


class WriteNotFoundError(ApiError):
    """There is no write at this position that is visible to this key."""

    status, problem, title = 404, ProblemCode.WRITE_NOT_FOUND, "There is no such write"
    remedy = "Use the `position` that the write returned."


class DeadLetterNotFoundError(ApiError):
    """There is no dead letter with this id that is visible to this key."""

    status, problem, title = 404, ProblemCode.DEAD_LETTER_NOT_FOUND, "There is no such dead letter"
    remedy = "Use an `id` from the list of dead letters."


class ErasureNotFoundError(ApiError):
    """There is no erasure with this id in the tenant of this key."""

    status, problem, title = 404, ProblemCode.ERASURE_NOT_FOUND, "There is no such erasure"
    remedy = "Use the `request_id` that the request returned."


class ErasureConflictError(ApiError):
    """The idempotency key names a request for another erasure; nothing was published."""

    status, problem, title = 409, ProblemCode.ERASURE_CONFLICT, "The request is another one"
    remedy = "Send it with another `Idempotency-Key`, or without one."


class NamespaceUnknownError(ApiError):
    """The memory is not visible yet, so the request must give its namespace."""

    status, problem, title = 404, ProblemCode.NAMESPACE_UNKNOWN, "The memory's namespace is not known yet"
    remedy = "Send `?namespace=`, or `Soma-Position` with the position of the write that made the memory."


class NamespaceMismatchError(ApiError):
    """The memory is in another namespace than the one in the request."""

    status, problem, title = 409, ProblemCode.NAMESPACE_MISMATCH, "The memory is in another namespace"
    remedy = "A memory cannot change its namespace: store it in the other one and delete this one."


class PreconditionFailedError(ApiError):
    """The write changed nothing because the memory does not have the expected version."""

    status, problem, title = 412, ProblemCode.PRECONDITION_FAILED, "The memory has another version"
    remedy = "Read the memory again and retry with its new ETag as `If-Match`."


class SupersededError(ApiError):
    """The write changed nothing because the memory has a higher version."""

    status, problem, title = 409, ProblemCode.SUPERSEDED, "The write changed nothing"
    remedy = "Read the memory again before you write."


class DeadLetteredError(ApiError):
    """The write can never be applied; it is in the dead-letter topic, with the reason."""

    status, problem, title = 422, ProblemCode.DEAD_LETTERED, "The write cannot be applied"
    remedy = "An operator sees it with `soma dlq show`."


class SearchTooCostlyError(ApiError):
    """The search would check too many conditions on too many memories and block other requests."""

    status, problem, title = 422, ProblemCode.SEARCH_TOO_COSTLY, "The search would take too long"
    remedy = "Use a narrower `namespace` or `namespace_prefix`, or fewer conditions."


class ListTooCostlyError(ApiError):
    """Sorting the list by distance would compare too many memories."""

    status, problem, title = 422, ProblemCode.LIST_TOO_COSTLY, "Sorting by distance would take too long"
    remedy = "Name one `namespace`, and in it a box: `coordinate_min` and `coordinate_max`."


class PathTooCostlyError(ApiError):
    """Looking for the path would read too many links."""

    status, problem, title = 422, ProblemCode.PATH_TOO_COSTLY, "Looking for the path would take too long"
    remedy = "Name a `type` of links, or a `direction`."


class NotYetVisibleError(ApiError):
    """The store has not reached the position that the read waits for."""

    status, problem, title = 503, ProblemCode.NOT_YET_VISIBLE, "The write is not visible yet"
    retryable = True
    remedy = "Retry after `Retry-After`, or wait longer with `Prefer: wait`."


class TooStaleError(ApiError):
    """The store may be further behind the log than the read accepts."""

    status, problem, title = 503, ProblemCode.TOO_STALE, "The answer would be too old"
    retryable = True
    remedy = "Retry after `Retry-After`, or accept a higher staleness."


class LogUnavailableError(ApiError):
    """The log did not acknowledge the write."""

    status, problem, title = 503, ProblemCode.LOG_UNAVAILABLE, "The log did not acknowledge the write"
    retryable = True


class EncryptionUnavailableError(ApiError):
    """The write names a subject, so that it has to be encrypted, and there is no key to be had."""

    status, problem, title = (
        503,
        ProblemCode.ENCRYPTION_UNAVAILABLE,
        "The write has to be encrypted and cannot be",
    )
    retryable = True
    remedy = (
        "Retry after `Retry-After`. If it goes on, the API lacks its master key: see "
        "`SOMA_ENCRYPTION__MASTER_KEY_FILE`. Nothing is written in plain text instead."
    )


class StoreUnavailableError(ApiError):
    """PostgreSQL does not respond."""

    status, problem, title = 503, ProblemCode.STORE_UNAVAILABLE, "The database does not respond"
    retryable = True
    remedy = "Retry after `Retry-After`."


class QueryTimeoutError(StoreUnavailableError):
    """A question took PostgreSQL longer than `SOMA_API__STATEMENT_TIMEOUT`, and was cancelled there."""

    problem, title = ProblemCode.QUERY_TIMEOUT, "The question took too long"
    remedy = (
        "Ask for less at once: a narrower namespace, fewer items, or less depth. It may also be busy: retry."
    )


class IndexUnavailableError(ApiError):
    """The vector index or the embedder does not respond."""

    status, problem, title = 503, ProblemCode.INDEX_UNAVAILABLE, "The vector index does not respond"
    retryable = True
    remedy = "Retry after `Retry-After`. Reads by id, key and filter still work."


class LagUnavailableError(ApiError):
    """The lag collector does not respond, or none is configured."""

    status, problem, title = 503, ProblemCode.LAG_UNAVAILABLE, "The lag collector does not respond"
    retryable = True
    remedy = "Retry after `Retry-After`. `soma lag` can ask the brokers directly."


class OverloadedError(ApiError):
    """This process already serves the maximum number of requests."""

    status, problem, title = 503, ProblemCode.OVERLOADED, "Too many requests at once"
    retryable = True
    remedy = "Retry after `Retry-After`."


class InternalError(ApiError):
    """An unexpected error."""

    status, problem, title = 500, ProblemCode.INTERNAL, "Internal error"
    remedy = "Report the `request_id` to the operator."


RETRY_AFTER_SECONDS = 1


def field_errors_of(
    violations: Sequence[Violation], source: Source = Source.BODY, under: str = ""
) -> list[FieldError]:
    """Return violations as errors of one part of a request.

    Args:
        violations: As the contract found them.
        source: The part that was examined.
        under: A JSON pointer that is put before every path, where only a piece was examined.
    """
    return [
        FieldError(source=source, path=under + each.path, code=each.code, message=each.message)
        for each in violations
    ]


def problem_of(error: ApiError, request_id: str) -> dict[str, Any]:
    """Return an error as `Problem` describes it."""
    problem: dict[str, Any] = {
        "type": _TYPE + error.code,
        "title": error.title,
        "status": error.status,
        "detail": str(error),
        "code": error.code,
        "request_id": request_id,
        "retryable": error.retryable,
    }
    if error.remedy is not None:
        problem["remedy"] = error.remedy
    if error.errors:
        problem["errors"] = [each.model_dump(mode="json") for each in error.errors]
    return problem | error.members


def problem_response(error: ApiError, request_id: str) -> Response:
    """Render an error for the caller."""
    headers = dict(error.headers)
    if error.retryable:
        headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))
    body = orjson.dumps(problem_of(error, request_id))
    return Response(body, error.status, headers=headers, media_type=PROBLEM_JSON)


def problems(*errors: type[ApiError]) -> dict[int | str, dict[str, Any]]:
    """Return what a route can refuse, for its OpenAPI description."""
    described: dict[int | str, dict[str, Any]] = {}
    for error in errors:
        content: dict[str, Any] = {"schema": PROBLEM_REFERENCE, "examples": {}}
        entry = described.setdefault(error.status, {"description": "", "content": {PROBLEM_JSON: content}})
        line = f"`{error.problem}`: {error.title}."
        entry["description"] = f"{entry['description']} {line}".strip()
        examples = entry["content"][PROBLEM_JSON]["examples"]
        examples[error.problem.value] = {"$ref": _EXAMPLES + error.problem}
        if error.retryable:
            entry["headers"] = {"Retry-After": _RETRY_AFTER}
    return described


def example_problems() -> dict[str, dict[str, Any]]:
    """Return an example of each problem, by its code, for the OpenAPI description."""
    return {
        error.problem.value: {
            "summary": error.title,
            "value": problem_of(error(_happened(error)), _A_REQUEST),
        }
        for error in kinds_of_problem()
    }


def kinds_of_problem(of: type[ApiError] = ApiError) -> list[type[ApiError]]:
    """Return every error that is answered as a problem, those that are a kind of another included."""
    return [each for error in of.__subclasses__() for each in (error, *kinds_of_problem(error))]


def _happened(error: type[ApiError]) -> str:
    sentence = inspect.cleandoc(error.__doc__ or "").removesuffix(".")
    return sentence[:1].lower() + sentence[1:]


PROBLEM_REFERENCE = {"$ref": "#/components/schemas/Problem"}
_EXAMPLES = "#/components/examples/"
_RETRY_AFTER = {
    "description": "In how many seconds to try again.",
    "schema": {"type": "integer", "minimum": 1},
    "example": RETRY_AFTER_SECONDS,
}
