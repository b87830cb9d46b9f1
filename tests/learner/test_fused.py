"""Adam of a policy that devices share steps by one kernel; of any other, exactly as SB3 has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from hub.learner.algorithms.libraries import ALGORITHMS
from hub.learner.algorithms.parameters import read_parameters
from hub.learner.open import open_one
from hub.learner.sb3.library import Library
from hub.spaces import Discrete
from tests.learner.test_choose import agent_of
from tests.learner.test_slots import learn, shared

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hub.learner.versions.policy import Tensors
    from hub.words import Agent

ROUNDING: Final = 1e-5


def optimizers(learner: Any) -> Iterator[dict[str, Any]]:
    """Options of those of the policy: SAC has one more, of its entropy coefficient."""
    for part in learner.inner.model.policy.modules():
        if isinstance(optimizer := getattr(part, "optimizer", None), torch.optim.Optimizer):
            (group,) = optimizer.param_groups
            yield group


def options(agent: Agent) -> list[dict[str, Any]]:
    """What each optimizer of the agent's policy was made with."""
    groups = optimizers(open_one(agent))
    return [{name: of for name, of in group.items() if name != "params"} for group in groups]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_only_a_policy_that_tells_devices_apart_steps_by_one_kernel_and_nothing_else_differs(
    algorithm: str,
) -> None:
    row = ALGORITHMS[algorithm]
    agent = agent_of(algorithm, "box", "choices" if Discrete in row.heads else "box")
    plain = options(replace(agent, sharing="none"))
    assert len(plain) == (1 if Discrete in row.heads else 2)
    assert not any(of.get("fused") for of in plain)
    assert options(replace(agent, sharing="advice")) == plain
    if "device_slots" not in row.defaults:
        assert options(replace(agent, sharing="shared")) == plain
        return
    alike = replace(agent, sharing="shared", parameters=agent.parameters | {"device_slots": "0"})
    assert options(alike) == plain
    by_adam = [of | {"fused": True} if "fused" in of else of for of in plain]
    assert (by_adam == plain) == (algorithm == "A2C"), "which has RMSprop"
    assert options(shared(agent)) == by_adam


def learnt(agent: Agent, *, fused: bool) -> tuple[Library, Tensors]:
    """A learner of two devices after an update."""
    learner = Library(agent, read_parameters(agent))
    assert learner.identity is not None
    for device in ("a", "b"):
        slot = learner._slots.see(device)
        assert slot is not None
        learner.identity.begin(slot)
    if not fused:
        for group in optimizers(learner):
            group["fused"] = None
    assert learn(learner, agent) is not None
    return learner, learner.tensors()


@pytest.mark.parametrize("algorithm", ["PPO", "MaskablePPO", "TRPO"])
def test_what_is_learnt_differs_by_rounding_and_is_kept_under_the_same_names(
    algorithm: str,
) -> None:
    steps = {"TRPO": {"n_critic_updates": "20"}}.get(algorithm, {"n_epochs": "20"})
    agent = shared(agent_of(algorithm, "box", "choices", n_steps="8", batch_size="8", **steps))
    begun = Library(agent, read_parameters(agent)).tensors()
    learner, tensors = learnt(agent, fused=True)
    _, wanted = learnt(agent, fused=False)
    assert tensors.keys() == wanted.keys()
    assert any(name.endswith("/exp_avg_sq") for name in wanted)
    for name, tensor in tensors.items():
        assert (tensor.dtype, tensor.shape) == (wanted[name].dtype, wanted[name].shape), name
        assert np.allclose(tensor, wanted[name], rtol=ROUNDING, atol=ROUNDING), name
    moved = max(np.abs(wanted[name] - begun[name]).max() for name in begun if "weight" in name)
    assert moved > 100 * ROUNDING
    learner.restore(wanted)
    assert all(group["fused"] for group in optimizers(learner)), "whoever wrote it"
