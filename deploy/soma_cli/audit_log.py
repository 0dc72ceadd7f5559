"""The audit log as `soma audit` shows it, by whichever way it was asked for."""

import json
from collections.abc import Sequence
from datetime import UTC

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from soma_cli.drawing import drawn
from soma_cli.output import Result, plain
from soma_schemas.responses.audit_responses import AuditEntryView, AuditLogPage


class AuditEntry(AuditEntryView):
    """One administrative act, of any tenant; null where it is about the whole installation."""

    tenant: str | None


class AuditEntries(Result):
    """Some acts, newest first."""

    entries: list[AuditEntry]

    def drawn(self) -> RenderableType:
        """Return a row for each."""
        return _table([(entry, entry.tenant) for entry in self.entries])


@drawn.register
def _(page: AuditLogPage) -> RenderableType:
    """Return a row for each; all are about the key's own tenant."""
    return _table([(entry, None) for entry in page.entries])


def _table(entries: Sequence[tuple[AuditEntryView, str | None]]) -> RenderableType:
    if not entries:
        return Text("nothing on record")
    table = Table(
        *("happened", "tenant", "actor", "action", "subject", "details"),
        box=None,
        header_style="bold",
        pad_edge=False,
    )
    for entry, tenant in entries:
        table.add_row(
            Text(f"{entry.happened_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"),
            Text(tenant or ""),
            Text(plain(entry.actor)),
            Text(plain(entry.action)),
            Text(plain(entry.subject or "")),
            Text(plain(json.dumps(entry.details) if entry.details else "")),
        )
    return table
