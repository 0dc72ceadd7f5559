from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest

from fakes import FakeClock
from soma_api.api_keys import ApiKey, new_key
from soma_api.key_uses import KeyUse, KeyUses
from soma_api.principals import Authenticator, Principal, StoredKey
from soma_api.problems import (
    NamespaceForbiddenError,
    RoleTooLowError,
    StoreUnavailableError,
    UnauthenticatedError,
)
from soma_api.roles import Role


class Directory:
    """Keys as a store has them, and how often it was asked."""

    def __init__(self) -> None:
        self.keys: dict[str, StoredKey] = {}
        self.asked = 0

    def add(
        self,
        *,
        role: Role = Role.READER,
        expires_in: timedelta | None = None,
        revoked_in: timedelta | None = None,
        former: ApiKey | None = None,
        former_expires_in: timedelta = timedelta(seconds=5),
        clock: FakeClock,
    ) -> ApiKey:
        key = new_key() if former is None else ApiKey(former.key_id, new_key().secret)
        self.keys[key.key_id] = StoredKey(
            key_id=key.key_id,
            tenant="acme",
            role=role,
            namespaces=None,
            secret_hash=key.digest(),
            expires_at=None if expires_in is None else clock.now() + expires_in,
            revoked_at=None if revoked_in is None else clock.now() + revoked_in,
            former_secret_hash=None if former is None else former.digest(),
            former_expires_at=None if former is None else clock.now() + former_expires_in,
        )
        return key

    async def find(self, key_id: str) -> StoredKey | None:
        self.asked += 1
        return self.keys.get(key_id)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def directory() -> Directory:
    return Directory()


@pytest.fixture
def noted() -> dict[KeyUse, datetime]:
    return {}


@pytest.fixture
def uses(clock: FakeClock, noted: dict[KeyUse, datetime]) -> KeyUses:
    async def record(uses: Mapping[KeyUse, datetime]) -> None:
        noted.update(uses)

    return KeyUses(record, clock)


@pytest.fixture
def authenticator(directory: Directory, clock: FakeClock, uses: KeyUses) -> Authenticator:
    return Authenticator(directory.find, clock, cache_seconds=10, uses=uses)


async def test_a_good_key_gives_its_tenant_and_role(
    authenticator: Authenticator, directory: Directory, clock: FakeClock
) -> None:
    key = directory.add(role=Role.WRITER, clock=clock)

    principal = await authenticator.authenticate(key.reveal())

    assert (principal.tenant, principal.role) == ("acme", Role.WRITER)
    assert principal.actor == f"key:{key.key_id}"


async def test_no_key_is_refused(authenticator: Authenticator) -> None:
    with pytest.raises(UnauthenticatedError):
        await authenticator.authenticate(None)


async def test_what_is_no_key_is_refused_without_asking_the_store(
    authenticator: Authenticator, directory: Directory
) -> None:
    with pytest.raises(UnauthenticatedError):
        await authenticator.authenticate("soma_' OR true --")

    assert directory.asked == 0


async def test_a_wrong_secret_and_an_unknown_id_get_the_same_answer(
    authenticator: Authenticator, directory: Directory, clock: FakeClock
) -> None:
    known = directory.add(clock=clock)

    with pytest.raises(UnauthenticatedError) as wrong:
        await authenticator.authenticate(ApiKey(known.key_id, new_key().secret).reveal())
    with pytest.raises(UnauthenticatedError) as unknown:
        await authenticator.authenticate(new_key().reveal())

    assert str(wrong.value) == str(unknown.value)


async def test_an_expired_key_is_refused_from_the_moment_it_expires(
    authenticator: Authenticator, directory: Directory, clock: FakeClock
) -> None:
    key = directory.add(expires_in=timedelta(seconds=5), clock=clock)
    await authenticator.authenticate(key.reveal())

    clock.advance(5)

    with pytest.raises(UnauthenticatedError, match="expired"):
        await authenticator.authenticate(key.reveal())


async def test_a_revoked_key_is_refused(
    authenticator: Authenticator, directory: Directory, clock: FakeClock
) -> None:
    key = directory.add(revoked_in=timedelta(0), clock=clock)

    with pytest.raises(UnauthenticatedError, match="revoked"):
        await authenticator.authenticate(key.reveal())


async def test_a_rotated_key_has_two_secrets_until_the_former_one_ends(
    authenticator: Authenticator, directory: Directory, clock: FakeClock
) -> None:
    former = new_key()
    key = directory.add(former=former, former_expires_in=timedelta(seconds=5), clock=clock)

    for good in (key, former):
        assert (await authenticator.authenticate(good.reveal())).actor == f"key:{key.key_id}"

    clock.advance(5)
    await authenticator.authenticate(key.reveal())
    with pytest.raises(UnauthenticatedError, match="rotated"):
        await authenticator.authenticate(former.reveal())


async def test_a_third_secret_is_as_wrong_as_any(
    authenticator: Authenticator, directory: Directory, clock: FakeClock
) -> None:
    former = new_key()
    directory.add(former=former, clock=clock)

    with pytest.raises(UnauthenticatedError, match="not known"):
        await authenticator.authenticate(ApiKey(former.key_id, new_key().secret).reveal())


