from pathlib import Path
from typing import Any

import faust
import pytest

from integration.transport.harness import Cluster, a_name, crash_of, running
from soma_streams.transport import (
    BatchSchema,
    Limits,
    MissingTopicError,
    MisuseError,
    Options,
    UnsafeSettingsError,
    app_settings,
    batches,
    configure,
    consumer_of,
)
from waiting import eventually_so


async def crash_with(app: faust.App) -> BaseException:
    app.finalize()
    await app.start()
    try:
        reason = await eventually_so(lambda: app.crash_reason)
        assert reason is not None
        return reason
    finally:
        await app.stop()


def an_app(cluster: Cluster, data: Path) -> faust.App:
    return faust.App(a_name("group"), **app_settings(cluster.bootstrap), datadir=data, web_enabled=False)


async def test_a_stream_that_acknowledges_by_itself_crashes_the_application(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic = cluster.create_topic()
    cluster.produce(topic, [b"x"])
    app = an_app(cluster, tmp_path)

    async def apply(stream: Any) -> None:
        async for _ in stream:
            pass

    app.agent(app.topic(topic, schema=BatchSchema()), name="apply")(apply)
    crash = await crash_with(app)
    assert isinstance(crash, MisuseError)
    assert "batches(stream)" in str(crash.remedy)
    assert cluster.committed(app.conf.id, topic) in {None, 0}


async def test_a_topic_without_the_schema_crashes_the_application_and_skips_nothing(
    cluster: Cluster, tmp_path: Path
) -> None:
    topic = cluster.create_topic()
    cluster.produce(topic, [b"x"])
    app = an_app(cluster, tmp_path)

    async def apply(stream: Any) -> None:
        async for _ in batches(stream):
            pass

    app.agent(app.topic(topic), name="apply")(apply)
    crash = await crash_with(app)
    assert isinstance(crash, MisuseError)
    assert "BatchSchema" in str(crash.remedy)
    assert cluster.committed(app.conf.id, topic) in {None, 0}


async def test_two_agents_on_one_topic_crash_the_application(cluster: Cluster, tmp_path: Path) -> None:
    topic = cluster.create_topic()
    cluster.produce(topic, [b"x"])
    app = an_app(cluster, tmp_path)

    async def apply(stream: Any) -> None:
        async for _ in batches(stream):
            pass

    for name in ("one", "two"):
        app.agent(app.topic(topic, schema=BatchSchema()), name=name)(apply)
    crash = await crash_with(app)
    assert isinstance(crash, MisuseError)
    assert "2 streams" in str(crash)


async def test_a_topic_that_never_commits_crashes_the_application(cluster: Cluster, tmp_path: Path) -> None:
    topic = cluster.create_topic()
    cluster.produce(topic, [b"x"])
    app = an_app(cluster, tmp_path)

    async def apply(stream: Any) -> None:
        async for _ in batches(stream):
            pass

    app.agent(app.topic(topic, schema=BatchSchema(), acks=False), name="apply")(apply)
    crash = await crash_with(app)
    assert isinstance(crash, MisuseError)
    assert "acks=False" in str(crash)


async def test_a_topic_that_does_not_exist_crashes_the_application(cluster: Cluster, tmp_path: Path) -> None:
    missing = a_name("missing")
    app = an_app(cluster, tmp_path)
    configure(app, Options(limits=Limits(topic_wait_seconds=0.5)))

    async def apply(stream: Any) -> None:
        async for _ in batches(stream):
            pass

    app.agent(app.topic(cluster.create_topic(), missing, schema=BatchSchema()), name="apply")(apply)
    crash = await crash_with(app)
    assert isinstance(crash, MissingTopicError)
    assert crash.topics == (missing,)


async def test_a_topic_that_is_deleted_crashes_the_application(cluster: Cluster, tmp_path: Path) -> None:
    topic = cluster.create_topic()
    options = Options(limits=Limits(topic_wait_seconds=0.5))
    async with running(cluster, topic, tmp_path, options=options, consumer_metadata_max_age_ms=300) as worker:
        await eventually_so(worker.consumer.assignment)
        for done in cluster.admin.delete_topics([topic]).values():
            done.result(20)
        assert isinstance(await crash_of(worker), MissingTopicError)


async def test_settings_that_would_lose_records_are_refused(cluster: Cluster, tmp_path: Path) -> None:
    unsafe = {"stream_wait_empty": False, "topic_disable_leader": False}
    app = faust.App(a_name("group"), **{**app_settings(cluster.bootstrap), **unsafe}, datadir=tmp_path)
    app.finalize()
    with pytest.raises(UnsafeSettingsError) as refused:
        consumer_of(app)
    assert len(refused.value.problems) == 2


async def test_another_transport_has_no_options_and_no_such_consumer(tmp_path: Path) -> None:
    app = faust.App(a_name("group"), broker="kafka://127.0.0.1:1", datadir=tmp_path)
    app.finalize()
    with pytest.raises(MisuseError, match="kafka://"):
        configure(app, Options())
