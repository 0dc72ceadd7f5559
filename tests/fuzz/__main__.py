"""Runs the fuzz from the command line: `make fuzz`, or `PYTHONPATH=tests python -m fuzz --help`."""

import argparse
import sys
import tempfile
from pathlib import Path

from caches import cache_folder
from conftest import LocalParts
from fuzz.campaign import NO_FLOOD, Campaign
from judging import embedded_points, installation
from own_processes import api_with_vectors, postgres_worker
from soma_cli.local.postgres import Login
from soma_schemas.registry import open_registry, register_schemas
from soma_schemas.settings import PublishingSettings, TopicSettings
from soma_schemas.tables.migrations import migrate
from soma_schemas.topic_admin import apply_topics, open_admin


def main() -> int:
    """Fuzz a stack of its own with each seed, and print what was found."""
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Publish what nobody should write.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="one run for each")
    parser.add_argument("--records", type=int, default=100_000, help="to publish in each run")
    asked = parser.parse_args()
    return 1 if [seed for seed in asked.seeds if not _fuzzed(seed, asked.records)] else 0


def _fuzzed(seed: int, records: int) -> bool:
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{seed}-"))
    _say(f"seed {seed}: everything is in {folder}")
    with LocalParts(folder / "home", cache_folder()) as running:
        postgres, topics = running.parts.postgres, TopicSettings()
        migrate(postgres.dsn(Login.OWNER))
        running.run(postgres.grant_roles())
        settings = PublishingSettings(
            kafka=running.parts.kafka.settings(), registry=running.parts.registry.settings(), topics=topics
        )
        apply_topics(open_admin(settings.kafka), topics)
        with open_registry(settings.registry) as registry:
            register_schemas(registry, topics)
        with (
            postgres_worker(running, settings, folder, NO_FLOOD) as worker,
            api_with_vectors(running, settings, folder, NO_FLOOD) as api,
        ):
            campaign = Campaign(
                installation(settings, postgres.dsn(Login.OWNER)), {"worker": worker, "api": api}, _say
            )
            try:
                ran = campaign.run(seed, records)
            except AssertionError as error:
                _say(f"seed {seed}: FAILED, {error}")
                return False
        report = campaign.report(seed, ran, embedded_points(folder / "vectors"))
    _say(f"{report}\nseed {seed}: {'passed' if report.right else 'FAILED'}")
    return report.right


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
