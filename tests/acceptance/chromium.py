"""A real browser: Debian's chromium, driven by Playwright, with all that it complains of kept.

with opened(width=390, scheme="dark") as browser:
    browser.log_in(hub, "ann")
    browser.page.get_by_role("button", name="Pause").click()
    browser.violations()                 # what axe-core calls serious on this page
    browser.complaints                   # of the console, of pages, and requests to elsewhere
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect, sync_playwright

from bridge.console.desk import assets_there
from tests.acceptance.people import PASSWORD
from tests.acceptance.real_hub import HOST
from tests.architecture.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import ConsoleMessage, Page
    from playwright.sync_api import Request as PageRequest

    from tests.acceptance.real_hub import RealHub

CHROMIUM: Final = shutil.which("chromium")
AXE: Final = ROOT / "node_modules" / "axe-core" / "axe.min.js"
FLAGS: Final = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
WAIT_MS_MAX: Final = 30_000
DOWNLOAD_MS_MAX: Final = 90_000
"""A policy as ZIP is made by a process that loads torch first, beside others that compute."""
SERIOUS: Final = ("serious", "critical")


def needed(config: pytest.Config) -> None:
    """Skip the test where there is no browser; where one was asked for, fail."""
    missing = [
        what
        for what, there in (
            ("chromium", CHROMIUM is not None),
            ("axe-core (make assets)", AXE.exists()),
            ("the console's assets (make assets)", assets_there()),
        )
        if not there
    ]
    if missing and config.getoption("--browser", default=False):
        pytest.fail(f"not here: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not here: {', '.join(missing)}")


class Browser:
    """One browser with a profile of its own."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.complaints.append(f"page: {error}"))
        page.on("request", self._asked)
        page.on("dialog", lambda dialog: dialog.accept())

    def go(self, hub: RealHub, path: str) -> None:
        """To a page."""
        self.page.goto(f"http://{HOST}:{hub.ready.http}/console{path}")

    def log_in(self, hub: RealHub, name: str) -> None:
        """By the form."""
        self.go(hub, "/login")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Log in").click()
        self.page.wait_for_url("**/console/agents")

    def violations(self) -> list[str]:
        """What axe-core finds on this page that is serious, each with where."""
        self.page.evaluate(AXE.read_text())
        found: dict[str, Any] = self.page.evaluate("axe.run()")
        return [
            f"{self.page.url}: {one['id']} at {one['nodes'][0]['target']}"
            for one in found["violations"]
            if one["impact"] in SERIOUS
        ]

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"console: {message.text}")

    def _asked(self, request: PageRequest) -> None:
        if urlsplit(request.url).hostname not in (HOST, None):
            self.complaints.append(f"asked elsewhere: {request.url}")


@contextlib.contextmanager
def opened(*, width: int = 1280, scheme: str = "light", scripts: bool = True) -> Iterator[Browser]:
    """A browser for as long as the block runs."""
    options: dict[str, Any] = {"color_scheme": scheme, "java_script_enabled": scripts}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, sync_playwright() as p:
        context = p.chromium.launch_persistent_context(
            profile,
            executable_path=str(CHROMIUM),
            args=FLAGS,
            headless=True,
            viewport={"width": width, "height": 900},
            **options,
        )
        expect.set_options(timeout=WAIT_MS_MAX)
        context.set_default_timeout(WAIT_MS_MAX)
        try:
            yield Browser(context.pages[0])
        finally:
            context.close()


def saved(page: Page, link: str, into: Path) -> Path:
    """The file behind a link, saved as the browser names it."""
    with page.expect_download(timeout=DOWNLOAD_MS_MAX) as download:
        page.get_by_label(link).click(timeout=DOWNLOAD_MS_MAX)
    path = into / download.value.suggested_filename
    download.value.save_as(path)
    return path
