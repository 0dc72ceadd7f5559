"""Every panel shows something, and the alerts fire and end again, on processes under load and faults."""

import signal
from pathlib import Path

import pytest

from background import repeated
from conftest import Counting, LocalParts
from dashboards.boards import BOARDS
from dead_letter_makers import RawLog
from monitored import Monitored, monitored
from prometheus_rules import RULES
from prometheus_server import sped_up
from soma_schemas.clock import SystemClock
from soma_schemas.settings import PublishingSettings
from waiting import eventually_now

_SECONDS = 120
# Which queries may answer nothing here, by how a metric begins, and why.
MAY_BE_EMPTY = {
    "kafka_": "kafka_exporter does not run here",
    "pg_": "postgres_exporter does not run here",
    "node_": "node_exporter does not run here",
    "memory_resident_bytes": "the index is embedded: there is no Qdrant server",
    'soma_api_waits_total{result="timed_out"}': "a wait that is in time counts none",
}


def _fires(running: Monitored, *alerts: str) -> None:
    eventually_now(running.prometheus.firing, lambda firing: firing >= set(alerts), seconds=_SECONDS)


@pytest.mark.long
def test_panels_show_what_there_is_and_alerts_fire_and_end(
    local_parts: LocalParts,
    publishing_settings: PublishingSettings,
    owner_dsn: str,
    tmp_path: Path,
    counting: Counting,
) -> None:
    del owner_dsn
    clock = SystemClock()
    began = clock.now().timestamp()
    with monitored(local_parts, publishing_settings, tmp_path) as running:
        postgres = local_parts.parts.postgres

        log = RawLog(publishing_settings)
        poison = log.poison("avro", 1)

        def firing_under_a_burst() -> set[str]:
            log.send([poison])
            return running.prometheus.firing()

        eventually_now(
            firing_under_a_burst,
            lambda firing: "SomaDeadLetters" in firing,
            seconds=_SECONDS,
        )

        local_parts.run(postgres.stop())
        try:
            # The API takes nothing while it cannot check keys, and a worker without events misses no store.
            with repeated(lambda: log.send([poison]), 1.0):
                _fires(running, "SomaDatabaseAway")
        finally:
            local_parts.run(postgres.start())  # other tests share it

        running.worker.send(signal.SIGSTOP)
        _fires(running, "SomaProcessDown", "SomaGroupStalled")
        running.worker.send(signal.SIGCONT)

        caused = {"SomaDeadLetters", "SomaDatabaseAway", "SomaProcessDown", "SomaGroupStalled"}
        eventually_now(running.prometheus.firing, lambda firing: not firing & caused, seconds=_SECONDS)

        assert running.prometheus.broken_rules() == {}
        end = clock.now().timestamp()
        queries = {
            (board.title, panel.title, legend): sped_up(query)
            for board in BOARDS
            for panel in board.panels
            for legend, query in panel.queries.items()
        } | {("recorded", rule["record"], ""): rule["record"] for rule in RULES if "record" in rule}
        empty = {
            where: query
            for where, query in queries.items()
            if not running.prometheus.history(
                query.replace("$group", ".*").replace("$topic", ".*"), began, end
            )
        }
        fired = {
            series["metric"]["alertname"]
            for series in running.prometheus.history('ALERTS{alertstate="firing"}', began, end)
        }

    unexpected = {
        where: query for where, query in empty.items() if not any(name in query for name in MAY_BE_EMPTY)
    }
    assert unexpected == {}
    counting("panels evaluated on running processes", sum(len(board.panels) for board in BOARDS))
    counting("rules evaluated on running processes", len(RULES))
    counting("alerts fired on running processes", len(fired))
