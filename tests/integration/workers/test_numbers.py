"""Numbers as no producer of ours writes them: both sinks give the same verdict and keep the same number."""

import json
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import A_NAMESPACE, A_TENANT, patched, stored
from conftest import LocalParts
from cranked_sinks import Sinks
from dead_letter_makers import Raw, RawLog
from odd_events import PAYLOADS, raw, wire
from postgres_tables import rows
from soma_cli.local.embedded_index import EmbeddedIndex
from soma_cli.local.postgres import Login
from soma_schemas.events import MemoryStored
from soma_schemas.identity import memory_id_for_key
from soma_schemas.settings import PublishingSettings
from soma_schemas.vectors.collection import Collection
from soma_schemas.vectors.embedders import PACKAGED_DIMENSIONS, PACKAGED_MODEL, Embedder, PackagedEmbedder
from soma_schemas.vectors.payload import memory_of
from soma_schemas.vectors.points import point_id
from soma_schemas.violations import ContractError
from unit.contracts.test_numbers import LITERALS
from waiting import eventually

COLLECTION = Collection("memories", PACKAGED_MODEL, PACKAGED_DIMENSIONS)
# Payload limits are reached by digits in one store and by exponents in the other.
LARGE = ", ".join(["1e308"] * 20_000)


@pytest.fixture(scope="module")
def embedder() -> Iterator[Embedder]:
    """The packaged model."""
    with closing(PackagedEmbedder()) as opened:
        yield opened


def exactly(text: str) -> Any:
    """Return JSON with its numbers as they are written."""
    return json.loads(text, parse_int=Decimal, parse_float=Decimal)


def named(number: int) -> str:
    return f"number-{number}"


def verdict(payload: str) -> str | None:
    """Return why the contract refuses a payload, or None."""
    try:
        MemoryStored.validated(stored().model_dump() | {"payload": payload})
    except ContractError as error:
        return error.violations[0].code.value
    return None


async def test_whatever_a_payload_says_both_sinks_do_the_same_with_it(
    local_parts: LocalParts,
    publishing_settings: PublishingSettings,
    owner_dsn: str,
    tmp_path: Path,
    embedder: Embedder,
) -> None:
    payloads = [*PAYLOADS, f'{{"a":[{LARGE}]}}']
    refused = {number: code for number, each in enumerate(payloads) if (code := verdict(each)) is not None}
    log = RawLog(publishing_settings)
    prefix = log.encoded(stored())[:5]
    ids = [memory_id_for_key(A_TENANT, A_NAMESPACE, named(number)) for number in range(len(payloads))]
    log.send(
        [
            Raw(
                f"{A_TENANT}/{ids[number]}".encode(),
                prefix + wire(raw(key=named(number), payload=payload))[5:],
            )
            for number, payload in enumerate(payloads)
        ]
        + [
            log.an_event(patched(stored(key=named(number)), payload='{"b": 1}'))
            for number in range(len(payloads))
        ]
    )

    with closing(EmbeddedIndex.open(tmp_path / "vectors", COLLECTION)) as index:
        dsn = local_parts.parts.postgres.dsn(Login.WORKER)
        async with Sinks(publishing_settings, dsn, index, embedder, COLLECTION).running():
            await eventually(
                lambda: _letters(owner_dsn), lambda letters: len(letters) == 2 * len(refused), seconds=120
            )
            await eventually(lambda: _patched(owner_dsn), lambda count: count == len(payloads) - len(refused))
            wanted = {point_id(A_TENANT, each): each for each in ids}
            await eventually(
                lambda: _points(index, wanted),
                lambda found: sum("b" in each for each in found.values()) == len(payloads) - len(refused),
            )
            points = await _points(index, wanted)

    assert {(letter["memory_id"], letter["code"]) for letter in await _letters(owner_dsn)} == {
        (ids[number], code) for number, code in refused.items()
    }
    listed = {
        row["memory_id"]: exactly(row["payload"])
        for row in rows(owner_dsn, "SELECT memory_id, payload::text FROM memories")
    }
    assert listed == points
    assert set(listed) == {ids[number] for number in range(len(payloads)) if number not in refused}


async def _letters(dsn: str) -> list[dict[str, Any]]:
    return rows(dsn, "SELECT memory_id, code, consumer_group FROM dead_letters")


async def _patched(dsn: str) -> int:
    return len(rows(dsn, "SELECT FROM memories WHERE payload ? 'b'"))


async def _points(index: EmbeddedIndex, wanted: dict[UUID, UUID]) -> dict[UUID, Any]:
    found = await index.read(list(wanted))
    return {
        wanted[place]: exactly(content.payload)
        for place, point in found.items()
        if (content := memory_of(point).content) is not None
    }


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(LITERALS, max_size=12))
def test_the_server_takes_what_the_contract_admits_and_gives_the_same_numbers_back(
    owner_dsn: str, literals: list[str]
) -> None:
    taken = [each for each in literals if verdict(f'{{"a":{each}}}') is None]
    text = '{"a":[' + ",".join(taken) + "]}"
    admitted = MemoryStored.validated(stored().model_dump() | {"payload": text}).payload
    with psycopg.connect(owner_dsn) as connection:
        row = connection.execute("SELECT %s::jsonb::text", [admitted]).fetchone()

    assert row is not None
    assert exactly(row[0]) == exactly(admitted)
