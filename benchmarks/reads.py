"""`python -m benchmarks.reads`: how long reads take over HTTP, beside what the stores take for the same.

One tenant of ten has 100,000 memories, the others 10,000 each. Questions of every kind take turns. The index
is asked by itself afterwards, when the API has let go of it, with the API's own search and nothing around it.
"""

import argparse
import asyncio
import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from random import Random
from socket import IPPROTO_TCP, TCP_NODELAY
from statistics import median
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import psycopg

from benchmarks.load.local_stack import LoadError, LocalStack, running
from benchmarks.load.measuring import Log, batches_of
from benchmarks.load.mixtures import MANY, key_of, memories, namespace_of, text
from benchmarks.results import machine, write_page
from benchmarks.stage import CLOCK
from soma_api.models.search_models import SearchBody
from soma_api.principals import Principal
from soma_api.queries.vectors.hybrid_search import Search
from soma_api.roles import Role
from soma_cli.benchmark.figures import percentile
from soma_cli.local.embedded_index import EmbeddedIndex
from soma_cli.local.index_folder import IndexFolder
from soma_schemas.identity import memory_id_for_key
from soma_schemas.producer import MemoryProducer
from soma_schemas.retention import TenantPolicies
from soma_schemas.vectors.bm25 import Bm25Encoder
from soma_schemas.vectors.embedders import PackagedEmbedder

_HOME = Path("build/reads/home")
_PAGE = Path("docs/performance/reads.md")

_TENANT, _OTHERS = "local", 9
_LINKS = 20_000
_CLIENTS = 16
_WARM = 20

Filters = Mapping[str, dict[str, Any]]
Measured = dict[str, Any]

_PLACE = "load/many"
FILTERS: Filters = {
    "a prefix that holds all": {"namespace_prefix": _PLACE},
    "a namespace that holds a fortieth": {"namespace": f"{_PLACE}/3"},
    "a prefix and a tag": {"namespace_prefix": _PLACE, "tags": ["project"]},
    "a prefix and a range of importance": {"namespace_prefix": _PLACE, "importance_min": 0.5},
    "a prefix and a narrow range of importance": {
        "namespace_prefix": _PLACE,
        "importance_min": 0.9,
        "importance_max": 0.92,
    },
    "a prefix and a payload field": {"namespace_prefix": _PLACE, "payload": {"speaker": "user"}},
    "a prefix and a range of times": {
        "namespace_prefix": _PLACE,
        "where": {"updated_at": {"gte": "2026-01-01T00:00:00Z"}},
    },
    "nothing": {},
}


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reads", description=__doc__)
    parser.add_argument("--memories", type=int, default=100_000, help="of the tenant that is asked")
    parser.add_argument("--times", type=int, default=200, help="how often each question is asked")
    parser.add_argument("--page", type=Path, default=_PAGE)
    arguments = parser.parse_args()
    shutil.rmtree(_HOME, ignore_errors=True)
    with running(_HOME.absolute()) as stack:
        found = _over_http(stack, arguments.memories, arguments.times)
    found["index"] = asyncio.run(_by_itself(arguments.times))
    found = {"machine": machine(), "at": CLOCK.now().isoformat(timespec="seconds"), **found}
    write_page(arguments.page, found, _page(found))


def _over_http(stack: LocalStack, count: int, times: int) -> Measured:
    log = Log(stack)
    try:
        began = CLOCK.monotonic()
        _fill(log, count)
        log.drained(began)
        fresh = _ask(stack, log, count, times)
        throughput = asyncio.run(_together(log, seconds=15.0))
    finally:
        log.close()
    return {"memories": count, **fresh, "together": throughput}


