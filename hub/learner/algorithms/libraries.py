"""The algorithms there are, one row each: adding one is a row here and a case in its tests.

    ALGORITHMS["PPO"].family                 # "on_policy"
    installed(ALGORITHMS["TQC"].library)     # whether it is there

No torch: the hub reads this to refuse what can't be learnt, and the trainer to open what can.
A row names the library's own class, unmodified, and says which of its tensors act. Rows of
algorithms from elsewhere are found by `elsewhere.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Literal

from msgspec import Struct, structs

from hub.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Space
from hub.words import EXTERNAL

if TYPE_CHECKING:
    from hub.learner.algorithms.parameters import Parameters
    from hub.words import Agent

PolicyKind = Literal[
    "categorical",
    "multi_categorical",
    "bernoulli",
    "gaussian",
    "epsilon_greedy",
    "epsilon_greedy_quantiles",
    "squashed_gaussian",
    "state_dependent",
    "squashed_state_dependent",
    "deterministic",
    "own",
]
"""How an action is drawn from what the network gives; `own` = by a class that the row names."""
Family = Literal["on_policy", "off_policy", "none"]
"""`none` = nothing is learnt here: a remote learner acts."""


class Head(Struct, frozen=True):
    """Which of a library's layers choose actions of one kind of space."""

    kind: PolicyKind
    hidden: str = ""
    """The sequence of hidden layers; every other one of them is an activation."""
    last: str | None = None
    """The linear layer behind it; None = the sequence has it at its end."""
    value_hidden: str | None = None
    """The same for V(o); None where there is none."""
    value_last: str | None = None
    spread: str | None = None
    """Gaussians: the tensor, or the linear layer beside `last`, of log(standard deviation)."""
    extractor: str = "features_extractor"
    """The module that makes a vector of an image, before `hidden`."""


class Algorithm(Struct, frozen=True):
    """One class of Stable-Baselines3 or sb3-contrib, or a learner from elsewhere."""

    name: str
    """The class's name; elsewhere the entry point's."""
    family: Family
    heads: dict[type[Space], Head]
    """By the action spaces it takes."""
    defaults: dict[str, str]
    """Parameters where they are not the library's own defaults."""
    library: str = "stable_baselines3"
    dicts: bool = True
    """It takes Dict observations."""
    images: bool = True
    """It takes images, which then go through a convolutional network."""
    recurrent: bool = False
    """Between observations it keeps the states of two LSTMs, for its actions and for V(o)."""
    normalised: bool = False
    """Its layers are folded with their batch normalisation before they act."""
    learner: str = "hub.learner.sb3.library:Library"
    """`module:class` of the Learner; imported by trainers only, called with agent and parameters.
    What follows is for algorithms from elsewhere."""
    parameters: dict[str, str] | None = None
    """Names and kinds (`READERS` in `parameters.py`); None = in the generated table."""
    observations: tuple[type[Space], ...] | None = None
    """The observation spaces it takes; None = all."""
    chooser: str | None = None
    """`module:class` of the OwnChooser, where a head's kind is `own`."""
    check: Callable[[Agent, Parameters], None] | None = None
    """Refuses agents that it can't learn (`OperatorFault`); called in the hub, without numpy."""


def with_sde(head: Head) -> Head:
    """The head of the same algorithm when its noise depends on the state (gSDE).

    Raises:
        KeyError: it has no such noise.
    """
    kind = {"gaussian": "state_dependent", "squashed_gaussian": "squashed_state_dependent"}
    last = "actor.mu.0" if head.last == "actor.mu" else head.last  # a clip stands behind it
    return structs.replace(head, kind=kind[head.kind], last=last)


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
    "publish_every": "256",
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
    row.name: structs.replace(row, defaults=row.defaults | _UNSCALED) for row in _ROWS
}
"""By name. Defaults are tuned on small control tasks with four devices."""

REMOTE: Final = Algorithm(
    EXTERNAL,
    "none",
    {space: Head("own") for space in (Discrete, Box, MultiDiscrete, MultiBinary)},
    {},
    library="elsewhere",
    parameters={},
)
"""No learner of the hub's: a remote one acts, over HTTP."""

EXTRA: Final = {"sb3_contrib": "sheepfold[contrib]"}
"""What to install for a library that Sheepfold itself does not need."""


@cache
def installed(library: str) -> bool:
    """Whether a library is there; looked up without importing it."""
    return find_spec(library) is not None
