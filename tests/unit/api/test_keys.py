from hypothesis import given
from hypothesis import strategies as st

from soma_api.api_keys import ApiKey, new_key


def test_a_key_survives_being_written_down() -> None:
    key = new_key()

    assert ApiKey.parse(key.reveal()) == key


def test_a_key_is_recognised_by_its_digest_alone() -> None:
    key = new_key()

    assert key.matches(key.digest())
    assert not key.matches(new_key().digest())


def test_no_two_keys_are_alike() -> None:
    keys = [new_key() for _ in range(100)]

    assert len({key.key_id for key in keys}) == 100
    assert len({key.secret for key in keys}) == 100


def test_a_secret_has_256_bits() -> None:
    assert len(bytes.fromhex(new_key().secret)) == 32


def test_a_key_that_is_printed_does_not_show_its_secret() -> None:
    key = new_key()

    assert key.secret not in repr(key)
    assert key.secret not in str(key)
    assert key.secret not in f"{key}"


@given(st.text())
def test_other_text_is_no_key(text: str) -> None:
    assert ApiKey.parse(text) is None


def test_a_key_with_something_around_it_is_no_key() -> None:
    revealed = new_key().reveal()

    assert ApiKey.parse(revealed + "\n") is None
    assert ApiKey.parse(" " + revealed) is None
    assert ApiKey.parse(revealed.upper()) is None
