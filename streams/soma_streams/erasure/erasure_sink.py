"""Keeps the table of erasures as memory.erasures tells it: requests, and receipts of complete ones."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from soma_schemas.erasure_receipts import ReceiptError, parse_receipt, selector_digest
from soma_schemas.events import ErasureCompleted, ErasureEvent, ErasureRequested
from soma_schemas.versions import pack_version
from soma_streams.delivery.compacted import Statement
from soma_streams.delivery.state import Watermark
from soma_streams.erasure.key_destruction import destroy, retiring_selected
from soma_streams.erasure.receipts import reached
from soma_streams.sinks.sessions import Connection, Pool, Sessions
from soma_streams.sinks.watermarks import advance, settled_below

# Where the log of events ends, by partition.
LogEnds = Callable[[], Awaitable[Mapping[int, int]]]

# The first word stays: what a request reaches is what the log held when it was accepted first, and one that
# is complete is not opened again by reading the topic anew.
_ACCEPT = """
INSERT INTO public.erasures (
    tenant, request_id, scope, selector, selector_sha256, actor, requested_at, accepted_at, before_versions,
    state
) VALUES (
    %(tenant)s, %(request_id)s, %(scope)s, %(selector)s, %(digest)s, %(actor)s, %(requested_at)s, now(),
    %(before)s::bigint[], 'accepted'
)
ON CONFLICT (tenant, request_id) DO NOTHING
"""
# All of it was done here.
_COMPLETE = """
UPDATE public.erasures SET
    state = 'completed', selector = NULL, waits_for = NULL, receipt = %(receipt)s,
    completed_at = %(completed_at)s
WHERE tenant = %(tenant)s::text AND request_id = %(request_id)s::uuid AND state = 'signed'
"""
# It was done in other tables, which are lost: these came back from before, or were made anew.
_CARRY_OUT_AGAIN = """
INSERT INTO public.erasures AS held (
    tenant, request_id, scope, selector, selector_sha256, actor, requested_at, accepted_at, before_versions,
    state, receipt
) VALUES (
    %(tenant)s, %(request_id)s, %(scope)s, %(selector)s, %(digest)s, %(actor)s, %(requested_at)s,
    %(accepted_at)s, %(before)s::bigint[], 'accepted', %(receipt)s
)
ON CONFLICT (tenant, request_id) DO UPDATE SET
    state = 'accepted', waits_for = NULL, accepted_at = EXCLUDED.accepted_at,
    before_versions = EXCLUDED.before_versions, receipt = EXCLUDED.receipt
WHERE held.state NOT IN ('signed', 'completed') AND held.receipt IS NULL
"""
_FORGET_TARGETS = """
DELETE FROM public.erasure_targets
WHERE tenant = %(tenant)s::text AND request_id = %(request_id)s::uuid
"""
# Told when the transaction commits; whoever keeps in memory what is hidden reads it again.
_TELL = "SELECT pg_notify('soma_erasures', %(tenant)s::text)"


class ErasureSink:
    """The table of erasures.

    Args:
        pool: Connections of a login with role soma_sinks, straight to the server, as `Sessions` wants them.
        group: The consumer group whose watermark moves with the rows.
        log_ends: Tells where the log of events ends: what lies before is what a request reaches.
        epoch: Of that log.
    """

    def __init__(self, pool: Pool, group: str, log_ends: LogEnds, epoch: int) -> None:
        self._sessions = Sessions(pool)
        self._group = group
        self._log_ends = log_ends
        self._epoch = epoch

    @property
    def group(self) -> str:
        """Return the consumer group."""
        return self._group

    async def check(self) -> None:
        """Return when the tables are as the migrations made them.

        Raises:
            MismatchError: They are not.
            psycopg.Error: As the server or the connection tells it.
        """
        await self._sessions.check_tables()

    async def write(self, statements: Sequence[Statement[ErasureEvent]], watermark: Watermark) -> int:
        """Accept requests and complete them, with the watermark; return how many statements were new.

        From its commit on readers see nothing of what a request selects.

        Raises:
            BrokerError: The brokers do not tell where the log ends; nothing was changed.
            psycopg.Error: As the server or the connection tells it; nothing was changed.
        """
        before: list[int] = []
        if any(isinstance(each.said, ErasureRequested) for each in statements):
            ends = await self._log_ends()
            before = [pack_version(self._epoch, ends[partition]) for partition in sorted(ends)]
        async with self._sessions.borrow() as connection, connection.transaction():
            settled = await settled_below(connection, watermark)
            new = [each for each in statements if each.version >= settled]
            for each in new:
                match each.said:
                    case ErasureRequested() as request:
                        await _accept(connection, request, before)
                    case ErasureCompleted() as completed:
                        await _complete(connection, completed)
            for tenant in sorted({each.tenant for each in new}):
                await connection.execute(_TELL, {"tenant": tenant})
            await advance(connection, [watermark])
        return len(new)


def accepting(request: ErasureRequested, before: Sequence[int]) -> tuple[bytes, dict[str, Any]]:
    """Return the statement that accepts a request.

    Args:
        request: The request.
        before: By partition of the log, the version below which it reaches.
    """
    return _ACCEPT.encode(), {
        "tenant": request.tenant,
        "request_id": request.request_id,
        "scope": request.scope.value,
        "selector": request.selector,
        "digest": selector_digest(request.request_id, request.selector),
        "actor": request.actor,
        "requested_at": request.occurred_at,
        "before": list(before),
    }


def carrying_out_again(
    completed: ErasureCompleted, selector: str | None = None
) -> tuple[bytes, dict[str, Any]] | None:
    """Return what has an erasure carried out in tables that have not seen it; None without a receipt.

    Args:
        completed: What says that it was carried out.
        selector: Who or what was erased, where that is still known.
    """
    receipt = _receipt(completed)
    return None if receipt is None else (_CARRY_OUT_AGAIN.encode(), _values(completed, receipt, selector))


async def _accept(connection: Connection, request: ErasureRequested, before: Sequence[int]) -> None:
    statement, values = accepting(request, before)
    accepted = await connection.execute(statement, values)
    retiring = retiring_selected(request.scope, request.selector, request.tenant, request.request_id)
    if accepted.rowcount and retiring is not None:
        # From this commit on a publisher that asks gets another key: what comes now is new, and stays.
        await connection.execute(*retiring, prepare=False)


async def _complete(connection: Connection, completed: ErasureCompleted) -> None:
    receipt = _receipt(completed)
    if receipt is None:
        # Nobody of ours writes one; it proves nothing, and ends nothing.
        return
    values = _values(completed, receipt, None)
    done = await connection.execute(_COMPLETE, values)
    if not done.rowcount:
        await connection.execute(_CARRY_OUT_AGAIN, values)
        return
    # Of tables that came back with keys that the log knew nothing of.
    await destroy(connection, completed.tenant, completed.request_id)
    await connection.execute(_FORGET_TARGETS, values)


def _receipt(completed: ErasureCompleted) -> Mapping[str, Any] | None:
    try:
        return parse_receipt(completed.receipt or "")
    except ReceiptError:
        return None


def _values(completed: ErasureCompleted, receipt: Mapping[str, Any], selector: str | None) -> dict[str, Any]:
    return {
        "tenant": completed.tenant,
        "request_id": completed.request_id,
        "scope": receipt["scope"],
        "selector": selector,
        "digest": receipt["selector_sha256"],
        "actor": receipt["requested_by"],
        "requested_at": receipt["requested_at"],
        "accepted_at": receipt["accepted_at"],
        "completed_at": receipt["completed_at"],
        "before": reached(receipt),
        "receipt": completed.receipt,
    }
