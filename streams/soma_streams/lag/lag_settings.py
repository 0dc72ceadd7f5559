"""The settings of the lag collector."""

from datetime import timedelta
from fnmatch import fnmatchcase

from pydantic import Field

from soma_schemas.settings import Duration, KafkaSettings, ProcessSettings, SettingsGroup


class LagSettings(SettingsGroup):
    """How the lag collector looks at the brokers, and where it tells what it saw."""

    host: str = Field("127.0.0.1", description="Address of /metrics, /v1/lag, /healthz and /readyz.")
    port: int = Field(9465, ge=0, le=65535, description="Port of the same; 0 chooses a free one.")
    groups: str = Field(
        "*",
        min_length=1,
        description="Names of the consumer groups to look at: `*` stands for any characters, `?` for one.",
    )
    interval: Duration = Field(
        timedelta(seconds=5),
        gt=timedelta(0),
        description="Between two looks. Shorter sees ages and stalls more exactly, and costs the brokers "
        "more.",
    )
    window: Duration = Field(
        timedelta(seconds=60),
        gt=timedelta(0),
        description="How far back the rules look: a group that is behind and has not moved for this long is "
        "told as STALL or STOP.",
    )

    def wants(self, group: str) -> bool:
        """Say whether a group is looked at."""
        return fnmatchcase(group, self.groups)


class LagCollectorSettings(ProcessSettings):
    """Settings of `soma lag collect`."""

    kafka: KafkaSettings = Field(KafkaSettings(), description="The brokers.")
    lag: LagSettings = Field(LagSettings(), description="The lag collector.")
