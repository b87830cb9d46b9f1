"""PPO and its kin, driven from transitions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from msgspec import structs
from stable_baselines3.common.utils import obs_as_tensor

from hub.learner.experience.fragments import Fragment, Fragments
from hub.learner.interface import Update
from hub.learner.sb3.critics import borrow
from hub.learner.sb3.gathered import take_back, tensor_of
from hub.learner.sb3.larger import rollouts_max, train
from hub.learner.sb3.laying import Columns, lay, takes_columns
from hub.learner.sb3.progress import advance, metrics
from hub.learner.sb3.spaces import batched, indices, shaped
from hub.spaces import Box

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray
    from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

    from hub.learner.algorithms.row import Parameters
    from hub.learner.experience.transitions import Transition
    from hub.learner.sb3.model import Seen
    from hub.learner.sb3.normalise import Normal
    from hub.learner.sb3.randomness import Randomness
    from hub.learner.sb3.recurrent import States
    from hub.learner.versions.policy import Tensors
    from hub.words import Floats

    Numbers = NDArray[np.float32]


class OnPolicy:
    """PPO and its kin: an update whenever all devices' fragments hold `n_steps` transitions.

    Where more wait by then, it may take them along: with `expect` of more there is no update.
    """

    def __init__(
        self,
        spaces: Seen,
        model: OnPolicyAlgorithm,
        parameters: Parameters,
        normal: Normal | None,
        random: Randomness,
    ) -> None:
        self.model = model
        self.normal = normal
        self.random = random
        self._observations, self._actions = spaces
        self._total = parameters.total_timesteps
        self._fragments = Fragments()
        self.peers: Callable[[], Iterable[tuple[str, OnPolicyAlgorithm]]] | None = None
        """By their names, whose critics it may borrow; None = nobody's."""
        self._more = False
        self._most = model.n_steps * rollouts_max(model, self._observations)
        self._states: States | None = None
        if parameters.lstm_hidden_size:
            from hub.learner.sb3.recurrent import States  # needs sb3-contrib

            self._states = States(model, parameters.lstm_hidden_size)

    @property
    def takes_more(self) -> bool:
        """The next transition may complete an update that has room for others."""
        return self.model.n_steps <= self._fragments.count + 1 < self._most

    def expect(self, *, more: bool) -> None:
        """Whether the update that the next transition completes is to be put off."""
        self._more = more

    def learn(self, transition: Transition, *, version: int, behind: bool) -> Update | None:
        """Take a transition in; the update that it completed, if any.

        Args:
            transition: the next in the log.
            version: the newest of the policy.
            behind: so much more is waiting that the transition is dropped, and its fragment ends.
        """
        if behind:  # by the time it were used it would be too old
            self._fragments.drop(transition.device)
            return None
        if self.normal is not None:
            transition = structs.replace(transition, reward=self.normal.reward(transition.reward))
        if self._states is not None and not self._states.follow(transition, self._given):
            self._fragments.dropped += transition.memory is not None
            transition = structs.replace(transition, logprob=None)
        self._fragments.add(transition, version=version)
        count = self._fragments.count
        if self._more or count < self.model.n_steps:
            return None
        dropped = self._fragments.dropped
        fragments = self._fragments.take()
        model = self.model
        model.rollout_buffer.buffer_size = count
        self._fill(fragments, version)
        lender = None if self.peers is None else borrow(model, self.peers())
        model.num_timesteps += count
        advance(model, self._total)
        self.random.hold()
        train(model, count)
        seqs = [step.seq_last for fragment in fragments for step in fragment]
        return Update(count, dropped, min(seqs), max(seqs), metrics(model), critic=lender)

    def remember(self, transition: Transition) -> bool:
        """Put back what a snapshot left to the log: nothing, an update uses up all fragments."""
        del transition
        return False

    def kept(self) -> Tensors:
        """Beside the model's, what the next transitions go on from; of most learners nothing."""
        states = {} if self._states is None else self._states.kept()
        return states | tensor_of(self._fragments)

    def take_back(self, tensors: Tensors) -> None:
        """Go on from what `kept` gave."""
        take_back(self._fragments, tensors)
        if self._states is not None:
            self._states.take_back(tensors)

    def _fill(self, fragments: list[Fragment], version: int) -> None:
        """Lay the fragments end to end in SB3's buffer, as one column.

        At each join the fragment's last reward gets gamma * V(o'), and the next step is flagged as
        an episode's start: SB3's own arithmetic for time limits (Pardo et al. 2018), and equal to
        generalized advantage estimation (Schulman et al. 2016) for each fragment by itself.

        A buffer that is filled one by one (masks, LSTMs, images) keeps the values as logged.
        """
        model, buffer = self.model, self.model.rollout_buffer
        model.policy.set_training_mode(False)
        steps = [step for fragment in fragments for step in fragment]
        rewards, starts = self._rewards(fragments)
        if takes_columns(buffer, self._observations):
            lay(buffer, self._columns(steps, rewards, starts))
            self._look_again(np.array([step.policy != version for step in steps]))
        else:
            self._add(steps, rewards, starts)
        last = fragments[-1][-1]
        buffer.compute_returns_and_advantage(
            last_values=self._value(last),
            dones=np.array([last.terminated or last.truncated]),
        )
        if self._states is not None:
            self._states.mark(fragments)

    def _rewards(self, fragments: list[Fragment]) -> tuple[Numbers, NDArray[np.bool_]]:
        """Of each transition the reward, and whether it begins a fragment: (transitions,) each."""
        flat = [step.reward for fragment in fragments for step in fragment]
        rewards = np.array(flat, dtype=np.float32)
        starts = np.zeros(len(flat), dtype=np.bool_)
        at = 0
        for fragment in fragments:
            starts[at] = True
            at += len(fragment)
            last = fragment[-1]
            ends = last.truncated or fragment is not fragments[-1]
            if ends and not last.terminated:
                rewards[at - 1 : at] += self.model.gamma * self._value_of_end(last).numpy()[0]
        return rewards, starts

    def _columns(
        self, steps: list[Transition], rewards: Numbers, starts: NDArray[np.bool_]
    ) -> Columns:
        observations = [step.observation for step in steps]
        if self.normal is not None:
            observations = [self.normal.seen(observation) for observation in observations]
        rows = np.frombuffer(b"".join(observations), dtype="<f4").reshape(len(steps), -1)
        return Columns(
            batched(self._observations, rows),
            np.concatenate([self._drawn(step).reshape(1, -1) for step in steps]),
            rewards,
            starts,
            np.array([step.value for step in steps], dtype=np.float32),
            np.array([step.logprob for step in steps], dtype=np.float32),
        )

    def _look_again(self, old: NDArray[np.bool_]) -> None:
        """V(o) of rows whose version is not the newest, by the newest: what acted knew less.

        Most rows are one version old where devices are as fast as training, and an advantage is of
        the critic as it is now (Andrychowicz et al. 2021, section 3.5, for each pass over the
        data). The others' values, and so lock-step with `learn()`, stay as they were logged.
        """
        if not old.any():
            return
        model, buffer = self.model, self.model.rollout_buffer
        kept: Any = buffer.observations
        seen = {n: of[old, 0] for n, of in kept.items()} if isinstance(kept, dict) else kept[old, 0]
        with torch.no_grad():
            values = model.policy.predict_values(obs_as_tensor(seen, model.device))
        buffer.values[old] = values.numpy()

    def _add(self, steps: list[Transition], rewards: Numbers, starts: NDArray[np.bool_]) -> None:
        """One by one, for a buffer that keeps more of each."""
        buffer = self.model.rollout_buffer
        buffer.reset()
        for i, step in enumerate(steps):
            buffer.add(
                self._seen(step.observation),
                self._drawn(step),
                rewards[i : i + 1],
                starts[i : i + 1],
                torch.tensor([step.value]),
                torch.tensor([step.logprob]),
                **self._beside(step),
            )

    def _value(self, step: Transition) -> torch.Tensor:
        """V(o'), one at a time as SB3 asks for it: a batch would differ in the last bit."""
        return self._valued(step, self._given(step.next_observation))

    def _value_of_end(self, step: Transition) -> torch.Tensor:
        """The same where nothing follows, handed over as SB3 does then.

        Torch chooses how a convolution is computed by the order of a picture in memory.
        """
        seen = self._seen(step.next_observation)
        one = {name: part[0] for name, part in seen.items()} if isinstance(seen, dict) else seen[0]
        return self._valued(step, self.model.policy.obs_to_tensor(one)[0])

    def _valued(self, step: Transition, given: Any) -> torch.Tensor:
        if self._states is not None:
            return self._states.value(step, given)
        with torch.no_grad():
            return self.model.policy.predict_values(given)

    def _beside(self, step: Transition) -> dict[str, Any]:
        """What sb3-contrib's buffers take beside; without a mask they allow everything."""
        if self._states is not None:
            return {"lstm_states": self._states.before(step)}
        if step.mask is None:
            return {}
        return {"action_masks": np.frombuffer(step.mask, dtype=np.uint8)}

    def _given(self, observation: Floats) -> Any:
        return obs_as_tensor(self._seen(observation), self.model.device)

    def _seen(self, observation: Floats) -> Any:
        """As the version that the update starts from sees it."""
        if self.normal is not None:
            observation = self.normal.seen(observation)
        # An array, or a dict of arrays, which SB3's annotations leave out.
        return shaped(self._observations, observation)

    def _drawn(self, step: Transition) -> np.ndarray[Any, np.dtype[Any]]:
        """The action as sampled: the ratio is of what was drawn, not of what the bounds left."""
        action = np.frombuffer(step.raw or step.action or b"", dtype="<f4")
        if isinstance(self._actions, Box):
            return action.reshape(1, -1)
        return indices(self._actions, action)
