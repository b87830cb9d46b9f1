"""Replicas that advise each other: what is drawn, what is logged, what an update makes of it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from msgspec.structs import replace

from hub.check_agent import check_agent
from hub.errors import OperatorFault
from hub.facts import Advised
from hub.learner.acting.flock import open_chooser
from hub.learner.acting.net import product
from hub.learner.columns import Question
from hub.learner.messages import drawn_of, payload_of
from hub.learner.versions.parts import SEEDLING, own_tensors
from hub.words import Agent, Floats, Kind, Source
from tests.learner.choices import chosen
from tests.learning.harness import Hub, cartpole, dials, file_of, pendulum, run, walk
from tests.learning.test_resume import ADVISED, SMALL, devices, resumed, scaled, small, title

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from hub.learner.messages import Advice, Made
    from hub.learner.versions.policy import PolicyFile
    from hub.words import Event

ONE_PASS: Final = {"n_steps": "32", "batch_size": "32", "n_epochs": "1"}
"""The ratio of the only minibatch is that of the policy to itself."""


def advised(agent: Agent) -> Agent:
    return replace(agent, sharing="advice")


def newest(hub: Hub) -> PolicyFile:
    return file_of(hub, hub.versions[-1])


def advice_of(event: Event) -> Advice | None:
    return drawn_of(event.payload).advice


def floats(values: Any) -> NDArray[np.float32]:
    return np.array(values, dtype="<f4")


def lived(agent: Agent, environment: str, folder: Path, *, steps: int, handover: int) -> Hub:
    hub = Hub(agent, folder, handover_steps=handover, policies_kept=1000)
    run(hub, environment, devices=4, steps_max=steps, threshold=1e9)
    return hub


@pytest.mark.parametrize(
    ("agent", "environment"),
    [
        (cartpole("PPO", seed=3, **ONE_PASS), "CartPole-v1"),
        (pendulum("PPO", seed=3, **ONE_PASS), "Pendulum-v1"),
        (dials("PPO", seed=3, **ONE_PASS), "Dials-v0"),
        (replace(dials("PPO", seed=3, **ONE_PASS), actions={"multi_binary": 3}), "Dials-v0"),
    ],
    ids=["choices", "numbers", "several choices", "switches"],
)
def test_an_update_is_on_the_probability_with_which_the_action_was_drawn(
    tmp_path: Path, agent: Agent, environment: str
) -> None:
    """Logged in numpy and computed again by SB3's policy, advice and all: the ratio is 1."""
    hub = lived(advised(agent), environment, tmp_path, steps=900, handover=0)
    told = [event for event in hub.log if event.source is Source.ADVICE]
    assert len(told) > 200
    kls = kls_of(hub.versions)
    assert len(kls) > 8
    # One action of each update was chosen when that update had not been made yet.
    assert max(kls) < 1e-4, kls
    log = [replace(e, payload=None) if e.source is Source.ADVICE else e for e in hub.log]
    hub.log, hub.folder = log, tmp_path / "without"
    _, versions = resumed(hub, None)
    assert max(kls_of(versions)) > 20 * max(kls), "advice that is left out is missed"


def test_an_adviser_surer_than_a_float_can_say_leaves_the_learner_its_numbers(
    tmp_path: Path,
) -> None:
    agent = advised(pendulum("PPO", seed=3, **ONE_PASS))
    hub = lived(agent, "Pendulum-v1", tmp_path, steps=600, handover=0)
    hub.log, hub.folder = [surest(event) for event in hub.log], tmp_path / "again"
    assert any(event.source is Source.ADVICE for event in hub.log)
    _, versions = resumed(hub, None)
    kls = kls_of(versions)
    assert len(kls) > 8
    assert np.isfinite(kls).all(), kls


def surest(event: Event) -> Event:
    """With an adviser whose deviation is e⁻¹⁰⁰⁰⁰."""
    drawn = drawn_of(event.payload)
    if event.source is not Source.ADVICE or drawn.advice is None:
        return event
    values = Floats(floats([0.0, -1e4]).tobytes())
    told = drawn._replace(advice=replace(drawn.advice, values=values))
    return replace(event, payload=payload_of(told))


def kls_of(versions: list[Made]) -> list[float]:
    metrics = [made.policy.metrics for made in versions]
    return [abs(one["approx_kl"]) for one in metrics if "approx_kl" in one]


