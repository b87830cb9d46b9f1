"""What an algorithm is to the hub: one row, and the parameters that its learner is made with.

    ROW = Algorithm("Averages", "off_policy", {Discrete: Head("epsilon_greedy")}, ...)

No torch and no numpy: the hub reads rows to refuse what can't be learnt, and trainers to open what
can. A row says which of a learner's tensors act, and names its class without importing it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from msgspec import Struct, structs

from hub.spaces import Space

if TYPE_CHECKING:
    from hub.learner.algorithms.goals import Hindsight
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
Activation = Literal["tanh", "relu", "elu", "leaky_relu"]


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
    """Names and kinds (`READERS` in `values.py`); None = in the generated table."""
    observations: tuple[type[Space], ...] | None = None
    """The observation spaces it takes; None = all."""
    chooser: str | None = None
    """`module:class` of the OwnChooser, where a head's kind is `own`."""
    check: Callable[[Agent, Parameters], None] | None = None
    """Refuses agents that it can't learn (`OperatorFault`); called in the hub, without numpy."""


AdviceChoice = Literal["bandit", "random"]
"""How a replica's adviser is chosen."""


class GuardRule(Struct, frozen=True):
    """How a shared policy is kept from failing a device, or from being spoilt by one."""

    episodes: int
    """That a device must trail, and that are compared."""
    forks: int
    """Devices that may have a network of their own at a time."""


class Parameters(Struct, frozen=True):
    """Everything that makes an agent's algorithm."""

    arguments: dict[str, Argument]
    """Of the constructor, by its own names."""
    net_arch: tuple[int, ...]
    activation_fn: Activation
    total_timesteps: int
    publish_every: int
    action_noise: float
    """Standard deviation of the noise on an action scaled to [-1, 1]; 0 = none."""
    noise_drifts: bool
    """The noise is Ornstein and Uhlenbeck's, which goes on from step to step."""
    norm_obs: bool
    norm_reward: bool
    clip_obs: float
    """Scaled observations beyond this are cut to it."""
    clip_reward: float
    lstm_hidden_size: int
    """0 where there is no LSTM."""
    device_slots: int
    """Devices that the policy can tell apart; 0 = which one it is makes no difference to it."""
    replicas: int
    """Devices that have a network of their own; 0 = all have one together."""
    advice_choice: AdviceChoice | None
    """None where replicas do not advise each other."""
    hindsight: Hindsight | None
    """None where episodes are replayed as they were."""
    guard: GuardRule | None = None
    """Of a policy that devices share; None = nobody looks after them."""

    @property
    def use_sde(self) -> bool:
        """Noise depends on the state (gSDE)."""
        return self.arguments.get("use_sde") is True


class Fall(Struct, frozen=True):
    """A value that falls in a straight line over `total_timesteps`, then stays."""

    start: float
    end: float


Argument = int | float | bool | str | Fall | None


def with_sde(head: Head) -> Head:
    """The head of the same algorithm when its noise depends on the state (gSDE).

    Raises:
        KeyError: it has no such noise.
    """
    kind = {"gaussian": "state_dependent", "squashed_gaussian": "squashed_state_dependent"}
    last = "actor.mu.0" if head.last == "actor.mu" else head.last  # a clip stands behind it
    return structs.replace(head, kind=kind[head.kind], last=last)
