"""A device whose numbers no network can take costs itself what it could learn, and nobody else."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from msgspec.structs import replace

from hub.learner.largest import LARGEST
from hub.words import Floats
from tests.learning.harness import Hub, agent_of, cartpole, walk
from tests.learning.test_resume import (
    FILES_KEPT,
    OFF_POLICY,
    SMALL,
    logged,
    names,
    resumed,
    scaled,
    task_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from hub.words import Agent, Event

BROKEN: Final = "device-1"
BOUNDLESS: Final = ([[3], "-inf", "inf"], [[1], -2.0, 2.0])
RELU: Final = cartpole("PPO", seed=3, activation_fn="relu", **SMALL["PPO"])
DQN: Final = cartpole("DQN", seed=3, **OFF_POLICY)
SAC: Final = agent_of("SAC", *BOUNDLESS, seed=3, **OFF_POLICY)
TD3: Final = agent_of("TD3", *BOUNDLESS, seed=3, **OFF_POLICY)
GAUSSIAN: Final = agent_of("PPO", *BOUNDLESS, seed=3, activation_fn="relu", **SMALL["PPO"])
AGENTS: Final = [RELU, scaled(RELU), DQN, SAC, TD3, GAUSSIAN]
TITLES: Final = ["PPO with relu", "PPO scaled", "DQN", "SAC", "TD3", "PPO with a Box"]


class Breaking:
    """A hub, to which one device sends what its sensor can't have seen."""

    def __init__(self, hub: Hub, *, observation: float | None, reward: float | None) -> None:
        self.agent = hub.agent
        self._hub = hub
        self._observation = observation
        self._reward = reward

    def answer(self, observation: Event, mask: bytes | None = None) -> Any:
        """As the hub answers."""
        if observation.device == BROKEN and self._observation is not None:
            assert observation.obs is not None
            values = np.frombuffer(observation.obs, dtype="<f4")
            values = np.where(values > 0, 1, -1) * np.float32(self._observation)
            observation = replace(observation, obs=Floats(values.astype("<f4").tobytes()))
        if observation.device == BROKEN and self._reward is not None and not observation.first:
            observation = replace(observation, reward=self._reward)
        return self._hub.answer(observation, mask)


def lived(agent: Agent, folder: Path, **broken: float | None) -> Hub:
    """Three devices, and one that is broken."""
    hub = Hub(agent, folder, policies_kept=FILES_KEPT)
    breaking = Breaking(hub, **{"observation": None, "reward": None} | broken)
    for _ in islice(walk(breaking, task_of(agent), 4), 700):
        pass
    return hub


@pytest.mark.parametrize("agent", AGENTS, ids=TITLES)
@pytest.mark.parametrize("broken", [{"observation": 3e38}, {"reward": 1e30}], ids=str)
def test_the_others_go_on_learning_and_a_resume_leaves_out_the_same(
    tmp_path: Path, agent: Agent, broken: dict[str, float], capsys: pytest.CaptureFixture[str]
) -> None:
    hub = lived(agent, tmp_path, **broken)
    assert len(hub.versions) > 3
    said = [line for line in capsys.readouterr().err.splitlines() if "too large" in line]
    assert len(said) == 1
    assert f"device {BROKEN!r}" in said[0]
    assert all(map(is_finite, hub.log))
    _, again = resumed(hub, logged(hub.versions[2]))
    assert names(again) == names(hub.versions[3:])


def is_finite(event: Event) -> bool:
    """Its action, and all that is told of it."""
    action = np.frombuffer(event.action or b"", dtype="<f4")
    told = [number for number in (event.logprob, event.value) if number is not None]
    return bool(np.isfinite(action).all() and np.isfinite(told).all())


@pytest.mark.parametrize("agent", [RELU, DQN], ids=["PPO with relu", "DQN"])
def test_what_is_large_and_can_be_learnt_from_is(
    tmp_path: Path, agent: Agent, capsys: pytest.CaptureFixture[str]
) -> None:
    hub = lived(agent, tmp_path, observation=LARGEST / 2, reward=LARGEST)
    assert len(hub.versions) > 3
    said = capsys.readouterr().err
    assert "too large" not in said
    assert "was dropped" not in said
