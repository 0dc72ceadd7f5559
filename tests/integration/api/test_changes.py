"""The stream of what is applied: who is told what, in which order, and where it goes on."""

import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from api_gateway import Gateway, open_gateway
from builders import A_MOMENT, A_TENANT, an_id
from event_stream import followed
from soma_api.roles import Role
from soma_api.settings import GatewaySettings
from soma_schemas.groups import SinkGroup
from soma_schemas.settings import PostgresSettings
from soma_schemas.versions import Position, pack_version
from waiting import eventually_so

_TOPIC = "memory.events"


def settled(gateway: Gateway, *ends: Position) -> None:
    """Let the sink have settled everything before these."""
    with psycopg.connect(gateway.worker_dsn) as connection:
        for end in ends:
            topic = _TOPIC if end.epoch == 1 else f"{_TOPIC}.e{end.epoch}"
            connection.execute(
                "INSERT INTO sink_watermarks VALUES (%s, %s, %s, %s, %s, now())"
                " ON CONFLICT (consumer_group, topic, partition)"
                " DO UPDATE SET next_offset = excluded.next_offset",
                [SinkGroup.POSTGRES, topic, end.partition, end.epoch, end.offset],
            )
    for end in ends:
        gateway.waiter.advance(SinkGroup.POSTGRES, end.partition, end.offset, end.epoch)


def applied(gateway: Gateway, position: Position, outcome: str = "applied", **fields: Any) -> UUID:
    """Apply an event, and settle everything up to it."""
    event: dict[str, Any] = {
        "memory_id": an_id(),
        "actor": "ada",
        "version": position.version,
        "logged_at": A_MOMENT + timedelta(seconds=position.offset % 3600),
    } | fields
    gateway.given_outcome(position, outcome, **event)
    settled(gateway, position._replace(offset=position.offset + 1))
    memory_id: UUID = event["memory_id"]
    return memory_id


def key(gateway: Gateway, **fields: Any) -> str:
    return gateway.a_key(Role.READER, **fields).reveal()


async def test_what_was_applied_is_told_with_what_the_memory_is_now(gateway: Gateway) -> None:
    memory_id = gateway.given_memory(namespace="team", text="tea at five", version=pack_version(1, 1))
    event_id = an_id()
    applied(gateway, Position(0, 0), memory_id=memory_id, namespace="team", event_id=event_id)
    applied(gateway, Position(0, 1), memory_id=memory_id, namespace="team", event_type="MemoryPatched")
    gone = applied(gateway, Position(0, 2), namespace="team", event_type="MemoryDeleted")

    async with followed(gateway.application, key(gateway), since="beginning") as stream:
        stored, patched, deleted = await stream.told(3)

    assert stream.status == 200
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stored == {
        "event_type": "MemoryStored",
        "memory_id": str(memory_id),
        "namespace": "team",
        "version": pack_version(1, 0),
        "position": "0:0",
        "event_id": str(event_id),
        "actor": "ada",
        "logged_at": "2026-03-02T09:00:00Z",
        "memory": None,
    }
    assert (patched["event_type"], patched["memory"]["text"]) == ("MemoryPatched", "tea at five")
    assert (deleted["memory_id"], deleted["memory"]) == (str(gone), None)
    assert stream.last_id() == "0:3"


async def test_what_is_applied_meanwhile_is_told_and_nothing_of_before(gateway: Gateway) -> None:
    applied(gateway, Position(0, 0))
    async with followed(gateway.application, key(gateway)) as stream:
        later = applied(gateway, Position(0, 1))
        (first,) = await stream.told(1)
        latest = applied(gateway, Position(7, 0))  # in a partition that is new
        _, second = await stream.told(2)

    assert [first["memory_id"], second["memory_id"]] == [str(later), str(latest)]
    assert stream.last_id() == "0:2,7:1"


