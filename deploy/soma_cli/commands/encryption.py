"""`soma encryption`: show which master key wraps the data keys, rotate it, and give up a lost one."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from soma_cli.commands.options import AsJson
from soma_cli.data_key_admin import count_data_keys, log_data_keys, retire_wrapped, wrap_anew
from soma_cli.database_errors import told_in_words
from soma_cli.failures import UsageError
from soma_cli.invocation import invocation_of
from soma_cli.local.home import write_private
from soma_cli.output import Result, progress, say, show
from soma_cli.settings import OperatorSettings, operator_settings
from soma_schemas.clock import SystemClock
from soma_schemas.encryption.encryption_errors import MasterKeyError
from soma_schemas.encryption.master_keys import MasterKeys, new_master_key

app = typer.Typer(
    help="Show, rotate and retire master keys, which wrap the keys of encrypted events.",
    no_args_is_help=True,
    add_completion=False,
)


class MasterKeyView(Result):
    """A master key.

    Attributes:
        in_file: Whether the file has it; without it what it wrapped cannot be read.
        wraps: Whether new data keys are wrapped with it.
    """

    master_key_id: str
    in_file: bool
    wraps: bool
    data_keys: int


class EncryptionStatus(Result):
    """The keys: which master key wraps how many data keys, and how many data keys are destroyed.

    Attributes:
        unlogged: Data keys that `soma work retention` has yet to bring to the log as they are.
    """

    master_keys: list[MasterKeyView]
    destroyed: int
    unlogged: int

    def drawn(self) -> RenderableType:
        """Return a row for each master key, and one for what is destroyed."""
        table = Table("master key", "data keys", "in the file", box=None, header_style="bold", pad_edge=False)
        for each in self.master_keys:
            in_file = ("yes, wraps" if each.wraps else "yes") if each.in_file else "no: they cannot be read"
            table.add_row(each.master_key_id, f"{each.data_keys:,}", in_file)
        table.add_row("destroyed", f"{self.destroyed:,}", "")
        table.add_row("not in the log yet", f"{self.unlogged:,}", "")
        return table


class Rotated(Result):
    """What a rotation did.

    Attributes:
        master_key_id: Which key wraps from now on.
        data_keys: So many were wrapped with another one before.
    """

    master_key_id: str
    data_keys: int

    def drawn(self) -> RenderableType:
        """Return it in one sentence."""
        keys = "data key" if self.data_keys == 1 else "data keys"
        return Text(f"wrapped {self.data_keys:,} {keys} with master key {self.master_key_id}", "green")


class Retired(Result):
    """What a lost master key was given up for, or would be.

    Attributes:
        data_keys: So many are concerned.
        destroyed: Whether what they encrypt is passed over for good, instead of stopping the workers.
        done: Whether it was done.
    """

    master_key_id: str
    data_keys: int
    destroyed: bool
    done: bool

    def drawn(self) -> RenderableType:
        """Return it in one sentence."""
        what = "destroyed" if self.destroyed else "retired"
        if not self.done:
            what = f"would be {what}"
        keys = "data key" if self.data_keys == 1 else "data keys"
        return Text(f"{what}: {self.data_keys:,} {keys} of master key {self.master_key_id}")


@app.command()
def status(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Show which master key wraps how many data keys, and how many data keys are destroyed."""
    settings, _ = operator_settings(invocation_of(context))
    path = settings.encryption.master_key_file
    ids = _ids(path)
    with told_in_words(settings.postgres):
        counts = count_data_keys(settings.postgres.conninfo())
    views = [
        MasterKeyView(
            master_key_id=each,
            in_file=each in ids,
            wraps=each in ids[:1],
            data_keys=counts.wrapped.get(each, 0),
        )
        for each in (*ids, *sorted(counts.wrapped.keys() - set(ids)))
    ]
    result = EncryptionStatus(master_keys=views, destroyed=counts.destroyed, unlogged=counts.unlogged)
    show(result, as_json=as_json)


@app.command("rotate-master-key")
def rotate_master_key(
    context: typer.Context,
    *,
    keep_file: Annotated[
        bool,
        typer.Option(
            "--keep-file",
            help="Make no key: wrap with the first one of the file, which was distributed by other means.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a new master key, put it first in the file, and wrap every data key with it, in table and log.

    Events stay as they are, and everything may run meanwhile. The former key stays in the file: the log is
    compacted some minutes later, and a publisher may have made a key with it.
    """
    settings, _ = operator_settings(invocation_of(context))
    path = _file_of(settings)
    if not keep_file:
        _put_first(path)
    masters = MasterKeys(path)
    with told_in_words(settings.postgres):
        counts = count_data_keys(settings.postgres.conninfo())
        others = sum(count for each, count in counts.wrapped.items() if each != masters.ids[0])
        with progress(f"Wrapping {others:,} data keys", others) as advance:
            wrapped = wrap_anew(settings.postgres.conninfo(), masters, advance)
        asyncio.run(log_data_keys(settings, masters))
    show(Rotated(master_key_id=masters.ids[0], data_keys=wrapped), as_json=as_json)


@app.command("retire-master-key")
def retire_master_key(
    context: typer.Context,
    master_key_id: Annotated[
        str, typer.Argument(help="The lost key, as `soma encryption status` names it.", metavar="ID")
    ],
    *,
    destroy: Annotated[
        bool,
        typer.Option(
            "--destroy",
            help="Destroy the data keys too: workers pass what they encrypt as if it were erased. It cannot "
            "be undone.",
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it. Without, say only what would be done.")] = False,
    as_json: AsJson = False,
) -> None:
    """Give up a master key that is lost for good.

    Its data keys encrypt nothing more, and subjects get new ones. Workers still stop at an event that one of
    them encrypts, until the master key is found, or until --destroy. A key that the file has is refused.
    """
    settings, _ = operator_settings(invocation_of(context))
    if master_key_id in _ids(settings.encryption.master_key_file):
        raise UsageError(
            f"master key {master_key_id} is in the file: what it wraps can be read",
            remedy="`soma encryption rotate-master-key` wraps the data keys with another one",
        )
    with told_in_words(settings.postgres):
        dsn = settings.postgres.conninfo()
        data_keys = count_data_keys(dsn).wrapped.get(master_key_id, 0)
        if not data_keys:
            raise UsageError(
                f"master key {master_key_id} wraps no data key",
                remedy="take an id from `soma encryption status`",
            )
        if yes:
            data_keys = retire_wrapped(dsn, master_key_id, SystemClock(), destroy=destroy)
    result = Retired(master_key_id=master_key_id, data_keys=data_keys, destroyed=destroy, done=yes)
    show(result, as_json=as_json)
    if not yes:
        say("Nothing was changed: add --yes to do it.")


def _ids(path: Path | None) -> tuple[str, ...]:
    """Return which keys the file has; none where it cannot be read, which is told."""
    try:
        return () if path is None else MasterKeys(path).ids
    except MasterKeyError as error:
        say(f"note: {error}")
        return ()


def _file_of(settings: OperatorSettings) -> Path:
    path = settings.encryption.master_key_file
    if path is None:
        raise UsageError(
            "there is no master key to rotate", remedy="set SOMA_ENCRYPTION__MASTER_KEY_FILE to its file"
        )
    return path


def _put_first(path: Path) -> None:
    MasterKeys(path)  # raises for a file that holds something else
    write_private(path, new_master_key() + path.read_text(encoding="ascii"))
