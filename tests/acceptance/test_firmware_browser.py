"""`firmware_examples/browser`: a page from elsewhere, in a real browser, on a bad day."""

from __future__ import annotations

import contextlib
import functools
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

import pytest
from playwright.sync_api import expect

from tests.acceptance.bad_day import BadDay
from tests.acceptance.boards import CART, EXAMPLES, assert_true_transitions, steps
from tests.acceptance.chromium import needed, opened
from tests.acceptance.real_hub import HOST, until
from tests.architecture.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.acceptance.boards import Workbench
    from tests.acceptance.chromium import Browser
    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance

STEPS: Final = 40
DEVICES: Final = ("cart-ws", "cart-fetch")
UNEQUAL: Final = """
SELECT device FROM events WHERE kind = 'observation' AND device LIKE 'cart-%' GROUP BY device
HAVING (count(*), count(DISTINCT boot)) IS DISTINCT FROM (max(step) + 1, 1)
"""
"""Carts of which the log lacks a step, or has one twice."""


class Quiet(SimpleHTTPRequestHandler):
    """Files, without a word."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Nothing."""


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server that is not the hub's."""
    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer((HOST, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://{HOST}:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def page(
    workbench: Workbench, pytestconfig: pytest.Config, tmp_path: Path
) -> Iterator[Callable[..., str]]:
    """What the example is opened by: `page(url, device, key)` is its address."""
    needed(pytestconfig)
    library = ROOT / "node_modules/mqtt/dist/mqtt.min.js"
    if not library.exists():
        workbench.missing("mqtt.js", "mqtt (make assets)")
    shutil.copy(EXAMPLES / "browser/cart.html", tmp_path)
    shutil.copy(library, tmp_path)
    with served(tmp_path) as address:
        yield (
            lambda url, device, key: (
                f"{address}/cart.html#hub={url}&device={device}&key={key}".replace("&", "&amp;")
            )
        )


def show(browser: Browser, *addresses: str) -> None:
    """The pages side by side, for one that nobody sees is put to sleep."""
    frames = "".join(f'<iframe src="{address}"></iframe>' for address in addresses)
    browser.page.set_content(frames)


def test_a_cart_in_a_page_outlives_a_bad_day_by_websocket_and_by_fetch(
    hub: RealHub, page: Callable[..., str]
) -> None:
    key = hub.make_agent("cart", deadline_ms=20)
    with (
        BadDay(hub.ready.ws, answer=b"/act", floods=3, framed=True) as by_mqtt,
        BadDay(hub.ready.http, answer=b'"seq"') as by_fetch,
        opened() as browser,
    ):
        show(
            browser,
            page(f"ws://{HOST}:{by_mqtt.port}", "cart-ws", key),
            page(f"http://{HOST}:{by_fetch.port}", "cart-fetch", key),
        )
        until(lambda: by_mqtt.waits and by_fetch.waits, "ten answers of each", timeout_s=60)
        hub.kill_nine()
        by_mqtt.go_on()
        by_fetch.go_on()
        hub.start()
        for device in DEVICES:
            until(
                lambda: steps(hub, device) > STEPS,  # noqa: B023 - waited for here
                f"{STEPS} steps of {device}",
                timeout_s=60,
            )
        assert not [text for text in browser.complaints if text.startswith("page:")]
    assert by_mqtt.is_over
    assert by_fetch.is_over
    for device in DEVICES:
        assert_true_transitions(hub, device, CART, at_least=STEPS // 2, value=2)
    assert hub.sql(UNEQUAL) == []


def test_a_page_that_is_refused_says_what_the_agent_expects(
    hub: RealHub, page: Callable[..., str]
) -> None:
    key = hub.make_agent("odd", observations=[[5], "-inf", "inf"], deadline_ms=20)
    urls = (f"ws://{HOST}:{hub.ready.ws}", f"http://{HOST}:{hub.ready.http}")
    with opened() as browser:
        show(browser, *(page(url, f"odd-{n}", key) for n, url in enumerate(urls)))
        for n in range(len(urls)):
            says = browser.page.frame_locator("iframe").nth(n).locator("#says")
            expect(says).to_contain_text("refused: obs has 4 values, agent expects 5")
