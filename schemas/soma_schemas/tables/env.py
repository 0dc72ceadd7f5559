"""What Alembic runs to apply revisions: on the connection that `soma_schemas.tables.migrations` hands in."""

from typing import Any

from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo


def _note(ctx: MigrationContext, step: MigrationInfo, heads: Any, run_args: Any) -> None:
    del ctx, heads, run_args
    if step.up_revision_id is not None:
        context.config.attributes["passed"].append(step.up_revision_id)


context.configure(connection=context.config.attributes["connection"], on_version_apply=_note)
with context.begin_transaction():
    context.run_migrations()
