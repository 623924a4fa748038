from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import loguru
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Counter

from core.host.telemetry import LineFormatter, configure_logging, metrics_registry, redact, render_metrics

TOKEN = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJlLXNpZ25hdHVyZQ"


@pytest.fixture
def quiet_root() -> Iterator[None]:
    """Logging as it was, whatever the test configures."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def lines(style: Any = "logfmt", **options: Any) -> io.StringIO:
    stream = io.StringIO()
    configure_logging("edge", style=style, stream=stream, **options)
    return stream


@pytest.mark.parametrize(
    "text",
    [
        f"ticket {TOKEN} refused",
        f"Authorization: Bearer {TOKEN}",
        "authorization: bearer abcdef0123456789",
        "Authorization=Basic dXNlcjpodW50ZXIyaHVudGVy",
        "api_key=hunter2hunter2",
        'config {"api_key": "hunter2hunter2", "x": 1}',
        "GET /x?access_token=hunter2hunter2&y=1",
        "using sk-proj-hunter2hunter2",
        "v=0\r\na=ice-pwd:hunter2hunter2\r\na=ice-ufrag:hunter2\r\n",
        TOKEN.rsplit(".", 1)[0],
    ],
)
def test_what_is_secret_is_taken_out(text: str) -> None:
    clean = redact(text)
    assert clean != text
    for secret in ("hunter2", "dXNl", "eyJ", "abcdef0123456789"):
        assert secret not in clean


@pytest.mark.parametrize(
    "text",
    ["session s-1 opened in 12 ms", "the token has expired", "GET /healthz 200", "bearer of news", "password rules"],
)
def test_what_is_not_secret_stays(text: str) -> None:
    assert redact(text) == text


@given(st.text(), st.text())
def test_a_token_never_survives_among_any_text(before: str, after: str) -> None:
    assert TOKEN not in redact(f"{before} {TOKEN} {after}")


def test_one_line_per_record_in_logfmt(quiet_root: None) -> None:
    stream = lines()
    try:
        raise ValueError(f"over\ntwo lines with {TOKEN}")
    except ValueError:
        logging.getLogger("edge.app").exception('a "quoted"\nmessage', extra={"session": "s-1", "took_ms": 1.25})
    (line,) = stream.getvalue().splitlines()
    assert " level=error process=edge logger=edge.app " in line
    assert r'message="a \"quoted\"\nmessage"' in line
    assert "session=s-1 took_ms=1.25" in line
    assert "ValueError" in line
    assert "eyJ" not in line


def test_one_object_per_record_in_json(quiet_root: None) -> None:
    stream = lines("json")
    logging.getLogger("edge.app").info("hello %s", "you", extra={"token_kid": "k", "bearer": f"Bearer {TOKEN}"})
    record = json.loads(stream.getvalue())
    assert record["message"] == "hello you"
    assert (record["process"], record["level"], record["token_kid"]) == ("edge", "info", "k")
    assert record["time"].endswith("Z")
    assert record["bearer"] == "Bearer [token]" or "redacted" in record["bearer"]


def test_levels_and_talkative_libraries(quiet_root: None) -> None:
    stream = lines(level="info")
    logging.getLogger("edge").debug("no")
    logging.getLogger("aioice.ice").info("no")
    logging.getLogger("uvicorn.access").info("no")
    logging.getLogger("aioice.ice").warning("yes 1")
    logging.getLogger("uvicorn.error").info("yes 2")
    configure_logging("edge", level="error", stream=stream)
    logging.getLogger("aioice.ice").warning("no")
    assert [line.count("yes") for line in stream.getvalue().splitlines()] == [1, 1]


def test_loguru_is_taken_over(quiet_root: None) -> None:
    stream = lines(loguru=True)
    try:
        loguru.logger.info("braces {} and %s stay")
        loguru.logger.debug("no")
        try:
            raise KeyError("x")
        except KeyError:
            loguru.logger.exception(f"with {TOKEN}")
    finally:
        loguru.logger.remove()
    first, second = stream.getvalue().splitlines()
    assert "braces {} and %s stay" in first
    assert "logger=tests.core.host.test_telemetry" in first
    assert "KeyError" in second
    assert "eyJ" not in second


def test_the_formatter_needs_no_extra() -> None:
    record = logging.makeLogRecord({"name": "x", "levelname": "INFO", "msg": "m"})
    assert LineFormatter("origin").format(record).endswith("level=info process=origin logger=x message=m")


async def test_tasks_are_counted_where_an_event_loop_runs() -> None:
    registry = metrics_registry("edge", "1.2.3")
    assert registry.get_sample_value("process_asyncio_tasks") == len(asyncio.all_tasks())
    assert await asyncio.to_thread(registry.get_sample_value, "process_asyncio_tasks") == 0.0


def test_what_pythons_objects_occupy_is_counted() -> None:
    registry = metrics_registry("edge", "1.2.3")
    before = registry.get_sample_value("process_python_blocks")
    kept = [bytes(100) for _ in range(10_000)]
    after = registry.get_sample_value("process_python_blocks")
    assert before and after and len(kept) <= after - before < 12_000


def test_metrics_of_one_process() -> None:
    registry = metrics_registry("edge", "1.2.3")
    Counter("edge_packets_sent", "sent", registry=registry).inc(3)
    content_type, body = render_metrics(registry)
    assert content_type.startswith("text/plain")
    assert b"edge_packets_sent_total 3.0" in body
    assert b'visavis_build_info{process="edge",version="1.2.3"} 1.0' in body
    assert b"process_resident_memory_bytes" in body
    content_type, body = render_metrics(registry, "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    metrics_registry("origin", "1.2.3")  # registries do not know of each other
