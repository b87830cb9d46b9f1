"""Simulated devices that learn through a log in one process: everything real but the wires.

Devices step when they please, as in the field: waits are exponential, and the last device is four
times slower than the first. A new version acts only `HANDOVER_STEPS` steps after it was made, as
long as an update takes. The log is a list; Trainer, Chooser and policy files are the hub's own.
"""

from __future__ import annotations

import heapq
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

import gymnasium
import msgspec
import numpy as np

from hub.learner.acting.flock import Choosing, open_chooser
from hub.learner.columns import Question, Questions
from hub.learner.messages import Made, policy_path
from hub.learner.training.train import Trainer
from hub.learner.versions.policy import read_policy
from hub.mask import TAKEN_BY
from hub.words import Agent, AgentName, Event, Floats, Kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from hub.learner.acting.guests import Guests
    from hub.learner.versions.policy import PolicyFile
    from hub.step import Choice

HANDOVER_STEPS: Final = 64
SLOWEST: Final = 4.0
SIDE: Final = 36
"""Of a picture: the least that three convolutions leave something of."""
EPISODES: Final = 20
"""Training episodes in a mean return."""


class ProcessClock:
    """Counts this process's CPU time, so that what else runs on the machine does not count."""

    def now_us(self) -> int:
        return 0

    def monotonic(self) -> float:
        return time.process_time()


class StoppedClock:
    """Always the same instant: what is measured with it is 0 and may be compared."""

    def now_us(self) -> int:
        return 0

    def monotonic(self) -> float:
        return 0.0


class Outcome(NamedTuple):
    """What a run of devices came to."""

    solved_at: int | None
    """Steps of all devices when the mean return of the last episodes reached the threshold."""
    returns: list[float]
    """Of all episodes, in the order they ended."""
    trainer_s: float
    versions: int
    dropped: int


class Dials(gymnasium.Env[Any, Any]):
    """Pays for dials that are set as two numbers say; the observation is several choices too."""

    observation_space = gymnasium.spaces.MultiDiscrete([3, 4])

    def __init__(self, actions: gymnasium.spaces.Space[Any]) -> None:
        self.action_space = actions
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Anew."""
        super().reset(seed=seed, options=options)
        self._steps = 0
        return self._see(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Ends by itself where a throw of dice says so, else at the 20th step."""
        paid = float(np.sum(np.atleast_1d(action)[:2] == self._seen))
        self._steps += 1
        return self._see(), paid, bool(self.np_random.random() < 0.05), self._steps == 20, {}

    def action_masks(self) -> NDArray[np.bool_]:
        """The first dial's place of the moment is barred, and the last switch half of the time."""
        count = 9 if isinstance(self.action_space, gymnasium.spaces.MultiDiscrete) else 6
        allowed = np.ones(count, dtype=bool)
        allowed[int(self._seen[0]) % 2] = False
        allowed[-1] = bool(self._seen[1] % 2)
        return allowed

    def _see(self) -> Any:
        self._seen = self.np_random.integers((3, 4))
        return self._seen


gymnasium.register(
    "Dials-v0",
    lambda **_: Dials(gymnasium.spaces.MultiDiscrete([3, 4, 2])),
    order_enforce=False,
    disable_env_checker=True,
)


class Glances(gymnasium.Env[Any, Any]):
    """Pays for naming the third of the picture in which a bright square stands."""

    action_space = gymnasium.spaces.Discrete(3)

    def __init__(self, channels: int = 1) -> None:
        shape = (SIDE, SIDE, channels)
        self.observation_space = gymnasium.spaces.Box(0, 255, shape, dtype=np.uint8)
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Anew."""
        super().reset(seed=seed, options=options)
        self._steps = 0
        return self._see(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Ends at the 20th step, or by itself where a throw of dice says so."""
        paid = float(int(action) == self._third)
        self._steps += 1
        return self._see(), paid, bool(self.np_random.random() < 0.02), self._steps == 20, {}

    def _see(self) -> Any:
        self._third = int(self.np_random.integers(3))
        picture = self.np_random.integers(0, 60, self.observation_space.shape, dtype=np.uint8)
        top, left = int(self.np_random.integers(SIDE - 12)), 12 * self._third
        picture[top : top + 12, left : left + 12] += 190
        return picture


