"""The lag collector. It loads nothing of the stores, and runs while they are away."""

from soma_cli.processes.common import stopped_by_signal, tell
from soma_schemas.clock import SystemClock
from soma_schemas.configuration import Loaded
from soma_schemas.metrics import MetricSet
from soma_streams.garbage_collection import collect_rarely
from soma_streams.lag.lag_settings import LagCollectorSettings
from soma_streams.lag.process import collect_lag


async def collect(loaded: Loaded[LagCollectorSettings]) -> None:
    """Look at all groups until a signal comes.

    Raises:
        OSError: Its port is taken.
    """
    tell(loaded)
    collect_rarely()
    await collect_lag(
        loaded.settings, clock=SystemClock(), metrics=MetricSet.of_process(), stop=stopped_by_signal()
    )
