"""Replicas that learn one policy: told apart, joined late, resumed; and the comparison itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from hub.facts import AgentMade
from hub.learner.acting.choose import Chooser
from hub.learner.columns import Question
from hub.learner.versions.policy import PolicyFile
from hub.words import Event, Floats, Kind
from tests.learner.choices import chosen
from tests.learning import sharing_page
from tests.learning.harness import Hub, file_of, run
from tests.learning.joining import joined
from tests.learning.sharing import CASES, Book, Run, parameters_of, report, verdict
from tests.learning.sharing import run as run_case
from tests.learning.test_resume import DQN, PPO, devices

if TYPE_CHECKING:
    from pathlib import Path

    from hub.words import Agent


@pytest.mark.parametrize("seed", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
def test_one_machine_wired_in_reverse_learns_with_the_others(tmp_path: Path, seed: int) -> None:
    made = run_case("one reversed", "shared", seed, tmp_path)
    assert not made.failed
    assert np.mean(made.steps) < 0.75 * 8_200, "what each needs alone"


def test_a_device_that_joins_late_acts_with_what_the_others_know(tmp_path: Path) -> None:
    found = joined("alike", "guarded", 0, tmp_path)
    assert found.joiner > 0.6 * found.peers
    assert found.peers > 100.0


@pytest.mark.parametrize("agent", [PPO, DQN], ids=lambda agent: agent.algorithm)
def test_devices_have_slots_in_the_order_in_which_they_were_seen(
    tmp_path: Path, agent: Agent
) -> None:
    hub = devices(agent, tmp_path)
    seen = list(dict.fromkeys(event.device for event in hub.log))
    assert len(seen) == 4
    said = [device for made in hub.versions for device in made.policy.devices]
    assert said == seen, "each is said once, by the first version that knows it"
    assert file_of(hub, hub.versions[0]).card.devices == []
    assert file_of(hub, hub.versions[-1]).card.devices == seen


def test_more_devices_than_slots_act_alike(tmp_path: Path) -> None:
    agent = replace(PPO, parameters=PPO.parameters | {"device_slots": "2"})
    hub = devices(agent, tmp_path)
    policy = file_of(hub, hub.versions[-1])
    assert len(policy.card.devices) == 2
    observation = Floats(np.array([0.1, 0.2, -0.1, 0.3], dtype="<f4").tobytes())
    values = {
        device: chosen(Chooser(policy, 1), [Question(0, device, 0, 0, observation)], greedy=True)
        for device in ("device-0", "device-1", "device-2", "device-3", "never seen")
    }
    others = [d for d in values if d not in policy.card.devices]
    assert len({values[device][0].value for device in others}) == 1
    assert len({choices[0].value for choices in values.values()}) == 3


@pytest.mark.parametrize("agent", [PPO, DQN], ids=lambda agent: agent.algorithm)
def test_with_other_slots_it_goes_on_as_with_the_average_device(
    tmp_path: Path, agent: Agent
) -> None:
    hub = devices(agent, tmp_path, steps=400)
    for sharing, slots in (("none", "0"), ("shared", "2"), ("shared", "64")):
        before = valued(now(hub))
        declared = replace(agent, sharing=sharing)
        declared = replace(declared, parameters=agent.parameters | {"device_slots": slots})
        payload = msgspec.json.encode(AgentMade(declared, "someone")).decode()
        changed = Event(Kind.ADMIN, 0, agent=agent.name, seq=len(hub.log) + 1, payload=payload)
        hub.log.append(changed)
        assert hub.trainer.take(changed) is None, "the network is no other, for whom it acts alike"
        assert valued(now(hub)) == pytest.approx(before, rel=1e-5)
        hub.agent = declared
        count = len(hub.versions)
        run(hub, "CartPole-v1", devices=3, steps_max=400, threshold=1e9)
        card = file_of(hub, hub.versions[count]).card
        assert (card.device_slots, len(card.devices)) == {
            ("none", "0"): (0, 0),
            ("shared", "2"): (2, 2),
            ("shared", "64"): (64, 3),
        }[sharing, slots]


def now(hub: Hub) -> PolicyFile:
    """What its learner would be as a version."""
    learner = hub.trainer._learner
    agent = hub.trainer._agent
    return PolicyFile(learner.card(agent, version=1, parent=0, position=0), learner.tensors(), "")


def valued(policy: PolicyFile) -> float:
    """What a device without a slot can expect."""
    observation = Floats(np.array([0.1, 0.2, -0.1, 0.3], dtype="<f4").tobytes())
    asked = [Question(0, "nobody", 0, 0, observation)]
    (choice,) = chosen(Chooser(policy, 1), asked, greedy=True)
    assert choice.value is not None
    return choice.value


# --- the comparison ---------------------------------------------------------------------------


def test_the_share_is_of_the_steps_of_lone_learners_and_bounded() -> None:
    lone = [Run("alike", "lone", i, [800 + 10 * i] * 4, [0], 0.0, "") for i in range(8)]
    ours = [Run("alike", "shared", i, [400 + 20 * i] * 4, [], 0.0, "") for i in range(8)]
    found = verdict(lone, ours)
    assert found.share == pytest.approx(470 / 835)
    assert found.share < found.bound < found.share + 0.05
    assert (found.lone_failed, found.failed, found.seeds) == (8, 0, 8)


def test_the_book_of_sharing_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    path = tmp_path / "sharing.json"
    assert report(Book(path)) == "too few runs for a table"
    assert next(Book(path).wanting(["alike"], 2)) == ("alike", "lone", 0)
    lone, shared = parameters_of("alike", "lone"), parameters_of("alike", "shared")
    Book(path).add(Run("alike", "lone", 0, [800] * 4, [], 1.0, lone))
    Book(path).add(Run("alike", "shared", 0, [400] * 4, [], 1.0, shared))
    Book(path).add(Run("alike", "lone", 1, [800] * 4, [], 1.0, "of other defaults"))
    wanting = [(mode, seed) for _, mode, seed in Book(path).wanting(["alike"], 2)]
    assert wanting == [
        ("guarded", 0),
        ("advice", 0),
        ("random advice", 0),
        ("lone", 1),
        ("shared", 1),
        ("guarded", 1),
        ("advice", 1),
        ("random advice", 1),
    ]
    assert "50%" in report(Book(path))
    assert next(Book(path).wanting(["16 alike"], 2)) == ("16 alike", "shared", 0)
    assert set(CASES) >= {"alike", "one reversed", "pole lengths", "Pendulum", "64 alike"}


def test_the_page_says_what_the_runs_come_to() -> None:
    page = sharing_page.PAGE.read_text()
    said = sharing_page.generated(*sharing_page.runs(sharing_page.ROOT / "bench"))
    stale = "python -m tests.learning.sharing_page writes it anew"
    assert page == sharing_page.with_generated(page, said), stale
