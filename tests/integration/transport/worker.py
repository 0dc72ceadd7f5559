"""A worker in a process of its own, to be killed: notes what it has done, and only then acknowledges it.

Called with one JSON argument: bootstrap, topic, group, data, journal, seconds (of work per batch),
batch_records, settings. It can be asked to stop once its journal exists.
"""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import faust

from soma_schemas.clock import SystemClock
from soma_streams.transport import (
    BatchSchema,
    Limits,
    Options,
    RecordBatch,
    app_settings,
    batches,
    configure,
    consumer_of,
)

CLOCK = SystemClock()


def written(journal: Any, batch: RecordBatch) -> None:
    """Write a batch down so that it survives this process."""
    journal.write(json.dumps([batch.partition, [record.offset for record in batch]]) + "\n")
    journal.flush()
    os.fsync(journal.fileno())


async def main(order: dict[str, Any]) -> int:
    """Work until told to stop; return what to exit with."""
    settings = {**app_settings(order["bootstrap"]), "datadir": order["data"], "web_enabled": False}
    app = faust.App(order["group"], **{**settings, **order["settings"]})
    configure(app, Options(limits=Limits(batch_records=order["batch_records"])))
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    with Path(order["journal"]).open("a", encoding="ascii") as journal:  # noqa: ASYNC230  # before all else

        async def apply(stream: Any) -> None:
            async for batch in batches(stream):
                await CLOCK.sleep(order["seconds"])
                written(journal, batch)
                consumer_of(app).acknowledge(batch)

        app.agent(app.topic(order["topic"], schema=BatchSchema()), name="apply")(apply)
        app.finalize()
        await app.start()
        while not told.is_set() and not app.should_stop:
            await CLOCK.sleep(0.02)
        await app.stop()
    if app.crash_reason is not None:
        sys.stderr.write(f"{app.crash_reason!r}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(json.loads(sys.argv[1]))))
