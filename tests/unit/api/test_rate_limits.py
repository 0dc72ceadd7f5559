import pytest

from fakes import FakeClock
from soma_api import rate_limits
from soma_api.metrics import ApiMetrics
from soma_api.principals import Principal
from soma_api.problems import RateLimitedError
from soma_api.rate_limits import RateLimits
from soma_api.roles import Role
from soma_schemas.metrics import MetricSet


def a_principal(actor: str = "key:one", tenant: str = "acme") -> Principal:
    return Principal(tenant, Role.READER, None, actor)


class Limited:
    """Rate limits under a clock of the test's own."""

    def __init__(self, per_principal: int | None = None, per_tenant: int | None = None) -> None:
        self.clock = FakeClock()
        self.measured = MetricSet()
        self.limits = RateLimits(per_principal, per_tenant, self.clock, ApiMetrics(self.measured))

    async def admitted(self, principal: Principal, requests: int) -> int:
        """Send requests, and return how many were taken."""
        taken = 0
        for _ in range(requests):
            try:
                await self.limits.admit(principal)
            except RateLimitedError:
                continue
            taken += 1
        return taken

    async def refusal(self, principal: Principal) -> RateLimitedError:
        with pytest.raises(RateLimitedError) as refused:
            await self.limits.admit(principal)
        return refused.value

    def refused(self, scope: str) -> str:
        """Return the line of the metric that counts refusals."""
        lines = self.measured.exposition("").body.decode().splitlines()
        (line,) = (
            each for each in lines if each.startswith(f'soma_api_rate_limited_total{{scope="{scope}"}}')
        )
        return line.partition(" ")[2]


async def test_without_limits_every_request_is_taken_and_no_header_is_told() -> None:
    limited = Limited()

    assert await limited.admitted(a_principal(), 1000) == 1000
    assert await limited.limits.admit(a_principal()) == {}


async def test_a_principal_is_told_what_is_left_and_when_the_minute_is_over() -> None:
    limited = Limited(per_principal=3)

    first = await limited.limits.admit(a_principal())
    limited.clock.advance(20.5)
    second = await limited.limits.admit(a_principal())

    assert first == {"RateLimit-Policy": '"principal";q=3;w=60', "RateLimit": '"principal";r=2;t=60'}
    assert second["RateLimit"] == '"principal";r=1;t=40'


async def test_one_request_too_many_is_refused_with_the_seconds_until_the_next_is_taken() -> None:
    limited = Limited(per_principal=2)
    await limited.admitted(a_principal(), 2)
    limited.clock.advance(47.5)

    refused = await limited.refusal(a_principal())

    assert refused.headers == {
        "Retry-After": "13",
        "RateLimit-Policy": '"principal";q=2;w=60',
        "RateLimit": '"principal";r=0;t=13',
    }
    assert "in 13 s" in str(refused)
    assert limited.refused("principal") == "1.0"


async def test_whoever_waits_as_long_as_told_is_taken_again() -> None:
    limited = Limited(per_principal=2)
    assert await limited.admitted(a_principal(), 5) == 2

    limited.clock.advance(float((await limited.refusal(a_principal())).headers["Retry-After"]) - 1)
    assert await limited.admitted(a_principal(), 1) == 0
    limited.clock.advance(1)

    assert await limited.admitted(a_principal(), 5) == 2


async def test_principals_and_tenants_are_counted_apart() -> None:
    limited = Limited(per_principal=2)

    assert await limited.admitted(a_principal("key:one"), 3) == 2
    assert await limited.admitted(a_principal("key:two"), 3) == 2
    assert await limited.admitted(a_principal("key:one", tenant="other"), 3) == 2


async def test_a_tenant_is_limited_over_all_its_principals() -> None:
    limited = Limited(per_tenant=3)

    assert await limited.admitted(a_principal("key:one"), 2) == 2
    assert await limited.admitted(a_principal("key:two"), 2) == 1
    assert await limited.admitted(a_principal("key:one", tenant="other"), 2) == 2
    assert limited.refused("tenant") == "1.0"


async def test_what_a_principal_may_not_send_does_not_count_for_its_tenant() -> None:
    limited = Limited(per_principal=2, per_tenant=4)

    assert await limited.admitted(a_principal("key:loop"), 100) == 2
    assert await limited.admitted(a_principal("key:quiet"), 2) == 2


async def test_what_is_left_to_the_tenant_is_told_only_with_its_refusal() -> None:
    limited = Limited(per_principal=10, per_tenant=1)

    told = await limited.limits.admit(a_principal("key:one"))
    refused = await limited.refusal(a_principal("key:two"))

    assert told["RateLimit-Policy"] == '"principal";q=10;w=60, "tenant";q=1;w=60'
    assert told["RateLimit"] == '"principal";r=9;t=60'
    assert refused.headers["RateLimit"] == '"tenant";r=0;t=60'


async def test_only_so_many_minutes_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "_MAX_WINDOWS", 2)
    limited = Limited(per_principal=1)

    for actor in ("key:one", "key:two", "key:three"):
        assert await limited.admitted(a_principal(actor), 1) == 1

    assert await limited.admitted(a_principal("key:three"), 1) == 0
    assert await limited.admitted(a_principal("key:one"), 1) == 1


async def test_a_subject_with_slashes_is_not_another_principal() -> None:
    limited = Limited(per_principal=1)

    assert await limited.admitted(a_principal("oidc:a/b", tenant="acme"), 1) == 1
    assert await limited.admitted(a_principal("oidc:a", tenant="acme"), 1) == 1
    assert await limited.admitted(a_principal("oidc:a/b", tenant="acme"), 1) == 0
