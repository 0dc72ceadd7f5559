"""An index that has begun on a log, for tests of what writes to it."""

from collections.abc import Iterable
from uuid import UUID

from soma_schemas.vectors.progress import Header, LogIdentity
from soma_streams.sinks.vectors.standing import Standing, held_by
from soma_streams.sinks.vectors.writer import PointWriter

A_LOG = LogIdentity("a-topic", 1)


async def a_standing(
    writer: PointWriter, partitions: Iterable[int] = range(3), *, instance: int = 1
) -> Standing:
    """Begin an index that has not begun, and stand on it."""
    numbers = list(partitions)
    held = await held_by(writer, numbers)
    if held is None:
        await writer.write([Header(UUID(int=instance), A_LOG, from_records=False).point()])
        held = await held_by(writer, numbers)
    assert held is not None
    standing = Standing(writer, numbers)
    standing.begin(held)
    return standing
