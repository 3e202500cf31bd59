"""Logs: one line per change of state, on stderr; readable on a terminal, JSON elsewhere."""

from __future__ import annotations

import logging
import sys
from typing import Any

from protocol.logs import before_first_line, load
from protocol.settings import LoggingSettings


def configure_logging(settings: LoggingSettings) -> None:
    """Lines go to this process's stderr from now on; structlog is not imported before the first one."""
    before_first_line(lambda: _configure(settings))


def _configure(settings: LoggingSettings) -> None:
    import structlog

    console = settings.format == "console" or (settings.format == "auto" and sys.stderr.isatty())
    renderer: Any = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if not console:
        processors.append(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*processors, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, settings.level.upper())),
        # One write a line, its end included: print() makes two, between which another process may write its own.
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )


def configure_logging_once(settings: LoggingSettings) -> None:
    """Whoever runs an engine inside his own program may have said already where logs go."""
    load()
    import structlog

    if not structlog.is_configured():
        configure_logging(settings)
