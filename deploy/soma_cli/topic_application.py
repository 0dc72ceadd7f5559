"""The declared topics: which there are now, and their making, until every broker that is asked shows them."""

from functools import partial
from typing import TypeVar

from confluent_kafka.admin import AdminClient

from soma_cli.tasks import in_thread
from soma_schemas.clock import Clock
from soma_schemas.settings import PublishingSettings, TopicSettings
from soma_schemas.topic_admin import (
    TopicDifference,
    apply_topics,
    log_in_force,
    open_admin,
    topic_differences,
)

_VISIBLE_WITHIN_SECONDS = 15.0
_LOOK_EVERY_SECONDS = 0.1

S = TypeVar("S", bound=PublishingSettings)


def at_present(settings: S) -> S:
    """Return settings with the topics as they are laid out now, whichever migrations there were; blocks.

    Raises:
        BrokerError: The brokers cannot be reached.
    """
    with open_admin(settings.kafka) as admin:
        return settings.model_copy(update={"topics": log_in_force(admin, settings.topics)})


async def apply_visibly(
    admin: AdminClient, settings: TopicSettings, clock: Clock
) -> tuple[list[str], list[TopicDifference]]:
    """Create missing topics and correct configuration values, as `apply_topics` does.

    A broker acknowledges a topic a moment before it tells of it, so right after its creation a topic may
    still look missing: whoever takes that for the truth stops for nothing.

    Returns:
        What was done, in words; and the differences that remain.

    Raises:
        BrokerError: The brokers cannot be reached or refuse.
    """
    deadline = clock.monotonic() + _VISIBLE_WITHIN_SECONDS
    settings = await in_thread(partial(log_in_force, admin, settings))
    done, left = await in_thread(partial(apply_topics, admin, settings))
    while any(difference.found is None for difference in left) and clock.monotonic() < deadline:
        await clock.sleep(_LOOK_EVERY_SECONDS)
        left = await in_thread(partial(topic_differences, admin, settings))
    return done, left
