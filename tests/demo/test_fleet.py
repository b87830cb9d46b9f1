"""The demo starts device processes, hears them, stops them, and knows what they did."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from hub.clock import SystemClock
from hub.demo.fleet import Fleet, muster
from hub.demo.serving import Ready
from hub.simulate.display import open_display
from hub.simulate.standing import Standing
from tests.simulate.fake_hub import KEY, FakeHub

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hub.simulate.progress import Progress

STEPS_AWAITED = 50
LISTEN_S = 0.1
START_TIMEOUT_S = 30.0


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub() as started:
        yield started


def test_a_fleet_reports_what_the_hub_has_seen(hub: FakeHub, tmp_path: Path) -> None:
    ready = Ready(pid=0, http=hub.http_port, mqtt=hub.mqtt_port)
    with Fleet(muster(4), tmp_path, key=KEY, ready=ready) as fleet:
        lines = _listen(fleet, until_steps=STEPS_AWAITED)
        lines += fleet.stop()
        assert fleet.running == 0
        acknowledged = list(fleet.acknowledged())
    steps = {line.device: line.steps for line in lines}  # the newest of each
    assert set(steps) == {"cart-1", "cart-2", "cart-3", "cart-4"}
    assert sum(steps.values()) == len(acknowledged) == len(hub.seen)
    assert Counter(step.device for step in acknowledged) == steps
    assert fleet.failures() == []


def test_a_device_that_was_refused_says_why(hub: FakeHub, tmp_path: Path) -> None:
    ready = Ready(pid=0, http=hub.http_port, mqtt=hub.mqtt_port)
    with Fleet(muster(1), tmp_path, key="another", ready=ready) as fleet:
        deadline = SystemClock().monotonic() + START_TIMEOUT_S
        while fleet.running and SystemClock().monotonic() < deadline:
            list(fleet.receive(LISTEN_S))
        (words,) = fleet.failures()
    assert "refused device 'cart-1'" in words


def test_a_terminal_gets_a_table_and_a_pipe_gets_lines() -> None:
    standing = Standing(["cart-1"], now=0)
    for terminal, words in ((True, ["protocol", "mqtt", "0 steps"]), (False, ["[cart-1 -]"])):
        console = Console(force_terminal=terminal, width=120, record=True)
        with open_display(console, {"cart-1": "mqtt"}, title="hub") as display:
            display.show(standing, now=1.0)
        text = console.export_text()
        for word in words:
            assert word in text


def _listen(fleet: Fleet, *, until_steps: int) -> list[Progress]:
    """All lines until each device has stepped so often."""
    lines: list[Progress] = []
    steps: dict[str, int] = {}
    deadline = SystemClock().monotonic() + START_TIMEOUT_S
    while SystemClock().monotonic() < deadline:
        lines += fleet.receive(LISTEN_S)
        steps = {line.device: line.steps for line in lines}
        if len(steps) == len(fleet.members) and min(steps.values()) >= until_steps:
            return lines
    raise AssertionError(f"not all devices stepped within {START_TIMEOUT_S} s: {steps}")
