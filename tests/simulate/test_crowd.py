"""Crowds of simulated devices against a real hub: on a bad line, without it, and stopped."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pytest
from msgspec.structs import replace

from hub.clock import SystemClock
from hub.control import AddDevice
from hub.simulate.crowd import Crowd, Plan
from hub.simulate.device import Limits
from hub.simulate.exchange import Endpoint, Way
from hub.simulate.faults import Delay, Faults
from tests.acceptance.boards import CART, assert_true_transitions
from tests.acceptance.real_hub import HOST, RealHub, sheepfold, until
from tests.commands.typed import typed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub.simulate.summary import Summary

pytestmark = pytest.mark.acceptance

DEVICES: Final = 12
BAD: Final = Faults(lost=0.02, repeated=0.1, delay=Delay(0.01, 0.01), boot_s=1.0, link_s=1.0)
NUMBERED: Final = [Way.MQTT, Way.HTTP, Way.WS]
DENIED: Final = [Way.MQTT, Way.MQTT5, Way.HTTP, Way.WS]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    """One for all tests of this file but the last, which kills it."""
    hub = RealHub(tmp_path_factory.mktemp("crowd") / "data")
    hub.start()
    yield hub
    hub.end()


async def walked(hub: RealHub, way: Way, key: str, **plan: Any) -> Summary:
    """A crowd's summary; what it says is printed."""
    port = hub.ready.mqtt if way in (Way.MQTT, Way.MQTT5) else hub.ready.http
    devices = [f"{way}-dev-{i}".replace("http-", "native-") for i in range(DEVICES)]
    usual = Plan("CartPole-v1", devices, way, Endpoint(HOST, port), key, seed=1)
    crowd = Crowd(replace(usual, **plan), clock=SystemClock(), say=print)
    return await crowd.walk(asyncio.Event(), lambda: None)


@pytest.mark.parametrize("way", NUMBERED)
async def test_on_a_bad_line_the_log_has_nothing_that_did_not_happen(
    hub: RealHub, way: Way
) -> None:
    key = hub.make_agent(f"bad-{way}", deadline_ms=20)
    summary = await walked(hub, way, key, faults=BAD, seconds=2.0)
    made = summary.faults
    assert min(made.lost, made.repeated, made.delayed, made.reboots, made.half_open) > 0
    assert summary.ok
    assert (summary.steps > 50, summary.repeats > 0, summary.refused) == (True, True, {})
    for device in summary.returns:
        assert_true_transitions(hub, device, CART, at_least=5, value=2)
    breaks = f"SELECT DISTINCT ended_by FROM episodes WHERE agent = 'bad-{way}' ORDER BY ended_by"
    assert "reboot" in {row["ended_by"] for row in hub.sql(breaks)}


@pytest.mark.parametrize("way", list(Way))
async def test_without_faults_each_device_does_its_episodes(hub: RealHub, way: Way) -> None:
    key = hub.make_agent(f"good-{way}", deadline_ms=20)
    names = [f"good-{way}-{i}" for i in range(DEVICES)]
    summary = await walked(hub, way, key, limits=Limits(episodes=2), devices=names)
    assert (summary.ok, summary.episodes, summary.repeats) == (True, 2 * DEVICES, 0)
    assert set(summary.returns) == set(names)
    # Once more: it is another boot, not a repeat.
    again = await walked(hub, way, key, limits=Limits(episodes=1), devices=names)
    steps = f"SELECT count(*) FROM events WHERE agent = 'good-{way}' AND kind = 'observation'"
    assert hub.value(steps) == summary.steps + again.steps


