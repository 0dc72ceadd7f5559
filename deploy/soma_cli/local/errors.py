"""What can go wrong with the local stack's third-party parts.

SomaError
└── LocalStackError
    ├── HomeInUseError           another stack runs on the same home
    ├── UnusableFolderError      the parts cannot work in that folder
    ├── NoFreePortError          no port of ours is free on loopback
    ├── DownloadError            a file could not be fetched
    ├── ChecksumMismatchError    a fetched file is not the one that this version was built with
    ├── UnsupportedPlatformError this machine cannot run a part
    ├── PartError                a part did not start, did not get ready, or ended
    │   └── PartSilentError      it runs and does not get on
    ├── NeedLostError            what a part needs ended while it started
    └── GaveUpError              a part failed again and again
"""

from soma_schemas.errors import SomaError


class LocalStackError(SomaError):
    """The local stack cannot do what it was asked."""

    code = "local_stack"


class HomeInUseError(LocalStackError):
    """Another stack runs on the same home; two would destroy each other's data."""

    code = "home_in_use"
    remedy = "stop the other stack first, or give this one another folder with SOMA_HOME"


class UnusableFolderError(LocalStackError):
    """The parts cannot work in that folder."""

    code = "unusable_folder"
    remedy = "give another folder with SOMA_HOME, or for downloads with SOMA_CACHE"


class NoFreePortError(LocalStackError):
    """No port of ours is free on loopback."""

    code = "no_free_port"
    remedy = "end programs that listen on many ports of 127.0.0.1, then try again"


class DownloadError(LocalStackError):
    """A file could not be fetched."""

    code = "download_failed"
    remedy = "check the network (a proxy is taken from HTTPS_PROXY), then try again: what arrived is kept"


class ChecksumMismatchError(LocalStackError):
    """A fetched file is not the one that this version was built with; it was thrown away."""

    code = "checksum_mismatch"
    remedy = (
        "try again; if it persists, something between here and the repository alters downloads: "
        "do not run what it delivers"
    )


class UnsupportedPlatformError(LocalStackError):
    """This machine cannot run a part."""

    code = "unsupported_platform"


class PartError(LocalStackError):
    """A part did not start, did not get ready, or ended.

    Attributes:
        part: Its name.
        exit_code: What it ended with, negative for a signal; None when it still ran.
        last_lines: The end of its log, or what it says of what went wrong.
    """

    code = "part_failed"

    def __init__(
        self,
        message: str,
        *,
        part: str,
        exit_code: int | None = None,
        last_lines: tuple[str, ...] = (),
        remedy: str | None = None,
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.part = part
        self.exit_code = exit_code
        self.last_lines = last_lines


class PartSilentError(PartError):
    """A part runs, and showed no sign of progress for longer than a busy machine explains."""


class NeedLostError(LocalStackError):
    """What a part needs ended while it started; it is started again when that is back."""

    code = "need_lost"


class GaveUpError(LocalStackError):
    """A part failed again and again."""

    code = "gave_up"
