import faust
import pytest
from faust.transport import by_url
from yarl import URL

from soma_streams.transport import (
    BatchMonitor,
    Limits,
    Options,
    Transport,
    UnsafeSettingsError,
    app_settings,
    configure,
    consumer_of,
)


def an_app(**settings: object) -> faust.App:
    return faust.App("unit", **{**app_settings("127.0.0.1:9092"), **settings})


def problems_of(app: faust.App) -> str:
    with pytest.raises(UnsafeSettingsError) as refused:
        consumer_of(app)
    return "; ".join(refused.value.problems)


def test_faust_finds_the_transport_by_its_scheme() -> None:
    assert by_url(URL("batch://127.0.0.1:9092")) is Transport


def test_an_application_takes_the_transport_from_its_settings() -> None:
    app = an_app()
    assert isinstance(app.transport, Transport)
    assert not isinstance(app.producer_transport, Transport)
    assert isinstance(app.monitor, BatchMonitor)


def test_several_bootstrap_servers_are_kept() -> None:
    app = faust.App("unit", **app_settings("a:1, b:2"))
    assert [str(url) for url in app.conf.broker_consumer] == ["batch://a:1", "batch://b:2"]
    assert [str(url) for url in app.conf.broker_producer] == ["kafka://a:1", "kafka://b:2"]


def test_options_belong_to_one_application() -> None:
    first, second = an_app(), an_app()
    configure(first, Options(limits=Limits(batch_records=7)))
    assert isinstance(first.transport, Transport)
    assert isinstance(second.transport, Transport)
    assert first.transport.options.limits.batch_records == 7
    assert second.transport.options.limits.batch_records == Limits().batch_records


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("stream_wait_empty", False),
        ("processing_guarantee", "exactly_once"),
        ("stream_publish_on_commit", True),
        ("topic_disable_leader", False),
        ("broker_max_poll_interval", 0.0),
        ("broker_rebalance_timeout", 10.0),
        ("broker_request_timeout", 20.0),
    ],
)
def test_a_setting_that_is_not_safe_is_refused_by_name(setting: str, value: object) -> None:
    assert setting in problems_of(an_app(**{setting: value}))
