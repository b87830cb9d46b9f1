"""Agents that nobody asks: their processes end, and all they knew comes back from the log."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
import pytest

from hub import control
from tests.acceptance.devices import Http
from tests.acceptance.real_hub import QUICK_PPO, RealHub, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.acceptance

SLEEPY: Final = "[learner]\nsleep_s = 0.3\n"
EPISODE_STEPS: Final = 50
DQN_SMALL: Final = {
    "buffer_size": "150",
    "learning_starts": "50",
    "train_freq": "4",
    "gradient_steps": "1",
    "batch_size": "16",
    "net_arch": "16",
    "publish_every": "64",
}


@pytest.fixture(scope="module")
def sleepy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    """A hub whose agents sleep soon."""
    hub = RealHub(tmp_path_factory.mktemp("sleepy") / "data", SLEEPY)
    hub.start()
    yield hub
    hub.end()


class Lone:
    """A device that numbers its steps and stands still in between."""

    def __init__(self, hub: RealHub, agent: str, key: str) -> None:
        self.agent = agent
        self._hub = hub
        self._key = key
        self._step = -1
        self._http = Http(hub.ready.http)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def step(self) -> Any:
        """The answer to the next observation."""
        self._step += 1
        at = self._step % EPISODE_STEPS
        document = {"device": f"d-{self.agent}", "b": 1, "s": self._step, "o": [at / 50, 0.5, 0, 1]}
        if at:
            document |= {"r": at % 3, "d": int(at == EPISODE_STEPS - 1)}
        try:
            status, answer = self._http.step(self._key, document)
        except ConnectionError:  # kept alive for 5 s only
            self._http.close()
            self._http = Http(self._hub.ready.http)
            status, answer = self._http.step(self._key, document)
        assert status == 200, answer
        return answer

    def walk(self, versions: int) -> None:
        """Step until so many more versions of the policy are in the log."""
        wanted = newest(self._hub, self.agent) + versions

        def walked() -> bool:
            for _ in range(16):
                self.step()
            return newest(self._hub, self.agent) >= wanted

        until(walked, f"version {wanted}")

    def ask(self) -> Any:
        """The answer to the next observation that wants an action."""
        answer = self.step()
        return self.step() if answer["a"] is None else answer

    @property
    def transitions(self) -> int:
        """How many really happened."""
        ended = (self._step + 1) // EPISODE_STEPS  # the episodes that are over
        return self._step - ended + int((self._step + 1) % EPISODE_STEPS == 0)


def newest(hub: RealHub, agent: str) -> int:
    return int(
        hub.value(f"SELECT coalesce(max(version), -1) FROM policies WHERE agent = '{agent}'")
    )


def asleep(hub: RealHub, agent: str) -> None:
    """Wait until it has fallen asleep."""
    names = {f"actor-{agent}", f"trainer-{agent}"}
    until(lambda: not names & set(hub.processes), f"{agent} sleeps")


@pytest.mark.parametrize(
    ("name", "algorithm", "parameters"), [("on", "PPO", QUICK_PPO), ("off", "DQN", DQN_SMALL)]
)
def test_an_agent_that_slept_wakes_by_its_trained_policy_and_learns_on_as_if_it_never_had(
    sleepy: RealHub, name: str, algorithm: str, parameters: dict[str, str]
) -> None:
    key = sleepy.make_agent(name, algorithm=algorithm, parameters=parameters, deadline_ms=10_000)
    with Lone(sleepy, name, key) as device:
        device.walk(3)
        for _ in range(3):
            for _ in range(20):  # a part of what the next version needs
                device.step()
            asleep(sleepy, name)
            version = newest(sleepy, name)
            answer = device.ask()
            assert answer["pv"] == version >= 2
            assert "src" not in answer, "it woke before the deadline"
            device.walk(1)
        found = sleepy.value(f"SELECT count(*) FROM transitions WHERE agent = '{name}'")
        assert found == device.transitions
    begun = f"SELECT version FROM policies WHERE agent = '{name}' AND parent IS NULL"
    assert sleepy.sql(begun) == [{"version": 0}]
    assert said(sleepy, "rebuild", name)["equal"]


def test_an_agent_does_not_sleep_while_a_device_waits(new_hub: Any) -> None:
    """The very first observation waits until the fork server has imported torch: for longer."""
    hub: RealHub = new_hub("[learner]\nsleep_s = 0.01\n")
    hub.start()
    key = hub.make_agent("cart", deadline_ms=120_000)
    answers = []

    def answered() -> bool:
        with Http(hub.ready.http) as http, suppress(TimeoutError):  # it has less patience than we
            answers.append(http.step(key, {"device": "d", "s": 0, "o": [0, 0, 0, 0]})[1])
        return bool(answers)

    until(answered, "the first action", timeout_s=90)
    assert answers[0]["pv"] == 0
    asleep(hub, "cart")


def test_what_operators_do_to_a_sleeping_agent_holds_when_it_wakes(sleepy: RealHub) -> None:
    key = sleepy.make_agent("cart", deadline_ms=10_000)
    with Lone(sleepy, "cart", key) as device:
        live_through(sleepy, device)


def live_through(sleepy: RealHub, device: Lone) -> None:
    device.walk(4)
    asleep(sleepy, "cart")
    promoted = said(sleepy, "policy", "promote", "cart", "1")
    assert device.ask()["pv"] == promoted["version"] >= 4
    device.walk(2)
    child = f"SELECT count(*) FROM policies WHERE agent = 'cart' AND parent = {promoted['version']}"
    assert sleepy.value(child) == 1

    asleep(sleepy, "cart")
    said(sleepy, "agent", "update", "cart", "--learning", "off")
    off = sleepy.ask(control.Position())["seq"]
    assert "actor-cart" not in sleepy.processes
    version = newest(sleepy, "cart")
    answers = [device.step() for _ in range(2 * 64)]
    assert {answer["pv"] for answer in answers if answer["a"] is not None} == {version}
    drawn = f"SELECT count(*) FROM events WHERE seq > {off} AND logprob IS NOT NULL"
    assert sleepy.value(f"{drawn} AND kind = 'action' AND agent = 'cart'") == 0

    asleep(sleepy, "cart")
    said(sleepy, "agent", "update", "cart", "--learning", "on")
    restarted = said(sleepy, "agent", "restart", "cart")
    assert restarted["version"] == version + 1
    assert device.ask()["pv"] == restarted["version"]
    begun = f"SELECT parent FROM policies WHERE agent = 'cart' AND version = {version + 1}"
    assert sleepy.sql(begun) == [{"parent": None}]
    device.walk(1)
    assert said(sleepy, "rebuild", "cart")["equal"]

    asleep(sleepy, "cart")
    said(sleepy, "agent", "delete", "cart")
    with pytest.raises(AssertionError, match="key"):
        device.step()
    assert not {"actor-cart", "trainer-cart"} & set(sleepy.processes)


def said(hub: RealHub, *arguments: str) -> Any:
    """What the command printed; it did what was asked."""
    done = hub.command(*arguments)
    assert done.returncode == 0, done.stderr
    return msgspec.json.decode(done.stdout)
