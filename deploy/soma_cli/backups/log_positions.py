"""Where the log goes on after a dump: decided from what the manifest says and what the brokers have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from soma_cli.backups.backup_errors import NotRestorableError
from soma_cli.backups.manifest import Manifest, TopicExtent
from soma_schemas.clock import Clock
from soma_schemas.groups import SinkGroup
from soma_schemas.settings import KafkaSettings, TopicSettings
from soma_schemas.topics import MEMORY_EVENTS, TOPICS
from soma_streams.lag.broker_groups import groups_now
from soma_streams.lag.facts import GroupSeen, Place
from soma_streams.log_state import log_state

# The vector index says itself how far it is, and goes on from there.
TABLE_GROUPS = tuple(group for group in SinkGroup if group is not SinkGroup.VECTORS)

_FORGOTTEN_SECONDS = 120.0
_LOOK_AGAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Continuation:
    """Where a group goes on in one partition once the tables are as the dump has them.

    Attributes:
        offset: The next that it reads.
        lost: How many offsets of the log lie between the dump and there, which retention has deleted.
        ahead: How many offsets of the log follow, which the workers apply again.
    """

    group: SinkGroup
    topic: str
    partition: int
    offset: int
    lost: int
    ahead: int


def read_topics(kafka: KafkaSettings, settings: TopicSettings) -> dict[str, TopicExtent]:
    """Return all topics as the brokers have them; blocks.

    Raises:
        BrokerError: The brokers cannot be reached, or have no such topic.
    """
    found = {}
    for topic in TOPICS:
        state = log_state(kafka, settings, topic)
        found[topic.full_name(settings)] = TopicExtent(
            id=state.identity.topic_id, starts=state.starts, ends=state.ends
        )
    return found


async def look_at_groups(kafka: KafkaSettings, settings: TopicSettings) -> Mapping[SinkGroup, GroupSeen]:
    """Return the groups of the sinks that there are, if nobody is in those that fill the tables.

    Raises:
        BrokerError: No broker answers.
        NotRestorableError: Somebody is in one, or the brokers do not tell.
    """
    names = {group.on_brokers(settings): group for group in TABLE_GROUPS}
    seen = await groups_now(kafka, names)
    if seen.untold:
        raise NotRestorableError(
            f"it is not known who reads the log: {'; '.join(seen.untold)}",
            remedy="run it again a moment later",
        )
    if busy := sorted(name for name, group in seen.groups.items() if group.members != ()):
        hosts = sorted({member.host for name in busy for member in seen.groups[name].members or ()})
        raise NotRestorableError(
            f"workers run: {', '.join(busy)} has members{' on ' if hosts else ''}{', '.join(hosts)}",
            remedy="stop the workers (`soma work ...`), or the local stack (Ctrl-C in `soma up`), then run "
            "it again; members that died are forgotten within a minute",
        )
    return {names[name]: group for name, group in seen.groups.items()}


async def until_forgotten(kafka: KafkaSettings, settings: TopicSettings, clock: Clock) -> None:
    """Return once the brokers have forgotten the workers of a stack that was stopped.

    Those are static members, which do not leave: they stay until their session ends.

    Raises:
        BrokerError: No broker answers.
        NotRestorableError: Somebody is there after two minutes.
    """
    until = clock.monotonic() + _FORGOTTEN_SECONDS
    while True:
        try:
            await look_at_groups(kafka, settings)
        except NotRestorableError:
            if clock.monotonic() > until:
                raise
            await clock.sleep(_LOOK_AGAIN_SECONDS)
        else:
            return


def continuations(
    manifest: Manifest,
    topics: Mapping[str, TopicExtent],
    groups: Mapping[SinkGroup, GroupSeen],
    settings: TopicSettings,
) -> list[Continuation]:
    """Decide where each group that fills the tables goes on: pure.

    A group goes on where the dump's watermark says; where the dump has none, at the beginning of the log.

    Args:
        manifest: Of the archive.
        topics: As the brokers have them.
        groups: What they have committed.
        settings: Name the topics and the epoch of new versions.

    Raises:
        NotRestorableError: The log is not the one that the backup was made beside, or ends before it.
    """
    require_log(manifest, topics, settings)
    then = manifest.topics
    same_log = {name for name, extent in topics.items() if name in then and then[name].id == extent.id}
    declared = manifest.epoch if manifest.declared_epoch is None else manifest.declared_epoch
    epochs = dict.fromkeys(same_log, declared) | {MEMORY_EVENTS.full_name(settings): manifest.epoch}
    marks = {
        (each.group, Place(each.topic, each.partition)): each.next_offset
        for each in manifest.watermarks
        if each.topic in same_log and each.epoch == epochs[each.topic]
    }
    decided = []
    for group in TABLE_GROUPS:
        committed = groups[group].committed if group in groups else {}
        places = {place for name, place in marks if name == group}
        places |= {place for place in committed if place.topic in topics}
        for topic, partition in sorted(places):
            extent = topics[topic]
            start, end = extent.starts.get(partition, 0), extent.ends.get(partition, 0)
            wanted = marks.get((group, Place(topic, partition)), 0 if topic in same_log else start)
            if wanted > end:
                raise NotRestorableError(
                    f"the backup holds partition {partition} of {topic} up to {wanted}, and the log ends at "
                    f"{end}: it has lost its end",
                    remedy="take an older backup; or make the topics anew, and increase SOMA_TOPICS__EPOCH",
                )
            offset = max(wanted, start)
            decided.append(Continuation(group, topic, partition, offset, offset - wanted, end - offset))
    return decided


def require_log(manifest: Manifest, topics: Mapping[str, TopicExtent], settings: TopicSettings) -> None:
    """Return when the log is the one that a backup was made beside, or one that followed it.

    Raises:
        NotRestorableError: It is neither.
    """
    if settings.epoch < manifest.epoch:
        raise NotRestorableError(
            f"the epoch is {settings.epoch}, and {manifest.epoch} in the backup: what is stored from now on "
            "would be older than what it holds",
            remedy=f"set SOMA_TOPICS__EPOCH to {manifest.epoch} for everything",
        )
    events, then = (MEMORY_EVENTS.full_name(settings, epoch) for epoch in (settings.epoch, manifest.epoch))
    # A version that came since may have declared more.
    if missing := sorted(manifest.topics.keys() - {then} - topics.keys()):
        raise NotRestorableError(
            f"the backup was made beside other topics: {', '.join(missing)}",
            remedy="set SOMA_TOPICS__PREFIX as it was, and run `soma topics apply`",
        )
    if settings.epoch == manifest.epoch and topics[events].id != manifest.topics[events].id:
        raise NotRestorableError(
            f"{events} was made anew since the backup: its offsets begin again, and what is stored from now "
            "on would be older than what the backup holds",
            remedy=f"set SOMA_TOPICS__EPOCH to {manifest.epoch + 1} or more for everything: the tables come "
            "back as they were then, and go on with the new log",
        )


def changed_offsets(decided: Sequence[Continuation]) -> dict[SinkGroup, dict[tuple[str, int], int]]:
    """Return what to commit, by group."""
    wanted: dict[SinkGroup, dict[tuple[str, int], int]] = {}
    for each in decided:
        wanted.setdefault(each.group, {})[each.topic, each.partition] = each.offset
    return wanted
