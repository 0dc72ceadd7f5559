"""The `soma` command: the list of its commands, and what becomes of their errors."""

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from typer.main import get_command

from soma_cli.invocation import Invocation, invocation_of
from soma_cli.lazy_commands import Entry, lazy_group
from soma_cli.standard_streams import close_standard_output, open_standard_streams

START = "Start"
MEMORIES = "Memories"
OPERATION = "Operation"
PROCESSES = "Processes"

COMMANDS = (
    Entry("up", "soma_cli.commands.up", "Run everything on this machine, in the foreground.", START),
    Entry(
        "env",
        "soma_cli.commands.env",
        "Print the addresses and the API key of the local stack as shell variables.",
        START,
    ),
    Entry("store", "soma_cli.commands.store", "Store a memory.", MEMORIES),
    Entry("get", "soma_cli.commands.get", "Show one memory.", MEMORIES),
    Entry(
        "search", "soma_cli.commands.search", "Search memories by meaning, by words, or by both.", MEMORIES
    ),
    Entry("list", "soma_cli.commands.list", "List memories.", MEMORIES),
    Entry("delete", "soma_cli.commands.delete", "Delete a memory.", MEMORIES),
    Entry(
        "history",
        "soma_cli.commands.history",
        "Show what happened to a memory, the newest first; or what it was at a time or a version.",
        MEMORIES,
    ),
    Entry("tail", "soma_cli.commands.tail", "Follow what is applied to memories and links.", MEMORIES),
    Entry("revert", "soma_cli.commands.revert", "Store a memory as it was at an earlier version.", MEMORIES),
    Entry("link", "soma_cli.commands.link", "Link one memory to another.", MEMORIES),
    Entry(
        "unlink",
        "soma_cli.commands.unlink",
        "Delete the link of this type between two memories.",
        MEMORIES,
    ),
    Entry(
        "links",
        "soma_cli.commands.links",
        "List the links of a memory: those that begin there, and those that end there.",
        MEMORIES,
    ),
    Entry(
        "neighbors",
        "soma_cli.commands.neighbors",
        "List the memories near a memory, the nearest first, each with the links that lead to it.",
        MEMORIES,
    ),
    Entry("path", "soma_cli.commands.path", "Find the shortest path between two memories.", MEMORIES),
    Entry(
        "import", "soma_cli.commands.import_", "Store the memories of a file, or of a git history.", MEMORIES
    ),
    Entry(
        "export",
        "soma_cli.commands.export",
        "Export memories as lines that `soma import` reads, or as a graph.",
        MEMORIES,
    ),
    Entry(
        "consolidate",
        "soma_cli.commands.consolidate",
        "Find near-duplicates of a namespace, and have one memory stand for several.",
        MEMORIES,
    ),
    Entry(
        "api",
        "soma_cli.commands.operation",
        "Ask any operation of the API, and print the answer as JSON.",
        OPERATION,
    ),
    Entry("status", "soma_cli.commands.status", "Show the health of the service, and counts.", OPERATION),
    Entry(
        "doctor",
        "soma_cli.commands.doctor",
        "Check every part, and say what to do about what fails.",
        OPERATION,
    ),
    Entry(
        "support-bundle",
        "soma_cli.commands.support_bundle",
        "Pack facts about an installation into one archive, without secrets and memory content.",
        OPERATION,
    ),
    Entry(
        "erase", "soma_cli.commands.erase", "Have memories erased with proof, and check the proof.", OPERATION
    ),
    Entry(
        "audit",
        "soma_cli.commands.audit",
        "List administrative acts, newest first: those on the key's tenant, or all.",
        OPERATION,
    ),
    Entry("keys", "soma_cli.commands.keys", "Create, list, rotate and revoke API keys.", OPERATION),
    Entry(
        "encryption",
        "soma_cli.commands.encryption",
        "Show, rotate and retire master keys, which wrap the keys of encrypted events.",
        OPERATION,
    ),
    Entry(
        "retention",
        "soma_cli.commands.retention",
        "Set, lift, list and plan how long memories are kept.",
        OPERATION,
    ),
    Entry("config", "soma_cli.commands.config", "Show, check and explain settings.", OPERATION),
    Entry("topics", "soma_cli.commands.topics", "Create, check and migrate the topics.", OPERATION),
    Entry("schemas", "soma_cli.commands.schemas", "Register and check the schemas of events.", OPERATION),
    Entry(
        "capacity",
        "soma_cli.commands.capacity",
        "Say how many partitions, processes, processors, memory and disk a load needs.",
        OPERATION,
    ),
    Entry("migrate", "soma_cli.commands.migrate", "Migrate the database to this version.", OPERATION),
    Entry(
        "verify",
        "soma_cli.commands.verify",
        "Compare the log, PostgreSQL and the vector index, and the counts with the rows; mend what differs.",
        OPERATION,
    ),
    Entry("lag", "soma_cli.commands.lag", "Say how far consumer groups are behind.", OPERATION),
    Entry(
        "dlq",
        "soma_cli.commands.dlq",
        "List, show, replay, edit, discard and export dead letters.",
        OPERATION,
    ),
    Entry(
        "reindex",
        "soma_cli.commands.reindex",
        "Rebuild the vector index, for another model or because it may be damaged.",
        OPERATION,
    ),
    Entry(
        "backup",
        "soma_cli.commands.backup",
        "Write the tables into an archive, while everything runs.",
        OPERATION,
    ),
    Entry(
        "restore",
        "soma_cli.commands.restore",
        "Bring the tables back from an archive into an empty database.",
        OPERATION,
    ),
    Entry("bench", "soma_cli.commands.bench", "Measure recall, latency, search and reads.", OPERATION),
    Entry("work", "soma_cli.commands.work", "Run a worker.", PROCESSES),
    Entry("serve", "soma_cli.commands.serve", "Run the HTTP API.", PROCESSES),
)

app = typer.Typer(
    name="soma",
    cls=lazy_group(COMMANDS),
    help="Memory for AI agents, on an event log.",
    epilog="Begin with `soma up`. Every command takes --help; every one that prints a result takes --json.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:  # noqa: FBT001  # how Typer calls it
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415  # only this option wants it

        sys.stdout.write(f"{version('somafractalmemory')}\n")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    *,
    show_traceback: Annotated[
        bool, typer.Option("--traceback", help="Show with an error where it came from.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Memory for AI agents, on an event log."""
    del version
    invocation_of(context).show_traceback = show_traceback


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run one command and return the exit code: 0 done, 1 failed, 2 misused, 130 interrupted."""
    root = Invocation(environment)
    try:
        # Without its standalone mode Typer leaves errors to us.
        ended = get_command(app).main(list(arguments), prog_name="soma", standalone_mode=False, obj=root)
        sys.stdout.flush()
    except BrokenPipeError:
        return 1  # whoever reads the output has enough of it, and Typer is silent about that, too
    except Exception as error:  # noqa: BLE001  # the edge: whatever it is, it is reported as an error
        from soma_cli.failures import report  # noqa: PLC0415  # what draws errors loads when there is one

        return report(error, with_traceback=root.show_traceback)
    return ended if isinstance(ended, int) else 0


def main() -> None:
    """Run `soma`."""
    open_standard_streams()
    code = run(sys.argv[1:], dict(os.environ))
    close_standard_output()
    sys.exit(code)


if __name__ == "__main__":
    main()
