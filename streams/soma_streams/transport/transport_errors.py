"""Everything the transport refuses, as typed errors that say what to do.

TransportError
├── IncompatibleRuntimeError   Faust, aiokafka or mode are not the ones this transport was built on
├── UnsafeSettingsError        the application is configured so that records could be lost
├── MissingTopicError          a subscribed topic does not exist, or may not be seen
├── MisuseError                an agent uses the transport in a way that would lose or stall records
├── PositionError              a partition could not be set back to its committed position
├── RecordsGoneError           the log dropped records that a store that keeps its own account still lacks
└── LaneError                  a lane was asked for a step that its state does not allow
"""

from collections.abc import Collection
from typing import ClassVar


class TransportError(Exception):
    """An error with a stable code and a remedy.

    Attributes:
        code: Stable name of the kind of error.
        remedy: What the reader can do next.
    """

    code: ClassVar[str] = "transport"
    remedy: str | None = None

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        if remedy is not None:
            self.remedy = remedy


class IncompatibleRuntimeError(TransportError):
    """The installed libraries differ from those whose inside this transport leans on.

    Attributes:
        differences: One sentence per difference.
    """

    code = "incompatible_runtime"
    remedy = "Install the pinned versions, or re-run the transport's tests on the new ones and adapt it."

    def __init__(self, differences: Collection[str]) -> None:
        self.differences = tuple(differences)
        super().__init__(f"the transport does not fit what is installed: {'; '.join(self.differences)}")


class UnsafeSettingsError(TransportError):
    """The Faust application's settings would lose records or never deliver any.

    Attributes:
        problems: One sentence per setting.
    """

    code = "unsafe_settings"
    remedy = "Create the application with faust.App(id, **app_settings(bootstrap_servers))."

    def __init__(self, problems: Collection[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(f"the application is not safe with this transport: {'; '.join(self.problems)}")


class MissingTopicError(TransportError):
    """Subscribed topics are not in the cluster's metadata.

    Attributes:
        topics: Their names, sorted.
    """

    code = "missing_topic"
    remedy = "Create the topic, or grant this user DESCRIBE and READ on it."

    def __init__(self, topics: Collection[str]) -> None:
        self.topics = tuple(sorted(topics))
        super().__init__(f"no such topic, or not visible to this user: {', '.join(self.topics)}")


class MisuseError(TransportError):
    """An agent or a topic is declared in a way that would lose or stall records."""

    code = "misuse"


class PositionError(TransportError):
    """A partition could not be set back to its committed position, so nothing may be delivered from it."""

    code = "position"
    remedy = "Look at the cause; a restart begins at the committed positions."


class RecordsGoneError(TransportError):
    """The log dropped records before they were read, and the store behind the application lacks them."""

    code = "records_gone"
    remedy = "Start the worker again, unless its supervisor does: it fills its store with what is missing."


class LaneError(TransportError):
    """A lane was asked for a step that its state does not allow: a fault in the transport itself."""

    code = "lane"
