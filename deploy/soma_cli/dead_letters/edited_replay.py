"""`soma dlq replay --edit`: let a user correct the event of a dead letter, and publish the result."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import typer

from soma_cli.database_errors import told_in_words
from soma_cli.dead_letters.dlq_session import DlqSession, open_dlq_session
from soma_cli.dead_letters.editor import edited
from soma_cli.dead_letters.output_models import GONE
from soma_cli.dead_letters.reports import Edited
from soma_cli.dead_letters.selection import named
from soma_cli.failures import FindingsError, UsageError, report
from soma_cli.invocation import Invocation
from soma_cli.output import say
from soma_cli.settings import OperatorSettings, operator_settings
from soma_cli.topic_application import at_present
from soma_schemas.clock import SystemClock
from soma_schemas.encryption.data_keys import open_data_keys
from soma_schemas.errors import SomaError
from soma_schemas.events import MemoryEvent
from soma_schemas.producer import EventPublisher
from soma_schemas.versions import pack_version
from soma_schemas.violations import ContractError
from soma_streams.replay.editing import DraftError, draft_of, event_of
from soma_streams.replay.originals import Gone
from soma_streams.replay.outcomes import Outcome, Sent
from soma_streams.replay.rendering import Content
from soma_streams.replay.stored_dead_letters import Action, Filters, Status, StoredDeadLetter

T = TypeVar("T")


@dataclass(frozen=True)
class _Opened:
    """A dead letter that somebody mends, with the dead letters of other groups about the same event."""

    dead_letter: StoredDeadLetter
    about: tuple[StoredDeadLetter, ...]
    content: Content


def edit_and_publish(
    root: Invocation, begun: str, *, again: bool, yes: bool, wait: int, reason: str | None, as_json: bool
) -> Edited:
    """Have the event of a dead letter edited, publish it as a new event, and mark it as replayed.

    Args:
        root: This run of `soma`.
        begun: How the dead letter's id begins.
        again: Also when it was decided about before.
        yes: Publish without asking; without it, somebody at a terminal is asked, and else nothing is done.
        wait: Seconds to wait for the sinks.
        reason: For the record.
        as_json: Nobody is asked.

    Raises:
        SomaError: The event cannot be had, breaks the contract, or is not taken.
    """
    settings = at_present(operator_settings(root)[0])
    opened = _run(settings, root, lambda session: _open(session, begun, again=again))
    event = _edited(root, opened, settings)
    newer = _run(settings, root, lambda session: _newer(session, opened.dead_letter, event))
    if newer is not None:
        say(newer)
    if not (yes or _agreed(event, as_json=as_json)):
        return _answer(opened.dead_letter, event, None, None, None)
    return _run(
        settings, root, lambda session: _publish(session, settings, opened, event, wait=wait, reason=reason)
    )


def _run(settings: OperatorSettings, root: Invocation, work: Callable[[DlqSession], Awaitable[T]]) -> T:
    async def run() -> T:
        async with open_dlq_session(settings, root) as session:
            return await work(session)

    with told_in_words(settings.postgres):
        return asyncio.run(run())


async def _open(session: DlqSession, begun: str, *, again: bool) -> _Opened:
    dead_letter = await named(session.index, begun)
    if dead_letter.status is not Status.OPEN and not again:
        raise UsageError(
            f"dead letter {dead_letter.id} is {dead_letter.status.value} already",
            remedy="add --again to edit it anyway",
        )
    record = await session.original(dead_letter)
    if isinstance(record, Gone):
        raise FindingsError(
            f"there is nothing to edit: {GONE[record]}",
            (),
            remedy="store the memory again, then discard the dead letter with `soma dlq discard`",
        )
    content = await session.content(record)
    await session.index.record(session.deed(Action.SHOW), [dead_letter])
    same = await session.index.originals(
        Filters(ids=[dead_letter.id], statuses=tuple(Status)), await session.index.ends(), None, 1
    )
    others = [each for original in same for each in original.dead_letters if each.status is Status.OPEN]
    about = {each.id: each for each in (dead_letter, *others)}
    return _Opened(dead_letter, tuple(about.values()), content)


def _edited(root: Invocation, opened: _Opened, settings: OperatorSettings) -> MemoryEvent:
    draft = draft_of(opened.dead_letter, opened.content)
    text = draft
    while True:
        text = edited(text, root.environment)
        if text.strip() == draft.strip():
            raise FindingsError(
                "nothing was changed, so nothing is published",
                (),
                remedy="without --edit, the event is published again as it is",
            )
        try:
            return event_of(text, opened.dead_letter, opened.content, SystemClock().now(), settings.limits)
        except (ContractError, DraftError) as error:
            if not (_somebody_is_there() and _again(error)):
                raise


def _again(error: SomaError) -> bool:
    report(error, with_traceback=False)
    return typer.confirm("edit it again?", default=True, err=True)


async def _newer(session: DlqSession, dead_letter: StoredDeadLetter, event: MemoryEvent) -> str | None:
    if dead_letter.epoch is None or dead_letter.log_offset is None:
        return None
    version = pack_version(dead_letter.epoch, dead_letter.log_offset)
    changed = await session.index.newer_change(event.tenant, event.memory_id, version)
    if changed is None:
        return None
    return (
        f"note: the memory was changed after this event, at {changed:%Y-%m-%d %H:%M:%S} UTC; "
        "a new event counts as newer than that"
    )


async def _publish(
    session: DlqSession,
    settings: OperatorSettings,
    opened: _Opened,
    event: MemoryEvent,
    *,
    wait: int,
    reason: str | None,
) -> Edited:
    with (
        open_data_keys(settings.postgres, settings.encryption) as keys,
        closing(EventPublisher(settings, keys=keys)) as publisher,
    ):
        (receipt,) = await asyncio.wrap_future(await asyncio.to_thread(publisher.publish, [event]))
    deed = session.deed(Action.EDIT, reason)
    details = {"position": str(receipt.position), "event_id": str(event.event_id)}
    await session.index.decide(opened.about, Status.REPLAYED, deed, [details] * len(opened.about))
    outcome = None
    if wait > 0:
        version = receipt.position.version
        (outcome,), _ = await session.outcomes().of([Sent(receipt.position, version, None)], wait)
    return _answer(opened.dead_letter, event, str(receipt.position), outcome, deed.run)


def _answer(
    dead_letter: StoredDeadLetter,
    event: MemoryEvent,
    position: str | None,
    outcome: Outcome | None,
    run: UUID | None,
) -> Edited:
    return Edited(
        done=position is not None,
        run=run,
        dead_letter=dead_letter.id,
        event_id=event.event_id,
        memory_id=event.memory_id,
        record=type(event).__name__,
        position=position,
        records=None if outcome is None else outcome.records,
        reason=None if outcome is None else outcome.reason,
        vectors=None if outcome is None else outcome.vectors,
    )


def _agreed(event: MemoryEvent, *, as_json: bool) -> bool:
    if as_json or not _somebody_is_there():
        return False
    what = f"{type(event).__name__} of memory {event.memory_id}"
    return typer.confirm(f"publish {what} as a new event?", err=True)


def _somebody_is_there() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()
