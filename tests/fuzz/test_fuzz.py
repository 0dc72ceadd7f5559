"""The short form of `make fuzz`: whatever is written stops nothing, and both groups judge it alike."""

from pathlib import Path

from conftest import LocalParts
from fuzz.campaign import NO_FLOOD, Campaign
from fuzz.mutation import Mutations
from fuzz.schemas import Written
from judge.contract import SINK_EVENTS
from judge.log import released_schemas
from judging import embedded_points, installation
from own_processes import api_with_vectors, postgres_worker
from soma_schemas.settings import PublishingSettings

SEED = 5
RECORDS = 1_000


def test_whatever_is_written_to_the_log_stops_nothing_and_both_groups_judge_it_alike(
    local_parts: LocalParts, publishing_settings: PublishingSettings, owner_dsn: str, tmp_path: Path
) -> None:
    at = installation(publishing_settings, owner_dsn)
    with (
        postgres_worker(local_parts, publishing_settings, tmp_path, NO_FLOOD) as worker,
        api_with_vectors(local_parts, publishing_settings, tmp_path, NO_FLOOD) as api,
    ):
        campaign = Campaign(at, {"worker": worker, "api": api}, print)
        ran = campaign.run(SEED, RECORDS)
        assert worker.terminate() == 0
        assert api.terminate() == 0

    report = campaign.report(SEED, ran, embedded_points(tmp_path / "vectors"))

    assert report.right, str(report)
    assert report.records + report.aborted + sum(report.refused.values()) == RECORDS
    assert all(len(counts) > 20 for counts in report.outcomes.values())


def test_the_same_seed_makes_the_same_records() -> None:
    released = {
        name: Written("released", name, number, versions[-1])
        for number, (name, versions) in enumerate(released_schemas().items())
        if name in SINK_EVENTS
    }
    first, again, other = (
        list(Mutations(seed, released, list(released.values()), [99]).take(500)) for seed in (1, 1, 2)
    )

    assert first == again
    assert first != other
    assert sum(each.mutation == "none" for each in first) > 100
