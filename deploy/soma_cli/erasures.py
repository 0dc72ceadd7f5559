"""Erasures as the commands show them, and receipts as they check them."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from soma_cli.api_responses import Answer
from soma_cli.output import Result, plain
from soma_schemas.erasure_receipts import KEY_ID, ReceiptError, parse_receipt, public_key_of_file, verify

_COUNTED = ("memories", "history_rows", "links", "dead_letters", "outbox_rows", "notices", "data_keys")


class Erasure(Answer):
    """An erasure as it is."""

    request_id: UUID
    scope: str
    selector: str | None
    state: str
    waits_for: str | None
    requested_by: str
    requested_at: datetime
    completed_at: datetime | None
    memories: int
    history_rows: int
    links: int
    dead_letters: int
    outbox_rows: int
    notices: int
    data_keys: int
    receipt: dict[str, Any] | None

    def write_receipt(self, path: Path) -> None:
        """Write the receipt to a file."""
        path.write_text(json.dumps(self.receipt, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")

    def drawn(self) -> RenderableType:
        """Return what was erased, and what copies are left until when."""
        table = Table.grid(padding=(0, 2))
        state = self.state if self.waits_for is None else f"{self.state}, waits for {self.waits_for}"
        rows = [("request", str(self.request_id)), ("scope", self.scope.lower()), ("state", state)]
        rows += [(name.replace("_", " "), f"{getattr(self, name):,}") for name in _COUNTED]
        for name, value in rows:
            table.add_row(Text(name, "dim"), Text(plain(value)))
        return table if self.receipt is None else Group(table, Text(), _copies(self.receipt))


class ErasureList(Answer):
    """Some erasures; `next_cursor` is null when there are no more."""

    erasures: list[Erasure]
    next_cursor: str | None = None

    def drawn(self) -> RenderableType:
        """Return a row for each."""
        if not self.erasures:
            return Text("no erasures")
        table = Table(
            "requested",
            "request",
            "scope",
            "state",
            "memories",
            box=None,
            header_style="bold",
            pad_edge=False,
        )
        for each in self.erasures:
            table.add_row(
                Text(f"{each.requested_at:%Y-%m-%d %H:%M:%S}"),
                Text(str(each.request_id)),
                Text(each.scope.lower()),
                Text(each.state if each.waits_for is None else f"{each.state}: {each.waits_for}"),
                Text(f"{each.memories:,}"),
            )
        return table


class NotErased(Result):
    """What an erasure would be about."""

    what: str
    which: str

    def drawn(self) -> RenderableType:
        """Return it as a sentence."""
        return Text(f"would erase: {self.what} {plain(self.which)}")


class Checked(Result):
    """A receipt whose signature fits."""

    signing_key_id: str
    receipt: dict[str, Any]

    @classmethod
    def of(cls, receipt: Path, key: Path) -> Self:
        """Return the receipt in a file, checked with the public key in another.

        Raises:
            ReceiptError: It proves nothing.
            SigningKeyError: The other holds no key.
        """
        try:
            text = receipt.read_bytes()
        except OSError as error:
            raise ReceiptError(f"cannot read the receipt {receipt}: {error.strerror}") from error
        found = parse_receipt(text)
        verify(found, public_key_of_file(key))
        return cls(signing_key_id=found[KEY_ID], receipt=found)

    def drawn(self) -> RenderableType:
        """Return what it proves."""
        table = Table.grid(padding=(0, 2))
        for name in ("tenant", "request_id", "scope", "selector_sha256", "requested_at", "completed_at"):
            value = self.receipt.get(name)
            if value is not None:
                table.add_row(Text(name.replace("_", " "), "dim"), Text(plain(str(value))))
        for name, number in self.receipt.get("erased", {}).items():
            table.add_row(Text(name.replace("_", " "), "dim"), Text(plain(str(number))))
        head = Text(f"the receipt is genuine: signed by key {self.signing_key_id}", "green")
        return Group(head, Text(), table, Text(), _copies(self.receipt))


def _copies(receipt: dict[str, Any]) -> RenderableType:
    table = Table("copies left in", "until", box=None, header_style="bold", pad_edge=False)
    for copy in receipt.get("remaining_copies", []):
        table.add_row(Text(plain(str(copy["where"]))), Text(plain(str(copy["until"] or copy["note"]))))
    return table
