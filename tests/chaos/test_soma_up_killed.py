"""`soma up` itself is killed while it starts and while it runs: the next one goes on, and nothing is lost."""

from contextlib import ExitStack
from pathlib import Path
from random import Random

import psycopg
import pytest
from confluent_kafka import KafkaException

from caches import cache_folder
from chaos.publishing import Publishing
from chaos.workload import Workload
from conftest import LocalParts
from judge.verdict import behind, judge
from judging import embedded_points, installation
from soma_cli.local.artifacts import Artifacts
from soma_cli.local.backing_services import BackingServices
from soma_cli.local.home import Home
from soma_cli.local.postgres import Login
from soma_cli.local.unit import ignore
from soma_schemas.clock import SystemClock
from soma_schemas.settings import PublishingSettings, TopicSettings
from soma_up import soma_starting, soma_up
from waiting import eventually_now

KILLS = 6
EVENTS = 600


def kill_while_it_starts(home: Path, parts: int) -> None:
    """Start `soma up`, and kill it as soon as so many parts have been started."""
    with soma_starting(home) as starting:
        eventually_now(
            lambda: len(list((home / "run").glob("*.json"))), lambda count: count >= parts, seconds=300
        )
        starting.process.kill()
        starting.ended()


def wait_for(publishing: Publishing, acknowledged: int) -> None:
    eventually_now(lambda: len(publishing.acknowledged), lambda count: count >= acknowledged, seconds=300)


def caught_up(database: str, settings: PublishingSettings) -> None:
    def look() -> int | str:
        try:
            return behind(installation(settings, database))
        except (psycopg.OperationalError, KafkaException) as error:
            return type(error).__name__

    eventually_now(look, lambda seen: seen == 0, seconds=600)


@pytest.mark.long
def test_soma_up_that_is_killed_again_and_again_loses_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    # Nothing runs yet, so that the ports which this takes down are those that will be taken.
    parts = BackingServices(Home(home, Random(3)), Artifacts(cache_folder()), SystemClock(), ignore)
    settings = PublishingSettings(
        kafka=parts.kafka.settings(), registry=parts.registry.settings(), topics=TopicSettings()
    )
    database = parts.postgres.dsn(Login.OWNER)
    with ExitStack() as publishes:
        for life in range(KILLS):
            with soma_up(home) as up:
                if life == 0:
                    publishing = publishes.enter_context(Publishing(settings, Workload(13)))
                publishing.publish(EVENTS)
                wait_for(publishing, life * EVENTS + EVENTS // 2)
                up.process.kill()
                up.ended()
            kill_while_it_starts(home, 1 + life % 3)
        with soma_up(home) as up:
            publishing.publish(EVENTS)
            publishing.finish()
            caught_up(database, settings)
            assert up.stop() == 0
    acknowledged: dict[int, int] = {}
    for position in publishing.acknowledged:
        acknowledged[position.partition] = max(acknowledged.get(position.partition, -1), position.offset)

    with LocalParts(home, cache_folder()):
        points = embedded_points(home / "vectors")
        verdict = judge(installation(settings, database), points, acknowledged)

    assert verdict.right, str(verdict)
    assert verdict.events >= len(publishing.acknowledged) == (KILLS + 1) * EVENTS
