"""Metrics: declared once, made once, and written in the format that a scrape asks for."""

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as text

from soma_schemas import tracing
from soma_schemas.metrics import Catalogue, MetricSet, observe
from spans import Spans, trace_id

A_CATALOGUE = Catalogue()
SECONDS = A_CATALOGUE.histogram("an_answer_seconds", "Time.", buckets=(1, 2))
LENGTH = A_CATALOGUE.gauge("a_length", "Now.", unit="things", labels={"of": "what there is"})
TOLD = A_CATALOGUE.counter("told_total", "So far.", unit="things")
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def test_a_metric_is_made_once_whoever_asks_for_it() -> None:
    metrics = MetricSet()

    metrics.counter(TOLD).inc()
    metrics.counter(TOLD).inc()

    assert metrics.registry.get_sample_value("told_total") == 2


def test_values_of_several_sources_are_read_at_each_scrape_under_one_name() -> None:
    metrics, lengths = MetricSet(), {"one": 1}
    metrics.read(LENGTH, lambda: [((of,), length) for of, length in lengths.items()])
    metrics.read(LENGTH, lambda: [(("other",), 7)])
    before = metrics.exposition("").body.decode()
    lengths["one"] = 2

    (family,) = text(metrics.exposition("").body.decode())

    assert before.count("# TYPE a_length") == 1
    assert {sample.labels["of"]: sample.value for sample in family.samples} == {"one": 2, "other": 7}


def test_a_value_that_nobody_knows_has_no_line() -> None:
    metrics = MetricSet()
    metrics.read(LENGTH, list)

    assert "\na_length" not in metrics.exposition("").body.decode()


def test_a_counter_is_named_like_one() -> None:
    with pytest.raises(ValueError, match="does not end in _total"):
        Catalogue().counter("told", "So far.", unit="things")


def test_a_measurement_within_a_kept_trace_leads_to_it_in_open_metrics_alone() -> None:
    metrics, spans = MetricSet(), Spans()
    with spans.recording():
        with tracing.request("asked", {}, {}):
            observe(metrics.histogram(SECONDS), 1.5)
        observe(metrics.histogram(SECONDS), 0.5)

    plain, told = metrics.exposition("text/plain"), metrics.exposition(OPEN_METRICS)

    (family,) = open_metrics(told.body.decode())  # type: ignore[no-untyped-call]  # the library has not typed it
    exemplars = {sample.labels["le"]: sample.exemplar for sample in family.samples if "le" in sample.labels}
    assert told.content_type.startswith("application/openmetrics-text")
    assert plain.content_type.startswith("text/plain")
    assert b"trace_id" not in plain.body
    assert exemplars["1.0"] is None
    assert exemplars["2.0"] is not None
    assert exemplars["2.0"].labels["trace_id"] == trace_id(spans.one("asked"))


def test_a_process_tells_of_itself_and_of_python() -> None:
    names = {family.name for family in text(MetricSet.of_process().exposition("").body.decode())}

    assert {"process_cpu_seconds", "process_resident_memory_bytes", "python_info"} <= names
