"""An agent's parameters: text in, typed arguments of its algorithm out, or a refusal that helps.

    parameters = read_parameters(agent)      # raises OperatorFault; needs no torch

Types come from `parameters_table.py`, which is generated from Stable-Baselines3's own constructors
(a test fails when it is stale), so the hub can refuse a bad parameter when an agent is created
without importing torch. What an agent leaves out is set from its algorithm's row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast, get_args

from hub.errors import OperatorFault
from hub.learner.algorithms import elsewhere, values
from hub.learner.algorithms.goals import read_hindsight
from hub.learner.algorithms.libraries import ALGORITHMS, EXTRA, installed
from hub.learner.algorithms.parameters_table import TABLE
from hub.learner.algorithms.row import AdviceChoice, Algorithm, GuardRule, Parameters
from hub.learner.algorithms.spaces_taken import check_recurrent, check_spaces, why_unadvised
from hub.spaces import parse

if TYPE_CHECKING:
    from hub.words import Agent

ADVICE_CHOICE: Final = "advice.choice"
GUARD: Final = {"guard": "on", "guard_episodes": "50", "guard_forks": "4"}
"""Defaults of what is of every algorithm that is learnt here, like `ADVICE_CHOICE`."""
OWN: Final = (
    "net_arch",
    "activation_fn",
    "total_timesteps",
    "publish_every",
    "action_noise",
    "norm_obs",
    "norm_reward",
    "clip_obs",
    "clip_reward",
    "lstm_hidden_size",
    "replay_buffer",
    "n_sampled_goal",
    "goal_selection_strategy",
    "goal_reward",
    "device_slots",
    ADVICE_CHOICE,
    *GUARD,
)
"""Parameters that are not arguments of the constructor: the network's, the length of schedules
(in transitions of all devices); off-policy, the transitions between two versions; the noise that a
deterministic policy explores with; and, by the names that VecNormalize gives them, whether and how
observations and rewards are scaled by what was seen; how wide a recurrent policy's state is; and by
those of HerReplayBuffer, whether and how episodes are replayed with other goals; and how many
devices a shared policy can tell apart, or else have a network of their own; and how replicas that
advise each other choose whom to ask; and whether and how a shared policy is guarded."""
REPLICAS: Final = 64
"""Devices with a network of their own, where an algorithm can't tell devices apart by slots."""


def read_parameters(agent: Agent) -> Parameters:
    """The agent's parameters over the defaults.

    Raises:
        OperatorFault: an unknown algorithm or name, an ill-typed value, or spaces that the
            algorithm can't take. The message lists what is valid.
    """
    algorithm = algorithm_of(agent)
    table, defaults = table_of(algorithm), algorithm.defaults
    valid = {*table, *(name for name in OWN if name in defaults)}
    if algorithm.family != "none":
        valid |= {ADVICE_CHOICE, *GUARD}
    for name in agent.parameters:
        if name not in valid:
            there = ", ".join(sorted(valid)) or "none"
            raise OperatorFault(f"{agent.algorithm} has no parameter {name!r}; it has {there}")
    texts = {**defaults, **agent.parameters}
    has_replicas = _has_replicas(agent, algorithm)
    parameters = Parameters(
        arguments={n: values.READERS[table[n]](n, text) for n, text in texts.items() if n in table},
        net_arch=values.layers("net_arch", texts.get("net_arch", "")),
        activation_fn=values.activation("activation_fn", texts.get("activation_fn", "tanh")),
        total_timesteps=values.whole("total_timesteps", texts.get("total_timesteps", "1")),
        publish_every=values.whole("publish_every", texts.get("publish_every", "1")),
        action_noise=values.noise("action_noise", texts.get("action_noise", "none")),
        noise_drifts=texts.get("action_noise", "none").startswith(values.DRIFT_PREFIX),
        norm_obs=values.truth("norm_obs", texts.get("norm_obs", "false")),
        norm_reward=values.truth("norm_reward", texts.get("norm_reward", "false")),
        clip_obs=values.number("clip_obs", texts.get("clip_obs", "10")),
        clip_reward=values.number("clip_reward", texts.get("clip_reward", "10")),
        lstm_hidden_size=values.state_width("lstm_hidden_size", texts),
        device_slots=_devices(agent, texts) if agent.sharing == "shared" else 0,
        replicas=_devices(agent, texts) if has_replicas else 0,
        advice_choice=_advice_choice(texts) if has_replicas and agent.sharing == "advice" else None,
        hindsight=read_hindsight(
            agent,
            texts,
            n_sampled_goal=values.whole("n_sampled_goal", texts.get("n_sampled_goal", "4")),
        ),
        guard=_guard(agent, algorithm, texts),
    )
    if algorithm.recurrent:
        check_recurrent(agent, parameters)
    if algorithm.family != "none":
        check_spaces(agent, algorithm, parameters)
    if algorithm.check is not None:
        algorithm.check(agent, parameters)
    return parameters


