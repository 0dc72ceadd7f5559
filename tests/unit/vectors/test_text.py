"""Which text is indexed."""

from datetime import UTC, datetime

from soma_schemas.vectors.text import indexed_text

_DAY = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def test_the_day_the_words_of_the_key_and_the_tags_stand_before_the_text() -> None:
    text = indexed_text("Tea at four.", _DAY, "tea-time", ("habits", "kitchen"))

    assert text == "2 March 2026: tea time habits kitchen: Tea at four."


def test_a_memory_without_key_and_tags_has_the_day_and_the_text() -> None:
    assert indexed_text("Tea at four.", _DAY, None, ()) == "2 March 2026: Tea at four."


def test_ids_and_numbers_in_a_key_are_left_out() -> None:
    text = indexed_text("Tea.", _DAY, "inc-32/9f1c77aa-b2c4_cause", ())

    assert text == "2 March 2026: inc cause: Tea."


def test_words_of_any_script_count() -> None:
    assert indexed_text("Tea.", _DAY, "västerö-хамн", ()) == "2 March 2026: västerö хамн: Tea."
