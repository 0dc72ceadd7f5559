from typing import Any
from uuid import UUID

import pytest

from builders import A_MOMENT, A_TENANT, an_id
from soma_api.event_factory import EventFactory
from soma_api.models.requests import BatchItem, PatchMemory, PutLink, StoreMemory
from soma_api.principals import Principal
from soma_api.problems import (
    InvalidHeaderError,
    InvalidInputError,
    NamespaceForbiddenError,
    TenantMismatchError,
)
from soma_api.roles import Role
from soma_schemas.events import PatchField
from soma_schemas.identity import memory_id_for_key
from soma_schemas.limits import DEFAULT_LIMITS
from soma_schemas.settings import EmbedderSettings
from soma_schemas.violations import ViolationCode


def a_factory(
    *, namespaces: tuple[str, ...] | None = None, expected: int | None = None, event_id: UUID | None = None
) -> EventFactory:
    return EventFactory(
        principal=Principal(A_TENANT, Role.WRITER, namespaces, "key:1"),
        event_id=event_id or an_id(),
        now=A_MOMENT,
        limits=DEFAULT_LIMITS,
        embedder=EmbedderSettings(model="mine", dimensions=3),
        expected=expected,
    )


def a_body(**fields: Any) -> StoreMemory:
    return StoreMemory.model_validate({"namespace": "team/notes", "text": "tea at four"} | fields)


def an_item(**fields: Any) -> BatchItem:
    return BatchItem.model_validate({"namespace": "team/notes", "text": "tea at four"} | fields)


def test_the_tenant_of_the_key_is_stamped_on_the_event() -> None:
    assert a_factory().store(a_body()).tenant == A_TENANT


def test_the_keys_own_tenant_in_the_body_is_no_mistake() -> None:
    assert a_factory().store(a_body(tenant=A_TENANT)).tenant == A_TENANT


def test_another_tenant_in_the_body_is_refused() -> None:
    with pytest.raises(TenantMismatchError) as refused:
        a_factory().store(a_body(tenant="globex"))

    assert [each.path for each in refused.value.errors] == ["/tenant"]


def test_a_memory_with_a_key_gets_the_id_of_its_key() -> None:
    event = a_factory().store(a_body(key="tea"))

    assert event.memory_id == memory_id_for_key(A_TENANT, "team/notes", "tea")


def test_a_memory_with_neither_key_nor_coordinate_gets_the_same_id_when_it_is_sent_again() -> None:
    event_id = an_id()

    first, again = (a_factory(event_id=event_id).store(a_body()) for _ in range(2))

    assert first.memory_id == again.memory_id


def test_an_id_that_disagrees_with_its_key_is_refused() -> None:
    with pytest.raises(InvalidInputError) as refused:
        a_factory().store(a_body(key="tea", memory_id=str(an_id())))

    assert [each.code for each in refused.value.errors] == [ViolationCode.IDENTITY_MISMATCH]


def test_an_id_in_the_body_must_be_the_one_in_the_path() -> None:
    with pytest.raises(InvalidInputError) as refused:
        a_factory().store(a_body(memory_id=str(an_id())), an_id())

    assert [(each.path, each.code) for each in refused.value.errors] == [
        ("/memory_id", ViolationCode.IDENTITY_MISMATCH)
    ]


def test_a_namespace_outside_of_what_the_key_covers_is_refused() -> None:
    with pytest.raises(NamespaceForbiddenError):
        a_factory(namespaces=("team/not",)).store(a_body())


def test_a_key_for_some_namespaces_cannot_take_the_place_of_a_named_memory_elsewhere() -> None:
    elsewhere = memory_id_for_key(A_TENANT, "board/minutes", "march")

    with pytest.raises(InvalidInputError) as refused:
        a_factory(namespaces=("team",)).store(a_body(), elsewhere)

    assert [each.code for each in refused.value.errors] == [ViolationCode.IDENTITY_MISMATCH]


