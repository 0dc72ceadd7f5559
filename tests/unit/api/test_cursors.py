import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from soma_api.cursors import Cursors
from soma_api.problems import InvalidCursorError

QUERY = {"namespace": "team/notes", "sort": "-updated_at"}
AFTER = ["2026-03-02T09:00:00+00:00", "00000000-0000-7000-8000-000000000001"]


@pytest.fixture
def cursors() -> Cursors:
    return Cursors(b"a secret of thirty-two bytes or so")


def test_a_cursor_gives_back_what_it_was_made_of(cursors: Cursors) -> None:
    assert cursors.read(cursors.make("acme", QUERY, AFTER), "acme", QUERY) == AFTER


def test_the_order_of_filters_does_not_matter(cursors: Cursors) -> None:
    cursor = cursors.make("acme", QUERY, AFTER)

    assert cursors.read(cursor, "acme", dict(reversed(QUERY.items()))) == AFTER


@given(st.text())
def test_no_text_is_a_cursor(text: str) -> None:
    with pytest.raises(InvalidCursorError):
        Cursors(b"secret").read(text, "acme", QUERY)


@given(st.data())
def test_a_cursor_with_any_character_changed_is_refused(data: st.DataObject) -> None:
    cursors = Cursors(b"secret")
    cursor = cursors.make("acme", QUERY, AFTER)
    place = data.draw(st.integers(0, len(cursor) - 1))
    other = data.draw(st.sampled_from("ABab09-_=+/. é"))
    assume(cursor[place] != other)

    with pytest.raises(InvalidCursorError):
        cursors.read(cursor[:place] + other + cursor[place + 1 :], "acme", QUERY)


def test_a_cursor_with_something_added_or_missing_is_refused(cursors: Cursors) -> None:
    cursor = cursors.make("acme", QUERY, AFTER)

    for altered in (cursor + "A", cursor + "=", cursor + "\n", " " + cursor, cursor[:-1], cursor[1:], ""):
        with pytest.raises(InvalidCursorError):
            cursors.read(altered, "acme", QUERY)


def test_a_cursor_of_another_tenant_is_refused(cursors: Cursors) -> None:
    with pytest.raises(InvalidCursorError):
        cursors.read(cursors.make("acme", QUERY, AFTER), "globex", QUERY)


def test_a_cursor_of_another_query_is_refused(cursors: Cursors) -> None:
    with pytest.raises(InvalidCursorError):
        cursors.read(cursors.make("acme", QUERY, AFTER), "acme", QUERY | {"sort": "updated_at"})


def test_a_cursor_signed_with_another_secret_is_refused(cursors: Cursors) -> None:
    with pytest.raises(InvalidCursorError):
        cursors.read(Cursors(b"another").make("acme", QUERY, AFTER), "acme", QUERY)
