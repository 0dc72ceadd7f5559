"""Faust's table manager, without the second that it waits for tables to be declared while it starts."""

from faust.tables import TableManager


class PromptTableManager(TableManager):
    """Starts at once: an application of batches declares its tables, if any, before it is started."""

    async def on_start(self) -> None:
        """Register what is declared, and begin."""
        await self._update_channels()
        await self.recovery.start()
