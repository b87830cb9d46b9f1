"""The rows of Stable-Baselines3 and sb3-contrib: adding one is a row here and a case in its tests.

    ALGORITHMS["PPO"].family                 # "on_policy"
    installed(ALGORITHMS["TQC"].library)     # whether it is there

A row names the library's own class, unmodified, and says which of its tensors act. Sheepfold's own
rows are in `reference.py`, those of other packages are found by `elsewhere.py`.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Final

from msgspec import structs

from hub.learner.algorithms.row import Algorithm, Head, PolicyKind
from hub.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Space


def _actor_critic(kind: PolicyKind, *, spread: str | None = None) -> Head:
    return Head(
        kind,
        hidden="mlp_extractor.policy_net",
        last="action_net",
        value_hidden="mlp_extractor.value_net",
        value_last="value_net",
        spread=spread,
    )


_ON_POLICY: Final[dict[type[Space], Head]] = {
    Discrete: _actor_critic("categorical"),
    Box: _actor_critic("gaussian", spread="log_std"),
    MultiDiscrete: _actor_critic("multi_categorical"),
    MultiBinary: _actor_critic("bernoulli"),
}
_MASKABLE: Final[dict[type[Space], Head]] = {
    Discrete: _actor_critic("categorical"),
    MultiDiscrete: _actor_critic("multi_categorical"),
    MultiBinary: _actor_critic("multi_categorical"),  # two choices a switch
}
_SQUASHED: Final[dict[type[Space], Head]] = {
    Box: Head(
        "squashed_gaussian",
        "actor.latent_pi",
        "actor.mu",
        spread="actor.log_std",
        extractor="actor.features_extractor",
    )
}
_DETERMINISTIC: Final[dict[type[Space], Head]] = {
    Box: Head("deterministic", "actor.mu", None, extractor="actor.features_extractor")
}
_Q: Final[dict[type[Space], Head]] = {
    Discrete: Head("epsilon_greedy", "q_net.q_net", None, extractor="q_net.features_extractor")
}
_QUANTILES: Final[dict[type[Space], Head]] = {
    Discrete: Head(
        "epsilon_greedy_quantiles",
        "quantile_net.quantile_net",
        None,
        extractor="quantile_net.features_extractor",
    )
}

_UNSCALED: Final = {
    "norm_obs": "false",
    "norm_reward": "false",
    "clip_obs": "10",
    "clip_reward": "10",
}
"""VecNormalize's names; what SB3 does not do by itself either."""
_HINDSIGHT: Final = {
    "replay_buffer": "uniform",
    "n_sampled_goal": "4",
    "goal_selection_strategy": "future",
    "goal_reward": "none",
}
"""Those of SB3's HerReplayBuffer, but for the reward, which SB3 asks of an environment."""
_TOLD_APART: Final = {"device_slots": "64"}
"""Devices; of more than so many the later ones act alike."""
_DQN_DEFAULTS: Final = _HINDSIGHT | {
    "net_arch": "128,128",
    "activation_fn": "relu",
    "learning_rate": "5e-4",
    "buffer_size": "100000",
    "learning_starts": "1000",
    "batch_size": "128",
    "train_freq": "8",
    "gradient_steps": "4",
    "tau": "0.01",
    "target_update_interval": "1",
    "exploration_fraction": "0.1",
    "exploration_final_eps": "0.02",
    "total_timesteps": "50000",
    "publish_every": "64",
}
_CONTINUOUS_DEFAULTS: Final = _HINDSIGHT | {
    "net_arch": "64,64",
    "activation_fn": "relu",
    "learning_rate": "1e-3",
    "buffer_size": "100000",
    "learning_starts": "500",
    "batch_size": "256",
    "total_timesteps": "100000",
    "publish_every": "64",
}
_PPO_DEFAULTS: Final = {
    "net_arch": "64,64",
    "activation_fn": "tanh",
    "learning_rate": "1e-3",
    "n_steps": "256",
    "batch_size": "256",
    "n_epochs": "20",
    "gamma": "0.98",
    "gae_lambda": "0.8",
    "total_timesteps": "100000",
}

_ROWS: Final = (
    Algorithm("PPO", "on_policy", _ON_POLICY, _PPO_DEFAULTS),
    Algorithm(
        "A2C",
        "on_policy",
        _ON_POLICY,
        {
            "net_arch": "64,64",
            "activation_fn": "tanh",
            "learning_rate": "2e-3",
            "n_steps": "64",
            "gamma": "0.98",
            "gae_lambda": "0.8",
            "normalize_advantage": "true",
            "total_timesteps": "100000",
        },
    ),
    Algorithm(
        "DQN",
        "off_policy",
        _Q,
        _DQN_DEFAULTS,
    ),
    Algorithm("SAC", "off_policy", _SQUASHED, _CONTINUOUS_DEFAULTS),
    Algorithm(
        "TD3",
        "off_policy",
        _DETERMINISTIC,
        _CONTINUOUS_DEFAULTS | {"action_noise": "normal_0.1"},
    ),
    Algorithm(
        "DDPG",
        "off_policy",
        _DETERMINISTIC,
        _CONTINUOUS_DEFAULTS | {"action_noise": "normal_0.1"},
    ),
    Algorithm(
        "TRPO",
        "on_policy",
        _ON_POLICY,
        {
            "net_arch": "64,64",
            "activation_fn": "tanh",
            "n_steps": "512",
            "n_critic_updates": "20",
            "total_timesteps": "100000",
        },
        library="sb3_contrib",
    ),
    Algorithm(
        "RecurrentPPO",
        "on_policy",
        _ON_POLICY,
        _PPO_DEFAULTS | {"lstm_hidden_size": "64", "n_epochs": "10"},
        library="sb3_contrib",
        recurrent=True,
    ),
    Algorithm("MaskablePPO", "on_policy", _MASKABLE, _PPO_DEFAULTS, library="sb3_contrib"),
    Algorithm(
        "QRDQN",
        "off_policy",
        _QUANTILES,
        _DQN_DEFAULTS,
        library="sb3_contrib",
    ),
    Algorithm("TQC", "off_policy", _SQUASHED, _CONTINUOUS_DEFAULTS, library="sb3_contrib"),
    Algorithm(
        "CrossQ",
        "off_policy",
        _SQUASHED,
        {name: text for name, text in _CONTINUOUS_DEFAULTS.items() if name not in _HINDSIGHT},
        library="sb3_contrib",
        dicts=False,
        images=False,
        normalised=True,
    ),
)
ALGORITHMS: Final = {
    row.name: structs.replace(
        row, defaults=row.defaults | _UNSCALED | (_TOLD_APART if row.dicts else {})
    )
    for row in _ROWS
}
"""By name. Defaults are tuned on small control tasks with four devices."""


EXTRA: Final = {"sb3_contrib": "sheepfold[contrib]"}
"""What to install for a library that Sheepfold itself does not need."""


@cache
def installed(library: str) -> bool:
    """Whether a library is there; looked up without importing it."""
    return find_spec(library) is not None
