"""Bootstrapped Dual Policy Iteration (Steckelmacher, Plisnier, Roijers, Nowé 2019).

"Sample-Efficient Model-Free Reinforcement Learning with Off-Policy Critics", ECML PKDD. Several
critics learn Q* off-policy, each from batches of its own, and an actor is moved slowly towards the
greedy policy of each: it is what they have come to agree on, so it explores where they still differ
(as Thompson sampling does), and forgets nothing at once (as Conservative Policy Iteration, Kakade &
Langford 2002).

    every `train_freq` transitions
        each critic i, in its own batch E_i of the replay memory, `critic_updates` times:
            Q_A(s, a) += alpha (r + gamma V(s') - Q_A(s, a))                              (1)
            V(s') = min over l in {A, B} of Q_l(s', argmax_a' Q_A(s', a'))                (2)
            Q_A and Q_B change their names                                                (3)
        the actor, in E_i, in turn for each i:
            pi(s) <- (1 - lambda) pi(s) + lambda Gamma(Q_i(s))                            (4)

(1) to (3) are Aggressive Bootstrapped Clipped DQN: (2) is Clipped DQN's target (van Hasselt et al.
2016; Fujimoto et al. 2018), and many updates a batch are what makes it aggressive. Gamma is the
greedy policy, all probability on the best action.

Implementation details, where a network stands for what the formulas say of a table:
- Both assignments are fitted by mean squared error: (1) by `critic_epochs` and (4) by
  `actor_epochs` steps of Adam towards the right side, which is computed once.
- All critics are one batch of matrices, so an update of all costs little more than one critic's;
  they share no weight and no sample. The actor learns from one after the other, in random order.
- The action of a device is drawn from the actor alone; the paper adds no noise, nor do we.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from torch.nn.functional import mse_loss, one_hot

from hub.learner.features import features
from hub.learner.interface import Acting, Plain, Update, executed
from hub.learner.own.keep import kept, put_back
from hub.learner.own.replay import Replay
from hub.spaces import Discrete, parse, size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hub.learner.algorithms.row import Parameters
    from hub.learner.experience.transitions import Transition
    from hub.learner.interface import Learner
    from hub.learner.versions.policy import Tensors
    from hub.words import Agent, Floats

SEEDS: Final = 1 << 63
ACTIVATIONS: Final = {
    "tanh": torch.nn.Tanh,
    "relu": torch.nn.ReLU,
    "elu": torch.nn.ELU,
    "leaky_relu": torch.nn.LeakyReLU,
}


class Critics(torch.nn.Module):
    """Q-networks side by side: (critics, batch, n) in, (critics, batch, actions) out."""

    def __init__(
        self, count: int, widths: list[int], activation: str, chance: torch.Generator
    ) -> None:
        super().__init__()
        self.activate = ACTIVATIONS[activation]()
        self.weights, self.biases = torch.nn.ParameterList(), torch.nn.ParameterList()
        for n_in, n_out in pairwise(widths):
            bound = 1.0 / math.sqrt(n_in)  # as torch.nn.Linear draws them
            for drawn, shape in ((self.weights, (n_in, n_out)), (self.biases, (1, n_out))):
                drawn.append(torch.empty(count, *shape).uniform_(-bound, bound, generator=chance))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Q of every action."""
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, self.activate(x) if i else x, weight)
        return x


