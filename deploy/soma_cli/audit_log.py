"""The audit log as `soma audit` shows it, by whichever way it was asked for."""

import json
from datetime import UTC, datetime
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from soma_cli.api_responses import Answer
from soma_cli.output import plain


class AuditEntry(Answer):
    """One administrative act; no tenant where it is about the whole installation, or about the own tenant."""

    happened_at: datetime
    tenant: str | None = None
    actor: str
    action: str
    subject: str | None
    details: dict[str, Any]
    request_id: str | None


class AuditEntries(Answer):
    """Some acts, newest first; `next_cursor` is null when there are no more."""

    entries: list[AuditEntry]
    next_cursor: str | None = None

    def drawn(self) -> RenderableType:
        """Return a row for each."""
        if not self.entries:
            return Text("nothing on record")
        table = Table(
            *("happened", "tenant", "actor", "action", "subject", "details"),
            box=None,
            header_style="bold",
            pad_edge=False,
        )
        for each in self.entries:
            table.add_row(
                Text(f"{each.happened_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"),
                Text(each.tenant or ""),
                Text(plain(each.actor)),
                Text(plain(each.action)),
                Text(plain(each.subject or "")),
                Text(plain(json.dumps(each.details) if each.details else "")),
            )
        return table
