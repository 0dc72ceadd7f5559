"""The query parameters of a list of memories."""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import (
    AfterValidator,
    Field,
    ValidationInfo,
    model_validator,
)
from pydantic_core import PydanticCustomError

from soma_api.models.filter_language import BOUNDS, read_filter
from soma_api.models.memory_filter import Asked, MemoryFilter
from soma_api.models.payload_filter import MEANING, compared
from soma_api.models.query_parameters import (
    DEFAULT_PAGE_SIZE,
    Numbers,
    PageSize,
    QueryImportance,
    numbers_of,
    refused_query,
)
from soma_api.principals import Principal
from soma_api.queries.filter_shorthand import selection
from soma_api.queries.filter_terms import EVERYTHING, Every, Selection
from soma_api.queries.memory_queries import Listed, Order
from soma_schemas.fields import (
    StorableString,
    broken,
    json_object,
    limits_of,
)
from soma_schemas.identity import identified
from soma_schemas.limits import Limits
from soma_schemas.violations import Violation, ViolationCode, violation_of

_MAX_PAYLOAD_BYTES = 4096


def _payload(text: str) -> str:
    if len(text.encode(errors="surrogatepass")) > _MAX_PAYLOAD_BYTES:
        raise broken(ViolationCode.TOO_LONG, f"has more than {_MAX_PAYLOAD_BYTES} bytes")
    text = json_object(text)
    compared(json.loads(text))
    return text


def _filter(text: str, info: ValidationInfo) -> str:
    read_filter(text, limits_of(info))
    return text


FilterText = Annotated[StorableString, AfterValidator(_filter)]
A_FILTER = '{"importance": {"gte": 0.5}, "not": {"tags": {"contains": "draft"}}}'


