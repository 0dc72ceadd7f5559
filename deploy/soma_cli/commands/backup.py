"""`soma backup`: write the tables into an archive, and try whether one comes back."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from soma_cli.backups.archive_file import open_archive
from soma_cli.backups.drilling import Beside, drill
from soma_cli.backups.encrypted_stream import read_key_file
from soma_cli.backups.making import kept_backups, make_backup
from soma_cli.backups.manifest import Manifest, TableContent
from soma_cli.backups.restoring import require_known
from soma_cli.commands.options import ArchiveFile, AsJson, KeyFile
from soma_cli.database_errors import told_in_words
from soma_cli.failures import FindingsError
from soma_cli.invocation import invocation_of
from soma_cli.output import Result, progress, show
from soma_cli.settings import operator_settings
from soma_cli.topic_application import at_present
from soma_schemas.clock import SystemClock

app = typer.Typer(invoke_without_command=True, add_completion=False)

_MEGABYTE = 1_000_000


class BackedUp(Result):
    """An archive that was made.

    Attributes:
        bytes: Of the archive.
        rows: Of all tables together.
    """

    archive: Path
    bytes: int
    encrypted: bool
    manifest: Manifest
    rows: int

    def drawn(self) -> RenderableType:
        """Return what was written, and what is in it."""
        manifest = self.manifest
        rate = manifest.dump.bytes / _MEGABYTE / max(manifest.seconds, 0.001)
        how = "encrypted, " if self.encrypted else ""
        return Text(
            f"{self.archive}\n"
            f"{self.rows:,} rows of {len(manifest.tables)} tables at revision {manifest.revision}, "
            f"as of {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC\n"
            f"{self.bytes / _MEGABYTE:,.1f} MB, {how}from {manifest.dump.bytes / _MEGABYTE:,.1f} MB of rows "
            f"in {manifest.seconds:.1f} s ({rate:,.1f} MB/s)\n"
            "Try it with `soma backup drill`. What is stored from now on is in the log alone."
        )


class KeptBackup(Result):
    """A backup on record."""

    made_at: datetime
    age_seconds: float
    sha256: str


class KeptBackups(Result):
    """The backups on record, newest first."""

    backups: list[KeptBackup]

    def drawn(self) -> RenderableType:
        """Return a row for each."""
        if not self.backups:
            return Text("There is no backup. `soma backup` makes one.")
        table = Table("made", "age", "SHA-256 of the dump", box=None, header_style="bold", pad_edge=False)
        for each in self.backups:
            age = timedelta(seconds=round(each.age_seconds))
            table.add_row(f"{each.made_at:%Y-%m-%d %H:%M:%S}", str(age), each.sha256)
        return table


class DrilledTable(Result):
    """A table in the backup and as it came back."""

    table: str
    rows: int
    restored_rows: int | None
    same: bool


class Drilled(Result):
    """What a drill found.

    Attributes:
        live: The memories beside those of the live database, where that was asked for.
    """

    made_at: datetime
    seconds: float
    tables: list[DrilledTable]
    live: Beside | None

    def drawn(self) -> RenderableType:
        """Return a row for each table, and how the live database is beside them."""
        table = Table("table", "backup", "restored", "", box=None, header_style="bold", pad_edge=False)
        for each in self.tables:
            restored = "missing" if each.restored_rows is None else f"{each.restored_rows:,}"
            table.add_row(
                each.table, f"{each.rows:,}", restored, "same content" if each.same else "different"
            )
        said = f"\nas of {self.made_at:%Y-%m-%d %H:%M:%S} UTC, restored and compared in {self.seconds:.1f} s"
        if self.live is not None:
            said += (
                f"\nbeside the live database: {self.live.same:,} memories are the same there, "
                f"{self.live.newer:,} changed since, {self.live.added:,} were added since, "
                f"{self.live.older:,} are older there, {self.live.missing:,} are missing there"
            )
        return Group(table, Text(said))


@app.callback()
def backup(
    context: typer.Context,
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Archive to write, or a folder for `soma-backup-TIME.zip`.",
            metavar="PATH",
        ),
    ] = Path(),
    encrypt_with: Annotated[
        Path | None,
        typer.Option(
            help="Encrypt with the key in this file (`openssl rand -base64 32` makes one). Without that key "
            "nobody restores it: keep it elsewhere.",
            metavar="KEYFILE",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the tables into an archive, while everything runs.

    Takes one snapshot of PostgreSQL, and notes how far in the log it is: `soma restore` brings it back, and
    the workers apply what the log has since. The vector index is not in it, since it is filled from tables
    and log; nor are the log, the registry, logins and passwords. The archive is there whole or not at all,
    and only you can read it. Needs the owner's login, the brokers, the registry, and `pg_dump` of the
    server's version, which the local stack has.
    """
    if context.invoked_subcommand is not None:
        return
    root, clock = invocation_of(context), SystemClock()
    settings = at_present(operator_settings(root)[0])
    key = None if encrypt_with is None else read_key_file(encrypt_with)
    path = output.absolute()
    if path.is_dir():
        path /= f"soma-backup-{clock.now():%Y%m%dT%H%M%SZ}.zip{'.enc' if key is not None else ''}"
    with told_in_words(settings.postgres):
        manifest = make_backup(settings, path, key, root.environment, clock)
    made = BackedUp(
        archive=path,
        bytes=path.stat().st_size,
        encrypted=key is not None,
        manifest=manifest,
        rows=sum(each.rows for each in manifest.tables.values()),
    )
    show(made, as_json=as_json)


