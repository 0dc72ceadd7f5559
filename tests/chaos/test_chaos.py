"""The short form of `make chaos`: one broker, eight faults, a few thousand events; everything is compared."""

from itertools import pairwise
from pathlib import Path

import grpc

from chaos.qdrant_process import Mode
from chaos.run import Player
from chaos.schedule import Blow, Fault, FaultKind, Parts, plan
from chaos.stage import SESSION, stage_on
from chaos.workload import TENANTS, PoisonKind, Workload
from conftest import LocalParts
from soma_schemas.errors import SomaError
from soma_schemas.settings import TopicSettings
from soma_schemas.vectors.server_errors import server_errors
from soma_streams.delivery.failures import FailureClass, classify

SEED = 7
EVENTS = 4_200
BLOWS = (
    Blow(Fault(FaultKind.WORKER_KILLED, "postgres-1"), 600, 1.0, 0.0, overlaps=True),
    Blow(Fault(FaultKind.INDEX_TORN, "index"), 600, 0.3, 2.0, overlaps=False),
    Blow(Fault(FaultKind.INDEX_WIPED, "index"), 500, 0.5, 0.5, overlaps=False),
    Blow(Fault(FaultKind.INDEX_KILLED, "index"), 500, 0.5, 1.0, overlaps=True),
    Blow(Fault(FaultKind.POSTGRES_KILLED, "postgres"), 500, 0.5, 1.5, overlaps=False),
    Blow(Fault(FaultKind.WORKER_TERMINATED, "postgres-1"), 500, 0.3, 0.0, overlaps=False),
    Blow(Fault(FaultKind.BROKER_KILLED, "kafka"), 500, 0.5, 0.5, overlaps=True),
    Blow(Fault(FaultKind.WORKER_FROZEN, "postgres-1"), 500, 0.3, SESSION.total_seconds() + 1, overlaps=False),
)
PARTS = Parts(["postgres-1", "postgres-2", "vectors"], ["kafka-1", "kafka-2", "kafka-3"], 6.0)


def test_whatever_is_struck_both_stores_end_up_as_the_log_says(
    local_parts: LocalParts, topic_settings: TopicSettings, owner_dsn: str, tmp_path: Path
) -> None:
    parts = local_parts.parts
    stage = stage_on(
        {"kafka": parts.kafka},
        parts.postgres,
        parts.registry,
        local_parts.run,
        bootstrap=parts.kafka.bootstrap,
        topics=topic_settings,
        folder=tmp_path,
        postgres_workers=1,
    )
    assert stage.owner_dsn == owner_dsn

    played = Player(stage, print).play(BLOWS, Workload(SEED))

    assert played.verdict.right, str(played.verdict)
    assert played.endings == ()
    assert played.index_lost == 1
    assert len(played.struck) == len(BLOWS)
    assert played.verdict.events >= played.acknowledged == EVENTS
    assert played.verdict.no_opinion == 0
    # Without these the comparison would prove little.
    for outcomes in played.verdict.outcomes.values():
        assert {name.partition(":")[0] for name in outcomes} == {"applied", "superseded", "dead_lettered"}
        assert len(outcomes) > 12
    assert min(part.expected for name, part in played.verdict.parts.items() if name != "watermarks") > 10


def test_the_same_seed_gives_the_same_schedule_and_the_same_events() -> None:
    assert plan(3, 26, 60_000, PARTS) == plan(3, 26, 60_000, PARTS)
    assert plan(3, 26, 60_000, PARTS) != plan(4, 26, 60_000, PARTS)
    assert list(Workload(3).take(500)) == list(Workload(3).take(500))


def test_a_full_schedule_has_every_kind_of_fault_and_all_events() -> None:
    blows = plan(3, 26, 60_000, PARTS)

    assert {blow.fault.kind for blow in blows} == set(FaultKind)
    assert sum(blow.events for blow in blows) == 60_000


def test_the_index_answers_each_status_that_passes() -> None:
    def passes(status: grpc.StatusCode) -> bool:
        try:
            with server_errors():
                raise grpc.aio.AioRpcError(status, grpc.aio.Metadata(), grpc.aio.Metadata())
        except SomaError as error:
            return classify(error) is FailureClass.TRANSIENT

    assert {mode.status for mode in Mode} - {None} == {each for each in grpc.StatusCode if passes(each)}


def test_faults_that_overlap_strike_different_parts_and_never_three_at_once() -> None:
    for seed in range(50):
        blows = plan(seed, 26, 60_000, PARTS)
        overlapping = [(blow, after) for blow, after in pairwise(blows) if blow.overlaps]
        assert all(blow.fault.part != after.fault.part and not after.overlaps for blow, after in overlapping)
        assert not blows[-1].overlaps


def test_a_workload_has_several_tenants_repeated_events_and_one_percent_of_every_kind_of_poison() -> None:
    records = list(Workload(5).take(20_000))
    events = [record.event.event_id for record in records]
    poison = [record.poison for record in records if record.poison is not None]

    assert {record.event.tenant for record in records} == set(TENANTS)
    assert 300 < len(events) - len(set(events)) < 700
    assert 120 < len(poison) < 280
    assert set(poison) == set(PoisonKind)
