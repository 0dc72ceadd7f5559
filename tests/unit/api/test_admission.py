import asyncio
from typing import Any

import pytest

from fakes import FakeClock
from soma_api import admission
from soma_api.admission import Admission
from soma_api.api_keys import new_key
from soma_api.key_uses import KeyUses
from soma_api.metrics import ApiMetrics
from soma_api.principals import Authenticator, StoredKey
from soma_api.problems import RateLimitedError, UnauthenticatedError
from soma_api.roles import Role
from soma_schemas.metrics import MetricSet

HERE, THERE = "192.0.2.7", "198.51.100.1"


class Door:
    """An admission over keys of the test's own.

    Attributes:
        asked: How often a key was looked up.
        at_once: How many look-ups there were at the same time at most.
        open: Cleared, look-ups take until it is set.
    """

    def __init__(self, limit: int = 3) -> None:
        self.clock = FakeClock()
        self.measured = MetricSet()
        self.keys: dict[str, StoredKey] = {}
        self.asked = self.at_once = self._looking = 0
        self.open = asyncio.Event()
        self.open.set()

        async def tell(_: Any) -> None:
            return None

        authenticator = Authenticator(self._find, self.clock, 10, KeyUses(tell, self.clock))
        self.admission = Admission(authenticator, limit, self.clock, ApiMetrics(self.measured))

    async def _find(self, key_id: str) -> StoredKey | None:
        self.asked += 1
        self._looking += 1
        self.at_once = max(self.at_once, self._looking)
        try:
            await self.open.wait()
        finally:
            self._looking -= 1
        return self.keys.get(key_id)

    def a_key(self) -> str:
        key = new_key()
        self.keys[key.key_id] = StoredKey(key.key_id, "acme", Role.READER, None, key.digest(), None, None)
        return key.reveal()

    async def answers(self, requests: int, network: str = HERE, credential: str | None = None) -> list[int]:
        """Send requests, with keys that nobody knows unless one is given, and return their statuses."""
        found = []
        for _ in range(requests):
            try:
                await self.admission.principal(credential or new_key().reveal(), network)
            except (UnauthenticatedError, RateLimitedError) as error:
                found.append(error.status)
            else:
                found.append(200)
        return found


async def test_an_address_with_too_many_failures_is_told_when_to_come_again() -> None:
    door = Door()

    assert await door.answers(5) == [401, 401, 401, 429, 429]
    door.clock.advance(20)
    with pytest.raises(RateLimitedError) as refused:
        await door.admission.principal("made up", HERE)

    assert refused.value.headers == {"Retry-After": "40"}
    assert "valid credential" in str(refused.value.remedy)
    door.clock.advance(40)
    assert await door.answers(1) == [401]


async def test_a_good_credential_is_taken_from_an_address_above_its_limit() -> None:
    door = Door()
    known, unseen = door.a_key(), door.a_key()
    assert await door.answers(1, credential=known) == [200]
    assert await door.answers(4) == [401, 401, 401, 429]

    assert await door.answers(2, credential=known) == [200, 200]
    assert await door.answers(1, credential=unseen) == [200]
    assert await door.answers(1) == [429]


async def test_addresses_are_counted_apart_and_success_counts_for_none() -> None:
    door = Door()
    good = door.a_key()

    assert await door.answers(9, credential=good) == [200] * 9
    assert await door.answers(4) == [401, 401, 401, 429]
    assert await door.answers(1, THERE) == [401]


async def test_without_a_limit_each_failure_is_told_as_what_it_is() -> None:
    assert await Door(limit=0).answers(200) == [401] * 200


async def test_above_the_limit_unknown_keys_are_looked_up_one_after_the_other() -> None:
    door = Door()
    await door.answers(3)
    door.at_once = 0

    await asyncio.gather(*(door.answers(1) for _ in range(50)))

    assert door.at_once == 1


async def test_who_waits_too_long_for_a_turn_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "_PATIENCE_SECONDS", 0.01)
    door = Door()
    known, unseen = door.a_key(), door.a_key()
    assert await door.answers(1, credential=known) == [200]
    await door.answers(3)
    door.open.clear()

    assert await door.answers(1, credential=unseen) == [429]
    assert await door.answers(1, credential=known) == [200]


async def test_only_so_many_addresses_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("soma_api.rate_limits._MAX_WINDOWS", 2)
    door = Door(limit=1)

    for network in ("a", "b", "c"):
        assert await door.answers(2, network) == [401, 429]

    assert await door.answers(1, "a") == [401]
