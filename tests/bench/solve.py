"""How long CartPole-v1 takes from the first observation to 475, beside Stable-Baselines3 alone.

python -m tests.bench.solve [SEEDS]

The hub learns PPO with its defaults from four devices, two over MQTT and two over HTTP, log and
all; SB3 learns it in one process from four environments with the same parameters, as many
transitions an update. Both end when the mean return of the last 20 training episodes is 475.
Seconds of the clock, in turn on the same machine: only their ratio is to be quoted.
"""

from __future__ import annotations

import hub.learner.one_thread  # noqa: F401 - before numpy and torch

# isort: split
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, median
from typing import Final

import gymnasium
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from hub.learner.algorithms.parameters import read_parameters
from hub.learner.sb3.drive import ACTIVATIONS
from tests.acceptance.real_hub import RealHub, until
from tests.acceptance.test_learning_kills import EPISODES, Carts
from tests.bench.table import table
from tests.learning.harness import cartpole

RETURN: Final = 475.0
ENVIRONMENTS: Final = 4
STEPS_MAX: Final = 150_000
PATIENCE_S: Final = 900.0


def through_the_hub(folder: Path, seed: int) -> tuple[float, int]:
    """Seconds and transitions."""
    hub = RealHub(folder / f"data-{seed}")
    hub.start()
    try:
        with Carts(hub, seed=seed) as carts:
            until(lambda: carts.steps > 0, "the first observation")
            began = time.perf_counter()
            until(
                lambda: carts.learned(RETURN) or carts.steps > STEPS_MAX,
                f"a return of {RETURN}",
                timeout_s=PATIENCE_S,
            )
            return time.perf_counter() - began, carts.steps
    finally:
        hub.end()


def in_one_process(seed: int) -> tuple[float, int]:
    """The same of SB3."""
    torch.set_num_threads(1)
    parameters = read_parameters(cartpole("PPO", seed=seed))
    arguments = dict(parameters.arguments)
    rollout = arguments.pop("n_steps")
    assert isinstance(rollout, int), "the table says so"
    envs = DummyVecEnv([lambda: Monitor(gymnasium.make("CartPole-v1"))] * ENVIRONMENTS)
    model = PPO(
        "MlpPolicy",
        envs,
        n_steps=rollout // ENVIRONMENTS,
        policy_kwargs={
            "net_arch": list(parameters.net_arch),
            "activation_fn": ACTIVATIONS[parameters.activation_fn],
        },
        seed=seed,
        device="cpu",
        **arguments,  # type: ignore[arg-type]  # of the names that SB3's own signature has
    )
    began = time.perf_counter()
    model.learn(STEPS_MAX, callback=_Until())
    return time.perf_counter() - began, model.num_timesteps


class _Until(BaseCallback):
    """Stops when the last episodes were long."""

    def _on_step(self) -> bool:
        buffer = self.model.ep_info_buffer
        assert buffer is not None, "made by learn()"
        newest = [float(episode["r"]) for episode in list(buffer)[-EPISODES:]]
        return len(newest) < EPISODES or mean(newest) < RETURN


def main(seeds: int = 3) -> None:
    """Print a row a seed, and the ratio of the medians."""
    rows = []
    times: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1, seeds + 1):
            alone_s, alone = in_one_process(seed)
            hub_s, steps = through_the_hub(Path(folder), seed)
            times.append((hub_s, alone_s))
            rows.append([str(seed), f"{hub_s:.1f}", f"{steps:,}", f"{alone_s:.1f}", f"{alone:,}"])
            sys.stderr.write(f"seed {seed}: hub {hub_s:.1f} s, SB3 {alone_s:.1f} s\n")
    lines = table(["seed", "hub s", "transitions", "SB3 s", "transitions"], rows)
    ratio = median(one for one, _ in times) / median(other for _, other in times)
    sys.stdout.write("\n".join([*lines, "", f"ratio of the medians: {ratio:.2f}"]) + "\n")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
