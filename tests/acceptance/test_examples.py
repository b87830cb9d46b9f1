"""Each client below `firmware_examples`, unchanged, against a real hub; its log says what came."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest

from hub.words import EXTERNAL
from tests.acceptance.carts import Carts
from tests.acceptance.real_hub import HOST
from tests.architecture.tree import ROOT

if TYPE_CHECKING:
    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance

EXAMPLES: Final = ROOT / "firmware_examples"
RUN_S_MAX: Final = 120


def run(example: str, *arguments: str) -> str:
    """What it printed; it must not know this repository."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / example), *arguments],
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
        cwd="/",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def acted(hub: RealHub, agent: str) -> int:
    """Observations that were answered, each once, by the agent."""
    return int(hub.value(f"SELECT count(*) FROM transitions WHERE agent = '{agent}'"))


def test_the_shepherd_client_lives_three_days(hub: RealHub) -> None:
    key = hub.make_agent("thermostat", observations=[[1], -50, 50])
    printed = run("python_shepherd/heater.py", key, f"http://{HOST}:{hub.ready.http}/")
    assert printed.count("in the end") == 3
    assert acted(hub, "thermostat") == 3 * 24
    ended = hub.sql("SELECT ended_by, steps FROM episodes WHERE agent = 'thermostat'")
    assert [row["ended_by"] for row in ended] == ["terminated"] * 3


def test_the_shepherd_client_says_why_it_can_not_log_in(hub: RealHub) -> None:
    with pytest.raises(AssertionError, match="API key is not accepted"):
        run("python_shepherd/heater.py", "wrong", f"http://{HOST}:{hub.ready.http}/")


def test_the_client_with_requests_walks_a_hundred_steps(hub: RealHub) -> None:
    key = hub.make_agent("heater", observations=[[1], -50, 50])
    assert "100 steps" in run("python_requests/heater.py", key, f"http://{HOST}:{hub.ready.http}")
    assert acted(hub, "heater") == 99


def test_ten_heaters_share_a_websocket(hub: RealHub) -> None:
    key = hub.make_agent("house", observations=[[1], -50, 50])
    printed = run("python_websocket/heaters.py", key, f"ws://{HOST}:{hub.ready.http}")
    assert "50 steps" in printed
    assert acted(hub, "house") == 10 * 49


def test_a_heater_with_paho_walks_a_hundred_steps(hub: RealHub) -> None:
    key = hub.make_agent("mqtt", observations=[[1], -50, 50])
    assert "100 steps" in run("python_mqtt/heater.py", key, HOST, str(hub.ready.mqtt))
    assert acted(hub, "mqtt") == 99
    with pytest.raises(AssertionError, match="refused"):
        run("python_mqtt/heater.py", "wrong", HOST, str(hub.ready.mqtt))


def test_a_learner_elsewhere_lives_three_episodes(hub: RealHub) -> None:
    key = hub.make_agent("far", algorithm=EXTERNAL, parameters={}, deadline_ms=None)
    with Carts(hub, key, "cart-9"):
        printed = run(
            "python_environment/learner.py", key, "cart-9", f"http://{HOST}:{hub.ready.http}"
        )
    steps = int(printed.split()[2])
    assert steps > 3 * 50
    with pytest.raises(AssertionError, match=r"^this API key is not accepted"):
        run("python_environment/learner.py", "wrong", "cart-9", f"http://{HOST}:{hub.ready.http}")
    ended = "SELECT sum(return) FROM (FROM episodes WHERE agent = 'far' ORDER BY episode LIMIT 3)"
    assert hub.value(ended) == steps
