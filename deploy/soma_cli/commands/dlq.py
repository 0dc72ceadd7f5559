"""`soma dlq`: look at dead letters and decide about them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from soma_cli.arguments import text_of
from soma_cli.commands.options import AsJson
from soma_cli.database_errors import told_in_words
from soma_cli.dead_letters.dlq_session import DlqSession, open_dlq_session
from soma_cli.dead_letters.edited_replay import edit_and_publish
from soma_cli.dead_letters.output_models import (
    Audit,
    Count,
    DeadLetterLine,
    DeadLetters,
    Exported,
    ExportLine,
    Shown,
    many,
)
from soma_cli.dead_letters.reports import Discarded, Planned, Replay
from soma_cli.dead_letters.selection import (
    Choice,
    OfCodes,
    OfGroups,
    OfId,
    OfIds,
    OfMemory,
    OfSince,
    OfStages,
    OfStatus,
    OfTenant,
    OfUntil,
    ShownStatus,
    named,
)
from soma_cli.destinations import (
    ToOutput,
    is_standard_output,
    open_destination,
    require_place_for_result,
)
from soma_cli.failures import FindingsError, UsageError
from soma_cli.invocation import invocation_of
from soma_cli.output import Result, progress, say, show
from soma_cli.settings import operator_settings
from soma_cli.topic_application import at_present
from soma_schemas.registry import RegistryError
from soma_streams.replay.originals import Gone
from soma_streams.replay.rendering import Content
from soma_streams.replay.replaying import Pace
from soma_streams.replay.republishing import original_headers
from soma_streams.replay.stored_dead_letters import Action, Filters, Plan, Status

app = typer.Typer(
    help="List, show, replay, edit, discard and export dead letters.",
    no_args_is_help=True,
    add_completion=False,
)

_DISCARD_PAGE = 1000
_EXPORT_PAGE = 100
_ADD_YES = "\nnothing was done; add --yes to do it"

ResultT = TypeVar("ResultT", bound=Result)

Yes = Annotated[bool, typer.Option("--yes", help="Do it. Without it, only print what would be done.")]
Everything = Annotated[
    bool,
    typer.Option("--all", help="With --yes, when neither ids nor filters are given: all open dead letters."),
]
Reason = Annotated[str | None, typer.Option(help="Reason, for the audit log.", show_default=False)]
Wait = Annotated[
    int,
    typer.Option(
        min=0,
        max=3600,
        help="Seconds to wait for the outcomes of the events; 0 does not wait.",
        metavar="SECONDS",
    ),
]


@app.command("list")
def list_(
    context: typer.Context,
    *,
    groups: OfGroups = None,
    stages: OfStages = None,
    codes: OfCodes = None,
    tenant: OfTenant = None,
    memory: OfMemory = None,
    since: OfSince = None,
    until: OfUntil = None,
    status: OfStatus = ShownStatus.OPEN,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Maximum number of results.")] = 20,
    after: Annotated[
        str | None,
        typer.Option(help="Continue after the dead letter with this id.", show_default=False, metavar="ID"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters, newest first, and count them by code."""
    choice = Choice(
        groups=groups, stages=stages, codes=codes, tenant=tenant, memory=memory, since=since, until=until
    )

    async def work(session: DlqSession) -> DeadLetters:
        filters = choice.filters(status.statuses(), session.clock.now())
        begin = None if after is None else await named(session.index, after)
        dead_letters = await session.index.page(filters, begin, limit)
        counts = await session.index.tally(filters, {})
        return DeadLetters(
            dead_letters=[DeadLetterLine.model_validate(dead_letter) for dead_letter in dead_letters],
            counts=[Count.of(tally) for tally in counts],
        )

    found = _in_session(context, work)
    show(found, as_json=as_json)
    if found.dead_letters and not as_json:
        total = sum(count.dead_letters for count in found.counts)
        if total > len(found.dead_letters):
            last = found.dead_letters[-1].short_id
            say(f"\n{len(found.dead_letters):,} of {total:,} dead letters; go on with --after {last}")
        say(f"\nnext: soma dlq show {found.dead_letters[0].short_id}")


