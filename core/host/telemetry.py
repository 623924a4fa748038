"""Logs and metrics of one process: one line per record, nothing secret in it; one registry, scraped at /metrics."""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

from prometheus_client import CollectorRegistry, Gauge, GCCollector, Info, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

__all__ = ["LOG_FORMATS", "LineFormatter", "configure_logging", "metrics_registry", "redact", "render_metrics"]

LogFormat = Literal["logfmt", "json"]
LOG_FORMATS: Final = ("logfmt", "json")

_QUIET: Final = (
    "aiortc",
    "aioice",
    "aioquic",
    "httpx",
    "httpcore",
    "openai",
    "uvicorn.access",
    "pipecat",
    "numba",
    "asyncio",
)
"""Loggers heard from WARNING on, however talkative the rest is; some of them write what people said or every packet."""
_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
_PLAIN_VALUE: Final = re.compile(r'[^\s"=]+')

# A JSON Web Token is three base64url parts, the first of which is an encoded `{"`; a cut-off one has two.
_SECRETS: Final = (
    (re.compile(r"\beyJ[\w-]{6,}\.[\w-]+(?:\.[\w-]*)?"), "[token]"),
    (re.compile(r"(?i)\b(bearer|basic|dpop)\s+[\w.~+/=-]{8,}"), r"\1 [redacted]"),
    (
        re.compile(
            r"(?i)((?:api[_-]?key|access[_-]?token|token|secret|password|authorization)[\"']?\s*[=:]\s*[\"']?)"
            r"(?!\[|bearer\b|basic\b|dpop\b)[^\s\"',;&}]+"
        ),
        r"\1[redacted]",
    ),
    (re.compile(r"\bsk-[\w-]{8,}"), "[key]"),
    (re.compile(r"(?im)^a=(ice-pwd|ice-ufrag|crypto):\S+"), r"a=\1:[redacted]"),
)


def redact(text: str) -> str:
    """The text without what looks like a token, an authorization header, a key or SDP credentials."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


class LineFormatter(logging.Formatter):
    """One line per record: time, level, process, logger, message, `extra` fields, exception; redacted as a whole.

    Args:
        process: name of this process, e.g. "edge".
        style: "logfmt" for people, "json" for machines.
    """

    def __init__(self, process: str, style: LogFormat = "logfmt") -> None:
        super().__init__()
        self._process = process
        self._line_style = style

    def format(self, record: logging.LogRecord) -> str:
        """The finished line, without its end."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields.update((name, value) for name, value in record.__dict__.items() if name not in _STANDARD)
        if record.exc_info and record.exc_info[0] is not None:
            fields["exception"] = "".join(traceback.format_exception(*record.exc_info)).rstrip()
        # Redacted value by value, before quoting: escapes would hide the ends of what must go.
        clean = {name: redact(value) if isinstance(value, str) else value for name, value in fields.items()}
        if self._line_style == "json":
            return redact(json.dumps(clean, ensure_ascii=False, default=str))
        return redact(" ".join(f"{name}={_logfmt(value)}" for name, value in clean.items()))


def _logfmt(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    if _PLAIN_VALUE.fullmatch(text):
        return text
    return json.dumps(text, ensure_ascii=False)


def configure_logging(
    process: str,
    *,
    level: str = "info",
    style: LogFormat = "logfmt",
    stream: TextIO | None = None,
    loguru: bool = False,
) -> None:
    """Send everything this process logs to `stream` (stderr), one line per record. May be called again.

    Args:
        level: "debug", "info", "warning" or "error".
        loguru: also take over loguru, which Pipecat logs through. Call this before Pipecat is imported: it writes a
            banner when it is.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(LineFormatter(process, style))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    for name in ("uvicorn", "uvicorn.error"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.captureWarnings(True)
    if loguru:
        _route_loguru()


def _route_loguru() -> None:
    import loguru

    def forward(message: Any) -> None:
        record = message.record
        logger = logging.getLogger(record["name"] or "loguru")
        number = record["level"].no
        if not logger.isEnabledFor(number):
            return
        failure = record["exception"]
        exc_info = None if failure is None else (failure.type, failure.value, failure.traceback)
        logger.log(number, "%s", record["message"], exc_info=exc_info)

    loguru.logger.remove()
    loguru.logger.add(forward, level=0, format="{message}", backtrace=False, diagnose=False)


def metrics_registry(process: str, version: str) -> CollectorRegistry:
    """A registry of its own for one process: memory, CPU, file descriptors and garbage collection are on it already."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    tasks = Gauge("process_asyncio_tasks", "Tasks of the event loop, that of the answer among them", registry=registry)
    tasks.set_function(_count_tasks)
    blocks = Gauge("process_python_blocks", "Pieces of memory that Python's objects occupy", registry=registry)
    blocks.set_function(sys.getallocatedblocks)
    Info("visavis_build", "What runs here", registry=registry).info({"process": process, "version": version})
    return registry


def _count_tasks() -> float:
    import asyncio  # commands that only want logs are there sooner without it

    try:
        return len(asyncio.all_tasks())
    except RuntimeError:  # no event loop runs here
        return 0.0


def render_metrics(registry: CollectorRegistry, accept: str = "") -> tuple[str, bytes]:
    """Content type and body of `GET /metrics`; OpenMetrics for who accepts it, the Prometheus text format otherwise."""
    encoder, content_type = choose_encoder(accept)
    return content_type, encoder(registry)
