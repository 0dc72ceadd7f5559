"""`soma lag` on a running stack: the collector looks at the workers' own groups."""

import json

import httpx

from soma_client.client_file import read_client_file
from soma_command import Soma
from soma_up import Up
from waiting import eventually_now

_GROUPS = {"soma-postgres", "soma-vectors", "soma-dead-letters", "soma-policies", "soma-erasures"}


def _statuses(soma: Soma) -> dict[str, str]:
    ran = soma("lag", "--json")
    assert ran.out, ran.err
    return {group["group"]: group["status"] for group in json.loads(ran.out)["report"]["groups"]}


def test_the_workers_own_groups_get_on(at_home: Soma) -> None:
    at_home("store", "lag is watched", "-n", "lag", "--wait", "30")

    eventually_now(
        lambda: _statuses(at_home),
        lambda seen: seen.keys() >= _GROUPS and set(seen.values()) == {"OK"},
        seconds=60,
    )

    table = at_home("lag", "--group", "soma-*")
    assert table.code == 0, table.err
    assert "memory.events/0" in table.out


def test_the_api_tells_operators_what_the_collector_told(stack: Up) -> None:
    local = read_client_file(stack.home)
    assert local is not None

    answer = httpx.get(
        f"{local.url}/v1/lag", headers={"Authorization": f"Bearer {local.api_key}"}, trust_env=False
    )

    assert answer.status_code == 200, answer.text
    assert {group["group"] for group in answer.json()["groups"]} >= _GROUPS


def test_the_collector_has_metrics_for_prometheus(stack: Up) -> None:
    port = json.loads((stack.home / "ports.json").read_text())["lag"]

    scraped = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text

    assert 'soma_lag_seconds{group="soma-postgres",topic="memory.events",partition="0"}' in scraped
    assert "soma_lag_round_age_seconds" in scraped
