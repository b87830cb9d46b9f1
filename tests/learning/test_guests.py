"""Networks from elsewhere advise as peers do, and nothing that is learnt needs their files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from msgspec.structs import replace

from hub.facts import Advised
from hub.learner.acting.flock import open_chooser
from hub.learner.acting.guests import Guests
from hub.learner.columns import Question
from hub.learner.messages import drawn_of
from hub.learner.versions.policy import as_file, write_policy
from hub.words import AgentName, Floats, Kind, Source
from tests.learner.choices import chosen
from tests.learning.harness import Hub, file_of, run
from tests.learning.test_resume import ADVISED, SMALL, devices, names, resumed, title

if TYPE_CHECKING:
    from pathlib import Path

    from hub.learner.versions.policy import PolicyFile
    from hub.words import Agent

GUEST = "site-b/press-1"
VALUES = Floats(np.array([0.1, -0.2, 0.3, -0.4], dtype="<f4").tobytes())


def stranger(folder: Path, agent: Agent, **changed: Any) -> Path:
    """A network of the same agent elsewhere, in a file."""
    hub = Hub(replace(agent, sharing="shared", seed=99), folder / "b")
    found: PolicyFile = file_of(hub, hub.versions[0])
    tensors = found.tensors | {
        name: np.full_like(found.tensors[name], value) for name, value in changed.items()
    }
    sha256 = write_policy(folder / "b", AgentName("guest"), found.card, tensors)
    assert as_file(found.card, tensors)
    return folder / "b" / "policies" / "guest" / f"{sha256}.safetensors"


def invited(path: Path) -> Guests:
    guests = Guests()
    guests.invite([(GUEST, str(path))])
    assert guests.names == [GUEST]
    return guests


@pytest.mark.parametrize("agent", ADVISED, ids=title)
def test_a_lone_replica_is_advised_by_a_guest_and_its_trainer_needs_the_log_alone(
    tmp_path: Path, agent: Agent
) -> None:
    guests = invited(stranger(tmp_path, agent))
    hub = Hub(agent, tmp_path / "a", policies_kept=1000, guests=guests)
    task = "Pendulum-v1" if agent.algorithm == "SAC" else "CartPole-v1"
    run(hub, task, devices=1, steps_max=700, threshold=1e9)
    told = [t.adviser for e in hub.log if (t := drawn_of(e.payload).advice)]
    assert len(told) > 30
    assert set(told) == {GUEST}
    assert {e.source for e in hub.log if e.kind is Kind.ACTION} == {Source.POLICY, Source.ADVICE}
    facts = [fact for made in hub.versions for _, fact in made.advised]
    assert {fact.adviser for fact in facts if isinstance(fact, Advised)} == {None, GUEST}
    _, versions = resumed(hub, None)
    assert names(versions) == names(hub.versions)


def test_a_guest_whose_advice_is_not_finite_is_not_asked_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    agent = replace(ADVISED[0], parameters=ADVISED[0].parameters | {"advice.choice": "random"})
    hub = devices(agent, tmp_path / "a", steps=100)
    guests = invited(stranger(tmp_path, agent, **{"action_net.weight": 3e38}))
    chooser = open_chooser(file_of(hub, hub.versions[-1]), 1, None, guests)
    asked = [Question(i, "device-0", 0, i, VALUES, first=True) for i in range(40)]
    choices = chosen(chooser, asked, greedy=False)
    assert all(np.isfinite(choice.logprob) for choice in choices if choice.logprob is not None)
    told = [drawn_of(choice.payload).advice for choice in choices]
    assert all(advice is None or advice.adviser != GUEST for advice in told)
    assert guests.names == []
    assert "not asked again" in capsys.readouterr().err


def test_a_guest_whose_file_is_gone_is_left_out_and_the_others_come(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = stranger(tmp_path, replace(ADVISED[0], parameters=SMALL["PPO"]))
    guests = Guests()
    guests.invite(
        [("site-c/x", str(path.with_name("0" * 64 + ".safetensors"))), (GUEST, str(path))]
    )
    assert guests.names == [GUEST]
    assert "site-c/x" in capsys.readouterr().err
    guests.invite([])
    assert guests.names == []
