"""Structured logs on stderr: one event name per line, never content, keys or secrets."""

import logging
import sys

import structlog

from soma_schemas import tracing
from soma_schemas.configuration import Setting
from soma_schemas.log_repeats import RepeatFilter
from soma_schemas.settings import LogFormat, LogSettings

_CHATTY = (
    "aiokafka",
    "alembic",
    "faust",
    "httpx",
    "httpx2",
    "mode",
    "soma_streams.transport",  # Faust's services log under the name of the module that defines them
    "uvicorn",
)


def configure_logging(settings: LogSettings) -> None:
    """Send structlog's and the standard library's records to stderr. Only the composition root calls this."""
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        _with_trace,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if settings.format is LogFormat.JSON
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    handler.addFilter(RepeatFilter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    # Libraries tell of their own workings at INFO; what concerns an operator, they warn about.
    for library in _CHATTY:
        logging.getLogger(library).setLevel(max(level, logging.WARNING))


def _with_trace(logger: object, method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Name the trace and the span in which the line is written."""
    del logger, method
    return {**tracing.log_ids(), **line}


def log_settings(effective: tuple[Setting, ...]) -> None:
    """Log the whole effective configuration, with where each value came from; secrets come redacted."""
    structlog.get_logger("soma_schemas.configuration").info(
        "effective_configuration",
        settings={setting.name: {"value": setting.value, "from": setting.origin} for setting in effective},
    )
