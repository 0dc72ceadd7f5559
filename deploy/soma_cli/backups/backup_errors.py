"""What can go wrong with a backup and its way back.

SomaError
└── BackupError
    ├── ArchiveError        the archive is damaged, is none, or wants another key
    └── NotRestorableError  the archive does not fit the database, the log or this program
"""

from soma_schemas.errors import SomaError


class BackupError(SomaError):
    """A backup was not made, or did not come back."""

    code = "backup"


class ArchiveError(BackupError):
    """The archive is damaged, is none of ours, or was encrypted with another key."""

    code = "archive"
    remedy = "take another copy of the archive, or an older one"


class NotRestorableError(BackupError):
    """The archive does not fit the database, the log or this program; nothing was changed."""

    code = "not_restorable"