@app.command("show")
def show_(
    context: typer.Context,
    dead_letter_id: OfId,
    *,
    most_bytes: Annotated[
        int, typer.Option("--bytes", min=16, help="How many bytes to print if they cannot be decoded.")
    ] = 512,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter: why it failed, what to do about it, and the event that it holds.

    The event contains a memory, so the access is recorded.
    """

    async def work(session: DlqSession) -> Shown:
        dead_letter = await named(session.index, dead_letter_id)
        record = await session.original(dead_letter)
        if isinstance(record, Gone):
            return Shown.without_original(dead_letter, record)
        try:
            content = await session.content(record)
        except RegistryError as error:
            # A dead letter can be looked at all the same: its bytes are shown.
            content = Content(fault=f"cannot be decoded now: {error}")
        await session.index.record(session.deed(Action.SHOW), [dead_letter])
        return Shown.of(dead_letter, record, content, most_bytes)

    show(_in_session(context, work), as_json=as_json)


@app.command()
def replay(
    context: typer.Context,
    ids: OfIds = None,
    *,
    groups: OfGroups = None,
    stages: OfStages = None,
    codes: OfCodes = None,
    tenant: OfTenant = None,
    memory: OfMemory = None,
    since: OfSince = None,
    until: OfUntil = None,
    edit: Annotated[
        bool,
        typer.Option(
            "--edit", help="Open the event of one dead letter in $EDITOR, and publish it as a new event."
        ),
    ] = False,
    yes: Yes = False,
    everything: Everything = False,
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="Also dead letters that were replayed before and, when named by id, discarded ones.",
        ),
    ] = False,
    rate: Annotated[
        float, typer.Option(min=0.01, max=100_000, help="Maximum number of events per second.")
    ] = 100.0,
    most: Annotated[
        int | None,
        typer.Option("--max", min=1, help="Maximum number of events. Default: all.", show_default=False),
    ] = None,
    stop_on_error: Annotated[
        bool,
        typer.Option(
            "--stop-on-error", help="Stop when an event cannot be published or is dead-lettered again."
        ),
    ] = False,
    keep_going: Annotated[
        bool,
        typer.Option("--keep-going", help="Continue even if most events are dead-lettered again."),
    ] = False,
    wait: Wait = 30,
    reason: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Publish the events of dead letters again, after the cause was fixed.

    Key, value and headers are unchanged, and each event keeps its first version: a replay never overwrites a
    newer state. Every consumer group receives the event; a group that had applied it before ignores it.
    A replay takes the dead letters that exist when it starts. If it is interrupted, run it again.

    With --edit, the event of one dead letter is opened as JSON and published as a new event, with an id and a
    version of its own: it counts as newer than everything before it.
    """
    choice = Choice(
        ids=ids, groups=groups, stages=stages, codes=codes, tenant=tenant, memory=memory, since=since,
        until=until,
    )  # fmt: skip
    if edit:
        if ids is None or len(ids) != 1:
            raise UsageError("--edit takes one dead letter", remedy="name it by its id; see `soma dlq list`")
        published = edit_and_publish(
            invocation_of(context), ids[0], again=again, yes=yes, wait=wait, reason=reason, as_json=as_json
        )
        show(published, as_json=as_json)
        if not published.done:
            say(_ADD_YES)
        return

    async def work(session: DlqSession) -> Planned | Replay:
        filters = await _chosen(session, choice, again=again)
        if not yes:
            return await _planned(session, "replay", filters, most)
        _require_choice(filters, everything=everything)
        ends = await session.index.ends()
        plan: Plan = await session.index.plan(filters, {})
        if plan.events == 0:
            return await _planned(session, "replay", filters, most)
        total = plan.events if most is None else min(plan.events, most)
        deed = session.deed(Action.REPLAY, reason)
        pace = Pace(rate, most, stop_on_error=stop_on_error, keep_going=keep_going, wait_seconds=wait)
        with progress(f"Publishing {many(total, 'event')} again", total) as advance:
            report = await session.replayer().replay(filters, ends, deed, pace, advance)
        return Replay.of(report, deed.run)

    try:
        done = _in_session(context, work)
    except KeyboardInterrupt:
        say("interrupted: what was published is marked, and the same command goes on with the rest")
        raise
    show(done, as_json=as_json)
    if isinstance(done, Planned):
        if done.counts and yes:
            raise FindingsError(
                "none of these dead letters can be replayed",
                (),
                remedy="see `soma dlq show` for what they are",
            )
        if done.counts:
            say(_ADD_YES)
        return
    _tell_record(as_json=as_json)
    _require_success(done)


@app.command()
def discard(
    context: typer.Context,
    ids: OfIds = None,
    *,
    groups: OfGroups = None,
    stages: OfStages = None,
    codes: OfCodes = None,
    tenant: OfTenant = None,
    memory: OfMemory = None,
    since: OfSince = None,
    until: OfUntil = None,
    yes: Yes = False,
    everything: Everything = False,
    reason: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Discard dead letters: they are no longer listed as open.

    The events stay in the dead-letter topic until its retention ends; `soma dlq replay ID --again` still
    replays one.
    """
    choice = Choice(
        ids=ids, groups=groups, stages=stages, codes=codes, tenant=tenant, memory=memory, since=since,
        until=until,
    )  # fmt: skip

    async def work(session: DlqSession) -> Planned | Discarded:
        filters = await _chosen(session, choice, again=False)
        if not yes:
            return await _planned(session, "discard", filters, None)
        _require_choice(filters, everything=everything)
        ends = await session.index.ends()
        deed = session.deed(Action.DISCARD, reason)
        dead_letters = 0
        while page := await session.index.discard(filters, ends, deed, _DISCARD_PAGE):
            dead_letters += page
        return Discarded(run=deed.run, dead_letters=dead_letters)

    done = _in_session(context, work)
    show(done, as_json=as_json)
    if isinstance(done, Discarded):
        _tell_record(as_json=as_json)
    elif done.counts:
        say(_ADD_YES)


@app.command()
def export(
    context: typer.Context,
    ids: OfIds = None,
    *,
    output: ToOutput = None,
    groups: OfGroups = None,
    stages: OfStages = None,
    codes: OfCodes = None,
    tenant: OfTenant = None,
    memory: OfMemory = None,
    since: OfSince = None,
    until: OfUntil = None,
    status: OfStatus = ShownStatus.OPEN,
    reason: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Write dead letters with their originals as lines of JSON, newest first.

    Key, value and headers are base64 of the original bytes. They contain memories: a new file is readable by
    its owner alone, and the export is recorded. A file is written completely or not at all, and an existing
    one keeps its mode; devices and pipes are written to directly.
    """
    require_place_for_result(output, as_json=as_json)
    choice = Choice(
        ids=ids, groups=groups, stages=stages, codes=codes, tenant=tenant, memory=memory, since=since,
        until=until,
    )  # fmt: skip

    async def work(session: DlqSession) -> Exported:
        statuses = tuple(Status) if ids else status.statuses()
        filters = await _chosen(session, choice, again=True, statuses=statuses)
        deed = session.deed(Action.EXPORT, reason)
        written = missing = 0
        last = None
        with open_destination(output, private=True) as lines:
            while page := await session.index.page(filters, last, _EXPORT_PAGE):
                records = await session.originals.read(page)
                for dead_letter in page:
                    record = records[dead_letter.id]
                    headers = () if isinstance(record, Gone) else original_headers(record)
                    lines.write(ExportLine.of(dead_letter, record, headers).model_dump_json() + "\n")
                    missing += isinstance(record, Gone)
                await session.index.record(deed, page)
                written += len(page)
                last = page[-1]
        file = text_of(str(output or "-"), "replace")
        return Exported(run=deed.run, dead_letters=written, missing=missing, file=file)

    done = _in_session(context, work)
    if not is_standard_output(output):
        show(done, as_json=as_json)
    if done.missing:
        say(f"note: the original of {many(done.missing, 'dead letter')} is gone; its line says why")


@app.command()
def audit(
    context: typer.Context,
    dead_letter_id: Annotated[
        str | None,
        typer.Argument(help="Only about this dead letter.", metavar="[ID]", show_default=False),
    ] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Maximum number of results.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show who did what about dead letters, when and why, newest first."""

    async def work(session: DlqSession) -> Audit:
        if dead_letter_id is None:
            return Audit.of(await session.index.runs(limit))
        dead_letter = await named(session.index, dead_letter_id)
        return Audit.of(await session.index.deeds(dead_letter, limit))

    show(_in_session(context, work), as_json=as_json)


def _in_session(context: typer.Context, work: Callable[[DlqSession], Awaitable[ResultT]]) -> ResultT:
    root = invocation_of(context)
    settings = at_present(operator_settings(root)[0])

    async def run() -> ResultT:
        async with open_dlq_session(settings, root) as session:
            return await work(session)

    with told_in_words(settings.postgres):
        return asyncio.run(run())


async def _chosen(
    session: DlqSession, choice: Choice, *, again: bool, statuses: tuple[Status, ...] | None = None
) -> Filters:
    """Return the filters that are meant, ids resolved."""
    if statuses is None:
        statuses = (Status.OPEN, Status.REPLAYED) if again else (Status.OPEN,)
        if again and choice.ids:
            statuses = tuple(Status)
    filters = choice.filters(statuses, session.clock.now())
    if not choice.ids:
        return filters
    dead_letters = [await named(session.index, begun) for begun in choice.ids]
    for dead_letter in dead_letters:
        if dead_letter.status not in statuses:
            raise UsageError(
                f"dead letter {dead_letter.id} is {dead_letter.status.value} already",
                remedy=f"to publish it once more: `soma dlq replay {str(dead_letter.id)[:8]} --again`",
            )
    return filters.of_ids([dead_letter.id for dead_letter in dead_letters])


async def _planned(session: DlqSession, action: str, filters: Filters, most: int | None) -> Planned:
    begins = await session.originals.begins() if action == "replay" else {}
    counts = [Count.of(tally) for tally in await session.index.tally(filters, begins)]
    chosen = sum(count.dead_letters for count in counts)
    if action != "replay":
        return Planned(
            action=action, counts=counts, events=0, dead_letters=chosen, without_place=0, trimmed=0
        )
    plan = await session.index.plan(filters, begins)
    return Planned(
        action=action,
        counts=counts,
        events=plan.events,
        most=most,
        dead_letters=plan.dead_letters,
        without_place=sum(count.without_place for count in counts),
        trimmed=plan.trimmed,
    )


def _require_choice(filters: Filters, *, everything: bool) -> None:
    if not (filters.narrow or everything):
        raise UsageError(
            "no dead letters are selected", remedy="give ids or filters, or --all for all open dead letters"
        )


def _tell_record(*, as_json: bool) -> None:
    if not as_json:
        say("\nthis is on record: soma dlq audit")


def _require_success(done: Replay) -> None:
    failed = sum(done.unpublished.values()) + done.dead_lettered_again
    if done.dead_lettered_again:
        raise FindingsError(
            f"{many(done.dead_lettered_again, 'event')} failed again, with a new dead letter each",
            (),
            remedy="see `soma dlq list` for the new dead letters, and `soma dlq show` for their remedies",
        )
    if failed:
        raise FindingsError(
            f"{many(failed, 'event')} could not be published",
            (),
            remedy="the dead letters stay open; `soma dlq discard` closes them",
        )