def test_the_version_that_a_header_expects_is_expected_of_the_event() -> None:
    assert a_factory(expected=7).store(a_body()).expected_version == 7
    assert a_factory().store(a_body(expected_version=7)).expected_version == 7
    assert a_factory(expected=7).delete(an_id(), "team/notes").expected_version == 7


def test_header_and_body_that_expect_different_versions_are_refused() -> None:
    with pytest.raises(InvalidHeaderError):
        a_factory(expected=7).store(a_body(expected_version=8))


def test_every_wrong_item_of_a_batch_is_named_by_its_index() -> None:
    items = [
        an_item(),
        an_item(key="tea", coordinate=[1.0]),
        an_item(),
        an_item(embedding=[1.0]),
    ]

    with pytest.raises(InvalidInputError) as refused:
        a_factory().store_all(items)

    assert [(each.path, each.code) for each in refused.value.errors] == [
        ("/memories/1", ViolationCode.KEY_AND_COORDINATE),
        ("/memories/3", ViolationCode.MISSING_FIELD),
    ]


def test_items_of_a_batch_sent_again_are_the_same_events() -> None:
    key = an_id()

    first, again = (a_factory(event_id=key).store_all([an_item(), an_item()]) for _ in range(2))

    assert [event.event_id for event in first] == [event.event_id for event in again]
    assert [event.memory_id for event in first] == [event.memory_id for event in again]
    assert len({event.event_id for event in first}) == 2


def test_an_item_of_a_batch_can_bring_its_own_event_id() -> None:
    own = an_id()

    (event,) = a_factory().store_all([an_item(event_id=str(own))])

    assert event.event_id == own


def test_a_patch_names_exactly_the_fields_of_the_body() -> None:
    change = PatchMemory.model_validate({"importance": 0.9, "subject": None})

    event = a_factory().patch(change, an_id(), "team/notes")

    assert set(event.fields) == {PatchField.IMPORTANCE, PatchField.SUBJECT}
    assert (event.importance, event.subject, event.text) == (0.9, None, None)


def test_null_clears_only_what_can_be_cleared() -> None:
    change = PatchMemory.model_validate({"text": None})

    with pytest.raises(InvalidInputError) as refused:
        a_factory().patch(change, an_id(), "team/notes")

    assert [each.code for each in refused.value.errors] == [ViolationCode.INVALID_PATCH]


def test_a_patch_of_the_payload_keeps_its_nulls() -> None:
    change = PatchMemory.model_validate({"payload": {"a": None, "b": {"c": None}}})

    event = a_factory().patch(change, an_id(), "team/notes")

    assert event.payload == '{"a": null, "b": {"c": null}}'


def test_a_link_says_from_where_to_where_and_how_strongly() -> None:
    here, there = an_id(), an_id()

    event = a_factory().link(PutLink(type="about", weight=0.5), here, there, "team/notes")

    assert (event.memory_id, event.to_memory_id, event.link_type, event.weight) == (here, there, "about", 0.5)


def test_who_acts_is_the_key_unless_the_body_says() -> None:
    assert a_factory().store(a_body()).actor == "key:1"
    assert a_factory().store(a_body(actor="agent-7")).actor == "agent-7"


def test_an_embedding_of_the_indexs_model_has_its_size() -> None:
    wrong = {"embedding": [1.0, 2.0], "embedding_model": "mine"}

    with pytest.raises(InvalidInputError) as stored:
        a_factory().store(a_body(**wrong))
    with pytest.raises(InvalidInputError) as patched:
        a_factory().patch(PatchMemory.model_validate(wrong), an_id(), "team/notes")
    with pytest.raises(InvalidInputError) as batched:
        a_factory().store_all([an_item(), an_item(**wrong)])

    errors = [*stored.value.errors, *patched.value.errors, *batched.value.errors]
    assert [each.path for each in errors] == [
        "/embedding",
        "/embedding",
        "/memories/1/embedding",
    ]


def test_an_embedding_of_another_model_has_any_size() -> None:
    event = a_factory().store(a_body(embedding=[1.0], embedding_model="another"))

    assert event.embedding == [1.0]
