"""When API keys were last used: noted in this process, and told to the database once a minute."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import NamedTuple

from soma_api.problems import StoreUnavailableError
from soma_schemas.clock import Clock

_PAUSE_SECONDS = 60.0


class KeyUse(NamedTuple):
    """What was used.

    Attributes:
        former: Whether it was the secret before the last rotation.
    """

    key_id: str
    former: bool


RecordUses = Callable[[Mapping[KeyUse, datetime]], Awaitable[None]]


class KeyUses:
    """The last use of each key since the database was told; at most two entries for each key that there is.

    Args:
        record: Tells the database.
        clock: Time.
    """

    def __init__(self, record: RecordUses, clock: Clock) -> None:
        self._record = record
        self._clock = clock
        self._noted: dict[KeyUse, datetime] = {}

    def note(self, key_id: str, *, former: bool) -> None:
        """Note that a good key was used now."""
        self._noted[KeyUse(key_id, former)] = self._clock.now()

    async def tell(self) -> None:
        """Tell the database what was noted. While it does not answer, it is kept for the next time."""
        noted, self._noted = self._noted, {}
        if not noted:
            return
        try:
            await self._record(noted)
        except StoreUnavailableError:
            self._noted = noted | self._noted

    async def run(self) -> None:
        """Tell the database once a minute, until cancelled."""
        while True:
            await self._clock.sleep(_PAUSE_SECONDS)
            await self.tell()
