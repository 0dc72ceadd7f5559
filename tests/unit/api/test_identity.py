from datetime import timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from builders import A_MOMENT
from soma_api.identity import event_id_of_item, memory_id_of_event
from soma_schemas.identity import new_id


@given(st.uuids())
def test_the_same_event_always_gives_the_same_memory(event_id: UUID) -> None:
    assert memory_id_of_event(event_id) == memory_id_of_event(UUID(str(event_id)))


@given(st.uuids(), st.uuids())
def test_other_events_give_other_memories(one: UUID, other: UUID) -> None:
    assert (memory_id_of_event(one) == memory_id_of_event(other)) is (one == other)


@given(st.uuids())
def test_a_made_id_never_looks_like_one_of_a_key_or_a_coordinate(event_id: UUID) -> None:
    assert memory_id_of_event(event_id).version in {7, 8}


def test_ids_of_timed_events_sort_by_their_time() -> None:
    events = [new_id(A_MOMENT + timedelta(milliseconds=number)) for number in range(50)]

    memories = [memory_id_of_event(event_id) for event_id in events]

    assert memories == sorted(memories)
    assert {memory_id.version for memory_id in memories} == {7}


def test_items_of_one_batch_are_different_events_and_the_same_ones_again() -> None:
    key = new_id(A_MOMENT)

    first, again = ([event_id_of_item(key, index) for index in range(10)] for _ in range(2))

    assert first == again
    assert len(set(first)) == 10
