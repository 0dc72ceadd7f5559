"""Tells the judge, which knows nothing of the product, where a test has everything."""

from pathlib import Path

from judge.contract import Limits
from judge.stores import Point, shard_points
from judge.verdict import Installation
from soma_schemas.settings import PublishingSettings
from soma_schemas.vectors.embedders import PACKAGED_DIMENSIONS, PACKAGED_MODEL


def installation(settings: PublishingSettings, owner_dsn: str) -> Installation:
    """Return where the log of these settings and its tables are."""
    limits = settings.limits.model_dump()
    return Installation(
        brokers=settings.kafka.bootstrap_servers,
        registry=settings.registry.url,
        database=owner_dsn,
        prefix=settings.topics.prefix,
        model=PACKAGED_MODEL,
        dimensions=PACKAGED_DIMENSIONS,
        epoch=settings.topics.epoch,
        limits=Limits(**{name: limits[name] for name in Limits._fields}),
    )


def embedded_points(index: Path) -> list[Point]:
    """Return the points of an embedded index whose process has ended."""
    return shard_points(index / "shard")
