import pytest
from faust import streams
from faust.transport.consumer import Consumer

from soma_streams.transport import IncompatibleRuntimeError, compatibility
from soma_streams.transport.compatibility import check_runtime


def test_what_is_installed_fits() -> None:
    check_runtime()


def test_an_untested_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(compatibility.TESTED_VERSIONS, "aiokafka", "0.13.9")
    with pytest.raises(IncompatibleRuntimeError, match=r"aiokafka is 0\.14\.0, tested was 0\.13\.9"):
        check_runtime()


def test_a_method_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Consumer, "_drain_messages")
    with pytest.raises(IncompatibleRuntimeError, match=r"Consumer\._drain_messages is gone"):
        check_runtime()


def test_a_method_with_other_parameters_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    async def seek(self: Consumer, partition: object, offset: int, *, wait: bool) -> None: ...

    monkeypatch.setattr(Consumer, "_seek", seek)
    with pytest.raises(IncompatibleRuntimeError) as refused:
        check_runtime()
    [difference] = refused.value.differences
    assert difference == (
        "faust.transport.consumer:Consumer._seek takes (self, partition, offset, wait), "
        "expected was (self, partition, offset)"
    )


def test_an_attribute_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compatibility, "ATTRIBUTES", {"faust.types.tuples:Message": ("acked", "gone")})
    with pytest.raises(IncompatibleRuntimeError, match="Message has no gone"):
        check_runtime()


def test_a_class_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compatibility, "ATTRIBUTES", {"faust.types.tuples:Parcel": ("acked",)})
    with pytest.raises(IncompatibleRuntimeError, match="Parcel is gone"):
        check_runtime()


def test_a_module_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compatibility, "CALLABLES", {"faust.posts:Consumer.ack": ("self",)})
    with pytest.raises(IncompatibleRuntimeError, match=r"faust\.posts:Consumer\.ack is gone"):
        check_runtime()


def test_streams_written_in_python_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_CStreamIterator", None)
    with pytest.raises(IncompatibleRuntimeError, match="compiled stream iterator"):
        check_runtime()
