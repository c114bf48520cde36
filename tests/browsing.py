"""Pages as a reader meets them: in headless Chromium, without a network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        missing = "no chromium, chromium-browser or google-chrome on the PATH: apt-get install chromium"
        # Where nobody reads the list of skips, a check that did not run must not look like one that passed.
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    with sync_playwright() as playwright:
        # Root in a container has no user namespace for the sandbox; the page is our own.
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


class Visit:
    """An opened page, and everything that it asked for or complained of."""

    def __init__(self, browser: Browser, address: str, **settings: object) -> None:
        self.context: BrowserContext = browser.new_context(offline=True, **settings)
        self.page: Page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.goto(address)

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def style(self, selector: str, name: str) -> str:
        return self.page.locator(selector).first.evaluate(f"e => getComputedStyle(e).{name}")