async def test_whoever_was_away_goes_on_where_they_were(gateway: Gateway) -> None:
    applied(gateway, Position(0, 0))
    async with followed(gateway.application, key(gateway)) as before:
        await before.told(0)
    missed = [applied(gateway, Position(partition, 1)) for partition in (0, 1)]

    resumed = []
    place = before.last_id()
    for stream in (
        followed(gateway.application, key(gateway), since=place),
        followed(gateway.application, key(gateway), {"Last-Event-ID": place}),
    ):
        async with stream as after:
            resumed.append([each["memory_id"] for each in await after.told(2)])

    assert resumed == [[str(each) for each in missed]] * 2


async def test_what_changed_nothing_and_what_is_not_settled_is_not_told(gateway: Gateway) -> None:
    applied(gateway, Position(0, 0), "superseded")
    applied(gateway, Position(0, 1), "dead_lettered")
    told = applied(gateway, Position(0, 2))
    gateway.given_outcome(Position(0, 3))  # of a transaction whose watermark nobody has seen

    async with followed(gateway.application, key(gateway), since="beginning") as stream:
        await stream.told(1)

    assert [each["memory_id"] for each in stream.changes()] == [str(told)]


async def test_only_the_own_tenant_and_what_a_key_covers_is_told(gateway: Gateway) -> None:
    moved = gateway.given_memory(namespace="secret", version=pack_version(1, 9))
    applied(gateway, Position(0, 0), tenant="other")
    applied(gateway, Position(0, 1), namespace="secret")
    applied(gateway, Position(0, 2), namespace=None)
    inside = applied(gateway, Position(0, 3), namespace="team/notes")
    applied(gateway, Position(0, 4), namespace="team/notes", memory_id=moved)
    applied(gateway, Position(0, 5), namespace="teams")

    async with followed(gateway.application, key(gateway, namespaces=["team"]), since="beginning") as stream:
        told = await stream.told(2)

    assert [(each["memory_id"], each["memory"]) for each in told] == [(str(inside), None), (str(moved), None)]
    assert len(stream.changes()) == 2


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"namespace": "team"}, ["team"]),
        ({"namespace_prefix": "team"}, ["team", "team/notes"]),
        ({}, ["team", "team/notes", "teams", None]),
    ],
)
async def test_a_namespace_is_followed_alone_or_with_all_below_it(
    gateway: Gateway, asked: Any, expected: list[str | None]
) -> None:
    for number, namespace in enumerate(("team", "team/notes", "teams", None)):
        applied(gateway, Position(0, number), namespace=namespace)

    async with followed(gateway.application, key(gateway), since="beginning", **asked) as stream:
        told = await stream.told(len(expected))

    assert [each["namespace"] for each in told] == expected


async def test_a_filter_looks_at_what_is_there_and_what_is_gone_is_always_told(gateway: Gateway) -> None:
    fits = gateway.given_memory(namespace="team", tags=["tea"], version=pack_version(1, 9))
    other = gateway.given_memory(namespace="team", tags=["wine"], version=pack_version(1, 9))
    untagged = gateway.given_memory(namespace="team", version=pack_version(1, 9))
    out_of_reach = gateway.given_memory(namespace="secret", tags=["wine"], version=pack_version(1, 9))
    gone, tombstone = an_id(), an_id()
    gateway.given_tombstone(tombstone)
    changed = (fits, other, gone, untagged, out_of_reach, fits, tombstone)
    for number, memory_id in enumerate(changed):
        applied(gateway, Position(0, number), namespace="team", memory_id=memory_id)
    reader = key(gateway, namespaces=["team"])

    told = {}
    for where in ('{"tags": {"contains": "tea"}}', '{"not": {"tags": {"exists": true}}}'):
        async with followed(
            gateway.application, reader, since="beginning", follow="false", filter=where
        ) as stream:
            await eventually_so(lambda: stream.ended)
        told[where] = [
            (each["memory_id"], each["memory"] and each["memory"]["memory_id"]) for each in stream.changes()
        ]
        assert stream.last_id() == "0:7"

    hidden = [(str(gone), None), (str(out_of_reach), None), (str(tombstone), None)]
    assert list(told.values()) == [
        [(str(fits), None), *hidden[:2], (str(fits), str(fits)), hidden[2]],
        [hidden[0], (str(untagged), str(untagged)), *hidden[1:]],
    ]


