"""Every place where the fields of a memory have to be spelled out spells all of them."""

import re
from dataclasses import fields
from inspect import signature
from types import NoneType
from typing import Any, get_args, get_type_hints

import pytest

from builders import patched, stored
from soma_api.models.list_query import ListQuery
from soma_api.models.requests import PatchMemory, StoreMemory
from soma_api.models.search_models import FilterBody
from soma_cli.commands.filters import choosing_memories
from soma_cli.commands.store import store
from soma_cli.formats.json_lines import MemoryLine
from soma_schemas.events import MemoryPatched, MemoryStored, PatchField
from soma_schemas.memories import EQUAL, FIELDS, SAID, Content, MemoryView
from soma_schemas.producer import NewMemory
from soma_schemas.tables.layout import DECLARED
from soma_schemas.violations import ContractError
from soma_streams.sinks.statements import statement

# What names an event or a memory, and the condition of a write, are no fields of a memory.
AROUND = {"event_id", "tenant", "memory_id", "expected_version"}
OWN_VECTOR = {"embedding", "embedding_model"}
DERIVED = {"importance_hundredths"}  # the database makes it of another column
STATE = {"tenant", "memory_id", "version", "deleted", "deleted_version", "recent_event_ids"}


def test_whoever_stores_a_memory_says_what_the_log_does_not() -> None:
    assert set(MemoryStored.model_fields) == {*SAID, *AROUND}
    assert tuple(FIELDS)[: len(SAID)] == SAID


@pytest.mark.parametrize("names", [set(StoreMemory.model_fields), {each.name for each in fields(NewMemory)}])
def test_a_request_and_a_producer_take_every_field(names: set[str]) -> None:
    assert names >= {*SAID, "memory_id", "expected_version"}


def test_a_line_has_every_field() -> None:
    assert set(MemoryLine.model_fields) == {*SAID, "memory_id"}


def test_a_patch_changes_what_does_not_name_the_memory() -> None:
    named = {"namespace", "key", "coordinate", "occurred_at", "actor", "embedding_model"}
    patchable = {each.value for each in PatchField}

    assert patchable == set(SAID) - named
    assert set(MemoryPatched.model_fields) == {*SAID, *AROUND, "fields"} - {"key", "coordinate"}
    assert set(PatchMemory.model_fields) >= patchable | OWN_VECTOR


@pytest.mark.parametrize("field", PatchField)
def test_what_can_be_null_can_be_cleared(field: PatchField) -> None:
    hint = get_type_hints(Content)[field.value]
    memory = stored(text="tea")

    if NoneType in get_args(hint):
        assert patched(memory, **{field.value: None}).fields == [field]
    else:
        with pytest.raises(ContractError, match="cannot be cleared"):
            patched(memory, **{field.value: None})


def test_the_view_shows_every_field() -> None:
    assert set(MemoryView.model_fields) == {*FIELDS, "memory_id", "version", "ends_at"}


@pytest.mark.parametrize("model", [ListQuery, FilterBody])
def test_lists_and_searches_ask_for_what_is_asked_by_equality(model: type[Any]) -> None:
    assert set(model.model_fields) >= set(EQUAL)


def test_the_command_line_has_an_option_for_each() -> None:
    def command(chosen: dict[str, Any]) -> None: ...

    assert set(signature(choosing_memories(command)).parameters) >= set(EQUAL) - {"key"}
    assert set(signature(store).parameters) >= set(SAID) - OWN_VECTOR - {"actor"}


def test_the_table_has_a_column_of_its_type_for_each() -> None:
    columns = {}
    for line in DECLARED:
        if found := re.fullmatch(r"memories column (\w+) (.+?)(?: not null)?", line):
            columns[found[1]] = found[2].replace("timestamp with time zone", "timestamptz")

    assert {name: columns[name] for name in FIELDS} == {name: each.column for name, each in FIELDS.items()}
    assert set(columns) == {*FIELDS, *STATE, *DERIVED}


def test_a_tombstone_has_no_content() -> None:
    constraints = " ".join(line for line in DECLARED if line.startswith("memories constraint "))
    nulls = re.search(r"num_nonnulls\(([^)]*)\) = 0", constraints)

    assert nulls is not None
    assert set(nulls[1].split(", ")) == set(FIELDS) - {"updated_at"}


def test_a_memory_that_is_written_again_gets_every_column() -> None:
    assigned = re.findall(r"(?:^|, )\s*(\w+) = ", statement("postgres/write_memories"), re.MULTILINE)

    assert sorted(assigned) == sorted({*FIELDS, *STATE} - {"tenant", "memory_id"})
