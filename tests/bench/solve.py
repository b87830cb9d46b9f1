"""How long CartPole-v1 takes from the first observation to 475, beside Stable-Baselines3 alone.

python -m tests.bench.solve [SEEDS [mqtt|http|both]]

The hub learns PPO with its defaults from four devices, over MQTT, over HTTP, or two and two, log
and all; SB3 learns it in one process from four environments with the same parameters, as many
transitions an update. Both end when the mean return of the last 20 training episodes is 475.
Seconds of the clock, in turn on the same machine: only their ratio is to be quoted, and of many
seeds, for transitions scatter by half.
"""

from __future__ import annotations

import hub.learner.one_thread  # noqa: F401 - before numpy and torch

# isort: split
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, median
from typing import Final, Literal, get_args

import gymnasium
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

from hub.learner.algorithms.parameters import read_parameters
from hub.learner.sb3.model import ACTIVATIONS
from tests.acceptance.real_hub import HOST, RealHub, until
from tests.bench.carts import EPISODES, Cart
from tests.bench.load import Load
from tests.bench.table import table
from tests.bench.talk import MqttTalk, NativeTalk, Talk
from tests.learning.harness import cartpole

RETURN: Final = 475.0
ENVIRONMENTS: Final = 4
STEPS_MAX: Final = 150_000
LOOK_S: Final = 0.1
"""Between two looks at whether it is learnt."""

Protocol = Literal["mqtt", "http", "both"]
"""Of the devices."""


def through_the_hub(folder: Path, seed: int, protocol: Protocol = "both") -> tuple[float, int]:
    """Seconds and transitions."""
    hub = RealHub(folder / f"data-{seed}")
    hub.start()
    try:
        key = hub.make_agent("cart", parameters={})
        returns: list[float] = []
        carts = [Cart(seed=10 * seed + i, returns=returns) for i in range(ENVIRONMENTS)]
        talks: list[tuple[int, Talk]] = []
        for i, cart in enumerate(carts):
            if protocol == "http" or (protocol == "both" and i % 2):
                talks.append((hub.ready.http, NativeTalk(f"cart-{i}", key, cart.says)))
            else:
                talks.append((hub.ready.mqtt, MqttTalk(f"cart-{i}", key, cart.says)))
        await_learners(hub)
        began = time.perf_counter()
        with Load(HOST, talks) as load:
            while not learned(returns) and sum(cart.steps for cart in carts) < STEPS_MAX:
                load.run(LOOK_S)
            return time.perf_counter() - began, sum(cart.steps for cart in carts)
    finally:
        hub.end()


def await_learners(hub: RealHub) -> None:
    """Until a policy acts: the hub imports torch for a few seconds when it starts."""
    key = hub.make_agent("first", parameters={})
    with Load(HOST, [(hub.ready.http, NativeTalk("early", key, Cart(0, []).says))]) as load:
        until(lambda: load.run(LOOK_S).seconds and "actor-first" in hub.processes, "a policy acts")


def learned(returns: list[float]) -> bool:
    """The last episodes were long."""
    newest = returns[-EPISODES:]
    return len(newest) == EPISODES and mean(newest) >= RETURN


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
        return not learned([float(episode["r"]) for episode in buffer])


def main(seeds: str = "3", protocol: Protocol = "both") -> None:
    """Print a row a seed, and the ratio of the medians."""
    assert protocol in get_args(Protocol), f"{protocol!r} is none of {get_args(Protocol)}"
    rows = []
    times: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(1, int(seeds) + 1):
            alone_s, alone = in_one_process(seed)
            hub_s, steps = through_the_hub(Path(folder), seed, protocol)
            times.append((hub_s, alone_s))
            rows.append([str(seed), *_columns(hub_s, steps), *_columns(alone_s, alone)])
            sys.stderr.write(f"seed {seed}: hub {hub_s:.1f} s, SB3 {alone_s:.1f} s\n")
    each = ["transitions", "us each"]
    lines = table(["seed", "hub s", *each, "SB3 s", *each], rows)
    ratio = median(one for one, _ in times) / median(other for _, other in times)
    sys.stdout.write("\n".join([*lines, "", f"ratio of the medians: {ratio:.2f}"]) + "\n")


def _columns(seconds: float, transitions: int) -> list[str]:
    return [f"{seconds:.1f}", f"{transitions:,}", f"{1e6 * seconds / transitions:.0f}"]


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]  # it says what is none of them
