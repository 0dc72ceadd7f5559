"""Has a worker end in order and begin again: on the topic of the next epoch, or with new credentials."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Protocol, TypeVar

import structlog

from soma_schemas.admin_client import RenewableAdmin
from soma_schemas.clock import Clock
from soma_schemas.errors import SomaError
from soma_schemas.metrics import MetricSet
from soma_schemas.secret_files import fingerprint
from soma_schemas.settings import TopicSettings
from soma_schemas.topic_admin import log_in_force
from soma_schemas.topics import MEMORY_EVENTS
from soma_streams.cancellation import done_before, end
from soma_streams.settings import DeliveringSettings
from soma_streams.worker_parts import retry_at_start

_LOOK_SECONDS = 1.0
_ANSWER_SECONDS = 10.0

_log = structlog.get_logger("soma_streams.epochs")

S = TypeVar("S", bound=DeliveringSettings)
S_contra = TypeVar("S_contra", bound=DeliveringSettings, contravariant=True)


class Work(Protocol[S_contra]):
    """A worker's work, until an event is set."""

    async def __call__(
        self, settings: S_contra, *, clock: Clock, random: Random, metrics: MetricSet, stop: asyncio.Event
    ) -> None:
        """Do it until `stop` is set.

        Raises:
            Exception: What made going on impossible.
        """


async def through_epochs(
    settings: S,
    work: Work[S],
    *,
    clock: Clock,
    random: Random,
    metrics: MetricSet,
    stop: asyncio.Event,
) -> None:
    """Do a worker's work, anew with each epoch that follows and with new credentials, until `stop` is set.

    An epoch begins once its predecessor's events are settled, so nothing is left behind. Most clients read
    passwords and certificates when they are made, so all of them are made anew when a file has changed.

    Args:
        settings: As declared.
        work: Does it in one epoch, with settings of the topics as they are then.
        clock: Paces the looking.
        random: Jitter.
        metrics: Of the process.
        stop: Ends the work.

    Raises:
        Exception: What the work raises.
    """
    retry = retry_at_start(settings, clock, random)
    found: list[TopicSettings] = []

    async def look() -> None:
        with _open_admin(settings) as admin:
            found[:] = [await retry("look for the log", lambda: _in_force(admin, settings))]

    while not stop.is_set():
        if not await done_before(stop, look()):
            return
        (topics,) = found
        current = settings.model_copy(update={"topics": topics})
        ending = asyncio.Event()
        waiting = asyncio.create_task(_end_in_time(current, clock, stop, ending))
        try:
            with metrics.for_a_time() as of_epoch:
                await work(current, clock=clock, random=random, metrics=of_epoch, stop=ending)
        finally:
            await end(waiting)
        if not ending.is_set():
            return


async def _end_in_time(
    settings: DeliveringSettings, clock: Clock, stop: asyncio.Event, ending: asyncio.Event
) -> None:
    await done_before(stop, _until_changed(settings, clock))
    ending.set()


async def _until_changed(settings: DeliveringSettings, clock: Clock) -> None:
    """Return when another epoch has begun, or credentials were replaced."""
    looking = [
        asyncio.create_task(_until_another(settings, clock)),
        asyncio.create_task(_until_replaced(settings, clock)),
    ]
    try:
        await asyncio.wait(looking, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await end(*looking)


async def _until_replaced(settings: DeliveringSettings, clock: Clock) -> None:
    """Return when files of credentials have changed, and not since the last look: some belong together."""
    began = seen = _credentials(settings)
    while True:
        await clock.sleep(_LOOK_SECONDS)
        former, seen = seen, _credentials(settings)
        if seen != began and seen == former:
            _log.info("credentials_replaced")
            return


def _credentials(settings: DeliveringSettings) -> str:
    return fingerprint(settings.kafka, settings.registry, settings.postgres)


async def _until_another(settings: DeliveringSettings, clock: Clock) -> None:
    """Return when another epoch has begun."""
    with _open_admin(settings) as admin:
        while True:
            await clock.sleep(_LOOK_SECONDS)
            try:
                topics = await _in_force(admin, settings)
            except SomaError as error:
                _log.debug("log_not_looked_for", error=type(error).__name__)
                admin.renew()
                continue
            if topics.epoch != settings.topics.epoch:
                _log.info("log_goes_on_elsewhere", epoch=topics.epoch, topic=MEMORY_EVENTS.full_name(topics))
                return


@contextmanager
def _open_admin(settings: DeliveringSettings) -> Iterator[RenewableAdmin]:
    """Yield one client for all looks: each new one would log in to the brokers again."""
    admin = RenewableAdmin(settings.kafka, "soma-epochs")
    try:
        yield admin
    finally:
        # A look that was given up goes on in its thread, and closing waits for it: not here, where work ends.
        asyncio.get_running_loop().run_in_executor(None, admin.close)


async def _in_force(admin: RenewableAdmin, settings: DeliveringSettings) -> TopicSettings:
    return await asyncio.to_thread(log_in_force, admin.client, settings.topics, _ANSWER_SECONDS)
