"""`soma topics`: create and check the topics, and move the log to a topic of a new epoch."""

import asyncio
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from soma_cli.commands.options import AsJson
from soma_cli.failures import FindingsError, UsageError
from soma_cli.invocation import invocation_of
from soma_cli.log_layout import Log, layout_of, log_of
from soma_cli.output import Result, show, waiting_for
from soma_cli.settings import operator_settings
from soma_cli.topic_application import apply_visibly
from soma_schemas.clock import SystemClock
from soma_schemas.topic_admin import (
    TopicDifference,
    log_in_force,
    open_admin,
    topic_differences,
    topics_remedy,
)

# Brokers that run answer within one; who looks whether they do, does not wait for long.
_CHECK_SECONDS = 10.0

app = typer.Typer(help="Create, check and migrate the topics.", no_args_is_help=True, add_completion=False)


class Difference(Result):
    """One way in which a topic is not as declared; `found` is null when it is missing."""

    topic: str
    what: str
    declared: str
    found: str | None


class Topics(Result):
    """What was done to the topics, and what is still not as declared."""

    log: Log
    done: list[str]
    differences: list[Difference]

    def drawn(self) -> RenderableType:
        """Return where the log is, and a line for each thing done or left."""
        left = [str(_difference(each)) for each in self.differences]
        return Group(self.log.drawn(), Text("\n".join([*self.done, *left]) or "all topics are as declared"))


@app.command()
def apply(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Create missing topics and correct the configuration of existing ones.

    Never changes partitions or replicas of an existing topic: keys would move and lose their order; for the
    log there is `soma topics migrate`. The exit code is 1 if a topic still differs from its declaration.
    """
    settings, _ = operator_settings(invocation_of(context))
    admin = open_admin(settings.kafka)
    with waiting_for("the brokers"):
        done, left = asyncio.run(apply_visibly(admin, settings.topics, SystemClock()))
        log = log_of(layout_of(admin, settings.topics))
    _show(log, done, left, as_json=as_json)


@app.command()
def check(context: typer.Context, *, as_json: AsJson = False) -> None:
    """Compare the topics with their declaration without changing them; exit code 1 if any differs."""
    settings, _ = operator_settings(invocation_of(context))
    admin = open_admin(settings.kafka)
    with waiting_for("the brokers"):
        topics = log_in_force(admin, settings.topics, _CHECK_SECONDS)
        left = topic_differences(admin, topics, timeout_seconds=_CHECK_SECONDS)
        log = log_of(layout_of(admin, settings.topics))
    _show(log, [], left, as_json=as_json)


@app.command()
def migrate(
    context: typer.Context,
    *,
    partitions: Annotated[
        int | None,
        typer.Option(
            min=1, max=10_000, help="How many the log has afterwards; never fewer.", show_default=False
        ),
    ] = None,
    recreate: Annotated[
        bool, typer.Option("--recreate", help="Make it anew as it is declared, with as many partitions.")
    ] = False,
    abort: Annotated[
        bool, typer.Option("--abort", help="Open a log again that a migration has closed.")
    ] = False,
    drop: Annotated[bool, typer.Option("--drop", help="Delete the topics of earlier epochs.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    as_json: AsJson = False,
) -> None:
    """Move `memory.events` to a new topic with more partitions or other settings, under running workers.

    Closes the log, so that the brokers refuse every event and the API answers writes with 503 and
    `Retry-After`; waits until both sinks have settled all of it; then makes the topic of the next epoch, to
    which API, workers and producers go over by themselves. Reads go on. The old topic is kept until --drop.

    Ended at any point, it is run again to go on, or with --abort to open the log again. Logs in as the owner
    of the database, so that only one runs at a time.
    """
    settings, _ = operator_settings(invocation_of(context))
    if sum((partitions is not None or recreate, abort, drop)) != 1:
        raise UsageError(
            "say what is to be done: --partitions or --recreate, or --abort, or --drop",
            remedy="for example `soma topics migrate --partitions 12`",
        )
    # What the workers are made of, which `soma topics apply` does without.
    from soma_cli.log_moving import abort_migration, drop_former, migrate_log  # noqa: PLC0415  # see above

    if abort:
        result = abort_migration(settings, yes=yes)
    elif drop:
        result = drop_former(settings, yes=yes)
    else:
        result = migrate_log(settings, partitions, recreate=recreate, yes=yes)
    show(result, as_json=as_json)
    if not result.joined:
        raise FindingsError(
            "not every sink reads the new topic yet",
            (),
            remedy="they go there by themselves; look at `soma lag`, and into the logs of the workers",
        )


def _show(log: Log, done: list[str], left: list[TopicDifference], *, as_json: bool) -> None:
    differences = [
        Difference(topic=each.topic, what=each.what, declared=each.declared, found=each.found)
        for each in left
    ]
    show(Topics(log=log, done=done, differences=differences), as_json=as_json)
    if not left:
        return
    raise FindingsError(
        f"{len(left)} differences from the declaration" if len(left) > 1 else "a topic is not as declared",
        (),
        remedy=topics_remedy(left),
    )


def _difference(shown: Difference) -> TopicDifference:
    return TopicDifference(shown.topic, shown.what, shown.declared, shown.found)
