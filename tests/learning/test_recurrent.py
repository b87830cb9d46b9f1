"""Policies that remember: learnt as `learn()` learns them, from states that the log implies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import gymnasium
import numpy as np
import pytest
from msgspec.structs import replace
from sb3_contrib.common.recurrent.buffers import RecurrentRolloutBuffer

from hub.learner.algorithms.libraries import ALGORITHMS
from hub.learner.messages import Drawn, Made, drawn_of, payload_of
from hub.learner.sb3.model import class_of
from hub.learner.sb3.recurrent import _Buffer
from hub.words import Event, Kind, Source
from tests.learning.harness import Glances, Hub, agent_of, cartpole, run
from tests.learning.test_lockstep import Written, assert_same, learned, trained
from tests.learning.test_resume import devices, logged, names, resumed, small

if TYPE_CHECKING:
    from pathlib import Path

DELAY: Final = 4
SMALL: Final = {
    "n_steps": "128",
    "batch_size": "32",
    "n_epochs": "3",
    "lstm_hidden_size": "8",
    "net_arch": "8",
}


class WrittenMemory(Written):
    """As the actor says it: with each action, how much of the episode it had seen before."""

    _seen = 0

    def _log(self, **columns: Any) -> None:
        if columns.get("first"):
            self._seen = 0
        if columns["kind"] is Kind.ACTION:
            columns["payload"] = payload_of(Drawn(memory=self._seen))
            self._seen += 1
        super()._log(**columns)


class ChannelsFirst(gymnasium.ObservationWrapper[Any, Any, Any]):
    """As SB3 wants them: of pictures that it turns itself, its states differ in the last bit."""

    def __init__(self, env: gymnasium.Env[Any, Any]) -> None:
        super().__init__(env)
        self.observation_space = gymnasium.spaces.Box(0, 255, (2, 36, 36), dtype=np.uint8)

    def observation(self, observation: Any) -> Any:
        """In that order in memory, too."""
        return np.ascontiguousarray(np.moveaxis(observation, -1, 0))


@pytest.mark.parametrize("episode_steps", [500, 25])
def test_a_policy_with_memory_learns_what_learn_learns(tmp_path: Path, episode_steps: int) -> None:
    agent = cartpole(
        "RecurrentPPO", seed=4, learning_rate="lin_1e-3_1e-4", total_timesteps="640", **SMALL
    )
    environment = gymnasium.make("CartPole-v1", max_episode_steps=episode_steps)
    model = class_of(ALGORITHMS["RecurrentPPO"])
    weights, events = learned(model, agent, environment, WrittenMemory())
    assert any("lstm_actor" in name for name in weights)
    assert_same(weights, trained(agent, events, tmp_path))
    forgot = [
        replace(event, payload='{"memory":0}') if event.kind is Kind.ACTION else event
        for event in events
    ]
    with pytest.raises(AssertionError):
        assert_same(weights, trained(agent, forgot, tmp_path / "forgot"))


def test_of_pictures_a_policy_with_memory_learns_what_learn_learns(tmp_path: Path) -> None:
    parameters = SMALL | {"n_steps": "32", "batch_size": "16", "total_timesteps": "64"}
    agent = agent_of("RecurrentPPO", [[2, 36, 36], 0, 255], 3, seed=4, **parameters)
    model = class_of(ALGORITHMS["RecurrentPPO"])
    weights, events = learned(model, agent, ChannelsFirst(Glances(channels=2)), WrittenMemory())
    assert_same(weights, trained(agent, events, tmp_path))


def test_the_first_pass_over_a_rollout_of_four_devices_meets_the_logged_probabilities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a state were not the one acted from, the ratio would not be 1 before the first step.

    Method: one epoch of one batch, so that approx_kl is of before it. The few actions chosen by the
    version before make it no more than small; states that flow from run to run make it large,
    where the policy has come to lean on what it remembers, as with this seed.
    """
    parameters = {"n_steps": "96", "batch_size": "96", "n_epochs": "1", "lstm_hidden_size": "16"}
    # A device that is new acts as nobody, and is learnt from as itself: its ratio is not 1.
    alike = parameters | {"device_slots": "0"}
    agent = cartpole("RecurrentPPO", seed=5, learning_rate="3e-2", **alike)
    hub = Hub(agent, tmp_path, handover_steps=0)
    run(hub, "CartPole-v1", devices=4, steps_max=900, threshold=1e9)
    kls = first_kls(hub.versions)
    assert len(kls) > 5
    assert max(kls) < 2e-3, kls
    monkeypatch.setattr(_Buffer, "_get_samples", RecurrentRolloutBuffer._get_samples)
    _, versions = resumed(replace_log(hub, hub.log, tmp_path / "flowing"), None)
    assert max(first_kls(versions)) > 10 * max(kls)


def first_kls(versions: list[Made]) -> list[float]:
    return [abs(made.policy.metrics["approx_kl"]) for made in versions if made.update]


