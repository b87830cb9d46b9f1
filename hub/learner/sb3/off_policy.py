"""DQN, SAC and their kin, driven from transitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from hub.learner.interface import Update
from hub.learner.sb3.hindsight import Episodes
from hub.learner.sb3.progress import advance, metrics
from hub.learner.sb3.rows import Rows

if TYPE_CHECKING:
    from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

    from hub.learner.algorithms.row import Parameters
    from hub.learner.experience.transitions import Transition
    from hub.learner.sb3.model import Seen
    from hub.learner.sb3.normalise import Normal
    from hub.learner.sb3.randomness import Randomness
    from hub.learner.versions.policy import Tensors


class Since(Struct):
    """What an off-policy learner did since its last version."""

    transitions: int = 0
    skipped: int = 0
    """Gradient steps left out."""
    seq_first: int = 0
    """Of the first transition."""


class OffPolicy:
    """DQN, SAC and their kin: every transition with a known action goes into the replay buffer.

    Gradient steps grow with the data of all devices together; the batch does not.
    """

    def __init__(
        self,
        spaces: Seen,
        model: OffPolicyAlgorithm,
        parameters: Parameters,
        normal: Normal | None,
        random: Randomness,
    ) -> None:
        self.model = model
        self.normal = normal
        self.random = random
        self._total = parameters.total_timesteps
        self._publish_every = parameters.publish_every
        frequency = parameters.arguments.get("train_freq", 1)
        assert isinstance(frequency, int), "the table says so"
        self._train_every = frequency
        kind = Rows if parameters.hindsight is None else Episodes
        self.rows = kind(model, *spaces)
        self.since = Since()

    def learn(self, transition: Transition, *, version: int, behind: bool) -> Update | None:
        """Take a transition in, as `OnPolicy.learn` does."""
        del version  # off-policy: whoever chose the action, it may be learnt from
        if not self.rows.take(transition):
            return None
        since = self.since
        since.seq_first = since.seq_first or transition.seq_last
        since.transitions += 1
        model = self.model
        model.num_timesteps += 1
        advance(model, self._total)
        model._on_step()
        if model.num_timesteps % self._train_every or model.num_timesteps <= model.learning_starts:
            return None
        if not self.rows.is_enough(min(model.learning_starts, model.buffer_size)):
            return None  # weights from outside have seen more than the buffer has
        steps = model.gradient_steps if model.gradient_steps >= 0 else self._train_every
        if behind:
            since.skipped += steps
            return None
        begins = model._n_updates == 0  # until now actions were drawn at random: let that end
        self.random.hold()
        model.train(gradient_steps=steps, batch_size=model.batch_size)
        if since.transitions < self._publish_every and not begins:
            return None
        self.since = Since()
        return Update(
            since.transitions,
            since.skipped,
            since.seq_first,
            transition.seq_last,
            metrics(model),
        )

    def remember(self, transition: Transition) -> bool:
        """Put it back into the replay buffer, untrained; False when its action is unknown."""
        return self.rows.put_back(transition)

    def kept(self) -> Tensors:
        """Beside the model's, what the next transitions go on from."""
        return self.rows.kept()

    def take_back(self, tensors: Tensors) -> None:
        """Go on from what `kept` gave."""
        self.rows.take_back(tensors)
