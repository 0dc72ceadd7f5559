"""How much the transport holds and how long it waits: one value per application, with safe defaults."""

from dataclasses import dataclass, fields

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of one consumer.

    A limit on what is held is checked before a fetch, so it can be passed by what one fetch brings: at most
    `lane_records` records, fewer when recent ones were large.
    A single record larger than every limit is still delivered, alone.

    Attributes:
        batch_records: Most records in one batch. More makes writes more efficient and failures costlier.
        batch_bytes: Most bytes of keys, values and headers in one batch.
        batches_in_flight: Batches of one partition that the agent may hold at the same time.
        lane_records: Records of one partition held before fetching from it stops.
        lane_bytes: The same in bytes.
        total_records: Records held for all partitions together before fetching stops.
        total_bytes: The same in bytes.
        drain_seconds: How long a rebalance or a stop waits for batches that the agent already has.
        commit_seconds: How long one try to commit may take. A try that fails is repeated.
        seek_seconds: How long setting partitions back to their committed position may take.
        fetch_wait_seconds: How long the broker may hold an answer back when it has nothing new. It bounds how
            long a partition that had no room waits to be fetched again, and costs one request per
            interval and broker while idle; it adds nothing to the time in which a record is delivered.
        topic_wait_seconds: How long a subscribed topic may be missing before the application fails.
    """

    batch_records: int = 1_000
    batch_bytes: int = 4 * MIB
    batches_in_flight: int = 1
    lane_records: int = 4_000
    lane_bytes: int = 8 * MIB
    total_records: int = 50_000
    total_bytes: int = 64 * MIB
    drain_seconds: float = 10.0
    commit_seconds: float = 5.0
    seek_seconds: float = 30.0
    fetch_wait_seconds: float = 0.1
    topic_wait_seconds: float = 10.0

    def __post_init__(self) -> None:
        """Refuse limits under which nothing could move.

        Raises:
            ValueError: A limit is not positive, or a smaller bound exceeds the larger one around it.
        """
        for field in fields(self):
            if getattr(self, field.name) <= 0:
                raise ValueError(f"{field.name} must be positive, not {getattr(self, field.name)}")
        for smaller, larger in (
            ("batch_records", "lane_records"),
            ("batch_bytes", "lane_bytes"),
            ("lane_records", "total_records"),
            ("lane_bytes", "total_bytes"),
        ):
            if getattr(self, smaller) > getattr(self, larger):
                raise ValueError(f"{smaller} must not exceed {larger}")
