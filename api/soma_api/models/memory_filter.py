"""The filters that lists and searches share."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from soma_schemas.fields import Kind, Moment, Namespace, StorableString, broken
from soma_schemas.memories import EQUAL
from soma_schemas.violations import ViolationCode

Asked = Annotated[StorableString, Field(min_length=1)]

ONE_PLACE = "`namespace` and `namespace_prefix` exclude each other"

_TIMES = (
    "occurred_from",
    "occurred_before",
    "created_from",
    "created_before",
    "updated_from",
    "updated_before",
)


class MemoryFilter(BaseModel):
    """The memories that are considered. Omitted fields do not filter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: Namespace | None = Field(
        None, description="Exactly this namespace.", examples=["assistant/ada"]
    )
    namespace_prefix: Namespace | None = Field(
        None, description="This namespace and all below it; `team/a` does not match `team/ab`."
    )
    kind: Kind | None = Field(None, description="EPISODIC or SEMANTIC.")
    subject: Asked | None = Field(None, description="About this person.")
    source: Asked | None = Field(None, description="From exactly this source.")
    occurred_from: Moment | None = Field(None, description="Happened at this time or later.")
    occurred_before: Moment | None = Field(None, description="Happened before this time.")
    created_from: Moment | None = Field(None, description="First stored at this time or later.")
    created_before: Moment | None = Field(None, description="First stored before this time.")
    updated_from: Moment | None = Field(None, description="Last changed at this time or later.")
    updated_before: Moment | None = Field(None, description="Last changed before this time.")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.namespace is not None and self.namespace_prefix is not None:
            raise broken(ViolationCode.INVALID_VALUE, ONE_PLACE)
        return self

    def shared(self) -> dict[str, Any]:
        """Return the arguments of `selection` that lists and searches share, but for the namespaces."""
        equal = {name: getattr(self, name) for name in EQUAL}
        return {
            "equal": {name: str(value) for name, value in equal.items() if value is not None},
            **{name: getattr(self, name) for name in _TIMES},
        }
