"""Keeps the table of the policies in force as memory.policies tells them."""

from collections.abc import Sequence

from psycopg.types.json import Jsonb

from soma_schemas.events import RetentionPolicySet
from soma_streams.delivery.compacted import Statement
from soma_streams.delivery.state import Watermark
from soma_streams.sinks.sessions import Connection, Pool, Sessions
from soma_streams.sinks.watermarks import advance, settled_below

# A policy replaces an older one of its namespace.
_SET = """
INSERT INTO public.retention_policies AS held (tenant, namespace, rules, cap, actor, set_at, version)
VALUES (%(tenant)s, %(namespace)s, %(rules)s, %(cap)s, %(actor)s, %(set_at)s, %(version)s)
ON CONFLICT (tenant, namespace) DO UPDATE SET
    rules = EXCLUDED.rules, cap = EXCLUDED.cap, actor = EXCLUDED.actor, set_at = EXCLUDED.set_at,
    version = EXCLUDED.version
WHERE held.version < EXCLUDED.version
"""
_LIFT = """
DELETE FROM public.retention_policies
WHERE tenant = %(tenant)s::text AND namespace = %(namespace)s::text AND version < %(version)s::bigint
"""
# Told when the transaction commits; whoever keeps policies in memory reads those of the tenant again.
_TELL = "SELECT pg_notify('soma_policies', %(tenant)s::text)"


class PolicySink:
    """The policies in force.

    Args:
        pool: Connections of a login with role soma_sinks, straight to the server, as `Sessions` wants them.
        group: The consumer group whose watermark moves with the rows.
    """

    def __init__(self, pool: Pool, group: str) -> None:
        self._sessions = Sessions(pool)
        self._group = group

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

    async def write(self, statements: Sequence[Statement[RetentionPolicySet]], watermark: Watermark) -> int:
        """Put policies in force and lift them, with the watermark; return how many statements were new.

        Raises:
            psycopg.Error: As the server or the connection tells it; nothing was changed.
        """
        async with self._sessions.borrow() as connection, connection.transaction():
            settled = await settled_below(connection, watermark)
            new = [each for each in statements if each.version >= settled]
            # Of each key the last word alone: a table that is made anew reads many.
            for each in {(each.tenant, each.name): each for each in new}.values():
                await _apply(connection, each)
            for tenant in sorted({each.tenant for each in new}):
                await connection.execute(_TELL, {"tenant": tenant})
            await advance(connection, [watermark])
        return len(new)


async def _apply(connection: Connection, statement: Statement[RetentionPolicySet]) -> None:
    place = {"tenant": statement.tenant, "namespace": statement.name, "version": statement.version}
    policy = statement.said
    if policy is None:
        await connection.execute(_LIFT, place)
        return
    # What nobody said is not written down: a process of the version before may read it.
    rules = Jsonb([rule.model_dump(mode="json", exclude_defaults=True) for rule in policy.rules])
    cap = None if policy.cap is None else Jsonb(policy.cap.model_dump(mode="json"))
    said = {"rules": rules, "cap": cap, "actor": policy.actor, "set_at": policy.occurred_at}
    await connection.execute(_SET, place | said)
