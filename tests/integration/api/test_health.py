"""What probes and scrapers are told, and which of them."""

import pytest

from api_gateway import Gateway, body_of, open_gateway
from soma_api.index_completeness import IndexState
from soma_api.probes import BackingPart, Probe
from soma_api.roles import Role
from soma_api.settings import GatewaySettings
from soma_schemas.settings import PostgresSettings


async def fine() -> None:
    return None


async def broken() -> None:
    raise ConnectionRefusedError("secret address")


@pytest.mark.parametrize(
    ("probes", "code", "status"),
    [
        ({BackingPart.POSTGRES: fine, BackingPart.KAFKA: fine}, 200, "ready"),
        ({BackingPart.POSTGRES: fine, BackingPart.KAFKA: broken}, 200, "degraded"),
        ({BackingPart.POSTGRES: fine, BackingPart.VECTORS: broken}, 200, "degraded"),
        ({BackingPart.POSTGRES: broken, BackingPart.KAFKA: fine}, 503, "not_ready"),
    ],
)
async def test_readiness_fails_only_when_nothing_works_and_names_each_part(  # noqa: PLR0917  # fixtures and a table
    api_postgres: PostgresSettings,
    worker_dsn: str,
    owner_dsn: str,
    probes: dict[BackingPart, Probe],
    code: int,
    status: str,
) -> None:
    async with open_gateway(
        api_postgres, worker_dsn=worker_dsn, owner_dsn=owner_dsn, probes=probes
    ) as gateway:
        answer = await gateway.client.get("/readyz")

    readiness = body_of(answer)
    assert (answer.status_code, readiness["status"]) == (code, status)
    assert {part: health["ready"] for part, health in readiness["parts"].items()} == {
        part.value: probe is fine for part, probe in probes.items()
    }
    assert "secret address" not in answer.text


async def test_an_index_that_is_being_filled_is_not_ready_and_readiness_tells_how_far_it_is(
    api_postgres: PostgresSettings, worker_dsn: str, owner_dsn: str
) -> None:
    probes: dict[BackingPart, Probe] = {BackingPart.POSTGRES: fine, BackingPart.VECTORS: fine}
    async with open_gateway(
        api_postgres, worker_dsn=worker_dsn, owner_dsn=owner_dsn, probes=probes
    ) as gateway:
        whole = body_of(await gateway.client.get("/readyz"))
        gateway.index.state = IndexState(complete=False, filled=0.25)
        answer = await gateway.client.get("/readyz")

    readiness = body_of(answer)
    assert (whole["status"], whole["index"]) == ("ready", {"complete": True, "filled": 1.0})
    assert (answer.status_code, readiness["status"]) == (200, "degraded")
    assert readiness["index"] == {"complete": False, "filled": 0.25}
    vectors = readiness["parts"]["vectors"]
    assert (vectors["ready"], vectors["error"]) == (False, "index_incomplete")


async def test_readiness_asks_the_database_itself(gateway: Gateway) -> None:
    readiness = body_of(await gateway.client.get("/readyz"))

    assert readiness["parts"]["postgres"]["ready"] is True
    assert readiness["parts"]["postgres"]["error"] is None


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_probes_may_ask_for_the_head_alone(gateway: Gateway, path: str) -> None:
    whole, head = await gateway.client.get(path), await gateway.client.head(path)

    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert head.headers["Content-Type"] == whole.headers["Content-Type"]


async def test_metrics_are_open_to_this_machine(gateway: Gateway) -> None:
    del gateway.client.headers["Authorization"]
    await gateway.client.get("/healthz")

    answer = await gateway.client.get("/metrics")

    assert answer.status_code == 200
    assert 'soma_api_requests_total{method="GET",route="/healthz",status="200"} 1.0' in answer.text


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For", "X-Real-IP"])
async def test_metrics_through_a_proxy_want_an_operators_key(gateway: Gateway, header: str) -> None:
    proxied = {header: "127.0.0.1"}
    writer = await gateway.client.get("/metrics", headers=proxied)
    gateway.use(gateway.a_key(Role.OPERATOR))
    operator = await gateway.client.get("/metrics", headers=proxied)
    del gateway.client.headers["Authorization"]
    nobody = await gateway.client.get("/metrics", headers=proxied)

    assert (writer.status_code, operator.status_code, nobody.status_code) == (403, 200, 401)


async def test_metrics_from_elsewhere_want_an_operators_key(
    api_postgres: PostgresSettings, worker_dsn: str, owner_dsn: str
) -> None:
    async with open_gateway(
        api_postgres, worker_dsn=worker_dsn, owner_dsn=owner_dsn, address=("10.0.0.7", 50_000)
    ) as gateway:
        assert (await gateway.client.get("/metrics")).status_code == 403


async def test_metrics_can_be_closed_to_this_machine_too(
    api_postgres: PostgresSettings, worker_dsn: str, owner_dsn: str
) -> None:
    closed = GatewaySettings(metrics_on_loopback=False)
    async with open_gateway(
        api_postgres, worker_dsn=worker_dsn, owner_dsn=owner_dsn, gateway=closed
    ) as gateway:
        assert (await gateway.client.get("/metrics")).status_code == 403


async def test_metrics_name_routes_and_never_tenants_keys_or_paths(gateway: Gateway) -> None:
    memory = gateway.given_memory()
    await gateway.client.get(f"/v1/memories/{memory}")
    await gateway.client.post("/v1/memories", json={"namespace": "team/notes", "text": "tea"})
    await gateway.client.get("/v1/a-secret-path")

    text = (await gateway.client.get("/metrics")).text

    assert 'route="/v1/memories/{memory_id}"' in text
    for told in (
        "acme",
        "team/notes",
        "a-secret-path",
        str(memory),
        gateway.client.headers["Authorization"][7:],
    ):
        assert told not in text


async def test_waits_are_counted_by_how_they_end(gateway: Gateway) -> None:
    gateway.waiter.advance("soma-postgres", 0, 1)
    for position in ("0:0", "0:5"):
        await gateway.client.get("/v1/memories", headers={"Soma-Position": position, "Prefer": "wait=0"})

    text = (await gateway.client.get("/metrics")).text

    assert 'soma_api_waits_total{result="visible",wait_for="read"} 1.0' in text
    assert 'soma_api_waits_total{result="timed_out",wait_for="read"} 1.0' in text
