"""What running processes expose is what the catalogue declares, no more and no less."""

import json

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from soma_cli.metrics_catalogue import METRICS_OF
from soma_cli.settings import Process
from soma_command import Soma
from soma_up import Up


def _scraped(stack: Up, part: str) -> dict[str, dict[str, float]]:
    """Return by the kind and name of each metric its lines."""
    port = json.loads((stack.home / "ports.json").read_text())[part]
    answer = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False)
    return {
        f"{family.type} {family.name}": {f"{each.name}{each.labels}": each.value for each in family.samples}
        for family in text_string_to_metric_families(answer.text)
    }


def _declared(process: Process) -> set[str]:
    return {
        f"{metric.kind} {metric.name.removesuffix('_total')}"
        for catalogue in METRICS_OF[process]
        for metric in catalogue
    }


@pytest.mark.parametrize(
    ("part", "process"),
    [
        ("worker", Process.POSTGRES_WORKER),
        ("retention", Process.RETENTION_WORKER),
        ("api", Process.EMBEDDED_API),
        ("lag", Process.LAG_COLLECTOR),
    ],
)
def test_a_process_exposes_what_is_declared_and_nothing_else(stack: Up, part: str, process: Process) -> None:
    assert _scraped(stack, part).keys() == _declared(process)


def test_what_was_stored_is_in_the_numbers_of_every_part_on_its_way(at_home: Soma, stack: Up) -> None:
    ran = at_home("store", "numbers tell of it", "-n", "metrics", "--wait", "30")
    assert ran.code == 0, ran.err

    api, worker = _scraped(stack, "api"), _scraped(stack, "worker")

    assert api["counter soma_producer_sent"]["soma_producer_sent_total{}"] >= 1
    assert (
        api["counter soma_producer_answered"]["soma_producer_answered_total{'result': 'acknowledged'}"] >= 1
    )
    assert api["histogram soma_embedding_seconds"]["soma_embedding_seconds_count{'use': 'points'}"] >= 1
    assert api["gauge soma_index_whole"]["soma_index_whole{}"] == 1
    for scraped, sink in ((api, "vectors"), (worker, "postgres")):
        of = f"{{'sink': '{sink}'}}"
        assert scraped["histogram soma_write_seconds"][f"soma_write_seconds_count{of}"] >= 1
        assert scraped["histogram soma_decode_seconds"][f"soma_decode_seconds_sum{of}"] > 0
        assert scraped["counter soma_rebalances"][f"soma_rebalances_total{of}"] >= 1
        assert scraped["gauge soma_assigned_partitions"][f"soma_assigned_partitions{of}"] >= 1
        assert max(scraped["gauge soma_watermark_offset"].values()) >= 1
        assert sum(scraped["counter soma_batches_settled"].values()) >= 1
    pools = "soma_postgres_pool_max_connections{'pool': 'worker'}"
    assert worker["gauge soma_postgres_pool_max_connections"][pools] >= 1
