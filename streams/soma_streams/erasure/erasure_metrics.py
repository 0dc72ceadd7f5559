"""What the eraser tells of itself."""

from soma_schemas.metrics import Catalogue, MetricSet

ERASURE_METRICS = Catalogue()
OPEN_ERASURES = ERASURE_METRICS.gauge(
    "soma_open_erasures",
    "Requests for erasure that are accepted and not complete. Readers see nothing of what they select.",
    unit="requests",
)
OLDEST_ERASURE = ERASURE_METRICS.gauge(
    "soma_oldest_erasure_seconds",
    "For how long the oldest of them has been open; 0 when there is none.",
    unit="seconds",
)


class ErasureMetrics:
    """How much is asked for and not done.

    Args:
        metrics: Of the process.
    """

    def __init__(self, metrics: MetricSet) -> None:
        self.open = metrics.gauge(OPEN_ERASURES)
        self.oldest = metrics.gauge(OLDEST_ERASURE)
