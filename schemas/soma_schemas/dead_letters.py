"""The headers of a dead letter: everything about the failure, so that the value can stay as it was."""

from enum import StrEnum

# A replayed dead letter goes back to its topic with these, so that it keeps its place in the order of events.
REPLAY_PARTITION_HEADER = "x-replay-partition"
REPLAY_OFFSET_HEADER = "x-replay-offset"
REPLAY_TIMESTAMP_HEADER = "x-replay-timestamp"
REPLAY_EPOCH_HEADER = "x-replay-epoch"
REPLAY_GROUP_HEADER = "x-replay-group"


class DeadLetterHeader(StrEnum):
    """Header names; all values are UTF-8 text."""

    ID = "x-dlq-id"  # UUID made of group, topic, epoch, partition, offset: the same when written twice
    GROUP = "x-dlq-group"
    TOPIC = "x-dlq-topic"
    PARTITION = "x-dlq-partition"
    OFFSET = "x-dlq-offset"
    EPOCH = "x-dlq-epoch"
    TIMESTAMP = "x-dlq-timestamp"  # RFC 3339, when the log received the original
    STAGE = "x-dlq-stage"
    ERROR_CLASS = "x-dlq-error-class"
    CODE = "x-dlq-code"
    MESSAGE = "x-dlq-message"  # never content of the memory
    ATTEMPTS = "x-dlq-attempts"
    FIRST_FAILED_AT = "x-dlq-first-failed-at"  # RFC 3339
    APPLICATION_VERSION = "x-dlq-application-version"


# Only on dead letters that do not keep their whole original: of which parts, by commas.
OMITTED_HEADER = "x-dlq-omitted"
DEAD_LETTER_HEADERS = frozenset({*(header.value for header in DeadLetterHeader), OMITTED_HEADER})


class Omitted(StrEnum):
    """What of an original is not in its dead letter, but in the log until its retention ends."""

    KEY = "key"
    VALUE = "value"
    HEADERS = "headers"
    HEADER_NAMES = "header names"  # those that are no text are escaped


class Stage(StrEnum):
    """Where an event failed."""

    DECODE = "decode"
    VALIDATE = "validate"
    WRITE = "write"
