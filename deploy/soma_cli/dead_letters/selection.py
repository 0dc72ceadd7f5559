"""Options that choose dead letters, and the filters that they make."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

import typer
from pydantic import TypeAdapter, ValidationError

from soma_cli.failures import FindingsError, UsageError
from soma_cli.parsing import moment_or_ago
from soma_schemas.dead_letters import Stage
from soma_schemas.fields import Tenant
from soma_schemas.groups import SinkGroup
from soma_streams.replay.index import DeadLetterStore
from soma_streams.replay.stored_dead_letters import Filters, Status, StoredDeadLetter

OfIds = Annotated[
    list[str] | None,
    typer.Argument(help="Ids, or their first digits. Default: what the options select.", metavar="[ID]..."),
]
OfId = Annotated[str, typer.Argument(help="The id, or its first digits.", metavar="ID")]


class Group(StrEnum):
    """Who gives up on events."""

    POSTGRES = SinkGroup.POSTGRES.value
    VECTORS = SinkGroup.VECTORS.value


OfGroups = Annotated[list[Group] | None, typer.Option("--group", help="Of this consumer group.")]
OfStages = Annotated[list[Stage] | None, typer.Option("--stage", help="Failed at this stage.")]
OfCodes = Annotated[list[str] | None, typer.Option("--code", help="Failed with this code, as in `list`.")]
OfTenant = Annotated[str | None, typer.Option(help="Of this tenant.", show_default=False)]
OfMemory = Annotated[
    str | None,
    typer.Option(
        "--memory",
        help="About this memory: its id, or the key of its events, `tenant/id`.",
        show_default=False,
        metavar="ID|KEY",
    ),
]
OfSince = Annotated[
    str | None,
    typer.Option(
        help="Failed at this time or later: RFC 3339, or `30m`, `2h`, `7d` ago.",
        show_default=False,
        metavar="TIME",
    ),
]
OfUntil = Annotated[
    str | None,
    typer.Option(help="Failed before this time, in the same format.", show_default=False, metavar="TIME"),
]


class ShownStatus(StrEnum):
    """Which dead letters to show, by what was decided about them."""

    OPEN = "open"
    REPLAYED = "replayed"
    DISCARDED = "discarded"
    ALL = "all"

    def statuses(self) -> tuple[Status, ...]:
        """Return the statuses that are meant."""
        return tuple(Status) if self is ShownStatus.ALL else (Status(self.value),)


OfStatus = Annotated[ShownStatus, typer.Option("--status", help="Open, replayed, discarded, or all.")]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What the command line says about which dead letters, before the index is asked for ids."""

    ids: Sequence[str] | None = None
    groups: Sequence[Group] | None = None
    stages: Sequence[Stage] | None = None
    codes: Sequence[str] | None = None
    tenant: str | None = None
    memory: str | None = None
    since: str | None = None
    until: str | None = None

    def filters(self, statuses: Sequence[Status], now: datetime) -> Filters:
        """Return the filters that this makes; ids are left to `named`.

        Raises:
            UsageError: Something makes no sense.
        """
        tenant, memory_id = _memory(self.memory)
        if self.tenant is not None:
            if tenant not in {None, self.tenant}:
                raise UsageError("--memory names another tenant than --tenant")
            tenant = _tenant(self.tenant)
        return Filters(
            groups=[group.value for group in self.groups] if self.groups else None,
            stages=[stage.value for stage in self.stages] if self.stages else None,
            codes=list(self.codes) if self.codes else None,
            tenant=tenant,
            memory_id=memory_id,
            since=moment_or_ago("--since", self.since, now),
            until=moment_or_ago("--until", self.until, now),
            statuses=statuses,
        )


async def named(index: DeadLetterStore, begun: str) -> StoredDeadLetter:
    """Return the one dead letter whose id begins so.

    Raises:
        UsageError: It is no beginning of an id, or two dead letters' ids begin so.
        FindingsError: There is none.
    """
    try:
        found = await index.beginning_with(begun)
    except ValueError:
        raise UsageError(f"`{begun}` is not an id", remedy="see `soma dlq list`") from None
    if not found:
        raise FindingsError(
            f"there is no dead letter whose id begins with {begun}",
            (),
            remedy="see `soma dlq list --status all`",
        )
    if len(found) > 1:
        raise UsageError(
            f"several ids begin with {begun}: {found[0].id}, {found[1].id}", remedy="give more of the id"
        )
    return found[0]


def _memory(text: str | None) -> tuple[str | None, UUID | None]:
    if text is None:
        return None, None
    tenant, slash, memory_id = text.rpartition("/")
    try:
        return (_tenant(tenant) if slash else None), UUID(memory_id)
    except ValueError:
        raise UsageError(
            f"`{text}` names no memory", remedy="give its id, or the key of its events, `tenant/id`"
        ) from None


def _tenant(tenant: str) -> str:
    try:
        return TypeAdapter[str](Tenant).validate_python(tenant)
    except ValidationError as error:
        raise UsageError(error.errors()[0]["msg"]) from None