async def test_a_revoked_key_takes_its_former_secret_with_it(
    authenticator: Authenticator, directory: Directory, clock: FakeClock
) -> None:
    former = new_key()
    directory.add(former=former, revoked_in=timedelta(0), clock=clock)

    with pytest.raises(UnauthenticatedError, match="revoked"):
        await authenticator.authenticate(former.reveal())


async def test_the_last_use_of_each_secret_is_told_once(
    authenticator: Authenticator,
    directory: Directory,
    clock: FakeClock,
    uses: KeyUses,
    noted: dict[KeyUse, datetime],
) -> None:
    former = new_key()
    key = directory.add(former=former, clock=clock)
    for given in (former, key, key):
        await authenticator.authenticate(given.reveal())
        clock.advance(1)

    await uses.tell()

    now = clock.now()
    assert noted == {
        KeyUse(key.key_id, former=True): now - timedelta(seconds=3),
        KeyUse(key.key_id, former=False): now - timedelta(seconds=1),
    }
    noted.clear()
    await uses.tell()
    assert noted == {}


async def test_a_refused_key_is_not_noted(
    authenticator: Authenticator,
    directory: Directory,
    clock: FakeClock,
    uses: KeyUses,
    noted: dict[KeyUse, datetime],
) -> None:
    key = directory.add(expires_in=timedelta(0), clock=clock)
    for refused in (key, new_key()):
        with pytest.raises(UnauthenticatedError):
            await authenticator.authenticate(refused.reveal())

    await uses.tell()

    assert noted == {}


async def test_uses_that_could_not_be_told_are_told_later(clock: FakeClock) -> None:
    told: list[dict[KeyUse, datetime]] = []
    away = True

    async def record(uses: Mapping[KeyUse, datetime]) -> None:
        if away:
            raise StoreUnavailableError("away")
        told.append(dict(uses))

    uses = KeyUses(record, clock)
    first = clock.now()
    uses.note("a", former=False)
    uses.note("b", former=False)
    await uses.tell()
    clock.advance(60)
    uses.note("a", former=False)

    away = False
    await uses.tell()

    assert told == [{KeyUse("a", former=False): clock.now(), KeyUse("b", former=False): first}]


async def test_a_key_is_not_looked_up_again_while_it_is_remembered(
    authenticator: Authenticator, directory: Directory, clock: FakeClock
) -> None:
    key = directory.add(clock=clock)

    await authenticator.authenticate(key.reveal())
    await authenticator.authenticate(key.reveal())

    assert directory.asked == 1


async def test_a_revocation_is_seen_when_the_memory_of_the_key_ends(
    authenticator: Authenticator, directory: Directory, clock: FakeClock
) -> None:
    key = directory.add(clock=clock)
    await authenticator.authenticate(key.reveal())

    del directory.keys[key.key_id]
    clock.advance(10)

    with pytest.raises(UnauthenticatedError):
        await authenticator.authenticate(key.reveal())


async def test_a_wrong_secret_is_refused_also_while_the_key_is_remembered(
    authenticator: Authenticator, directory: Directory, clock: FakeClock
) -> None:
    key = directory.add(clock=clock)
    await authenticator.authenticate(key.reveal())

    with pytest.raises(UnauthenticatedError):
        await authenticator.authenticate(ApiKey(key.key_id, new_key().secret).reveal())


async def test_made_up_ids_are_not_remembered(authenticator: Authenticator, directory: Directory) -> None:
    stranger = new_key().reveal()
    for _ in range(2):
        with pytest.raises(UnauthenticatedError):
            await authenticator.authenticate(stranger)

    assert directory.asked == 2


@pytest.mark.parametrize(
    ("role", "may"),
    [
        (Role.READER, {Role.READER}),
        (Role.WRITER, {Role.READER, Role.WRITER}),
        (Role.OPERATOR, {Role.READER, Role.WRITER, Role.OPERATOR}),
        (Role.ADMIN, set(Role)),
    ],
)
def test_each_role_may_do_what_those_before_it_may(role: Role, may: set[Role]) -> None:
    assert {wanted for wanted in Role if role.covers(wanted)} == may


def test_a_role_that_is_too_low_is_refused() -> None:
    principal = Principal("acme", Role.READER, None, "tester")

    with pytest.raises(RoleTooLowError):
        principal.require(Role.WRITER)


def test_a_key_for_a_namespace_opens_it_and_what_lies_below_but_no_longer_sibling() -> None:
    principal = Principal("acme", Role.READER, ("team/a",), "tester")

    assert principal.may_access("team/a")
    assert principal.may_access("team/a/notes")
    assert not principal.may_access("team/ab")
    assert not principal.may_access("team")
    with pytest.raises(NamespaceForbiddenError):
        principal.require_access("team/ab")


def test_a_key_for_no_namespace_opens_none() -> None:
    assert not Principal("acme", Role.READER, (), "tester").may_access("team")
