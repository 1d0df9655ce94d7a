"""
Logs: one JSON object a line as Cloud Logging reads it, or plain lines for a terminal.

Ids and counts only: no document text, no question, no key is ever passed to a logger.
"""

from __future__ import annotations

import logging
import sys
from contextvars import ContextVar
from typing import Any

import structlog

from shared.settings import LogSettings

_trace: ContextVar[str] = ContextVar("trace", default="")

# https://cloud.google.com/logging/docs/structured-logging#special-payload-fields
_SEVERITIES = {"warn": "WARNING", "exception": "ERROR"}


def _for_cloud_logging(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    level = event.pop("level", "info")
    event["severity"] = _SEVERITIES.get(level, level.upper())
    event["message"] = event.pop("event", "")
    if trace := _trace.get():
        event["logging.googleapis.com/trace"] = trace
    return event


def set_up_logs(settings: LogSettings) -> None:
    """Send every logger of this process to standard error, in the form that *settings* asks for."""
    before: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    if settings.log_format == "json":
        renderers: list[Any] = [
            structlog.processors.format_exc_info,
            _for_cloud_logging,
            structlog.processors.JSONRenderer(ensure_ascii=True),
        ]
    else:
        # Prettier renderers print the values of variables, including text of documents.
        renderers = [
            structlog.dev.ConsoleRenderer(
                colors=False, exception_formatter=structlog.dev.plain_traceback
            )
        ]
    structlog.configure(
        processors=[*before, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    # At INFO they repeat our own lines once for each request.
    for noisy in ("google", "urllib3", "httpx", "httpx2", "google_genai", "werkzeug"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def begin_trace(header: str | None, *, project: str) -> None:
    """
    Give every line of this request the trace that *header* names.

    Args:
        header: A W3C traceparent (https://www.w3.org/TR/trace-context/#traceparent-header).
    """
    parts = (header or "").split("-")
    valid = len(parts) == 4 and len(parts[1]) == 32 and parts[1].isalnum()
    _trace.set(f"projects/{project}/traces/{parts[1]}" if valid and project else "")


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """Return the logger called *name*."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(name)
    return logger