@pytest.mark.parametrize("where", ["{", "[]", '{"colour": {"eq": "green"}}', '{"tags": {"in": []}}'])
async def test_a_filter_that_is_none_is_refused(gateway: Gateway, where: str) -> None:
    answer = await gateway.client.get("/v1/changes", params={"filter": where})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert answer.json()["errors"][0]["path"].startswith("/filter")


async def test_a_long_way_is_gone_in_steps_over_what_others_have(gateway: Gateway) -> None:
    with psycopg.connect(gateway.worker_dsn) as connection:
        connection.execute("SELECT soma_ensure_history_partition(%s)", [A_MOMENT.date()])
        connection.execute(
            "INSERT INTO memory_history (partition, version, logged_at, tenant, memory_id, event_id,"
            " event_type, namespace, actor, outcome)"
            " SELECT n %% 2, %s + n / 2, %s, CASE WHEN n %% 40 < 2 THEN %s ELSE 'other' END,"
            " gen_random_uuid(), gen_random_uuid(), 'MemoryStored', 'team', 'ada', 'applied'"
            " FROM generate_series(0, 29999) AS n",
            [pack_version(1, 0), A_MOMENT, A_TENANT],
        )
    settled(gateway, Position(0, 15_000), Position(1, 15_000))

    async with followed(gateway.application, key(gateway), since="beginning") as stream:
        told = await stream.told(1500)
        await eventually_so(stream.last_id, lambda place: place == "0:15000,1:15000")

    offsets: dict[int, list[int]] = {0: [], 1: []}
    for position in (Position.parse(each["position"]) for each in told):
        offsets[position.partition].append(position.offset)
    assert offsets == {0: list(range(0, 15_000, 20)), 1: list(range(0, 15_000, 20))}


async def test_the_next_epoch_is_followed_once_the_former_one_was_told(gateway: Gateway) -> None:
    early = applied(gateway, Position(0, 4))
    late = applied(gateway, Position(0, 0, 2))
    further = applied(gateway, Position(3, 0, 2))

    async with followed(gateway.application, key(gateway), since="0:2") as stream:
        told = await stream.told(3)

    assert [each["memory_id"] for each in told] == [str(early), str(late), str(further)]
    assert stream.last_id() == "2:0:1,2:3:1"


async def test_a_replayed_dead_letter_is_told_where_it_was_applied(gateway: Gateway) -> None:
    mended = applied(gateway, Position(0, 0), "dead_lettered")
    settled(gateway, Position(0, 10))
    async with followed(gateway.application, key(gateway)) as stream:
        await stream.told(0)
        with psycopg.connect(gateway.worker_dsn) as connection:
            connection.execute("UPDATE memory_history SET outcome = 'applied', event_id = %s", [an_id()])
            connection.execute(
                "INSERT INTO memory_replays VALUES (1, %s, %s, 0, %s, %s)",
                [pack_version(1, 5), A_TENANT, pack_version(1, 0), A_MOMENT],
            )
        settled(gateway, Position(1, 6))
        (told,) = await stream.told(1)

    assert (told["memory_id"], told["position"]) == (str(mended), "1:5")
    assert told["version"] == pack_version(1, 0)


@pytest.mark.parametrize(
    "since", ["yesterday", "0:1,0:2", "0:-1", "9999:0:1", "0:1;1:1", "0:99999999999999", "1" * 16_385]
)
async def test_a_place_that_is_none_is_refused(gateway: Gateway, since: str) -> None:
    answer = await gateway.client.get("/v1/changes", params={"since": since})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


async def test_a_namespace_that_the_key_does_not_cover_is_refused(gateway: Gateway) -> None:
    gateway.use(gateway.a_key(Role.READER, namespaces=["team"]))

    answer = await gateway.client.get("/v1/changes", params={"namespace": "secret"})

    assert (answer.status_code, answer.json()["code"]) == (403, "namespace_forbidden")


