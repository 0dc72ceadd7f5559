"""The consumer groups of the sinks: whose progress the write side records and the read side waits for."""

from enum import StrEnum

from soma_schemas.settings import TopicSettings


class SinkGroup(StrEnum):
    """The groups, as the stores and the API call them."""

    POSTGRES = "soma-postgres"
    VECTORS = "soma-vectors"
    DEAD_LETTERS = "soma-dead-letters"
    POLICIES = "soma-policies"
    ERASURES = "soma-erasures"

    def on_brokers(self, settings: TopicSettings) -> str:
        """Return the group's name on the brokers, where other installations may have theirs."""
        return settings.prefix + self.value