class BDPI(Plain):
    """The critics' two halves, the actor, and the replay memory that both learn from."""

    def __init__(self, agent: Agent, parameters: Parameters) -> None:
        torch.set_num_threads(1)
        torch.set_deterministic_debug_mode("error")
        self._observations, actions = parse(agent.observations), parse(agent.actions)
        assert isinstance(actions, Discrete), "the row takes no other"
        self._first_action = actions.start
        self._parameters = parameters
        nothing = np.zeros((1, size(self._observations)), dtype=np.float32)
        width = features(self._observations, nothing).shape[1]
        self._chance = torch.Generator().manual_seed(agent.seed % SEEDS)
        self.critics = self._whole("critics")
        self.alpha, self.lambda_ = self._number("alpha"), self._number("lambda")
        self.gamma = self._number("gamma")

        widths = [width, *parameters.net_arch, actions.n]
        activation = parameters.activation_fn
        self.q_a = Critics(self.critics, widths, activation, self._chance)
        self.q_b = Critics(self.critics, widths, activation, self._chance)
        layers: list[torch.nn.Module] = []
        for n_in, n_out in pairwise(widths):
            layers += [_linear(n_in, n_out, self._chance), ACTIVATIONS[activation]()]
        self.actor = torch.nn.Sequential(*layers[:-1])  # logits: the last has no activation
        rate = self._number("learning_rate")
        self.adam_a = torch.optim.Adam(self.q_a.parameters(), lr=rate, fused=True)
        self.adam_b = torch.optim.Adam(self.q_b.parameters(), lr=rate, fused=True)
        self.adam_actor = torch.optim.Adam(self.actor.parameters(), lr=rate, fused=True)

        self.replay = Replay(self._whole("buffer_size"), width)
        self.gradient_steps = 0
        self._steps = 0
        self._taken = self._skipped = self._first = 0

    # --- the algorithm ---------------------------------------------------------------------------

    def learn(self, transition: Transition, *, version: int, behind: bool) -> Update | None:
        """Remember it; every `train_freq` transitions train critics and actor."""
        del version  # the critics are off-policy: whoever chose the action
        if not self.remember(transition):
            return None
        self._first = self._first or transition.seq_last
        self._taken += 1
        self._steps += 1
        if self._steps % self._whole("train_freq") or len(self.replay) < self._least():
            return None
        if behind:
            self._skipped += self._whole("critic_updates")
            return None
        begins = self.gradient_steps == 0
        metrics = self._train()
        if self._taken < self._parameters.publish_every and not begins:
            return None
        update = Update(self._taken, self._skipped, self._first, transition.seq_last, metrics)
        self._taken = self._skipped = self._first = 0
        return update

    def _train(self) -> dict[str, float]:
        """Equations (1) to (4) once."""
        shape = (self.critics, self._whole("batch_size"))
        rows = torch.randint(len(self.replay), shape, generator=self._chance)
        o, a, r, o_next, goes_on = self._drawn(rows)
        critic_loss = torch.zeros(())
        for _ in range(self._whole("critic_updates")):
            critic_loss = self._train_critics(o, a, r, o_next, goes_on)
            self.q_a, self.q_b = self.q_b, self.q_a  # (3)
            self.adam_a, self.adam_b = self.adam_b, self.adam_a
        with torch.no_grad():  # the half trained last is called B by now
            q = self.q_b(o)
            greedy = one_hot(q.argmax(dim=2), q.shape[2]).float()
        actor_loss = torch.zeros(())
        for i in torch.randperm(self.critics, generator=self._chance).tolist():
            actor_loss = self._train_actor(o[i], greedy[i])
        return {"critic_loss": float(critic_loss) / self.critics, "actor_loss": float(actor_loss)}

    def _train_critics(
        self,
        o: torch.Tensor,
        a: torch.Tensor,
        r: torch.Tensor,
        o_next: torch.Tensor,
        goes_on: torch.Tensor,
    ) -> torch.Tensor:
        """(1) and (2) for the A halves of all critics; the sum of their losses."""
        with torch.no_grad():
            q_next = self.q_a(o_next)
            best = q_next.argmax(dim=2, keepdim=True)
            v_next = torch.minimum(q_next.gather(2, best), self.q_b(o_next).gather(2, best))
            target = self.q_a(o)
            now = target.gather(2, a)
            gain = r + self.gamma * goes_on * v_next - now
            target.scatter_(2, a, now + self.alpha * gain)
        loss = torch.zeros(())
        for _ in range(self._whole("critic_epochs")):
            # A sum over critics: each gets the gradient of its own mean.
            loss = self.critics * mse_loss(self.q_a(o), target)
            self._descend(self.adam_a, loss)
        return loss.detach()

    def _train_actor(self, o: torch.Tensor, greedy: torch.Tensor) -> torch.Tensor:
        """(4) for the batch of one critic; the last loss."""
        with torch.no_grad():
            pi = self.actor(o).softmax(dim=1)
            target = (1.0 - self.lambda_) * pi + self.lambda_ * greedy
        loss = torch.zeros(())
        for _ in range(self._whole("actor_epochs")):
            loss = mse_loss(self.actor(o).softmax(dim=1), target)
            self._descend(self.adam_actor, loss)
        return loss.detach()

    def _descend(self, adam: torch.optim.Adam, loss: torch.Tensor) -> None:
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it without types
        adam.step()
        self.gradient_steps += 1

    # --- what it sees ----------------------------------------------------------------------------

    def remember(self, transition: Transition) -> bool:
        """A row of the replay memory; False when nobody knows what the device did."""
        action = executed(transition)
        if action is None:
            return False
        a = int(np.frombuffer(action, dtype="<f4")[0]) - self._first_action
        o, o_next = self._seen(transition.observation), self._seen(transition.next_observation)
        self.replay.add(transition, o, a, o_next)
        return True

    def _seen(self, observation: Floats) -> NDArray[np.float32]:
        values = np.frombuffer(observation, dtype="<f4").reshape(1, -1)
        seen: NDArray[np.float32] = features(self._observations, values)[0]
        return seen

    def _drawn(self, rows: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Rows of the memory, (critics, batch, n or 1): o, a, r, o', goes on."""
        at, memory = rows.numpy(), self.replay
        columns = (memory.o, memory.a, memory.r, memory.o_next, memory.goes_on)
        return tuple(torch.from_numpy(c[at] if c.ndim > 1 else c[at][..., None]) for c in columns)

    def _least(self) -> int:
        """Rows without which nothing is trained."""
        return min(self._whole("learning_starts"), len(self.replay.a))

    # --- what is kept of it ----------------------------------------------------------------------

    def acting(self) -> Acting:
        """The actor's logits; they draw every action."""
        depth = len(self._parameters.net_arch) + 1
        layers = tuple(f"actor.{2 * i}" for i in range(depth))
        return Acting("categorical", layers, activation=self._parameters.activation_fn)

    def tensors(self) -> Tensors:
        """Actor, critics, three optimizers and the generator."""
        return kept(self._modules(), self._optimizers(), self._chance)

    def restore(self, tensors: Tensors) -> None:
        """The same."""
        put_back(tensors, self._modules(), self._optimizers(), self._chance)

    def counts(self) -> dict[str, int]:
        """How far it is, and where the memory is to be filled from."""
        done = {"steps": self._steps, "gradient_steps": self.gradient_steps}
        since = {
            "since_taken": self._taken,
            "since_skipped": self._skipped,
            "since_first": self._first,
        }
        return done | since | self.replay.counts()

    def count_on(self, counts: dict[str, int]) -> None:
        """Go on from there."""
        self._steps, self.gradient_steps = counts["steps"], counts["gradient_steps"]
        self._taken, self._skipped = counts.get("since_taken", 0), counts.get("since_skipped", 0)
        self._first = counts.get("since_first", 0)
        self.replay.begin_at(counts)

    def inherit(self, before: Learner) -> None:
        """The rows of its memory."""
        if isinstance(before, BDPI):
            self.replay.inherit(before.replay)

    def _modules(self) -> dict[str, torch.nn.Module]:
        return {"actor": self.actor, "critic_a": self.q_a, "critic_b": self.q_b}

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        return {"actor": self.adam_actor, "critic_a": self.adam_a, "critic_b": self.adam_b}

    def _whole(self, name: str) -> int:
        value = self._parameters.arguments[name]
        assert isinstance(value, int), "the row says so"
        return value

    def _number(self, name: str) -> float:
        value = self._parameters.arguments[name]
        assert isinstance(value, float), "the row says so"
        return value


def _linear(n_in: int, n_out: int, chance: torch.Generator) -> torch.nn.Linear:
    """A layer drawn as torch draws it, from a generator of our own."""
    layer = torch.nn.Linear(n_in, n_out)
    bound = 1.0 / math.sqrt(n_in)
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=chance)
        layer.bias.uniform_(-bound, bound, generator=chance)
    return layer
