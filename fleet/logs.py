"""Logging of all processes: one line per event, never a secret."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

_TOLD_URLS = ("urllib3",)
"""Loggers that would write every URL at `debug`: those of signed links are secrets."""

_SECRET_NAMES = ("token", "secret", "password", "authorization")


def configure_logging(level: str) -> None:
    """Send structlog and the standard library's records to standard error, from `level` on."""
    number = getattr(logging, level.upper())
    logging.basicConfig(level=number, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    for name in _TOLD_URLS:
        logging.getLogger(name).setLevel(max(number, logging.INFO))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            _hide_secrets,
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _hide_secrets(_logger: Any, _method: str, fields: Any) -> Any:
    for name in fields:
        if any(part in name.lower() for part in _SECRET_NAMES):
            fields[name] = "(hidden)"
    return fields
