"""The operator's console in a browser: who gets in, what it shows of a running origin, and how a session is ended."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, Page, expect

from loadtests.stack import local_stack
from loadtests.tickets import fetch_ticket
from tests.e2e.browser import SCREENSHOTS

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def _enter(page: Page, secret: str) -> None:
    await page.get_by_label("Admin key").fill(secret)
    await page.get_by_role("button", name="Open the console").click()


async def test_an_operator_sees_what_runs_and_ends_a_session(browser: Browser) -> None:
    with local_stack("edge.location=50.1,8.7", "edge.region=eu", "origin.workers=1") as stack:
        ticket = await fetch_ticket(stack.origin_url)
        context = await browser.new_context(viewport={"width": 1_240, "height": 1_500})
        page = await context.new_page()
        failures: list[str] = []
        page.on("pageerror", lambda error: failures.append(str(error)))
        page.on("console", lambda line: failures.append(line.text) if "Security Policy" in line.text else None)
        try:
            await page.goto(f"{stack.origin_url}/admin")
            await _enter(page, "not-a-key")
            await expect(page.get_by_role("alert")).not_to_be_empty()
            await expect(page.locator("#house")).to_be_hidden()

            await _enter(page, (stack.directory / "admin-key").read_text().strip())
            await expect(page.get_by_role("status")).to_have_text("Live", timeout=10_000)
            await expect(page.locator("#pops tbody tr")).to_contain_text("eu")
            await expect(page.locator("#map g")).to_have_count(1)
            await expect(page.locator("#pool .worker")).to_have_count(1)
            row = page.locator("#sessions tbody tr", has_text=ticket.session_id)
            await expect(row).to_contain_text("waits for its viewer")
            SCREENSHOTS.mkdir(exist_ok=True)
            await page.screenshot(path=SCREENSHOTS / "console.png", full_page=True)

            await page.get_by_role("searchbox").fill("nobody of that name")
            await expect(page.locator("#sessions tbody")).to_have_text("No session fits the filter.")
            await page.get_by_role("searchbox").fill("")
            await page.get_by_role("button", name=f"End session {ticket.session_id}").click()
            await page.get_by_role("button", name="Keep it").click()
            await expect(row).to_have_count(1)
            await page.get_by_role("button", name=f"End session {ticket.session_id}").click()
            await page.get_by_role("button", name="End it").click()
            await expect(row).to_have_count(0)

            await page.get_by_role("button", name="Sign out").click()
            await expect(page.get_by_label("Admin key")).to_be_focused()
            assert await page.evaluate("sessionStorage.length") == 0
            assert not failures
        finally:
            await context.close()
