"""Logs: one JSON object a line on standard output, with the ids of the call and of its trace."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog
from opentelemetry import trace

from vecsec_chassis.calls import current_request_id

Event = MutableMapping[str, Any]


def configure(service: str, level: str) -> None:
    """Send structlog and standard logging to standard output, as JSON lines tagged with the service's name."""

    def tag(_logger: object, _method: str, event: Event) -> Event:
        event.setdefault("service", service)
        request_id = current_request_id()
        if request_id:
            event["request_id"] = request_id
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            event["trace_id"] = f"{span.trace_id:032x}"
            event["span_id"] = f"{span.span_id:016x}"
        return event

    shared: list[structlog.typing.Processor] = [
        tag,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.EventRenamer("message"),
                structlog.processors.JSONRenderer(ensure_ascii=False, default=str),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("httpx", "httpcore", "chromadb.telemetry", "opentelemetry.attributes"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