class ListQuery(MemoryFilter):
    """Filters, order and page of a list. Omitted fields do not filter."""

    key: Asked | None = Field(None, description="The memory with this key; wants `namespace`.")
    coordinate: Numbers | None = Field(
        None, description="The memory at this coordinate, as `1,2.5`; wants `namespace`."
    )
    coordinate_min: Numbers | None = Field(
        None, description="Low corner of a box of coordinates; comes with `coordinate_max`."
    )
    coordinate_max: Numbers | None = Field(None, description="High corner of the box, which belongs to it.")
    tags: list[Asked] = Field(
        default=[], max_length=64, description="Having all of these tags; repeat the parameter."
    )
    importance_min: QueryImportance | None = Field(None, description="At least this important.")
    importance_max: QueryImportance | None = Field(None, description="At most this important.")
    payload: Annotated[StorableString, AfterValidator(_payload)] | None = Field(
        None,
        description=f"A JSON object. {MEANING}",
        examples=['{"channel": "chat"}'],
    )
    filter: FilterText | None = Field(
        None,
        description=f"What is true of the memories, in the filter language, as JSON. {BOUNDS}",
        examples=[A_FILTER],
    )
    embeddings: bool = Field(False, description="Also return the vectors that came with memories.")
    sort: Order = Field(
        Order.UPDATED_DESCENDING,
        description="A minus puts the newest or greatest first; `distance` the nearest to `near`.",
    )
    near: Numbers | None = Field(
        None,
        description="For `sort=distance`, from which coordinate, as `1,2.5`. Coordinates with as many "
        "numbers are listed, by Euclidean distance; at most 10,000 memories are compared.",
    )
    limit: PageSize = Field(DEFAULT_PAGE_SIZE, description="Memories on a page.")
    cursor: str | None = Field(
        None, max_length=1024, description="`next_cursor` of the page before, with the same filters and sort."
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.key is not None and self.coordinate is not None:
            raise broken(ViolationCode.KEY_AND_COORDINATE, "a memory has a key or a coordinate, not both")
        if self.namespace is None and (self.key is not None or self.coordinate is not None):
            raise broken(ViolationCode.MISSING_FIELD, "`key` and `coordinate` name within a `namespace`")
        if (self.coordinate_min is None) != (self.coordinate_max is None):
            raise broken(ViolationCode.MISSING_FIELD, "`coordinate_min` and `coordinate_max` come together")
        if (self.near is None) != (self.sort is not Order.DISTANCE):
            raise broken(ViolationCode.MISSING_FIELD, "`near` and `sort=distance` come together")
        return self

    def nearest_to(self, limits: Limits) -> list[float] | None:
        """Return the coordinate from which distances are; None for another order.

        Raises:
            InvalidInputError: It breaks the contract.
        """
        return numbers_of("near", self.near, limits)

    def selection(self, principal: Principal, limits: Limits) -> Selection:
        """Return what to ask the database.

        Raises:
            InvalidInputError: A coordinate, a corner or the filter breaks the contract.
            NamespaceForbiddenError: The key does not reach the namespace or the prefix.
        """
        coordinate, low, high = (
            numbers_of(name, text, limits)
            for name, text in (
                ("coordinate", self.coordinate),
                ("coordinate_min", self.coordinate_min),
                ("coordinate_max", self.coordinate_max),
            )
        )
        if low is not None and high is not None and len(low) != len(high):
            raise refused_query(
                Violation(
                    "/coordinate_max",
                    ViolationCode.INVALID_VALUE,
                    "has another number of dimensions than `coordinate_min`",
                )
            )
        named = None
        where = term_of(self.filter, limits)
        if self.namespace is not None:
            named = identified(principal.tenant, self.namespace, self.key, coordinate)
        # Key and coordinate are asked besides the id: an id can be had without either.
        if coordinate is not None:
            where = Every(
                (*selection(coordinate_min=coordinate, coordinate_max=coordinate).where.terms, where)
            )
        prefix, allowed = visible_below(principal, self.namespace, self.namespace_prefix)
        return selection(
            namespace=self.namespace,
            namespace_prefix=prefix,
            allowed=allowed,
            memory_ids=None if named is None else [named],
            **self.shared(),
            tags=self.tags,
            importance_min=self.importance_min,
            importance_max=self.importance_max,
            payload=compared(json.loads(self.payload or "{}")),
            coordinate_min=low,
            coordinate_max=high,
            where=where,
        )

    def signature(self) -> dict[str, Any]:
        """Return what a cursor of this list belongs to: everything but the page."""
        return self.model_dump(mode="json", exclude={"limit", "cursor", "embeddings"}, exclude_none=True)


def term_of(text: FilterText | None, limits: Limits) -> Every:
    """Return what the query parameter `filter` lets through.

    Args:
        text: A filter that was read before, with the default limits; None lets everything through.
        limits: Of this installation.

    Raises:
        InvalidInputError: It goes beyond the limits.
    """
    if text is None:
        return EVERYTHING
    try:
        return read_filter(text, limits).term()
    except PydanticCustomError as error:
        raise refused_query(violation_of(error, "/filter")) from None


def visible_below(
    principal: Principal, namespace: str | None, prefix: str | None
) -> tuple[str | None, Sequence[str] | None]:
    """Return the prefix to read and what to hold it to, given what is asked and what the key covers.

    A prefix above what the key covers is narrowed to it. One namespace or prefix that lies outside is
    refused, rather than answered with an empty list that looks like an answer.

    Raises:
        NamespaceForbiddenError: It lies outside.
    """
    own = principal.namespaces
    if own is None:
        return prefix, None
    if namespace is not None:
        principal.require_access(namespace)
        return None, None
    if prefix is not None and principal.may_access(prefix):
        return prefix, None
    inside = [each for each in own if prefix is None or each.startswith(prefix + "/")]
    if prefix is not None and not inside:
        principal.require_access(prefix)
    if len(inside) == 1:
        return inside[0], None
    return prefix, inside


def sort_key(listed: Listed) -> tuple[Any, str]:
    """Return where a memory stands in a list, JSON-ready."""
    value = listed.sorted_by
    return (value if isinstance(value, float) else value.isoformat()), str(listed.memory.memory_id)


def after(sort_value: Sequence[Any]) -> tuple[Any, UUID]:
    """Return the place in an order that a genuine cursor holds."""
    value, memory_id = sort_value
    return value, UUID(memory_id)
