"""Positions and versions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soma_schemas.versions import (
    MAX_EPOCH,
    NO_VERSION,
    OFFSET_BITS,
    VERSION_LIMIT,
    Position,
    pack_version,
    unpack_version,
)

EPOCHS = st.integers(1, MAX_EPOCH)
OFFSETS = st.integers(0, 2**OFFSET_BITS - 1)


@given(EPOCHS, OFFSETS)
def test_a_version_is_exact_as_a_float_and_can_be_taken_apart(epoch: int, offset: int) -> None:
    version = pack_version(epoch, offset)

    assert NO_VERSION < version < VERSION_LIMIT
    assert int(float(version)) == version
    assert unpack_version(version) == (epoch, offset)


@given(EPOCHS, OFFSETS, EPOCHS, OFFSETS)
def test_a_later_epoch_or_offset_has_a_larger_version(
    epoch: int, offset: int, other_epoch: int, other_offset: int
) -> None:
    assert (pack_version(epoch, offset) < pack_version(other_epoch, other_offset)) == (
        (epoch, offset) < (other_epoch, other_offset)
    )


@pytest.mark.parametrize(("epoch", "offset"), [(0, 0), (MAX_EPOCH + 1, 0), (1, -1), (1, 2**OFFSET_BITS)])
def test_what_does_not_fit_is_refused(epoch: int, offset: int) -> None:
    with pytest.raises(ValueError, match="is not within"):
        pack_version(epoch, offset)


@given(st.integers(0, 99_999), OFFSETS, EPOCHS)
def test_a_position_reads_what_it_writes(partition: int, offset: int, epoch: int) -> None:
    position = Position(partition, offset, epoch)

    assert Position.parse(str(position)) == position


@pytest.mark.parametrize(
    "text", ["", "3", "3:", ":4", "3:4:5:6", "-1:4", "3:x", "3:99999999999999", "٣:٤", " 3:4"]
)
def test_what_is_no_position_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="offset"):
        Position.parse(text)
