"""What an examination tells: a finding for each thing that was looked at."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from soma_cli.output import Result, plain


class Health(StrEnum):
    """How something is; the later, the worse."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


_STYLES = {Health.OK: "green", Health.WARNING: "yellow", Health.FAILED: "bold red"}


class Verdict(NamedTuple):
    """What one look found.

    Attributes:
        health: How it is.
        found: What was seen, in words: no secrets and no memory content.
        remedy: What to do; None where nothing is to be done.
        about: What exactly, where a check looks at several things.
    """

    health: Health
    found: str
    remedy: str | None = None
    about: str | None = None


class Finding(Result):
    """One line of the examination; `remedy` is null where nothing is to be done."""

    check: str
    health: Health
    looked_at: str
    found: str
    remedy: str | None


class Examination(Result):
    """Everything that was looked at."""

    findings: list[Finding]

    def failed(self) -> list[str]:
        """Return the checks that failed, each once."""
        return list(dict.fromkeys(each.check for each in self.findings if each.health is Health.FAILED))

    def drawn(self) -> RenderableType:
        """Return a line for each finding, and below it what to do."""
        table = Table.grid(padding=(0, 2))
        for each in self.findings:
            about = Text(plain(each.looked_at), "dim")
            table.add_row(
                Text(each.health, _STYLES[each.health]), Text(each.check), about, Text(plain(each.found))
            )
            if each.remedy is not None:
                table.add_row("", "", "", Text(f"-> {plain(each.remedy)}", "cyan"))
        return table


def findings(check: str, looked_at: str, verdicts: Iterable[Verdict]) -> list[Finding]:
    """Return the verdicts of one check as findings."""
    return [
        Finding(
            check=check,
            health=each.health,
            looked_at=each.about or looked_at,
            found=each.found,
            remedy=each.remedy,
        )
        for each in verdicts
    ]


def ok(found: str, about: str | None = None) -> Verdict:
    """Return that something is as it should be."""
    return Verdict(Health.OK, found, None, about)
