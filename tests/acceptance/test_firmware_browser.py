"""`firmware_examples/browser`: a page from elsewhere, in a real browser."""

from __future__ import annotations

import contextlib
import functools
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

import pytest

from tests.acceptance.boards import CART, EXAMPLES, assert_true_transitions, steps
from tests.acceptance.chromium import needed, opened
from tests.acceptance.real_hub import HOST, until
from tests.architecture.tree import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.acceptance.boards import Workbench
    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance

STEPS: Final = 40


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


def until_steps(hub: RealHub, device: str) -> None:
    until(lambda: steps(hub, device) > STEPS, f"{STEPS} steps of {device}", timeout_s=60)


def test_a_cart_in_a_page_learns_by_websocket_and_by_fetch(
    hub: RealHub, workbench: Workbench, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    needed(pytestconfig)
    library = ROOT / "node_modules/mqtt/dist/mqtt.min.js"
    if not library.exists():
        workbench.missing("mqtt.js", "mqtt (make assets)")
    shutil.copy(EXAMPLES / "browser/cart.html", tmp_path)
    shutil.copy(library, tmp_path)
    key = hub.make_agent("cart", deadline_ms=20)
    hubs = {
        "cart-ws": f"ws://{HOST}:{hub.ready.ws}",
        "cart-fetch": f"http://{HOST}:{hub.ready.http}",
    }
    with served(tmp_path) as address, opened() as browser:
        for device, url in hubs.items():
            browser.page.goto(f"{address}/cart.html?{device}#hub={url}&device={device}&key={key}")
            until_steps(hub, device)
        assert not [text for text in browser.complaints if "404" not in text]  # it has no icon
    for device in hubs:
        assert_true_transitions(hub, device, CART, at_least=STEPS // 2, value=2)