gymnasium.register(
    "Glances-v0", lambda **_: Glances(), order_enforce=False, disable_env_checker=True
)


def floats(values: Any) -> Floats:
    """As the hub flattens them: the parts of a dict in the order of their names."""
    if isinstance(values, dict):
        values = np.concatenate([np.ravel(part) for _, part in sorted(values.items())])
    return Floats(np.asarray(values, dtype="<f4").tobytes())


class Device:
    """One environment, and what it has to say next."""

    def __init__(self, name: str, environment: str, seed: int, wait_s: float) -> None:
        self.name = name
        self.wait_s = wait_s
        self._env: gymnasium.Env[Any, Any] = gymnasium.make(environment)
        self._seed: int | None = seed
        self.step = -1
        self.returned = 0.0
        self._over = True
        self.mask: bytes | None = None
        """What it allows now, where its environment says so."""

    def observe(self, action: Floats | None) -> tuple[Event, float | None]:
        """Carry the action out; the observation that follows and, at an end, the return."""
        self.step += 1
        if self._over:
            values, _ = self._env.reset(seed=self._seed)
            self._seed, self._over, self.returned = None, False, 0.0
            return self._event(values, first=True), None
        assert action is not None, "every observation was answered"
        values, reward, terminated, truncated, _ = self._env.step(self._native(action))
        self.returned += float(reward)
        self._over = terminated or truncated
        event = self._event(
            values, reward=float(reward), terminated=terminated, truncated=truncated
        )
        return event, self.returned if self._over else None

    def _native(self, action: Floats) -> Any:
        values = np.frombuffer(action, dtype="<f4")
        if isinstance(self._env.action_space, gymnasium.spaces.Discrete):
            return int(values[0])
        if isinstance(self._env.action_space, gymnasium.spaces.MultiDiscrete):
            return values.astype(np.int64)
        return values

    def _event(self, values: Any, **columns: Any) -> Event:
        if isinstance(self._env.unwrapped, Dials):
            self.mask = self._env.unwrapped.action_masks().tobytes()
        return Event(
            Kind.OBSERVATION,
            ts=0,
            agent="walker",
            device=self.name,
            step=self.step,
            obs=floats(values),
            **columns,
        )


class Answering(Protocol):
    """What devices step against."""

    agent: Agent

    def answer(self, observation: Event, mask: bytes | None = None) -> Floats | None:
        """The action for an observation; None at an episode's end."""
        ...


class Hub:
    """Gives each event its seq, hands it to the trainer, and lets the newest version act."""

    def __init__(
        self,
        agent: Agent,
        folder: Path,
        *,
        handover_steps: int = HANDOVER_STEPS,
        policies_kept: int = 4,
        guests: Guests | None = None,
    ) -> None:
        self.agent = agent
        self._guests = guests
        self.folder = folder
        self.log: list[Event] = []
        self.versions: list[Made] = []
        self.trainer_s = 0.0
        self.trainer = Trainer(agent, folder, ProcessClock(), policies_kept=policies_kept)
        self._handover_steps = handover_steps
        self._next: list[tuple[int, Made]] = []
        self._chooser: Choosing | None = None
        self._made(self.trainer.open(None))
        self._load()

    def answer(self, observation: Event, mask: bytes | None = None) -> Floats | None:
        """Log the observation and its action, and train on both."""
        self._load()
        action = None
        events = [observation]
        if not observation.terminated and not observation.truncated:
            assert self._chooser is not None, "version 0 acts at once"
            assert observation.obs is not None
            assert observation.step is not None
            if self.agent.algorithm not in TAKEN_BY:
                mask = None
            question = Question(
                0,
                observation.device,
                0,
                observation.step,
                observation.obs,
                mask,
                first=bool(observation.first),
            )
            asked = Questions.of([question])
            (chosen,) = self._chooser.choose(asked, greedy=not self.agent.learning)
            action = chosen.action
            event = Event(
                Kind.ACTION,
                ts=0,
                agent=observation.agent,
                device=observation.device,
                step=observation.step,
            )
            events.append(chosen_as(event, chosen))
        for event in events:
            self._append(event)
        return action

    def _append(self, event: Event) -> None:
        event = msgspec.structs.replace(event, seq=len(self.log) + 1)
        self.log.append(event)
        started = time.process_time()
        made = self.trainer.take(event)
        self.trainer_s += time.process_time() - started
        if made is not None:
            self._made(made)

    def _made(self, made: Made | None) -> None:
        if made is not None:
            self.versions.append(made)
            self._next.append((len(self.log) + 2 * self._handover_steps, made))

    def _load(self) -> None:
        while self._next and (self._chooser is None or self._next[0][0] <= len(self.log)):
            _, made = self._next.pop(0)
            before, seed = self._chooser, self.agent.seed
            self._chooser = open_chooser(file_of(self, made), seed, before, self._guests)


