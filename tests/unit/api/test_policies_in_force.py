"""How long policies are taken for those of the database."""

import asyncio

import pytest

from fakes import FakeClock
from soma_api.policies_in_force import PoliciesInForce
from soma_api.problems import StoreUnavailableError
from soma_schemas.clock import yield_now
from soma_schemas.events import RetentionRule
from soma_schemas.fields import Kind
from soma_schemas.retention import TenantPolicies


class Table:
    """Policies of every tenant that the test changes, or takes away."""

    def __init__(self) -> None:
        self.ttl = 60
        self.away = False
        self.reads = 0
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    async def read(self, tenant: str) -> TenantPolicies:
        del tenant
        self.reads += 1
        ttl = self.ttl
        self.asked.set()
        await self.answers.wait()
        if self.away:
            raise StoreUnavailableError("away")
        rule = RetentionRule(kind=None, ttl_seconds=ttl, notice_seconds=0, archive=False)
        return TenantPolicies({None: [rule]})


@pytest.fixture
async def table() -> Table:
    return Table()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def policies(table: Table, clock: FakeClock) -> PoliciesInForce:
    return PoliciesInForce(table.read, clock)


async def ttl(policies: PoliciesInForce) -> int | None:
    rule = (await policies.of("acme")).rule_for("team", Kind.EPISODIC)
    return None if rule is None else rule.rule.ttl_seconds


async def test_what_was_read_is_kept_while_changes_are_told(
    policies: PoliciesInForce, table: Table, clock: FakeClock
) -> None:
    policies.told(whether=True)
    await ttl(policies)
    clock.advance(4.9)
    await ttl(policies)
    assert table.reads == 1

    clock.advance(0.2)
    await ttl(policies)
    assert table.reads == 2


async def test_a_change_that_is_told_is_read_at_once(policies: PoliciesInForce, table: Table) -> None:
    policies.told(whether=True)
    await ttl(policies)
    table.ttl = 90

    policies.forget("acme")

    assert await ttl(policies) == 90


async def test_a_change_that_nobody_tells_of_is_found_soon(
    policies: PoliciesInForce, table: Table, clock: FakeClock
) -> None:
    await ttl(policies)
    table.ttl = 90
    assert await ttl(policies) == 60

    clock.advance(0.25)

    assert await ttl(policies) == 90


async def test_who_begins_to_be_told_takes_nothing_from_before_for_granted(
    policies: PoliciesInForce, table: Table
) -> None:
    await ttl(policies)
    table.ttl = 90

    policies.told(whether=True)

    assert await ttl(policies) == 90


async def test_an_answer_from_before_a_change_does_not_count(policies: PoliciesInForce, table: Table) -> None:
    policies.told(whether=True)
    table.answers.clear()
    asking = asyncio.create_task(ttl(policies))
    await table.asked.wait()

    table.ttl = 90
    policies.forget("acme")
    table.answers.set()

    assert await asking == 90


async def test_while_the_database_is_away_the_last_known_policies_hold(
    policies: PoliciesInForce, table: Table, clock: FakeClock
) -> None:
    await ttl(policies)
    table.away = True
    clock.advance(1)
    assert await ttl(policies) == 60

    table.away, table.ttl = False, 90
    clock.advance(1)
    assert await ttl(policies) == 90


async def test_a_database_that_does_not_answer_holds_nobody_up_who_knows_policies(
    policies: PoliciesInForce, table: Table, clock: FakeClock
) -> None:
    await ttl(policies)
    table.answers.clear()
    clock.advance(1)
    assert await ttl(policies) == 60

    # Who comes later does not wait as well, and what is read in the end counts.
    clock.advance(1)
    assert await ttl(policies) == 60
    assert table.reads == 2
    table.ttl = 90
    table.answers.set()
    await yield_now()
    clock.advance(1)
    assert await ttl(policies) == 90


async def test_policies_that_were_never_read_are_not_made_up(policies: PoliciesInForce, table: Table) -> None:
    table.away = True

    with pytest.raises(StoreUnavailableError):
        await policies.of("acme")


async def test_those_who_ask_together_ask_the_database_once(policies: PoliciesInForce, table: Table) -> None:
    await asyncio.gather(*(policies.of("acme") for _ in range(10)))

    assert table.reads == 1
