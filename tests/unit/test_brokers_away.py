"""Brokers that are away are told in the log by whoever asked, and beside the log by nobody."""

import pytest
from confluent_kafka import KafkaException, TopicPartition

from soma_api import log_ends
from soma_api.log_ends import KafkaLogEnds
from soma_api.problems import LogUnavailableError
from soma_schemas.producer import EventPublisher
from soma_schemas.settings import KafkaSettings, PublishingSettings, TopicSettings
from soma_streams.committed import onlooker
from waiting import eventually_now

NOBODY = KafkaSettings(bootstrap_servers="127.0.0.1:1")


async def test_the_api_asks_for_the_end_of_the_log_without_a_word(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(log_ends, "_ANSWER_SECONDS", 0.5)
    ends = KafkaLogEnds(NOBODY, TopicSettings())
    try:
        with pytest.raises(LogUnavailableError):
            await ends.ends()
    finally:
        ends.close()

    assert capfd.readouterr().err == ""


def test_a_worker_asks_for_what_was_committed_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    consumer = onlooker(NOBODY, "group")
    try:
        with pytest.raises(KafkaException):
            consumer.committed([TopicPartition("topic", 0)], timeout=0.5)
    finally:
        consumer.close()

    assert capfd.readouterr().err == ""


def test_a_producer_tells_it_in_one_line_with_the_reason(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    publisher = EventPublisher(PublishingSettings(kafka=NOBODY))
    try:
        eventually_now(lambda: caplog.records)
    finally:
        publisher.close()

    assert {(line.levelname, line.getMessage(), line.__dict__["error"]) for line in caplog.records} == {
        ("WARNING", "producer_without_brokers", "_ALL_BROKERS_DOWN")
    }
    assert capfd.readouterr().err == ""