def _fill(log: Log, count: int) -> None:
    tenants = [f"other-{number}" for number in range(_OTHERS)]
    for tenant, many in ((_TENANT, count), *((each, count // 10) for each in tenants)):
        log.publish(batches_of(list(memories(MANY, many, "many"))), tenant)
    random = Random("links")  # noqa: S311  # the same each time is what is wanted
    with MemoryProducer(log.settings, tenant=_TENANT) as producer:
        for _ in range(min(_LINKS, count // 5)):
            one, other = (random.randrange(count) for _ in range(2))
            producer.link(_namespace(one), _id(one), _id(other), "about")


def _namespace(number: int) -> str:
    return namespace_of(MANY, "many", number)


def _id(number: int) -> Any:
    return memory_id_for_key(_TENANT, _namespace(number), key_of(number))


_LIST = b"""
SELECT * FROM memories WHERE tenant = %s AND namespace = %s AND NOT deleted
ORDER BY updated_at DESC, memory_id DESC LIMIT 51
"""
_STATEMENTS: Mapping[str, tuple[bytes, Callable[[int], Any]]] = {
    "get by id": (b"SELECT * FROM memories WHERE tenant = %s AND memory_id = %s", _id),
    "a list of 50": (_LIST, _namespace),
}


def _questions() -> list[str]:
    random = Random("questions")  # noqa: S311  # likewise
    return [text(random, 6) for _ in range(500)]


def _ask(stack: LocalStack, log: Log, count: int, times: int) -> Measured:
    questions, random = _questions(), Random("ids")  # noqa: S311  # likewise
    seconds: dict[str, list[float]] = {}
    bare: dict[str, list[float]] = {}
    headers = _credential(log) | {"Content-Type": "application/json"}
    password = (stack.home / "secrets" / "postgres-soma_api").read_text(encoding="ascii").strip()
    database = f"host=127.0.0.1 port={stack.ports()['postgres']} dbname=soma user=soma_api"
    with (
        closing(_connection(log)) as client,
        psycopg.connect(database, password=password, autocommit=True) as connection,
    ):
        connection.execute("SELECT set_config('soma.tenant', %s, false)", [_TENANT])
        for turn in range(-_WARM, times):
            number = random.randrange(count)
            for what, (method, target, body) in _requests(questions[turn % 500], number).items():
                began = CLOCK.monotonic()
                client.request(method, target, body, headers)
                answer = client.getresponse()
                answer.read()
                _note(seconds, what, began, turn)
                if answer.status != HTTPStatus.OK:
                    raise LoadError(f"{what} was answered with {answer.status}")
            for what, (statement, values) in _STATEMENTS.items():
                began = CLOCK.monotonic()
                connection.execute(statement, [_TENANT, values(number)]).fetchall()
                _note(bare, what, began, turn)
    return {"seconds": seconds, "bare": bare}


def _connection(log: Log) -> HTTPConnection:
    """Return a connection of the standard library, which takes least of the time that is measured."""
    connection = HTTPConnection(urlsplit(log.environment["SOMA_URL"]).netloc)
    connection.connect()
    connection.sock.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    return connection


def _requests(question: str, number: int) -> dict[str, tuple[str, str, str | None]]:
    memory = f"/v1/memories/{_id(number)}"
    searches = {
        f"hybrid, {kind}": ("POST", "/v1/search", json.dumps({"query": question, "filter": each}))
        for kind, each in FILTERS.items()
    }
    return {
        **searches,
        "get by id": ("GET", memory, None),
        "a list of 50": ("GET", f"/v1/memories?{urlencode({'namespace': _namespace(number)})}", None),
        "neighbors, depth 2": ("GET", f"{memory}/neighbors?depth=2", None),
        "healthz": ("GET", "/healthz", None),
    }


def _note(found: dict[str, list[float]], what: str, began: float, turn: int) -> None:
    took = CLOCK.monotonic() - began
    if turn >= 0:
        found.setdefault(what, []).append(took)


def _credential(log: Log) -> dict[str, str]:
    return {"Authorization": f"Bearer {log.environment['SOMA_API_KEY']}"}


async def _together(log: Log, seconds: float) -> Measured:
    """Search with several clients that each ask as soon as they are answered."""
    questions, took = _questions(), []
    until = CLOCK.monotonic() + seconds

    async def ask(number: int) -> None:
        async with httpx.AsyncClient(
            base_url=log.environment["SOMA_URL"], headers=_credential(log), trust_env=False
        ) as client:
            while CLOCK.monotonic() < until:
                number += 1
                began = CLOCK.monotonic()
                body = {"query": questions[number % 500], "filter": FILTERS["a prefix and a tag"]}
                (await client.post("/v1/search", json=body)).raise_for_status()
                took.append(CLOCK.monotonic() - began)

    await asyncio.gather(*(ask(number * 31) for number in range(_CLIENTS)))
    return {"clients": _CLIENTS, "per_second": len(took) / seconds, "seconds": took}


async def _by_itself(times: int) -> dict[str, list[float]]:
    """Ask the same of the index, opened by this process after the API has closed it."""
    folder = IndexFolder(_HOME / "vectors")
    name = folder.names().current
    collection = folder.recorded(name)
    if collection is None:
        raise SystemExit("the stack left no index")
    principal, questions = Principal(_TENANT, Role.READER, None, "benchmark"), _questions()
    found: dict[str, list[float]] = {}
    index = EmbeddedIndex.open(folder.path(name), collection)
    try:
        search = Search(index, PackagedEmbedder(), Bm25Encoder(collection.language), CLOCK)
        for turn in range(-_WARM, times):
            for kind, each in FILTERS.items():
                body = SearchBody.model_validate({"query": questions[turn % 500], "filter": each})
                began = CLOCK.monotonic()
                await search(body.request(principal, TenantPolicies({})))
                _note(found, f"hybrid, {kind}", began, turn)
    finally:
        index.close()
    return found


def _page(found: Measured) -> list[str]:
    at, where = found["at"][:10], found["machine"]
    bare = {**found["bare"], **found["index"]}
    introduction = (
        f"Written by `python -m benchmarks.reads` on {at}: {where['cores']} cores ({where['processor']}), "
        f"{where['memory_gib']} GiB, which ran the local stack and the client together. "
        f"{found['memories']:,} memories in one of ten tenants, right after they were stored; "
        f"{len(found['seconds']['get by id'])} times each, by turns, from one client."
    )
    head = "| over HTTP | p50 | p95 | p99 | the store alone, p50 | p95 | ratio of p50 | p50 above the store |"
    lines = ["# Reads, measured", "", introduction, "", head, "|-|-|-|-|-|-|-|-|"]
    for what, seconds in found["seconds"].items():
        quantiles = " | ".join(f"{percentile(seconds, each) * 1000:.1f} ms" for each in (50, 95, 99))
        beside = " |  |  | "
        if alone := bare.get(what):
            middle = median(alone)
            beside = (
                f"{middle * 1000:.1f} ms | {percentile(alone, 95) * 1000:.1f} ms | "
                f"{median(seconds) / middle:.1f} | {(median(seconds) - middle) * 1000:.1f} ms"
            )
        lines.append(f"| {what} | {quantiles} | {beside} |")
    together = found["together"]
    p50, p95 = (percentile(together["seconds"], each) * 1000 for each in (50, 95))
    throughput = (
        f"{together['clients']} clients at once, hybrid with a prefix and a tag: "
        f"{together['per_second']:.0f} searches a second, p50 {p50:.0f} ms, p95 {p95:.0f} ms. "
        "One API process, and the clients on the same cores."
    )
    explained = (
        "The store alone is one statement of psycopg for PostgreSQL, and for the index the API's own search "
        "in the process of the benchmark, after the index was opened anew. `healthz` asks no store: it is "
        "what a request costs by itself, with the client, which is that of Python's standard library."
    )
    return [*lines, "", throughput, "", explained]


if __name__ == "__main__":
    main()