def _devices(agent: Agent, texts: dict[str, str]) -> int:
    """How many are not like all others: by a slot, or by a network of their own."""
    usual = "0" if agent.sharing == "shared" else str(REPLICAS)
    return values.whole("device_slots", texts.get("device_slots", usual))


def check_advised(agent: Agent) -> None:
    """Refuse an agent whose replicas were to advise each other, and can't.

    Only where it is declared: one from before this was looked at goes on with one policy for all.

    Raises:
        OperatorFault: it says who could.
    """
    algorithm = algorithm_of(agent)
    if agent.sharing != "advice" or algorithm.family == "none":
        return
    why = why_unadvised(agent, algorithm)
    if why is not None:
        raise OperatorFault(f"{why}; choose sharing shared or none")


def _has_replicas(agent: Agent, algorithm: Algorithm) -> bool:
    if agent.sharing == "advice":
        return why_unadvised(agent, algorithm) is None
    return agent.sharing == "none" and algorithm.family != "none"


def _advice_choice(texts: dict[str, str]) -> AdviceChoice:
    text = texts.get(ADVICE_CHOICE, "bandit")
    if text not in get_args(AdviceChoice):
        there = " or ".join(get_args(AdviceChoice))
        raise OperatorFault(f"{ADVICE_CHOICE} is {there}, not {text!r}")
    return cast("AdviceChoice", text)


def _guard(agent: Agent, algorithm: Algorithm, texts: dict[str, str]) -> GuardRule | None:
    """Read also where it does not count, so that what is wrong is refused at once."""
    said = {name: texts.get(name, usual) for name, usual in GUARD.items()}
    on = values.switch("guard", said["guard"])
    rule = GuardRule(
        episodes=values.whole("guard_episodes", said["guard_episodes"]),
        forks=values.whole("guard_forks", said["guard_forks"]),
    )
    return rule if on and agent.sharing == "shared" and algorithm.family != "none" else None


def table_of(algorithm: Algorithm) -> dict[str, str]:
    """The names of its parameters, with the kind of their values."""
    return TABLE[algorithm.name] if algorithm.parameters is None else algorithm.parameters


def algorithm_of(agent: Agent) -> Algorithm:
    """The row of the agent's algorithm.

    Raises:
        OperatorFault: there is none, it is broken, or its library is not installed.
    """
    algorithm = elsewhere.find(agent.algorithm)
    if algorithm is None:
        names = ", ".join([*ALGORITHMS, *elsewhere.names()])
        raise OperatorFault(f"algorithm {agent.algorithm!r} is unknown; take {names}")
    if algorithm.parameters:
        _check_row(algorithm, algorithm.parameters)
    if algorithm.library in EXTRA and not installed(algorithm.library):
        raise OperatorFault(
            f"{algorithm.name} needs {algorithm.library}, which is not installed; "
            f"pip install {EXTRA[algorithm.library]!r}"
        )
    return algorithm


def that_learn_from_others(agent: Agent) -> list[str]:
    """Algorithms that learn from whatever was done, of those that take the agent's actions."""
    actions = type(parse(agent.actions))
    rows = elsewhere.usable()
    return [row.name for row in rows if row.family == "off_policy" and actions in row.heads]


def _check_row(algorithm: Algorithm, table: dict[str, str]) -> None:
    """Refuse an algorithm from elsewhere whose parameters nobody could set."""
    for name, text in algorithm.defaults.items():
        if name not in table and name not in OWN:
            raise OperatorFault(f"{algorithm.name} has a default for {name!r}, no parameter of it")
        if table.get(name, "int") not in values.READERS:
            kinds = ", ".join(values.READERS)
            raise OperatorFault(
                f"{algorithm.name} says that {name} is of kind {table[name]!r}; there are {kinds}"
            )
        if name in table:
            values.READERS[table[name]](name, text)
    if missing := sorted(set(table) - set(algorithm.defaults)):
        raise OperatorFault(f"{algorithm.name} has no default for {', '.join(missing)}")