async def test_whoever_wants_to_catch_up_alone_is_told_when_that_is_done(gateway: Gateway) -> None:
    applied(gateway, Position(0, 0))
    async with followed(gateway.application, key(gateway), since="beginning", follow="false") as stream:
        await eventually_so(lambda: stream.ended)

    assert len(stream.changes()) == 1
    assert stream.last_id() == "0:1"


async def test_a_request_for_the_headers_alone_has_an_end(gateway: Gateway) -> None:
    answer = await gateway.client.head("/v1/changes")

    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"].startswith("text/event-stream")


async def test_a_key_that_is_revoked_meanwhile_ends_the_stream(gateway: Gateway) -> None:
    async with followed(gateway.application, key(gateway)) as stream:
        with psycopg.connect(gateway.owner_dsn) as connection:
            connection.execute("UPDATE api_keys SET revoked_at = %s", [gateway.clock.now()])
        applied(gateway, Position(0, 0))
        await eventually_so(lambda: stream.ended)

    assert stream.changes() == []
    last = stream.messages()[-1]
    assert last["event"] == "end"
    assert json.loads(last["data"])["code"] == "unauthenticated"


async def test_a_database_that_goes_away_ends_the_stream_with_what_to_do(gateway: Gateway) -> None:
    async with followed(gateway.application, key(gateway)) as stream:
        await gateway.application.state.services.changes._queries._database._pool.close()
        gateway.waiter.advance(SinkGroup.POSTGRES, 0, 1)
        await eventually_so(lambda: stream.ended)

    problem = json.loads(stream.messages()[-1]["data"])
    assert (problem["code"], problem["retryable"]) == ("store_unavailable", True)


async def test_a_process_that_stops_ends_every_stream_at_once(gateway: Gateway) -> None:
    async with followed(gateway.application, key(gateway)) as stream:
        gateway.application.state.end_streams()
        await eventually_so(lambda: stream.ended)

    assert stream.messages()[-1].keys() == {"id"}


async def test_more_followers_than_are_allowed_are_refused(
    api_postgres: PostgresSettings, worker_dsn: str, owner_dsn: str
) -> None:
    settings = GatewaySettings(max_change_streams=1, api_key_cache_ttl=timedelta(0))
    async with open_gateway(
        api_postgres, worker_dsn=worker_dsn, owner_dsn=owner_dsn, gateway=settings
    ) as gateway:
        async with followed(gateway.application, key(gateway)):
            refused = await gateway.client.get("/v1/changes")
        async with followed(gateway.application, key(gateway)) as again:
            pass

    assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
    assert again.status == 200


async def test_a_stream_is_one_request_for_the_rate_limits_however_long_it_goes_on(
    api_postgres: PostgresSettings, worker_dsn: str, owner_dsn: str
) -> None:
    settings = GatewaySettings(rate_limit_per_principal=3, api_key_cache_ttl=timedelta(0))
    async with open_gateway(
        api_postgres, worker_dsn=worker_dsn, owner_dsn=owner_dsn, gateway=settings
    ) as gateway:
        credential = gateway.client.headers["Authorization"].removeprefix("Bearer ")
        async with followed(gateway.application, credential) as stream:
            for offset in range(4):
                applied(gateway, Position(0, offset))
                await stream.told(offset + 1)
        answer = await gateway.client.get("/v1/memories")

    assert answer.headers["RateLimit"] == '"principal";r=1;t=60'


async def test_a_stream_counts_with_the_time_to_its_beginning(gateway: Gateway) -> None:
    async with followed(gateway.application, key(gateway)):
        gateway.clock.advance(3600)

    registry = gateway.application.state.services.metrics.of_process.registry
    labels = {"route": "/v1/changes", "method": "GET"}
    assert registry.get_sample_value("soma_api_request_seconds_sum", labels) == 0
    assert registry.get_sample_value("soma_api_request_seconds_count", labels) == 1
