"""Who migrates a log: an operator beside the shared stores."""

from integration.backups.conftest import operator, soma

__all__ = ["operator", "soma"]