def test_the_product_of_two_gaussians_is_the_gaussian_of_their_densities() -> None:
    mean, log_std = floats([[0.3]]), floats([[-0.5]])
    advice = floats([[-1.1, 0.4]])
    x = np.linspace(-6, 6, 20_001)
    densities = [np.exp(-0.5 * ((x - m) / np.exp(s)) ** 2) for m, s in ((0.3, -0.5), (-1.1, 0.4))]
    both = densities[0] * densities[1]
    both /= both.sum()
    wanted_mean = float((x * both).sum())
    wanted_std = float(np.sqrt(((x - wanted_mean) ** 2 * both).sum()))
    mixed_mean, mixed_log_std = product(mean, log_std, advice)
    assert float(mixed_mean[0, 0]) == pytest.approx(wanted_mean, abs=1e-4)
    assert float(np.exp(mixed_log_std[0, 0])) == pytest.approx(wanted_std, abs=1e-4)


@pytest.mark.parametrize("agent", ADVISED, ids=title)
def test_the_log_says_who_advised_what_and_an_episode_has_one_adviser(
    tmp_path: Path, agent: Agent
) -> None:
    hub = devices(agent, tmp_path)
    episodes: dict[str, set[str | None]] = {}
    seen: list[set[str | None]] = []
    first = {e.device for e in hub.log}
    for event in hub.log:
        if event.kind is Kind.OBSERVATION and event.first:
            seen.append(episodes.pop(event.device, set()))
        if event.kind is Kind.ACTION:
            told = advice_of(event)
            assert (told is not None) == (event.source is Source.ADVICE)
            episodes.setdefault(event.device, set()).add(None if told is None else told.adviser)
            assert told is None or told.adviser in first - {event.device}
    # Of the very first episode the beginning was acted before there was anybody to ask.
    assert sum(len(advisers) > 1 for advisers in seen) <= 4
    everybody = seen + list(episodes.values())
    assert len({adviser for advisers in everybody for adviser in advisers}) > 2


def test_the_advice_in_the_log_is_what_the_adviser_would_do(tmp_path: Path) -> None:
    agent = ADVISED[0]
    hub = devices(agent, tmp_path)
    policy = newest(hub)
    chooser = open_chooser(policy, agent.seed)
    values = Floats(floats([0.1, -0.2, 0.3, -0.4]).tobytes())
    for step in range(20):
        (choice,) = chosen(
            chooser, [Question(0, "device-1", 0, step, values, first=True)], greedy=False
        )
        advice = drawn_of(choice.payload).advice
        if advice is None:
            continue
        weights = own_tensors(advice.adviser, policy.tensors)
        x = np.frombuffer(values, dtype="<f4")
        for layer in ("mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2"):
            x = np.tanh(weights[f"{layer}.weight"] @ x + weights[f"{layer}.bias"])
        logits = weights["action_net.weight"] @ x + weights["action_net.bias"]
        wanted = logits - np.logaddexp.reduce(logits)
        told = np.frombuffer(advice.values, dtype="<f4")
        np.testing.assert_allclose(told, wanted, atol=1e-5)
        return
    pytest.fail("nobody advised in twenty episodes")