def chosen_as(event: Event, chosen: Choice) -> Event:
    """The event of an action with what was chosen, as the hub logs it."""
    return msgspec.structs.replace(
        event,
        action=chosen.action,
        policy=chosen.policy,
        logprob=chosen.logprob,
        value=chosen.value,
        source=chosen.source,
        payload=chosen.payload,
    )


def file_of(hub: Hub, made: Made) -> PolicyFile:
    """The version's file."""
    return read_policy(policy_path(hub.folder, hub.agent.name, made.policy.sha256))


def run(hub: Hub, environment: str, *, devices: int, steps_max: int, threshold: float) -> Outcome:
    """Let devices learn until the mean return reaches the threshold, or `steps_max` in all."""
    returns: list[float] = []
    for steps, returned in enumerate(walk(hub, environment, devices)):
        if returned is not None:
            returns.append(returned)
            if len(returns) >= EPISODES and np.mean(returns[-EPISODES:]) >= threshold:
                return _outcome(hub, returns, steps)
        if steps >= steps_max:
            break
    return _outcome(hub, returns, None)


def _outcome(hub: Hub, returns: list[float], solved_at: int | None) -> Outcome:
    dropped = sum(made.update.dropped for made in hub.versions if made.update)
    return Outcome(solved_at, returns, hub.trainer_s, len(hub.versions), dropped)


def walk(
    hub: Answering, environment: str, count: int, *, churn: float = 0.0
) -> Iterator[float | None]:
    """For each step of any device, the return of the episode that it ended.

    `churn` is the chance at each step that the device has left for good and another joins.
    """
    chance = np.random.default_rng(hub.agent.seed)
    due: list[tuple[float, int]] = []
    fleet: list[Device] = []
    actions: list[Floats | None] = [None] * count
    for i in range(count):
        wait_s = SLOWEST ** (i / max(count - 1, 1))
        fleet.append(Device(f"device-{i}", environment, hub.agent.seed * 100 + i, wait_s))
        heapq.heappush(due, (chance.exponential(wait_s), i))
    joined = count
    while True:
        now, i = heapq.heappop(due)
        if churn and chance.random() < churn:
            joined += 1
            seed = hub.agent.seed * 100 + joined
            fleet[i] = Device(f"device-{joined}", environment, seed, fleet[i].wait_s)
        observation, returned = fleet[i].observe(actions[i])
        actions[i] = hub.answer(observation, fleet[i].mask)
        heapq.heappush(due, (now + chance.exponential(fleet[i].wait_s), i))
        yield returned


def agent_of(
    algorithm: str, observations: Any, actions: Any, *, seed: int, **parameters: str
) -> Agent:
    """An agent called walker."""
    return Agent(
        AgentName("walker"), algorithm, observations, actions, seed=seed, parameters=parameters
    )


def cartpole(algorithm: str, *, seed: int, **parameters: str) -> Agent:
    """CartPole-v1's spaces."""
    return agent_of(algorithm, [[4], "-inf", "inf"], 2, seed=seed, **parameters)


def dials(algorithm: str, *, seed: int, **parameters: str) -> Agent:
    """Dials-v0's spaces."""
    several = {"multi_discrete": [3, 4, 2]}
    return agent_of(algorithm, {"multi_discrete": [3, 4]}, several, seed=seed, **parameters)


def pendulum(algorithm: str, *, seed: int, **parameters: str) -> Agent:
    """Pendulum-v1's spaces."""
    return agent_of(
        algorithm,
        [[3], [-1.0, -1.0, -8.0], [1.0, 1.0, 8.0]],
        [[1], -2.0, 2.0],
        seed=seed,
        **parameters,
    )
