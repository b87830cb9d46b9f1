"""What each parameter means, for people who fill in a form; checked to name every parameter.

fields(ALGORITHMS["PPO"])      # in the order of the form: name, kind, default, bounds, a sentence
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from hub.learner.algorithms import values
from hub.learner.algorithms.parameters import ADVICE_CHOICE, GUARD, OWN, table_of

if TYPE_CHECKING:
    from hub.learner.algorithms.row import Algorithm

HELP: Final[dict[str, str]] = {
    "learning_rate": "How far one update moves the weights. Too high, and it never settles.",
    "n_steps": "Transitions of all devices that one update is made from. Where more wait for the "
    "trainer by then, and the network is small, PPO, A2C and TRPO take along up to eight times as "
    "many.",
    "batch_size": "Transitions that one gradient step looks at together.",
    "n_epochs": "How often an update goes over its transitions.",
    "gamma": "What a reward one step later is worth. 0.99 looks about 100 steps ahead.",
    "gae_lambda": "Between one-step estimates of an advantage (0) and whole episodes (1).",
    "clip_range": "How far an update may move an action's probability, as a ratio.",
    "clip_range_vf": "The same for the estimated value; none = not limited.",
    "normalize_advantage": "Scale the advantages of a batch to mean 0 and deviation 1.",
    "ent_coef": "What uncertainty is worth: higher explores more. auto learns it (SAC, TQC).",
    "vf_coef": "Weight of the value's error beside the policy's.",
    "max_grad_norm": "Longest gradient; a longer one is shortened to it.",
    "use_sde": "Exploration noise that depends on the state (gSDE): smoother for motors.",
    "sde_sample_freq": "Steps after which that noise is drawn anew; -1 = with each version.",
    "target_kl": "An update ends early when the policy has moved so far; none = it does not.",
    "rms_prop_eps": "Added under RMSProp's root, so that nothing is divided by 0.",
    "use_rms_prop": "RMSProp as the optimiser, as in the paper; else Adam.",
    "buffer_size": "Transitions kept to learn from again. More take more memory.",
    "learning_starts": "Transitions that are gathered before the first gradient step.",
    "tau": "How fast the target network follows: 1 = it is copied.",
    "train_freq": "Transitions between two times of training.",
    "gradient_steps": "Gradient steps each time; -1 = as many as transitions came in.",
    "target_update_interval": "Gradient steps between two updates of the target network.",
    "exploration_fraction": "Share of total_timesteps in which chance falls to its final value.",
    "exploration_initial_eps": "Share of actions that are chance, at the beginning.",
    "exploration_final_eps": "Share of actions that are chance, in the end.",
    "target_entropy": "Uncertainty that auto aims at; auto = by the number of actions.",
    "policy_delay": "Gradient steps of the values for one of the policy.",
    "target_policy_noise": "Noise on the target's action, so that it holds for near ones too.",
    "target_noise_clip": "Largest such noise.",
    "cg_max_steps": "Steps of the conjugate gradient that finds the direction.",
    "cg_damping": "Added to the Hessian, so that the direction stays stable.",
    "line_search_shrinking_factor": "By which a step that went too far is shortened.",
    "line_search_max_iter": "How often it is shortened before it is given up.",
    "n_critic_updates": "Updates of the value for one of the policy.",
    "sub_sampling_factor": "Of so many transitions one is used for the direction.",
    "top_quantiles_to_drop_per_net": "Highest estimates of a network left out, against optimism.",
    "bins": "Cells that each number of an observation is cut into.",
    "critics": "Independent estimates of the action values.",
    "critic_updates": "Updates of each critic for a batch.",
    "critic_epochs": "How often a critic goes over its batch.",
    "alpha": "Step size of the critics' Q-learning.",
    "actor_epochs": "How often the actor goes over its batch.",
    "lambda": "How far the actor moves towards what a critic holds for the best.",
    "net_arch": "Widths of the hidden layers, the first one first: 64,64.",
    "activation_fn": "What stands behind each hidden layer.",
    "total_timesteps": "Length of schedules, in transitions of all devices.",
    "publish_every": "Transitions between two versions of the policy.",
    "action_noise": "Exploration: normal_0.1, ou_0.1 (which drifts) or none.",
    "norm_obs": "Scale observations by the mean and deviation of what was seen.",
    "norm_reward": "Scale rewards by the deviation of their discounted sum.",
    "clip_obs": "Scaled observations beyond this are cut to it.",
    "clip_reward": "Scaled rewards beyond this are cut to it.",
    "lstm_hidden_size": "How much the policy can remember.",
    "replay_buffer": "uniform, or her: episodes replayed with other goals.",
    "n_sampled_goal": "Goals that each step is replayed with (her).",
    "goal_selection_strategy": "Which later steps become goals (her): future, final or episode.",
    "goal_reward": "The reward for any goal (her): 0 if distance < 0.05 else -1.",
    "device_slots": "Devices the policy can tell apart, or that have a network of their own.",
    ADVICE_CHOICE: "With advice: bandit learns whom to ask, random asks anybody.",
    "guard": "Of a shared policy: look for devices that it fails, and for rewards that are false.",
    "guard_episodes": "Episodes below its peers' median until a device gets a policy on trial.",
    "guard_forks": "Devices that may have a policy of their own beside the shared one, at a time.",
}
CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "activation_fn": tuple(values.ACTIVATIONS),
    "norm_obs": ("true", "false"),
    "norm_reward": ("true", "false"),
    "replay_buffer": ("uniform", "her"),
    "goal_selection_strategy": ("future", "final", "episode"),
    ADVICE_CHOICE: ("bandit", "random"),
    "guard": ("on", "off"),
}
WHOLE: Final = (
    "total_timesteps", "publish_every", "lstm_hidden_size", "n_sampled_goal", "device_slots",
    "guard_episodes", "guard_forks",
)  # fmt: skip
"""Of the hub's own parameters those that are whole numbers."""


class Field(Struct, frozen=True):
    """One parameter of a form."""

    name: str
    default: str | None
    """None = the library's own."""
    help: str
    bounds: str
    """What may be written."""
    choices: tuple[str, ...] = ()
    """Empty = anything within bounds."""


def fields(row: Algorithm) -> list[Field]:
    """All parameters of an algorithm, its constructor's first."""
    table = table_of(row)
    names = [*table, *(name for name in OWN if name in row.defaults)]
    if row.family != "none":
        names += [ADVICE_CHOICE, *GUARD]
    return [_field(name, table.get(name), row) for name in names]


def _field(name: str, kind: str | None, row: Algorithm) -> Field:
    usual = ({ADVICE_CHOICE: "bandit"} | GUARD).get(name)
    choices = ("true", "false") if kind == "bool" else CHOICES.get(name, ())
    return Field(
        name=name,
        default=row.defaults.get(name, usual),
        help=HELP.get(name, ""),
        bounds="" if choices else _bounds(name, kind),
        choices=choices,
    )


def _bounds(name: str, kind: str | None) -> str:
    if kind == "int" or name in WHOLE:
        least = values.MINIMA.get(name, 1)
        return f"whole number, {least} to {values.MAXIMA.get(name, values.COUNT_MAX):,}"
    if kind is None:
        return ""
    none = ", or none" if kind.endswith("?") else ""
    if name in values.SHARES:
        return f"0 to 1{none}"
    if kind.startswith("schedule"):
        return f"number, or lin_1e-3_1e-4 to fall{none}"
    return f"number, or auto{none}" if kind == "auto" else f"number from 0 up{none}"
