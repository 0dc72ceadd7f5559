"""Tells the judge, which knows nothing of the product, where a test has everything."""

import json
from collections.abc import Mapping
from pathlib import Path

from caches import cache_folder
from conftest import LocalParts
from judge.contract import Limits
from judge.stores import Point, shard_points
from judge.verdict import Installation, Verdict, judge
from soma_cli.local.postgres import Login
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


def index_folders(home: Path) -> dict[str, Path]:
    """Return where the embedded indexes of a local stack are, by name."""
    vectors = home / "vectors"
    found = {each.name: each for each in vectors.glob("*--*")}
    return {"first": vectors, **found} if (vectors / "shard").exists() else found


def judged_at_home(
    home: Path,
    settings: PublishingSettings,
    acknowledged: Mapping[int, int] | None = None,
    *,
    model: str = PACKAGED_MODEL,
    dimensions: int = PACKAGED_DIMENSIONS,
) -> Verdict:
    """Compare every record of a local stack that has ended with its tables and the index in use.

    Args:
        home: Of the stack.
        settings: Of its log.
        acknowledged: The highest offset that was acknowledged, by partition.
        model: Of the index.
        dimensions: Of the model.
    """
    current = json.loads((home / "vectors" / "indexes.json").read_text())["current"]
    points = embedded_points(index_folders(home)[current])
    with LocalParts(home, cache_folder()) as parts:
        at = installation(settings, parts.parts.postgres.dsn(Login.OWNER))
        return judge(at._replace(model=model, dimensions=dimensions), points, acknowledged)
