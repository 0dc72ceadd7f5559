"""One trace from the request over the log to both stores, through processes as they are started."""

from pathlib import Path
from typing import Any

import httpx
import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition

from conftest import LocalParts
from own_processes import api_with_vectors, postgres_worker
from soma_api.api_keys import new_key
from soma_schemas.settings import PublishingSettings
from soma_schemas.topics import DEAD_LETTERS, MEMORY_EVENTS
from span_receiver import ReceivedSpan, SpanReceiver, span_receiver
from waiting import eventually_now

CALLER = "b7ad6b7169203331"
STORED, UNKEPT, POISON = "a" * 32, "b" * 32, "c" * 32
CONTENT = "tea with the canary at four"
SECRET = "not-for-anybody"


def traceparent(trace: str, *, kept: bool = True) -> str:
    return f"00-{trace}-{CALLER}-{'01' if kept else '00'}"


def road(span: ReceivedSpan, spans: list[ReceivedSpan]) -> list[tuple[str, str]]:
    """Return where a span is from, outermost first; the caller of it all must be ours."""
    by_id = {each.id: each for each in spans}
    steps = [span]
    while (parent := steps[-1].parent) in by_id:
        steps.append(by_id[parent])
    assert steps[-1].parent == CALLER
    return [(each.service, each.name) for each in reversed(steps)]


def the_last_dead_letter(settings: PublishingSettings) -> dict[str, Any] | None:
    topic = DEAD_LETTERS.full_name(settings.topics)
    consumer = Consumer({"bootstrap.servers": settings.kafka.bootstrap_servers, "group.id": "looks"})
    try:
        consumer.assign([TopicPartition(topic, number, 0) for number in range(settings.topics.partitions)])
        message = consumer.poll(1.0)
        return None if message is None or message.error() else dict(message.headers() or [])
    finally:
        consumer.close()


def drive(api: str, key: str, settings: PublishingSettings, owner_dsn: str) -> None:
    events = MEMORY_EVENTS.full_name(settings.topics)
    with httpx.Client(base_url=api, headers={"X-API-Key": key}, timeout=120, trust_env=False) as client:
        for trace, kept in ((STORED, True), (UNKEPT, False)):
            stored = client.post(
                "/v1/memories",
                json={"namespace": "team/notes", "text": CONTENT, "key": trace},
                headers={"traceparent": traceparent(trace, kept=kept), "Prefer": "wait=100"},
            )
            assert stored.status_code == 201
        found = client.post(
            "/v1/search",
            json={"query": CONTENT, "filter": {"namespace": "team/notes"}},
            headers={"traceparent": traceparent(STORED)},
        )
        assert found.status_code == 200
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers})
    producer.produce(
        events, key=b"acme/x", value=CONTENT.encode(), headers=[("traceparent", traceparent(POISON).encode())]
    )
    assert producer.flush(60) == 0
    dead_letter = eventually_now(
        lambda: the_last_dead_letter(settings), lambda found: found is not None, seconds=90
    )
    assert dead_letter is not None
    assert dead_letter["traceparent"] == traceparent(POISON).encode()
    with psycopg.connect(owner_dsn, autocommit=True) as connection:
        eventually_now(
            lambda: connection.execute("SELECT count(*) FROM dead_letters").fetchone(),
            lambda found: found is not None and found[0] > 0,
            seconds=90,
        )


def a_key(owner_dsn: str) -> str:
    key = new_key()
    with psycopg.connect(owner_dsn) as connection:
        connection.execute(
            "INSERT INTO api_keys (key_id, tenant, role, secret_hash, created_at)"
            " VALUES (%s, 'acme', 'writer', %s, now())",
            [key.key_id, key.digest()],
        )
    return key.reveal()


def traced(
    receiver: SpanReceiver,
    local_parts: LocalParts,
    settings: PublishingSettings,
    owner_dsn: str,
    folder: Path,
) -> None:
    """Run everything with spans going to a receiver, until it has told of what it did."""
    more = {"SOMA_TRACING__ENDPOINT": receiver.url, "SOMA_TRACING__HEADERS": f"api-key={SECRET}"}
    with (
        postgres_worker(local_parts, settings, folder, more),
        api_with_vectors(local_parts, settings, folder, more) as api,
    ):
        drive(api.url, a_key(owner_dsn), settings, owner_dsn)


def test_a_memory_has_one_trace_from_the_request_to_both_stores(
    local_parts: LocalParts, publishing_settings: PublishingSettings, owner_dsn: str, tmp_path: Path
) -> None:
    topic = MEMORY_EVENTS.full_name(publishing_settings.topics)
    dead_letters = DEAD_LETTERS.full_name(publishing_settings.topics)
    with span_receiver() as receiver:
        traced(receiver, local_parts, publishing_settings, owner_dsn, tmp_path)

    stored = receiver.spans(STORED)
    roads = [road(span, stored) for span in stored]
    request = ("soma-api", "POST /v1/memories")
    sent = [request, ("soma-api", f"send {topic}")]
    assert [
        *sent,
        ("soma-postgres-worker", f"process {topic}"),
        ("soma-postgres-worker", "write memories"),
    ] in roads
    assert [*sent, ("soma-api", f"process {topic}"), ("soma-api", "write points")] in roads
    assert [request, ("soma-api", "wait for write")] in roads
    assert [("soma-api", "POST /v1/search"), ("soma-api", "query points")] in roads
    processed = [span for span in stored if span.name == f"process {topic}"]
    (send,) = {span.id for span in stored if span.name == f"send {topic}"}
    assert [send in span.links for span in processed] == [True, True]
    assert receiver.spans(UNKEPT) == []
    poison = receiver.spans(POISON)
    # The dead letters of both groups may be indexed in one batch.
    assert {(span.service, span.name) for span in poison if span.name.startswith("process")} == {
        ("soma-api", f"process {topic}"),
        ("soma-postgres-worker", f"process {topic}"),
        ("soma-postgres-worker", f"process {dead_letters}"),
    }
    assert set(receiver.keys) == {SECRET}
    wire = b"".join(receiver.raw)
    said = "".join((tmp_path / name).read_text() for name in ("worker.log", "api.log"))
    assert STORED in said
    assert CONTENT.encode() not in wire
    assert (CONTENT in said, SECRET in said) == (False, False)
