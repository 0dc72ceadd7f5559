"""What a load needs follows from what was measured."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from soma_cli.capacity_planning.costs import Cost, Costs, measured_costs
from soma_cli.capacity_planning.sizing import DAY_SECONDS, GIB, Load, plan


def a_line(base: float, per_kilobyte: float) -> Cost:
    """The cost of a memory without text, and more for each 1,000 bytes."""
    return Cost(points=((0.0, base), (1_000.0, base + per_kilobyte)))


COSTS = Costs(
    measured={"at": "2026-11-01", "machine": "a slide rule"},
    cpu_micros_per_event={name: a_line(100.0, 100.0) for name in ("kafka", "postgres", "worker-postgres")},
    worker_micros_per_event={
        "soma-postgres": a_line(200.0, 0.0),
        "soma-vectors": a_line(400.0, 1000.0),
    },
    cpu_micros_per_search={"api": 6_000.0, "postgres": 1_000.0},
    cpu_micros_per_api_write=500.0,
    log_bytes_per_event=a_line(100.0, 400.0),
    history_bytes_per_event=a_line(200.0, 1000.0),
    table_bytes_per_memory=a_line(800.0, 1000.0),
    index_bytes_per_memory=a_line(2_000.0, 1000.0),
    index_memory_per_memory=a_line(1_500.0, 500.0),
    process_megabytes=dict.fromkeys(("kafka", "postgres", "worker-postgres", "api"), 200.0),
)
LOAD = Load(
    events_per_second=100,
    peak=3,
    searches_per_second=400,
    text_bytes=1_000,
    changes=0.25,
    retention_days=10,
    log_days=30,
    history_days=20,
    replication=3,
)


def test_a_plan_by_hand() -> None:
    planned = plan(LOAD, COSTS)
    needs = {need.component: need for need in planned.needs}

    # 100 a second, three quarters of them new, for ten days.
    assert planned.memories == 100 * 0.75 * 10 * DAY_SECONDS
    # 300 a second of 1,400 us are 0.42 of a process, which may be used to 0.6.
    assert needs["worker-vectors"].processes == 1
    assert needs["worker-postgres"].processes == 1
    assert planned.partitions == 6
    # 400 searches a second of 6 ms are 2.4 processors, half of them the engine's; 300 writes of 0.5 ms 0.15.
    assert needs["api"].processes == 3  # 1.35, of which 0.6 is used
    assert needs["api"].processors == pytest.approx(1.35 / 0.6)
    assert needs["vector index"].processors == pytest.approx(1.2 / 0.6)
    assert needs["kafka"].disk_gib == pytest.approx(100 * 30 * DAY_SECONDS * 500 * 3 / 0.7 / GIB)
    tables, history = planned.memories * 1_800, 100 * 20 * DAY_SECONDS * 1_200
    assert needs["postgres"].disk_gib == pytest.approx((tables + history) / 0.7 / GIB)
    assert needs["vector index"].memory_gib == pytest.approx(planned.memories * 2_000 / 0.7 / GIB)


def test_ten_times_the_events_want_more_workers_and_partitions_for_twice_as_many() -> None:
    planned = plan(replace(LOAD, events_per_second=1_000), COSTS)
    needs = {need.component: need for need in planned.needs}

    assert needs["worker-vectors"].processes == 7  # 4.2 of a process in use
    assert planned.partitions == 18


@given(st.floats(0.01, 10_000), st.floats(1, 10), st.floats(1, 50_000))
def test_a_larger_load_never_needs_less(events: float, peak: float, text_bytes: float) -> None:
    small = Load(events, peak, 10, text_bytes, 0.1, 30, 30, 30, 3)
    large = replace(small, events_per_second=events * 2)

    one, other = plan(small, COSTS), plan(large, COSTS)

    assert other.partitions >= one.partitions
    for less, more in zip(one.needs, other.needs, strict=True):
        assert more.processors >= less.processors
        assert more.disk_gib >= less.disk_gib
        assert more.memory_gib >= less.memory_gib


def test_a_cost_goes_through_what_was_measured_and_never_falls_with_the_size() -> None:
    cost = Cost.measured([(2_000, 90.0), (200, 54.0), (800, 78.0)])

    assert [cost.of(size) for size in (200, 500, 800, 1_400, 2_000)] == pytest.approx([54, 66, 78, 84, 90])
    assert [cost.of(size) for size in (0, 3_200)] == pytest.approx([46, 102])
    assert Cost.measured([(200, 50.0), (2_000, 40.0)]).of(9_000) == 50.0
    assert Cost.measured([(200, 10.0), (300, 40.0)]).of(0) == 0.0


def test_changes_cost_more_in_proportion_to_their_share() -> None:
    cost = Cost.measured([(200, 50.0), (400, 70.0)], changing=(300, 72.0, 0.4))

    assert cost.of(300, 0.4) == pytest.approx(72)
    assert cost.of(300, 0.2) == pytest.approx(66)
    assert cost.of(400, 1.0) == pytest.approx(105)
    assert Cost.measured([(200, 50.0), (400, 70.0)], changing=(300, 40.0, 0.4)).of(300, 0.4) == 60.0


def test_changes_want_more_disk_for_the_same_memories() -> None:
    costly = COSTS.model_copy(
        update={"table_bytes_per_memory": Cost(points=((0, 800), (1, 800)), more_by_changes=1.0)}
    )
    needs = {need.component: need for need in plan(LOAD, costly).needs}
    tables, history = 100 * 0.75 * 10 * DAY_SECONDS * 800 * 1.25, 100 * 20 * DAY_SECONDS * 1_200

    assert needs["postgres"].disk_gib == pytest.approx((tables + history) / 0.7 / GIB)


def test_the_costs_that_came_with_this_version_are_complete() -> None:
    costs = measured_costs()

    assert set(costs.worker_micros_per_event) == {"soma-postgres", "soma-vectors"}
    assert all(cost.of(400) > 0 for cost in costs.cpu_micros_per_event.values())
    assert costs.log_bytes_per_event.of(400) > 0
    assert plan(LOAD, costs).needs
