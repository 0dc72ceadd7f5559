"""Erasures as the commands show them, and receipts as they check them."""

import json
from pathlib import Path
from typing import Any, Self

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from soma_cli.drawing import drawn
from soma_cli.output import Result, plain
from soma_schemas.erasure_receipts import KEY_ID, ReceiptError, parse_receipt, public_key_of_file, verify
from soma_schemas.responses.erasure_responses import ErasurePage, ErasureView

_COUNTED = ("memories", "history_rows", "links", "dead_letters", "outbox_rows", "notices", "data_keys")


def write_receipt(erasure: ErasureView, path: Path) -> None:
    """Write the receipt of an erasure to a file."""
    path.write_text(json.dumps(erasure.receipt, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@drawn.register
def _(erasure: ErasureView) -> RenderableType:
    """Return what was erased, and what copies are left until when."""
    table = Table.grid(padding=(0, 2))
    rows = [
        ("request", str(erasure.request_id)),
        ("scope", erasure.scope.lower()),
        ("state", _state(erasure, ", waits for ")),
    ]
    rows += [(name.replace("_", " "), f"{getattr(erasure, name):,}") for name in _COUNTED]
    for name, value in rows:
        table.add_row(Text(name, "dim"), Text(plain(value)))
    return table if erasure.receipt is None else Group(table, Text(), _copies(erasure.receipt))


@drawn.register
def _(page: ErasurePage) -> RenderableType:
    """Return a row for each."""
    if not page.erasures:
        return Text("no erasures")
    table = Table(
        "requested", "request", "scope", "state", "memories", box=None, header_style="bold", pad_edge=False
    )
    for each in page.erasures:
        table.add_row(
            Text(f"{each.requested_at:%Y-%m-%d %H:%M:%S}"),
            Text(str(each.request_id)),
            Text(each.scope.lower()),
            Text(_state(each, ": ")),
            Text(f"{each.memories:,}"),
        )
    return table


def _state(erasure: ErasureView, waits_for: str) -> str:
    return erasure.state if erasure.waits_for is None else f"{erasure.state}{waits_for}{erasure.waits_for}"


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
