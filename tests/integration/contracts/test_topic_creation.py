"""Topics that were just made: another broker of the cluster may not know them yet when it is asked."""

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from soma_schemas.settings import TopicSettings
from soma_schemas.topic_admin import apply_topics

SETTINGS = TopicSettings(prefix="just-made.", partitions=2)


def test_a_broker_that_does_not_know_a_new_topic_yet_is_asked_again(
    admin: AdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = [KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)) for _ in range(2)]
    describe = admin.describe_configs

    def late(resources: list[Any], **how: Any) -> Mapping[Any, "Future[Any]"]:
        answers: dict[Any, Future[Any]] = describe(resources, **how)
        if refusals:
            answers = {resource: Future() for resource in answers}
            refusal = refusals.pop()
            for answer in answers.values():
                answer.set_exception(refusal)
        return answers

    monkeypatch.setattr(admin, "describe_configs", late)

    done, differences = apply_topics(admin, SETTINGS)

    assert "created just-made.memory.events" in done
    assert differences == []
    assert refusals == []
