"""Create the declared topics, and wait until every broker that is asked shows them."""

from functools import partial

from confluent_kafka.admin import AdminClient

from soma_cli.tasks import in_thread
from soma_schemas.clock import Clock
from soma_schemas.settings import TopicSettings
from soma_schemas.topic_admin import TopicDifference, apply_topics, topic_differences

_VISIBLE_WITHIN_SECONDS = 15.0
_LOOK_EVERY_SECONDS = 0.1


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
    done, left = await in_thread(partial(apply_topics, admin, settings))
    while any(difference.found is None for difference in left) and clock.monotonic() < deadline:
        await clock.sleep(_LOOK_EVERY_SECONDS)
        left = await in_thread(partial(topic_differences, admin, settings))
    return done, left
