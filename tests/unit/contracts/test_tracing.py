"""What is traced, what is not, and what it costs where it is off."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry.trace import SpanKind, StatusCode
from pydantic import SecretStr, ValidationError

from soma_schemas import tracing
from soma_schemas.settings import TracingSettings
from spans import A_SPAN, A_TRACE, Spans, a_traceparent, links, parent_id, span_id, trace_id

OTHER_TRACE, OTHER_SPAN = "1" * 32, "2" * 16


@pytest.fixture
def spans() -> Iterator[Spans]:
    with Spans().recording() as recorded:
        yield recorded


def loaded(modules: str) -> list[str]:
    """Return what of OpenTelemetry a process loads with these, and with tracing that has no endpoint."""
    program = (
        f"import sys, json, {modules}\n"
        "from soma_schemas import tracing\n"
        "from soma_schemas.settings import TracingSettings\n"
        "tracing.start(TracingSettings(), 'test')\n"
        "with tracing.part('nothing'): pass\n"
        "print(json.dumps([name for name in sys.modules if name.startswith('opentelemetry')]))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    names: list[str] = json.loads(ended.stdout)
    return names


def test_workers_and_producers_load_nothing_for_it_while_it_is_off() -> None:
    assert loaded("soma_cli.processes.workers, soma_schemas.producer, soma_cli.main") == []


def test_the_api_loads_nothing_but_what_its_framework_does_while_it_is_off() -> None:
    names = loaded("soma_cli.processes.api")

    assert not [name for name in names if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))]


def test_where_it_is_off_every_block_is_the_same_one() -> None:
    blocks = [
        tracing.request("GET", {}, {"traceparent": a_traceparent()}),
        tracing.batch("process", {}, [({"traceparent": a_traceparent()}, {})]),
        tracing.part("write"),
    ]

    assert all(each is tracing.UNTRACED for each in blocks)
    assert tracing.sending("send", {}).carrier is None
    assert (tracing.log_ids(), tracing.exemplar()) == ({}, None)


def test_a_request_goes_on_with_the_trace_of_its_caller(spans: Spans) -> None:
    with tracing.request("GET", {"http.request.method": "GET"}, {"traceparent": a_traceparent()}) as span:
        span.rename("GET /v1/memories")

    served = spans.one("GET /v1/memories")
    assert (trace_id(served), parent_id(served), served.kind) == (A_TRACE, A_SPAN, SpanKind.SERVER)


@pytest.mark.parametrize(
    "told", ["", "x", "00-0-0-01", f"00-{'0' * 32}-{A_SPAN}-01", f"ff-{A_TRACE}-{A_SPAN}-01", "\x00" * 9999]
)
def test_a_caller_that_tells_no_trace_begins_none_of_its_own(spans: Spans, told: str) -> None:
    with tracing.request("GET", {}, {"traceparent": told}):
        pass

    assert parent_id(spans.one("GET")) is None


def test_a_caller_that_keeps_no_trace_is_followed_to_the_last_message() -> None:
    with Spans().recording() as spans:
        with tracing.request("GET", {}, {"traceparent": a_traceparent(kept=False)}), tracing.part("write"):
            sent = tracing.sending("send", {})
            told, line, exemplar = sent.carrier, tracing.log_ids(), tracing.exemplar()
            sent.end()

        assert spans.all == ()
        assert told is not None
        assert told["traceparent"].startswith(f"00-{A_TRACE}-")
        assert told["traceparent"].endswith("-00")
        assert line["trace_id"] == A_TRACE
        assert exemplar is None


def test_of_traces_that_begin_here_the_share_is_kept_that_is_set() -> None:
    with Spans().recording(ratio=0.25) as spans:
        for _ in range(2000):
            with tracing.request("GET", {}, {}):
                pass

        assert 350 < len(spans.all) < 650


def test_a_part_of_nothing_begins_no_trace(spans: Spans) -> None:
    with tracing.part("write"):
        assert tracing.log_ids() == {}

    assert spans.all == ()


def test_messages_that_are_sent_within_a_request_carry_its_trace(spans: Spans) -> None:
    with tracing.request("POST", {}, {"traceparent": a_traceparent()}):
        sent = tracing.sending("send memory.events", {})
    told = sent.carrier
    with ThreadPoolExecutor(1) as other:
        other.submit(sent.end).result()

    span = spans.one("send memory.events")
    assert told == {"traceparent": a_traceparent(span=span_id(span))}
    assert (span.kind, parent_id(span)) == (SpanKind.PRODUCER, span_id(spans.one("POST")))


def test_a_batch_is_a_part_of_the_trace_of_each_of_its_messages(spans: Spans) -> None:
    messages: list[tuple[tracing.Carrier, tracing.Attributes]] = [
        ({}, {"messaging.kafka.offset": 1}),
        ({"traceparent": a_traceparent("3" * 32, "4" * 16, kept=False)}, {"messaging.kafka.offset": 2}),
        ({"traceparent": a_traceparent()}, {"messaging.kafka.offset": 3}),
        ({"traceparent": a_traceparent()}, {"messaging.kafka.offset": 4}),
        ({"traceparent": a_traceparent(OTHER_TRACE, OTHER_SPAN)}, {"messaging.kafka.offset": 5}),
        ({"traceparent": "nonsense"}, {"messaging.kafka.offset": 6}),
    ]

    with tracing.batch("process", {"messaging.system": "kafka"}, messages), tracing.part("write"):
        pass

    work, other = sorted(
        [span for span in spans.all if span.name == "process"],
        key=lambda span: str(dict(span.attributes or {})["messaging.kafka.offset"]),
    )
    assert (trace_id(work), parent_id(work)) == (A_TRACE, A_SPAN)
    assert links(work) == [(A_TRACE, A_SPAN), (OTHER_TRACE, OTHER_SPAN)]
    assert parent_id(spans.one("write")) == span_id(work)
    assert (trace_id(other), parent_id(other)) == (OTHER_TRACE, OTHER_SPAN)
    assert links(other) == [(A_TRACE, span_id(work))]
    assert {work.kind, other.kind} == {SpanKind.CONSUMER}
    assert other.start_time is not None
    assert work.start_time is not None
    assert abs(other.start_time - work.start_time) < 10**9


def test_a_batch_of_which_nothing_is_kept_has_no_span(spans: Spans) -> None:
    unkept = [a_traceparent("3" * 32, f"{number:016x}", kept=False) for number in range(1, 4)]
    messages: list[tuple[tracing.Carrier, tracing.Attributes]] = [({"traceparent": e}, {}) for e in unkept]

    with tracing.batch("process", {}, messages), tracing.part("write"):
        pass
    with tracing.batch("process", {}, []), tracing.part("write"):
        pass

    assert spans.all == ()


def test_the_text_of_an_error_is_in_no_span(spans: Spans) -> None:
    with pytest.raises(ValueError, match="secret"), tracing.request("GET", {}, {}), tracing.part("write"):
        raise ValueError("a secret")

    for span in spans.all:
        assert span.status.status_code is StatusCode.ERROR
        assert dict(span.attributes or {})["error.type"] == "ValueError"
    assert len(spans.all) == 2
    assert "secret" not in "".join(span.to_json() for span in spans.all)


def test_a_line_of_the_log_names_the_trace_and_the_span() -> None:
    program = (
        "import structlog\n"
        "from soma_schemas import tracing\n"
        "from soma_schemas.logs import configure_logging\n"
        "from soma_schemas.settings import LogSettings\n"
        "from spans import Spans, a_traceparent\n"
        "configure_logging(LogSettings())\n"
        "with Spans().recording(), tracing.request('GET', {}, {'traceparent': a_traceparent()}):\n"
        "    structlog.get_logger('test').info('served')\n"
        "structlog.get_logger('test').info('idle')\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )

    served, idle = map(json.loads, ended.stderr.splitlines())
    assert served["trace_id"] == A_TRACE
    assert len(served["span_id"]) == 16
    assert "trace_id" not in idle


def test_headers_of_an_endpoint_are_read_as_they_are_written() -> None:
    settings = TracingSettings(headers=SecretStr("Api-Key=a=b, x-tenant = one"))

    assert settings.header_fields() == {"api-key": "a=b", "x-tenant": "one"}
    assert "a=b" not in repr(settings)


@pytest.mark.parametrize("headers", ["key", "=value", "key=", "key=a b", "key=é", "a=1,b"])
def test_headers_that_are_none_are_refused(headers: str) -> None:
    with pytest.raises(ValidationError, match="has to look like"):
        TracingSettings(headers=SecretStr(headers))
