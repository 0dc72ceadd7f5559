"""What can go wrong when the API is asked.

SomaClientError
├── NoConnectionError     there is no address, or no key for it
├── UnreachableError      the API gives no answer
├── RefusedError          the API says no
│   ├── NotFoundError     404: what was asked for is not there
│   └── ChangedError      412: the memory does not have the expected version
└── UnexpectedError       what answers is no API of this version
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from soma_schemas.errors import SomaError


class SomaClientError(SomaError):
    """The root of the client's errors. The remedy and the request id are notes of the traceback.

    Attributes:
        request_id: Names the request in the API's log; None where no API answered.
    """

    code = "client"

    def __init__(self, message: str, *, remedy: str | None = None, request_id: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.request_id = request_id
        if self.remedy is not None:
            self.add_note(f"remedy: {self.remedy}")
        if request_id is not None:
            self.add_note(f"request id: {request_id}")


class NoConnectionError(SomaClientError):
    """There is no address of an API, or no key for it, or one of them makes no sense."""

    code = "no_connection"


class UnreachableError(SomaClientError):
    """The API gives no answer. What was asked for may have been done all the same.

    Attributes:
        sent: Whether the request may have reached the API.
    """

    code = "unreachable"

    def __init__(self, message: str, *, remedy: str | None = None, sent: bool) -> None:
        super().__init__(message, remedy=remedy)
        self.sent = sent


class RefusedError(SomaClientError):
    """The API says no.

    Attributes:
        status: The HTTP status.
        problem: The stable name of the kind of problem (docs/reference/problems.md); empty when it is none of
            the API's own.
        findings: What is wrong with the request, one line each.
        retryable: Whether the same request can succeed later.
        retry_after_seconds: When to ask again, as the API says; None where it does not.
    """

    code = "refused"

    def __init__(
        self,
        message: str,
        *,
        status: int,
        problem: str,
        findings: tuple[str, ...] = (),
        remedy: str | None = None,
        request_id: str | None = None,
        retryable: bool = False,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy, request_id=request_id)
        self.status = status
        self.problem = problem
        self.findings = findings
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds
        for finding in findings:
            self.add_note(finding)


class NotFoundError(RefusedError):
    """What was asked for is not there, or not covered by the key."""

    code = "not_found"


class ChangedError(RefusedError):
    """The memory does not have the expected version."""

    code = "changed"


class UnexpectedError(SomaClientError):
    """What answers is no API of this version."""

    code = "unexpected"


_KINDS: Mapping[int, type[RefusedError]] = {
    HTTPStatus.NOT_FOUND: NotFoundError,
    HTTPStatus.PRECONDITION_FAILED: ChangedError,
}


def refusal_of(
    status: int,
    problem: Any,
    *,
    request_id: str | None = None,
    retry_after_seconds: float | None = None,
) -> RefusedError:
    """Return a refusal as an error.

    Args:
        status: The HTTP status.
        problem: The parsed body: a problem (RFC 9457) of the API, or anything else.
        request_id: From the headers, where the body does not say it.
        retry_after_seconds: From the headers.
    """
    if not isinstance(problem, dict) or "code" not in problem:
        return RefusedError(
            f"the API answered HTTP {status}",
            status=status,
            problem="",
            remedy="check that the address is that of the API",
            request_id=request_id,
            # Of a proxy in front of it; whoever asks again does so only for statuses that pass.
            retryable=True,
            retry_after_seconds=retry_after_seconds,
        )
    return _KINDS.get(status, RefusedError)(
        str(problem.get("detail") or problem.get("title")),
        status=status,
        problem=str(problem["code"]),
        findings=tuple(
            f"{fault.get('path') or 'request'}: {fault.get('message')}"
            for fault in problem.get("errors") or ()
        ),
        remedy=problem.get("remedy"),
        request_id=problem.get("request_id") or request_id,
        retryable=problem.get("retryable") is True,
        retry_after_seconds=retry_after_seconds,
    )
