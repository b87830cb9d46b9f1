"""The site of the documents, built strictly: complete, whole in its links, alone in the world."""

from __future__ import annotations

import json
import re
import threading
from functools import partial
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_type_hints
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import expect

from bridge.openapi import document as openapi
from hub import schemas
from hub.__main__ import cli
from hub.log.analyst.guard import VIEWS
from hub.settings import Settings
from hub.words import Code
from scripts.site import pages
from scripts.site.build import build
from scripts.site.pages import NotBuilt
from scripts.site.reference import leaves
from tests.acceptance.chromium import needed, opened
from tests.architecture.tree import ROOT, files, name

if TYPE_CHECKING:
    from collections.abc import Iterator

LOADED: Final = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
"""Elements that a browser fetches something for, unasked."""
FOR_READERS: Final = ("docs", "firmware_examples", "schemas")


class Html(HTMLParser):
    """What a page links to, what it loads, and where it can be linked to."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {key: value for key, value in attrs if value is not None}
        if "id" in found:
            self.ids.add(found["id"])
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if found.get(LOADED.get(tag, "")):
            self.loads.append(found[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the HTML."""
    return build(ROOT, tmp_path_factory.mktemp("docs"))


@pytest.fixture(scope="module")
def html(site: Path) -> dict[Path, Html]:
    """Each page by its file."""
    return {file: Html(file) for file in site.rglob("*.html") if file.name != "404.html"}


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """Served as any web server would."""
    handler = partial(Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Quiet(SimpleHTTPRequestHandler):
    """Says nothing of what it served."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


def test_every_link_leads_to_a_page_and_a_heading_of_it(html: dict[Path, Html]) -> None:
    lost = []
    for file, page in html.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            anchors = html[target].ids if target in html else set()
            if not target.exists() or (parts.fragment and unquote(parts.fragment) not in anchors):
                lost.append(f"{file.name}: {link}")
    assert lost == []


def test_nothing_is_loaded_from_elsewhere(site: Path, html: dict[Path, Html]) -> None:
    elsewhere = {url for page in html.values() for url in page.loads if urlsplit(url).netloc}
    assert elsewhere == set()
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()[\s\"']*(?:https?:)?//", sheet.read_text()), sheet


def test_every_document_for_readers_is_in_the_menu(site: Path) -> None:
    text = (site.parent / "zensical.toml").read_text()
    named = set(re.findall(r"[\w/.-]+\.md", text))
    written = {
        pages.page_of(ROOT, name(file))
        for folder in FOR_READERS
        for file in files(".md", below=folder)
    }
    assert written - named == set()


def test_every_decision_is_in_the_menu(html: dict[Path, Html], site: Path) -> None:
    links = html[site / "docs/decisions/index.html"].links
    for file in (ROOT / "docs/decisions").glob("0*.md"):
        assert links.count(f"./{file.stem}.html") + links.count(f"{file.stem}.html") >= 2, file


def test_the_reference_has_every_command_with_its_options(site: Path) -> None:
    shown = (site / "docs/reference/commands.html").read_text()
    for typed, command in leaves(cli):
        assert f'id="{typed.replace(" ", "-")}"' in shown
        for option in command.params:
            assert all(text in shown for text in option.opts if text.startswith("-"))


def test_the_reference_has_every_setting_view_route_and_code(site: Path) -> None:
    def shown(page: str) -> str:
        return (site / f"docs/reference/{page}.html").read_text()

    for section in get_type_hints(Settings).values():
        for setting, _, _ in schemas.described(section):
            assert f"<code>{setting}</code>" in shown("settings"), setting
    assert all(f'id="{view}"' in shown("views") for view in VIEWS)
    assert "counts from 1 without a gap" in shown("views")
    assert all(f"<code>{code}</code>" in shown("refusals") for code in Code)
    document: dict[str, Any] = json.loads(openapi())
    for path, methods in document["paths"].items():
        for method in methods:
            assert f"<code>{method.upper()} {path}</code>" in shown("routes")


def test_a_link_to_nothing_ends_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for document in pages.BEGIN:
        (tmp_path / document).parent.mkdir(exist_ok=True)
        (tmp_path / document).write_text("# Here\n")
    (tmp_path / "docs/device-maker.md").write_text("# There\n\n[gone](nowhere.md#at-all)\n")
    with pytest.raises(NotBuilt, match=r"docs/device-maker\.md links to docs/nowhere\.md"):
        build(tmp_path, tmp_path / "made")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1300), ("dark", 390)])
def test_a_reader_finds_something_and_the_browser_asks_nobody_else(
    address: str, pytestconfig: pytest.Config, scheme: str, width: int
) -> None:
    needed(pytestconfig)
    with opened(width=width, scheme=scheme) as browser:
        page = browser.page
        page.goto(f"{address}/index.html", wait_until="networkidle")  # what the search needs too
        page.keyboard.press("Control+k")
        search = page.get_by_role("combobox", name="Search")
        search.fill("silent device")  # and not one of the many pages that mention some
        expect(page.get_by_role("option").first).to_contain_text("A silent device")
        search.fill("forget a device")
        page.get_by_role("option", name="Forget a device").first.click()
        expect(page.get_by_role("heading", name="Forget a device")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert browser.complaints == []
