"""The API does what its own description says, whatever it is sent."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import product
from typing import Any
from urllib.parse import quote

import pytest
import schemathesis
from hypothesis import assume, settings
from schemathesis import Case
from schemathesis.checks import CHECKS, load_all_checks

from api_gateway import open_gateway
from conftest import Counting, LocalParts
from soma_api.api_keys import ApiKey
from soma_api.application import api_document
from soma_api.roles import Role
from soma_api.serving import bind, serve
from soma_api.settings import GatewaySettings
from soma_api.watermark_waiter import SETTLED
from soma_cli.local.postgres import Login

schema = schemathesis.openapi.from_dict(api_document())

load_all_checks()
NOT_ASKED: Any = [
    # A schema cannot say all that the contract asks: namespaces, fields that exclude each other.
    CHECKS.get_one("positive_data_acceptance"),
    # A position that is not visible in time is 503 by design; a 500 is looked for below.
    CHECKS.get_one("not_a_server_error"),
]

# The server refuses a head of more than 64 KiB, and closes the connection, before the API sees it.
MOST_OF_A_HEAD = 60_000

BRIEFLY = timedelta(milliseconds=10)


@dataclass
class Served:
    """The API on a port of its own.

    Attributes:
        key: Of role admin.
    """

    url: str
    key: ApiKey


@pytest.fixture(scope="module")
def served(local_parts: LocalParts) -> Iterator[Served]:
    """The API, served over HTTP in a loop of its own."""
    postgres = local_parts.parts.postgres
    found: list[Served] = []
    started = threading.Event()
    stopping: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def run() -> None:
        stop = asyncio.Event()
        stopping.append((asyncio.get_running_loop(), stop))
        async with open_gateway(
            postgres.settings(Login.API),
            worker_dsn=postgres.dsn(Login.WORKER),
            owner_dsn=postgres.dsn(Login.OWNER),
            gateway=GatewaySettings(
                read_wait=BRIEFLY, max_wait=BRIEFLY, failed_authentications_per_address=0
            ),
        ) as gateway:
            for group, partition in product(SETTLED, gateway.ends.offsets):
                gateway.waiter.advance(group, partition, 2**40 - 1)
            await gateway.freshness.sample()
            listening = bind(GatewaySettings(port=0))
            host, port = listening.getsockname()
            found.append(Served(f"http://{host}:{port}", gateway.a_key(Role.ADMIN)))
            started.set()
            await serve(gateway.application, GatewaySettings(port=0), stop, listening)

    thread = threading.Thread(target=asyncio.run, args=(run(),), name="served-api")
    thread.start()
    assert started.wait(30)
    yield found[0]
    loop, stop = stopping[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)


# How many requests were sent, and as whom.
SENT: Counter[str] = Counter()


@schema.parametrize()
@settings(max_examples=25)
def test_every_answer_is_one_that_the_description_has(case: Case[Any], served: Any) -> None:
    call(case, served)
    SENT["with an admin's key"] += 1


@schema.parametrize()
@settings(max_examples=10)
def test_without_a_credential_nothing_is_told_and_every_answer_is_described(
    case: Case[Any], served: Any
) -> None:
    assume(fits(case))
    SENT["without a credential"] += 1
    # What schemathesis makes up as a credential is as good as none.
    answer = case.call(base_url=served.url, headers={"Authorization": "Bearer soma_made_up"})
    case.validate_response(answer, excluded_checks=NOT_ASKED)

    if case.path.startswith("/v1/"):
        assert answer.status_code in {401, 405}, answer.text


@pytest.mark.long
@schema.parametrize()
@settings(max_examples=600)
def test_every_answer_is_described_however_long_one_tries(case: Case[Any], served: Any) -> None:
    call(case, served)
    SENT["with an admin's key"] += 1


def fits(case: Case[Any]) -> bool:
    """Say whether the server reads the head of a request."""
    parts = (case.path_parameters, case.query, case.headers, case.cookies)
    return sum(len(quote(str(value))) for part in parts for value in (part or {}).values()) < MOST_OF_A_HEAD


def call(case: Case[Any], served: Served) -> None:
    """Send a request as an admin, and hold the answer to the description."""
    assume(fits(case))
    if case.path == "/v1/changes":
        case.query = {**(case.query or {}), "follow": "false"}  # or the answer has no end
    answer = case.call_and_validate(
        base_url=served.url,
        headers={"Authorization": f"Bearer {served.key.reveal()}"},
        excluded_checks=NOT_ASKED,
    )

    assert answer.status_code != 500


def test_how_much_was_tried(counting: Counting) -> None:
    tell(counting)

    assert len(SENT) == 2


@pytest.mark.long
def test_how_much_was_tried_however_long(counting: Counting) -> None:
    tell(counting)

    assert SENT


def tell(counting: Counting) -> None:
    for whom, number in SENT.items():
        counting(f"requests made up from the description, {whom}", number)