def test_a_random_adviser_is_drawn_at_each_step(tmp_path: Path) -> None:
    agent = replace(ADVISED[0], parameters=ADVISED[0].parameters | {"advice.choice": "random"})
    hub = devices(agent, tmp_path)
    told = [t.adviser for e in hub.log if e.device == "device-0" and (t := advice_of(e))]
    changes = sum(one != other for one, other in pairwise(told))
    assert changes > len(told) / 2
    own = [e for e in hub.log[len(hub.log) // 2 :] if e.kind is Kind.ACTION]
    assert all(event.source is Source.ADVICE for event in own), "nobody is no choice of Shepherd's"


def test_without_exploration_nobody_is_asked(tmp_path: Path) -> None:
    agent = ADVISED[0]
    hub = devices(agent, tmp_path)
    chooser = open_chooser(newest(hub), agent.seed)
    values = Floats(floats([0.1, -0.2, 0.3, -0.4]).tobytes())
    asked = [Question(i, f"device-{i}", 0, 0, values, first=True) for i in range(4)]
    assert all(
        drawn_of(choice.payload).advice is None for choice in chosen(chooser, asked, greedy=True)
    )


def test_a_newcomer_begins_with_the_network_of_the_best(tmp_path: Path) -> None:
    agent = ADVISED[0]
    hub = Hub(agent, tmp_path, handover_steps=4, policies_kept=1000)
    for steps, _ in enumerate(walk(hub, "CartPole-v1", 4)):
        if steps > 800:
            break
    best = newest(hub).card.advisers[0]
    for steps, _ in enumerate(walk(hub, "CartPole-v1", 1)):  # device-0 again, after the others
        if steps > 1:
            break
    values = Floats(floats([0.1, -0.2, 0.3, -0.4]).tobytes())
    observation = next(e for e in hub.log if e.kind is Kind.OBSERVATION)
    made = len(hub.versions)
    hub.answer(replace(observation, device="newcomer", step=0, first=True, obs=values))
    assert [one.policy.devices for one in hub.versions[made:]] == [["newcomer"]]
    policy = newest(hub)
    theirs, ours = (own_tensors(device, policy.tensors) for device in (best, "newcomer"))
    for name in theirs:
        if not name.startswith("resume/"):
            assert np.array_equal(ours[name], theirs[name]), name
    assert SEEDLING in (policy.card.replicas or {})


def test_each_episode_is_judged_once_and_by_what_was_known_before(tmp_path: Path) -> None:
    hub = devices(ADVISED[0], tmp_path)
    told = [one for made in hub.versions for one in made.advised]
    judged = [(device, one) for device, one in told if isinstance(one, Advised)]
    assert len(judged) == len(told)
    seqs = [advised.seq for _, advised in judged]
    assert len(seqs) == len(set(seqs))
    ended = [e for e in hub.log if e.terminated or e.truncated]
    assert {e.seq for e in ended} >= set(seqs)
    assert len(seqs) > len(ended) / 2
    assert {a.adviser for _, a in judged} > {None}
    first = next(a for device, a in judged if device == "device-0")
    assert (first.expected, first.weight) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("agent", "why"),
    [
        (small("TD3"), "can't take advice; with actions .* these can: PPO, A2C, SAC"),
        (small("RecurrentPPO"), "RecurrentPPO can't take advice"),
        (small("MaskablePPO"), "MaskablePPO can't take advice"),
        (small("QRDQN"), "these can: PPO, A2C, DQN, TRPO"),
        (replace(small("PPO"), observations=[[36, 36, 1], 0, 255]), "no advice about images yet"),
        (cartpole("PPO", seed=1, **SMALL["PPO"], **{"advice.choice": "best"}), "bandit or random"),
        (pendulum("PPO", seed=1, use_sde="true"), "noise of use_sde"),
        (pendulum("SAC", seed=1, use_sde="True"), "noise of use_sde"),
    ],
    ids=[
        "TD3",
        "recurrent",
        "masks",
        "quantiles",
        "images",
        "choice",
        "gSDE",
        "gSDE written otherwise",
    ],
)
def test_who_can_take_no_advice_is_refused_with_what_could(agent: Agent, why: str) -> None:
    with pytest.raises(OperatorFault, match=why):
        check_agent(advised(agent))


def test_an_agent_from_before_that_can_take_no_advice_goes_on_with_one_policy(
    tmp_path: Path,
) -> None:
    hub = devices(advised(small("TD3")), tmp_path, steps=400)
    assert newest(hub).card.replicas is None


@pytest.mark.parametrize("agent", [scaled(ADVISED[0]), scaled(ADVISED[1])], ids=title)
def test_with_scaled_observations_advice_is_left_as_it_is(tmp_path: Path, agent: Agent) -> None:
    hub = devices(agent, tmp_path)
    updates = [made.update for made in hub.versions if made.update and made.update.transitions]
    assert len(updates) > 4
    assert sum(update.dropped for update in updates) < 64, "nothing was given up"


def test_a_gaussian_that_is_almost_certain_stays_finite() -> None:
    mean, log_std = product(floats([[0.1]]), floats([[-50.0]]), floats([[5.0, -0.5]]))
    assert np.isfinite(mean).all()
    assert np.isfinite(log_std).all()
    assert float(mean[0, 0]) == pytest.approx(0.1)
