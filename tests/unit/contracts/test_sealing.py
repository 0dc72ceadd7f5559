"""Master keys wrap, data keys seal; what was changed, or belongs elsewhere, does not open."""

from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from builders import an_id
from soma_schemas.encryption.encryption_errors import MasterKeyError
from soma_schemas.encryption.master_keys import MasterKeys, WrappedKey, new_master_key
from soma_schemas.encryption.sealing import DataKey, EventName, TamperedError, open_sealed, seal
from soma_schemas.events import SealedEvent

SECRET = bytes(range(32))
KEY = DataKey(an_id(), AESGCM(SECRET))
NAME = EventName("acme", an_id(), an_id())
VALUE = "Ada Lovelace drinks čaj".encode()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "master-key"
    path.write_text(new_master_key(), encoding="ascii")
    return path


def test_what_is_sealed_opens_with_its_key_and_shows_nothing() -> None:
    event = seal(VALUE, KEY, NAME)

    assert open_sealed(event, KEY) == VALUE
    assert b"Ada" not in event.sealed


def test_the_same_value_is_never_sealed_the_same() -> None:
    assert seal(VALUE, KEY, NAME).sealed != seal(VALUE, KEY, NAME).sealed


@pytest.mark.parametrize("field", ["tenant", "memory_id", "event_id", "sealed"])
def test_a_sealed_event_with_one_other_field_does_not_open(field: str) -> None:
    event = seal(VALUE, KEY, NAME)
    changed = event.sealed[:-1] + b"x"
    others = {"tenant": "other", "memory_id": an_id(), "event_id": an_id(), "sealed": changed}

    with pytest.raises(TamperedError):
        open_sealed(event.model_copy(update={field: others[field]}), KEY)


@pytest.mark.parametrize("sealed", [b"", b"short", bytes(12), bytes(27)])
def test_what_is_too_short_to_be_sealed_does_not_open(sealed: bytes) -> None:
    event = SealedEvent.validated({**NAME._asdict(), "key_id": KEY.key_id, "sealed": sealed})

    with pytest.raises(TamperedError):
        open_sealed(event, KEY)


def test_another_key_under_the_same_name_opens_nothing() -> None:
    with pytest.raises(TamperedError):
        open_sealed(seal(VALUE, KEY, NAME), DataKey(KEY.key_id, AESGCM(bytes(32))))


def test_a_data_key_unwraps_under_its_own_name_alone(file: Path) -> None:
    masters = MasterKeys(file)
    wrapped = masters.wrap(SECRET, "acme", KEY.key_id)

    assert masters.unwrap(wrapped, "acme", KEY.key_id) == SECRET
    with pytest.raises(MasterKeyError, match="was changed"):
        masters.unwrap(wrapped, "other", KEY.key_id)
    with pytest.raises(MasterKeyError, match="was changed"):
        masters.unwrap(wrapped, "acme", an_id())


def test_the_first_key_of_a_file_wraps_and_all_unwrap(file: Path) -> None:
    before = MasterKeys(file).wrap(SECRET, "acme", KEY.key_id)
    file.write_text(new_master_key() + file.read_text(encoding="ascii"), encoding="ascii")

    masters = MasterKeys(file)

    assert masters.unwrap(before, "acme", KEY.key_id) == SECRET
    assert masters.wrap(SECRET, "acme", KEY.key_id).master_key_id == masters.ids[0]
    assert masters.ids[0] != before.master_key_id


def test_a_key_that_came_into_the_file_since_is_found(file: Path) -> None:
    masters = MasterKeys(file)
    old = file.read_text(encoding="ascii")
    file.write_text(new_master_key() + old, encoding="ascii")
    wrapped = MasterKeys(file).wrap(SECRET, "acme", KEY.key_id)

    assert masters.unwrap(wrapped, "acme", KEY.key_id) == SECRET


def test_a_new_first_key_wraps_from_then_on_without_a_restart(file: Path) -> None:
    masters = MasterKeys(file)
    file.write_text(new_master_key() + file.read_text(encoding="ascii"), encoding="ascii")

    wrapped = masters.wrap(SECRET, "acme", KEY.key_id)

    assert wrapped.master_key_id == MasterKeys(file).ids[0]


def test_another_master_key_is_named_beside_the_one_that_is_wanted(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text(new_master_key(), encoding="ascii")
    wrapped = MasterKeys(file).wrap(SECRET, "acme", KEY.key_id)

    with pytest.raises(MasterKeyError) as caught:
        MasterKeys(other).unwrap(wrapped, "acme", KEY.key_id)

    assert wrapped.master_key_id in str(caught.value)
    assert MasterKeys(other).ids[0] in str(caught.value)


@pytest.mark.parametrize("content", ["", "\n", "no base64!", "YWJj\n", "čaj"])
def test_a_file_that_holds_no_key_is_refused_and_not_quoted(tmp_path: Path, content: str) -> None:
    path = tmp_path / "master-key"
    path.write_text(content, encoding="utf-8")

    with pytest.raises(MasterKeyError) as caught:
        MasterKeys(path)

    assert content.strip() == "" or content.strip() not in f"{caught.value} {caught.value.remedy}"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MasterKeyError, match="cannot read the master key"):
        MasterKeys(tmp_path / "absent")


def test_a_wrapped_key_that_was_cut_does_not_unwrap(file: Path) -> None:
    masters = MasterKeys(file)

    with pytest.raises(MasterKeyError):
        masters.unwrap(WrappedKey(b"", masters.ids[0]), "acme", UUID(int=1))