def test_where_the_actor_began_anew_the_trainer_does(tmp_path: Path) -> None:
    """An actor was killed in mid-episode: its next action says that it remembers nothing."""
    hub = devices(small("RecurrentPPO"), tmp_path / "before", steps=300)
    memories = [
        (event.device, drawn_of(event.payload).memory)
        for event in hub.log
        if event.kind is Kind.ACTION
    ]
    assert {memory for _, memory in memories} > {0, 1, 2}
    whole = trained(hub.agent, hub.log, tmp_path / "whole", sharing="shared")
    lost = [begun_anew(event) for event in hub.log]
    assert lost != hub.log
    less = trained(hub.agent, lost, tmp_path / "lost", sharing="shared")
    assert not np.array_equal(whole["lstm_actor.weight_hh_l0"], less["lstm_actor.weight_hh_l0"])
    _, versions = resumed(replace_log(hub, lost, tmp_path), None)
    assert sum(made.update.dropped for made in versions if made.update) == 0


def test_an_actor_that_began_anew_and_was_late_to_say_so_is_followed(tmp_path: Path) -> None:
    """Its first two answers were too late: the fallback's actions have no memory."""
    hub = devices(small("RecurrentPPO"), tmp_path / "before", steps=500)
    log = [late(begun_anew(event)) for event in hub.log]
    _, versions = resumed(replace_log(hub, log, tmp_path), None)
    assert len(versions) > 2
    assert sum(made.update.dropped for made in versions if made.update) == 0
    _, again = resumed(hub, logged(versions[1]))
    assert names(again) == names(versions[2:])
    strange = [replace(e, payload='{"memory":2}') if memory_of(e) == 3 else e for e in log]
    assert strange != log
    _, others = resumed(replace_log(hub, strange, tmp_path / "strange"), None)
    assert sum(made.update.dropped for made in others if made.update) > 0


def late(event: Event) -> Event:
    """Where the actor had begun anew in mid-episode, and the step after, the fallback acted."""
    if event.kind is not Kind.ACTION or event.step is None or event.step % 7 > 1:
        return event
    return replace(event, source=Source.FALLBACK, payload=None, logprob=None, value=None)


def memory_of(event: Event) -> int | None:
    return drawn_of(event.payload).memory if event.kind is Kind.ACTION else None


def replace_log(hub: Hub, log: list[Event], folder: Path) -> Hub:
    hub.log, hub.folder = log, folder
    return hub


def begun_anew(event: Event) -> Event:
    """The actor forgot before the fourth step of each episode."""
    memory = drawn_of(event.payload).memory if event.kind is Kind.ACTION else None
    if memory is None or memory < 3:
        return event
    return replace(event, payload=payload_of(Drawn(memory=memory - 3)))


def misremembered(event: Event) -> Event:
    """On one device, an action says another memory than the trainer can know of."""
    memory = drawn_of(event.payload).memory if event.kind is Kind.ACTION else None
    if memory is None or event.device != "device-1" or memory < 3:
        return event
    return replace(event, payload=payload_of(Drawn(memory=memory + 5)))


def test_steps_of_which_the_trainer_does_not_know_the_memory_are_left_out(
    tmp_path: Path,
) -> None:
    hub = devices(small("RecurrentPPO"), tmp_path / "before", steps=500)
    log = [misremembered(event) for event in hub.log]
    _, versions = resumed(replace_log(hub, log, tmp_path), None)
    dropped = sum(made.update.dropped for made in versions if made.update)
    strange = sum(
        event.device == "device-1" and (drawn_of(event.payload).memory or 0) > 3
        for event in hub.log
        if event.kind is Kind.ACTION
    )
    assert 0 < dropped <= strange


class Recall(gymnasium.Env[Any, Any]):
    """Shows a sign once, and pays at the end for naming it."""

    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), dtype=np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """A new sign."""
        super().reset(seed=seed, options=options)
        self._sign, self._steps = int(self.np_random.integers(2)), 0
        return np.array([2.0 * self._sign - 1.0, 0.0], dtype=np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """The second number says that now is the time."""
        self._steps += 1
        over = self._steps == DELAY
        paid = float(over and int(action) == self._sign)
        asked = float(self._steps == DELAY - 1)
        return np.array([0.0, asked], dtype=np.float32), paid, over, False, {}


gymnasium.register("Recall-v0", lambda **_: Recall(), order_enforce=False, disable_env_checker=True)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_it_learns_what_no_policy_without_memory_can(tmp_path: Path, seed: int) -> None:
    """Without memory the best mean return is 0.5, and 20 of 20 comes once in a million runs."""
    agent = agent_of(
        "RecurrentPPO",
        [[2], -1.0, 1.0],
        2,
        seed=seed,
        lstm_hidden_size="16",
        net_arch="16",
        n_steps="256",
        batch_size="128",
        learning_rate="3e-3",
        gae_lambda="0.95",
    )
    outcome = run(Hub(agent, tmp_path), "Recall-v0", devices=4, steps_max=20_000, threshold=1.0)
    assert outcome.solved_at is not None, outcome.returns[-20:]
    assert np.mean(outcome.returns[:40]) < 0.8
