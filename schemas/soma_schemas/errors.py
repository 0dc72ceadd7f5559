"""The root of every error that the platform raises on purpose.

SomaError
├── ContractError            the caller's input breaks the contract (soma_schemas.validation)
├── ProducerError            an event could not be published (soma_schemas.producer)
├── ConfigurationError       a setting is missing, unknown or impossible
└── MismatchError            a topic, schema, table or collection is not as declared
"""


class SomaError(Exception):
    """An error with a stable code and a remedy.

    Args:
        message: What happened, to what. Never memory content or secrets.
        remedy: What the reader can do next; overrides the class's own.
    """

    code: str = "error"
    remedy: str | None = None

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        if remedy is not None:
            self.remedy = remedy


def told(error: BaseException) -> str | None:
    """Return what may be said of an error in a log: all of one of ours, nothing of anybody else's.

    Others quote what they were given: content, or a password in a connection string.
    """
    return f"{error.code}: {error}" if isinstance(error, SomaError) else None


class ConfigurationError(SomaError):
    """A setting is missing, unknown or impossible."""

    code = "configuration"


class MismatchError(SomaError):
    """A topic, schema, table or collection is not as this version declares it."""

    code = "mismatch"