@app.command("list")
def show_made(
    context: typer.Context,
    *,
    limit: Annotated[int, typer.Option(min=1, help="Most to show.")] = 10,
    as_json: AsJson = False,
) -> None:
    """List when backups were made, newest first.

    What is on record is that each was whole when it was made; where the archives are now, nobody notes. A
    database that came back from an archive knows of that one, and of those before it.
    """
    root = invocation_of(context)
    settings, _ = operator_settings(root)
    now = SystemClock().now()
    with told_in_words(settings.postgres):
        made = kept_backups(settings.postgres, limit)
    kept = [
        KeptBackup(made_at=made_at, age_seconds=(now - made_at).total_seconds(), sha256=sha256)
        for made_at, sha256 in made
    ]
    show(KeptBackups(backups=kept), as_json=as_json)


@app.command("drill")
def try_it(
    context: typer.Context,
    archive: ArchiveFile,
    *,
    key_file: KeyFile = None,
    live: Annotated[
        bool, typer.Option("--live", help="Compare the memories with those of the live database, too.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Restore an archive into a second database, compare it with its manifest, and drop it again.

    The second database is on the same server, so it takes room there, and the login must be allowed to create
    databases. Changes nothing else, and workers may run. Exit 1 when something differs, or when the live
    database has lost a memory.
    """
    root, clock = invocation_of(context), SystemClock()
    settings, _ = operator_settings(root)
    key = None if key_file is None else read_key_file(key_file)
    begin = clock.monotonic()
    with told_in_words(settings.postgres), open_archive(archive, key) as opened:
        manifest = opened.manifest
        require_known(manifest)
        with progress("Checking the archive", manifest.dump.bytes) as advance:
            opened.check(advance)
        found, beside = drill(opened, settings.postgres, root.environment, with_live=live)
    result = Drilled(
        made_at=manifest.made_at,
        seconds=round(clock.monotonic() - begin, 3),
        tables=[_beside(name, manifest, found) for name in sorted(manifest.tables.keys() | found.keys())],
        live=beside,
    )
    show(result, as_json=as_json)
    different = [f"{each.table} is not what the manifest says" for each in result.tables if not each.same]
    if beside is not None and (beside.older or beside.missing):
        different.append(f"the live database has lost {beside.older + beside.missing:,} memories or changes")
    if different:
        raise FindingsError(
            "the drill found differences",
            tuple(different),
            remedy="keep an older archive, make a new one, and see docs/runbooks/restore.md",
        )


def _beside(name: str, manifest: Manifest, found: dict[str, TableContent]) -> DrilledTable:
    wanted, there = manifest.tables.get(name), found.get(name)
    return DrilledTable(
        table=name,
        rows=0 if wanted is None else wanted.rows,
        restored_rows=None if there is None else there.rows,
        same=wanted == there,
    )
