"""Asks a call step by step, without sending anything: both clients send what it says, and wait as it says."""

import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from random import Random
from typing import Any, Generic, NamedTuple, TypeVar, cast

import httpx
from pydantic import BaseModel, ValidationError

from soma_client.call import AnswerT, Call
from soma_client.connection import Connection
from soma_client.errors import RefusedError, UnexpectedError, UnreachableError, refusal_of
from soma_client.positions import Positions
from soma_client.retrying import Retrying
from soma_schemas.clock import Clock
from soma_schemas.identity import new_id
from soma_schemas.refusals import API, tls_refusal
from soma_schemas.responses.write_responses import BatchView, WriteView
from soma_schemas.versions import Position

_MORE_SECONDS = 5.0  # than the API was asked to wait
_REQUEST_ID = "X-Request-ID"
# Nothing of the request was sent.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


class Pause(NamedTuple):
    """What a client does next: wait."""

    seconds: float


@dataclass(frozen=True)
class Answer(Generic[AnswerT]):
    """What a call answered, and what the answer says of itself.

    Attributes:
        value: The answer.
        staleness_seconds: How old it is at most; None of a write, and where nobody knows.
        request_id: Names the request in the API's log.
    """

    value: AnswerT
    staleness_seconds: float | None
    request_id: str | None


Steps = Generator[httpx.Request | Pause, httpx.Response | httpx.RequestError | None, Answer[AnswerT]]
ModelT = TypeVar("ModelT", bound=BaseModel)


class Exchange:
    """What a client knows of the API that it asks.

    Args:
        connection: Where it is, and the key.
        positions: What reads wait for.
        read_your_writes: Whether the positions of its own writes are added to them.
        max_staleness_seconds: Answers that may be older are refused; None takes any.
        retrying: How long a request is tried.
        timeout_seconds: How long an answer is waited for.
        clock: Time.
        random: Spreads those who try again.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        positions: Positions,
        read_your_writes: bool,
        max_staleness_seconds: float | None,
        retrying: Retrying,
        timeout_seconds: float,
        clock: Clock,
        random: Random,
    ) -> None:
        self.url = connection.url
        self._headers = {"Authorization": f"Bearer {connection.api_key}", "User-Agent": "soma-client"}
        self._positions = positions
        self._read_your_writes = read_your_writes
        self._max_staleness_seconds = max_staleness_seconds
        self._retrying = retrying
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._random = random

    def steps(self, call: Call[AnswerT]) -> Steps[AnswerT]:
        """Yield what is to be sent and how long to wait; take what came of it; return the answer.

        Raises:
            RefusedError: The API says no.
            UnreachableError: It gives no answer.
            UnexpectedError: What answers is no API of this version.
        """
        request = self.request(call)
        begun = self._clock.monotonic()
        failures = 0
        while True:
            received = yield request
            try:
                return self._answer(call, received)
            except (RefusedError, UnreachableError) as error:
                pause = self._retrying.pause_seconds(
                    error,
                    repeatable=call.repeatable,
                    failures=failures,
                    elapsed_seconds=self._clock.monotonic() - begun,
                    random=self._random,
                )
                if pause is None:
                    raise
            failures += 1
            yield Pause(pause)

    def request(self, call: Call[Any]) -> httpx.Request:
        """Return a call as a request: the same event id, however often it is sent."""
        headers = self._headers | dict(call.headers)
        if call.keyed:
            headers.setdefault("Idempotency-Key", str(new_id(self._clock.now())))
        if call.sees_writes and (seen := self._positions.all()):
            headers["Soma-Position"] = ", ".join(map(str, seen))
        if call.bounds_staleness and self._max_staleness_seconds is not None:
            headers["Soma-Max-Staleness"] = f"{self._max_staleness_seconds:.3f}"
        content = None
        if call.body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(call.body).encode()
        request = httpx.Request(
            call.method, self.url + call.path, params=dict(call.query), content=content, headers=headers
        )
        seconds = self._timeout_seconds
        timeout = httpx.Timeout(seconds, read=max(seconds, call.wait_seconds + _MORE_SECONDS))
        request.extensions["timeout"] = timeout.as_dict()
        return request

    def unreachable(self, error: httpx.RequestError) -> UnreachableError:
        """Return why there is no answer."""
        sent = not isinstance(error, _UNSENT)
        if isinstance(error, httpx.TimeoutException):
            return UnreachableError(
                f"{self.url} did not answer within {_patience(error):.0f} s",
                remedy="run `soma status`; the request may have been executed",
                sent=sent,
            )
        refusal = tls_refusal(API, str(error))
        return UnreachableError(
            f"{self.url} cannot be reached: {error if refusal is None else refusal}",
            remedy="start it with `soma up`, or correct SOMA_URL" if refusal is None else refusal.remedy,
            sent=sent,
        )

    def refusal(self, response: httpx.Response) -> RefusedError:
        """Return what a response that was read says no with."""
        try:
            problem = response.json()
        except ValueError:
            problem = None
        return refusal_of(
            response.status_code,
            problem,
            request_id=response.headers.get(_REQUEST_ID),
            retry_after_seconds=self._retry_after(response.headers.get("Retry-After")),
        )

    def parsed(self, answer: type[ModelT], content: str | bytes) -> ModelT:
        """Read JSON of the API. What this version does not know is in `model_extra`.

        Raises:
            UnexpectedError: It is something else.
        """
        try:
            return answer.model_validate_json(content, extra="allow")
        except ValidationError as error:
            raise UnexpectedError(
                f"{self.url} does not answer as this version expects",
                remedy="check the address, and that the client and the API are of one version",
            ) from error

    def _answer(
        self, call: Call[AnswerT], received: httpx.Response | httpx.RequestError | None
    ) -> Answer[AnswerT]:
        if not isinstance(received, httpx.Response):
            raise self.unreachable(received or httpx.RequestError("nothing came back"))
        if not received.is_success and received.status_code not in call.answering:
            raise self.refusal(received)
        kind: type[Any] = call.answer
        value = received.text if kind is str else self.parsed(kind, received.content)
        if self._read_your_writes:
            self._positions.add(_positions_of(value))
        return Answer(
            cast("AnswerT", value),
            staleness_seconds=_seconds(received.headers.get("Soma-Staleness")),
            request_id=received.headers.get(_REQUEST_ID),
        )

    def _retry_after(self, value: str | None) -> float | None:
        # Of the API it is seconds; a proxy may name a time.
        if value is None or (seconds := _seconds(value)) is not None:
            return None if value is None else seconds
        try:
            at = parsedate_to_datetime(value)
        except ValueError:
            return None
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        return max(0.0, (at - self._clock.now()).total_seconds())


def _positions_of(value: object) -> Sequence[Position]:
    # Positions in other topics, as those of policies, are none that reads of memories wait for.
    match value:
        case WriteView(position=position):
            return [Position.parse(position)]
        case BatchView(writes=writes):
            return [Position.parse(write.position) for write in writes]
        case _:
            return ()


def _patience(error: httpx.TimeoutException) -> float:
    timeouts: dict[str, float] = error.request.extensions["timeout"]
    return timeouts["read" if isinstance(error, httpx.ReadTimeout) else "connect"]


def _seconds(value: str | None) -> float | None:
    try:
        seconds = float(value or "")
    except ValueError:
        return None
    return seconds if 0.0 <= seconds < float("inf") else None
