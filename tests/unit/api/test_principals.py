from datetime import timedelta

import pytest

from fakes import FakeClock
from soma_api.api_keys import ApiKey, new_key
from soma_api.principals import Authenticator, Principal, Role, StoredKey
from soma_api.problems import NamespaceForbiddenError, RoleTooLowError, UnauthenticatedError


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
        clock: FakeClock,
    ) -> ApiKey:
        key = new_key()
        self.keys[key.key_id] = StoredKey(
            key_id=key.key_id,
            tenant="acme",
            role=role,
            namespaces=None,
            secret_hash=key.digest(),
            expires_at=None if expires_in is None else clock.now() + expires_in,
            revoked_at=None if revoked_in is None else clock.now() + revoked_in,
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
def authenticator(directory: Directory, clock: FakeClock) -> Authenticator:
    return Authenticator(directory.find, clock, cache_seconds=10)


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
