from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Literal

import httpx
import pytest

from origin.config import LlmConfig, OriginConfig, TtsConfig
from origin.dialogue import service_report
from origin.dialogue.service_report import ServiceReport, examine_services

ROOT = Path(__file__).parents[2]
KNOWN: dict[Literal["stt", "llm", "tts"], list[str]] = {
    "stt": ["pocketsphinx", "openai"],
    "llm": ["scripted", "openai"],
    "tts": ["espeak", "openai"],
}
OPENAI = OriginConfig(llm=LlmConfig(service="openai", base_url="http://llm/v1/", model="m", api_key="secret"))


def of(reports: list[ServiceReport], role: str, name: str) -> ServiceReport:
    (found,) = [report for report in reports if (report.role, report.name) == (role, name)]
    return found


def never(url: str, headers: dict[str, str]) -> httpx.Response:
    raise AssertionError("an API that is not configured is asked")


def test_what_comes_along_is_there() -> None:
    reports = examine_services(OriginConfig(), KNOWN, never)
    assert len(reports) == 6 and all(report.found for report in reports)
    assert [report.name for report in reports if report.configured] == ["pocketsphinx", "scripted", "espeak"]


def test_a_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_report, "find_spec", lambda name: None if name == "espeakng_loader" else object())
    report = of(examine_services(OriginConfig(), KNOWN, never), "tts", "espeak")
    assert not report.found and "visavis[espeak]" in report.why


def test_a_name_nobody_knows_is_missing() -> None:
    config = dataclasses.replace(OriginConfig(), tts=TtsConfig(service="pigeon"))
    report = of(examine_services(config, KNOWN, never), "tts", "pigeon")
    assert (report.configured, report.found) == (True, False) and "espeak, openai" in report.why


@pytest.mark.parametrize(
    ("status", "body", "found", "said"),
    [
        (200, {"data": [{"id": "m"}]}, True, "knows the model 'm'"),
        (200, {"data": [{"id": "other"}]}, False, "does not know the model 'm'"),
        (200, {"odd": 1}, True, "cannot be read"),
        (404, {}, True, "lists no models"),
        (401, {}, False, "refuses the API key"),
    ],
)
def test_an_api_is_asked_what_it_knows(status: int, body: object, found: bool, said: str) -> None:
    asked: list[tuple[str, dict[str, str]]] = []

    def fetch(url: str, headers: dict[str, str]) -> httpx.Response:
        asked.append((url, headers))
        return httpx.Response(status, json=body)

    report = of(examine_services(OPENAI, KNOWN, fetch), "llm", "openai")
    assert asked == [("http://llm/v1/models", {"Authorization": "Bearer secret"})]
    assert report.found is found and said in report.why and "secret" not in report.why


def visavis(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The command as a process of its own: it decides how everything logs."""
    command = [sys.executable, "-m", "core.host.cli", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_the_command_says_it_in_lines_and_in_json() -> None:
    done = visavis("services")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) == 10 and any("espeak" in line and "configured" in line and "found" in line for line in lines)
    nobody = ["--set", "origin.llm.service=openai", "--set", "origin.llm.base_url=http://127.0.0.1:9/v1"]
    done = visavis("services", "--json", *nobody)
    assert done.returncode == 1
    (llm,) = [one for one in json.loads(done.stdout) if one["role"] == "llm" and one["configured"]]
    assert llm["found"] is False and "cannot be reached" in llm["why"]
    assert visavis("services", "--set", "origin.tts.service=7").returncode == 1
