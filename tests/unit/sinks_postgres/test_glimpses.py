"""A store may read less of a memory than it has, as long as folding comes to the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import a_log, deleted, logged, patched, stored
from soma_schemas.events import MemoryEvent
from soma_streams.delivery.fold import fold, needs_whole_state
from soma_streams.delivery.state import GlimpsedState, MemoryState

MEMORY = stored(key="a", expires_at="2026-05-01T00:00:00Z")


def glimpse(state: MemoryState) -> MemoryState | GlimpsedState:
    if state.content is None:
        return state
    return GlimpsedState(
        name=state.name,
        version=state.version,
        recent_event_ids=state.recent_event_ids,
        namespace=state.content.namespace,
        created_at=state.content.created_at,
        access_count=state.content.access_count,
        last_accessed_at=state.content.last_accessed_at,
    )


@given(
    st.lists(st.booleans(), min_size=1, max_size=5),
    st.sampled_from(
        [
            stored(key="a", text="new"),
            stored(key="a", expected_version=1 << 40),
            stored(key="a", expected_version=0),
            deleted(MEMORY),
            deleted(MEMORY, expected_version=1 << 40),
        ]
    ),
)
def test_an_event_that_needs_no_content_folds_onto_a_glimpse_as_onto_the_whole(
    stores: list[bool], event: MemoryEvent
) -> None:
    assert not needs_whole_state(event)
    log = a_log([stored(key="a") if stores_it else deleted(MEMORY) for stores_it in stores])
    (state,) = fold(log, {}).states
    next_event = logged(event, len(log))

    assert fold([next_event], {state.name: glimpse(state)}) == fold([next_event], {state.name: state})


def test_a_change_after_a_replacement_in_one_batch_folds_onto_the_replacement() -> None:
    (state,) = fold(a_log([MEMORY]), {}).states
    batch = [logged(stored(key="a", text="new"), 1), logged(patched(MEMORY, importance=1.0), 2)]

    assert fold(batch, {state.name: glimpse(state)}) == fold(batch, {state.name: state})


def test_an_event_that_needs_the_content_refuses_a_glimpse() -> None:
    (state,) = fold(a_log([MEMORY]), {}).states

    with pytest.raises(TypeError, match="MemoryPatched"):
        fold([logged(patched(MEMORY, text="x"), 1)], {state.name: glimpse(state)})