@pytest.mark.parametrize("way", DENIED)
async def test_a_wrong_key_ends_all_at_once_and_says_so_once(
    hub: RealHub, way: Way, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = await walked(hub, way, "wrong")
    assert (summary.ok, summary.steps, list(summary.failures.values())) == (False, 0, [DEVICES])
    assert "sheepfold key" in next(iter(summary.failures)), "what to look at"
    assert capsys.readouterr().out.count("stopped") == 1


@pytest.mark.parametrize("way", list(Way))
async def test_where_no_hub_is_the_crowd_gives_up_and_says_where(hub: RealHub, way: Way) -> None:
    summary = await walked(hub, way, "key", endpoint=Endpoint(HOST, 1), first_answer_s=0.2)
    assert not summary.ok
    ((why, count),) = summary.failures.items()
    assert (count, f"nothing was answered by {HOST}:1 over {way}" in why) == (1, True)


@pytest.mark.parametrize("way", NUMBERED)
async def test_an_agent_for_another_environment_ends_all(hub: RealHub, way: Way) -> None:
    key = hub.make_agent(f"other-{way}", observations=[[3], -8, 8])
    devices = [f"other-{way}-{i}" for i in range(3)]
    summary = await walked(hub, way, key, devices=devices)
    ((why, count),) = summary.failures.items()
    assert (count, "obs has 4 values, agent expects 3" in why) == (3, True)


async def test_in_mqtt_5_a_refusal_is_heard_in_the_puback(hub: RealHub) -> None:
    key = hub.make_agent("other-five", observations=[[3], -8, 8])
    summary = await walked(hub, Way.MQTT5, key, devices=["five-1"], first_answer_s=0.5)
    assert summary.refused["payload"] > 0
    assert "obs has 4 values, agent expects 3" in next(iter(summary.failures))


async def test_actions_that_the_environment_does_not_have_end_all(hub: RealHub) -> None:
    key = hub.make_agent("wild", actions=[[3], 5, 9])
    summary = await walked(hub, Way.HTTP, key, devices=["wild-1"])
    assert "the environment can't do action" in next(iter(summary.failures))


def test_the_command_makes_its_agent_and_prints_what_came_of_it(hub: RealHub) -> None:
    options = ["--create", "--agent", "made", "--set", "n_steps=64", "--set", "batch_size=64"]
    walk = ["--devices", "5", "--episodes", "1", "--json", "--protocol", "ws"]
    done = sheepfold("simulate", *options, *walk, data=hub.data)
    assert done.returncode == 0, done.stderr
    summary = msgspec.json.decode(done.stdout)
    assert (summary["episodes"], summary["failures"]) == (5, {})
    spaces = "SELECT observations::VARCHAR FROM agents WHERE agent = 'made'"
    assert "4.8" in hub.value(spaces)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--env", "Nothing-v1", "--key", "k"], "can't be made"),
        (["--env", "Blackjack-v1", "--key", "k"], "which no agent can have"),
        (["--agent", "pairs", "--key", "k"], "the observations of the agent are Box[2]"),
        (["--agent", "nobody", "--key", "k"], "nobody"),
        (["--loss", "100%", "--key", "k"], "no share of messages"),
        (["--device-prefix", "http", "--key", "k"], "which no device may be called"),
        (["--rate", "0/s", "--key", "k"], "would never step"),
        (["--ca", "tests/__init__.py", "--key", "k"], "can't be used"),
        (["--create", "--agent", "unmade", "--device-prefix", "taken"], "'taken-1' is of agent"),
        ([], "a key is missing"),
    ],
)
def test_what_can_not_be_done_is_refused_in_a_sentence(
    hub: RealHub, options: list[str], why: str
) -> None:
    if "pairs" in options:
        hub.make_agent("pairs", observations=[[2], 0, 1])
    if "unmade" in options:
        hub.make_agent("holds")
        hub.ask(AddDevice("taken-1", "holds"))
    done = typed(hub.data, "simulate", *options)
    assert (done.code, done.out) == (1, "")
    assert why in done.err
    assert not hub.value("SELECT count(*) FROM agents WHERE agent = 'unmade'")


@pytest.mark.parametrize("seconds", ["nan", "inf", "0", "-1"])
def test_a_time_that_is_none_is_wrong_usage(hub: RealHub, seconds: str) -> None:
    done = typed(hub.data, "simulate", "--key", "k", "--seconds", seconds)
    assert (done.code, "not above 0 and finite" in done.err) == (2, True)


def test_devices_outlive_a_hub_and_ctrl_c_ends_them_with_the_summary(hub: RealHub) -> None:
    key = hub.make_agent("outlived", deadline_ms=20)
    walk = ["--devices", "4", "--device-prefix", "tough"]
    command = ["simulate", "--key", key, *walk, "--data", str(hub.data)]
    with subprocess.Popen(
        [sys.executable, "-m", "hub", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as crowd:
        said: list[str] = []
        assert crowd.stderr is not None
        listener = threading.Thread(target=said.extend, args=(crowd.stderr,), daemon=True)
        listener.start()
        count = "SELECT count(*) FROM events WHERE agent = 'outlived' AND kind = 'action'"
        until(lambda: hub.value(count) > 50, "50 steps")
        hub.kill_nine()
        until(lambda: any("the devices go on" in line for line in said), "word of it")
        hub.start()
        before = hub.value(count)
        until(lambda: any("answers again" in line for line in said), "word of its return")
        until(lambda: hub.value(count) > before + 50, "50 steps more")
        crowd.send_signal(signal.SIGINT)
        assert crowd.stdout is not None
        summary = crowd.stdout.read()
        listener.join()
    assert crowd.returncode == 0, said
    assert re.search(r"[\d,]+ steps in", summary)
    assert sum("the devices go on" in line for line in said) == 1
