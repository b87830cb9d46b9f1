"""A hub's life in one process: devices, operators, and a trainer that lags and is killed, by seed.

What a hub does between a trainer and its log is done here too: versions are logged some time after
they were made, as children of the newest one only (`Heads`), and they act from then on. Registry,
Heads, Trainer, Chooser and policy files are the hub's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np
from msgspec.structs import replace

from hub.facts import AgentMade
from hub.intake.mapping.bound import check_mapping
from hub.learner.acting.flock import Choosing, open_chooser
from hub.learner.columns import Question, Questions
from hub.learner.messages import LoggedPolicy, Made, policy_path
from hub.learner.training.train import KINDS, Trainer
from hub.learner.versions.heads import Heads, Verdict
from hub.learner.versions.policy import read_policy
from hub.registry.acts import Acts, Chosen
from hub.registry.fold import Registry, Trained
from hub.spaces import parse, size
from hub.words import Agent, Event, Floats, Kind, Source
from tests.learning.harness import StoppedClock, chosen_as

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

FILES_KEPT: Final = 1000
MORE_EVENTS: Final = 16
"""That wait: as many as an update is put off for."""
LATE_EVENTS_MAX: Final = 40
"""Between a version and its event in the log."""
FIRST_ACTION: Final = 0.0


class Farm:
    """One agent's hub. `log` is all that was ever said; nothing else is kept over a kill.

    Args:
        agent: as declared first.
        folder: its data folder.
        seed: of what happens when.
        troubles: chance at each step of a kill, of being behind, and of being busy for a while.
    """

    def __init__(self, agent: Agent, folder: Path, *, seed: int, troubles: float = 0.0) -> None:
        self.agent = agent
        self.folder = folder
        self.log: list[Event] = []
        self.kills = 0
        self.left = 0
        """Versions that a trainer made and the log has not."""
        self.registry = Registry()
        self._heads = Heads(self.registry)
        self._chance = np.random.default_rng(seed)
        self._troubles = troubles
        self._chooser: Choosing | None = None
        self._due: list[tuple[int, Made]] = []
        self._read = 0
        self._behind = 0
        self._busy = 0
        self._busy_chance = np.random.default_rng([seed, 1])
        self._acts = Acts(
            self.registry, lambda: 0, self._chance.bytes, lambda _: None, self, check_mapping
        )
        payload = msgspec.json.encode(AgentMade(agent, "test")).decode()
        self.append(Event(Kind.ADMIN, ts=0, agent=agent.name, payload=payload))
        self._trainer = self._start()

    # --- what operators do ----------------------------------------------------------------------

    def change(self, **changes: Any) -> None:
        """`agent update`."""
        self._do(self._acts.change_agent(self.agent.name, changes, "ann"))

    def roll_back(self, version: int) -> None:
        """`policy rollback --to`."""
        sha256 = next(
            msgspec.json.decode(event.payload)["sha256"]
            for event in self.log
            if event.kind is Kind.POLICY and event.policy == version and event.payload
        )
        chosen = Chosen(sha256, "rolled_back", version)
        self._do(self._acts.choose_policy(self.agent.name, chosen, "ann"))

    def put(self, sha256: str) -> None:
        """`policy import`."""
        self._do(self._acts.choose_policy(self.agent.name, Chosen(sha256, "imported"), "ann"))

    def restart(self) -> None:
        """`agent restart`."""
        self._do(self._acts.restart_agent(self.agent.name, "ann"))
        self._chooser = None
        self.kill()

    def check_fits(self, agent: Agent, sha256: str) -> int:
        """All files here fit."""
        return read_policy(policy_path(self.folder, agent.name, sha256)).card.position

    def next_version(self, name: str, sha256: str | None) -> int:
        """As the hub's pool."""
        assert name == self.agent.name
        return self._heads.choose(self.agent.name, sha256)

    def _do(self, decided: tuple[list[Event], Any]) -> None:
        for event in decided[0]:
            self.append(event)

    # --- what devices do ------------------------------------------------------------------------

    def answer(self, observation: Event, mask: bytes | None = None) -> Floats | None:
        """Log the observation and its action, and let the trainer work for a while."""
        assert mask is None, "none of these tasks has masks"
        self.append(observation)
        action = None
        if not observation.terminated and not observation.truncated:
            event = self._act(observation)
            self.append(event)
            action = event.action
        self._train()
        return action

    def _act(self, observation: Event) -> Event:
        event = Event(
            Kind.ACTION,
            ts=0,
            agent=self.agent.name,
            device=observation.device,
            boot=observation.boot,
            step=observation.step,
        )
        if self._chooser is None:
            width = size(parse(self.agent.actions))
            action = Floats(np.full(width, FIRST_ACTION, dtype="<f4").tobytes())
            return replace(event, action=action, source=Source.FALLBACK)
        assert observation.obs is not None
        assert observation.step is not None
        question = Question(
            0,
            observation.device,
            0,
            observation.step,
            observation.obs,
            first=bool(observation.first),
        )
        asked = Questions.of([question])
        (chosen,) = self._chooser.choose(asked, greedy=False)
        return chosen_as(event, chosen)

    # --- what the hub does ----------------------------------------------------------------------

    def append(self, event: Event) -> None:
        """The log's next event, folded; the newest policy acts."""
        event = replace(event, seq=len(self.log) + 1)
        self.log.append(event)
        if event.kind in (Kind.ADMIN, Kind.POLICY):
            self.registry.apply(event)
        if event.kind is Kind.POLICY:
            policy = self.registry.policies[self.agent.name]
            path = policy_path(self.folder, self.agent.name, policy.made.sha256)
            found = read_policy(path)
            card = replace(found.card, version=policy.version)
            self._chooser = open_chooser(replace(found, card=card), self.agent.seed, self._chooser)

    def kill(self) -> None:
        """kill -9 of the trainer; what it had made and not said is lost."""
        self.kills += 1
        self._due.clear()
        self._trainer = self._start()

    def _start(self) -> Trainer:
        begun = self.registry.begun[self.agent.name]
        trained = self.registry.trained.get(self.agent.name)
        chosen = self.registry.chosen.get(self.agent.name, {}).values()
        trainer = Trainer(
            begun.agent,
            self.folder,
            StoppedClock(),
            policies_kept=FILES_KEPT,
            pinned=frozenset(one.sha256 for one in chosen),
        )
        self._made(trainer.open(_logged(trained), after=begun.seq, version=begun.version))
        self._read = trainer.read_after
        return trainer

    def _train(self) -> None:
        """Read some of what waits, in bursts, so that it lags and catches up."""
        if self._chance.random() < self._troubles:
            self.kill()
        if self._behind == 0 and self._chance.random() < self._troubles:
            self._behind = int(self._chance.integers(20, 200))
        if self._busy == 0 and self._busy_chance.random() < self._troubles:
            self._busy = int(self._busy_chance.integers(20, 200))
        self._busy -= self._busy > 0
        if self._busy or self._chance.random() < 0.5:
            return
        waiting = self.log[self._read :]
        for left, event in zip(range(len(waiting), 0, -1), waiting, strict=True):
            self._read = event.seq
            if event.kind in KINDS:
                behind = self._behind > 0 and event.seq > self._trainer.position
                self._behind -= behind
                more = left > MORE_EVENTS and self._trainer.takes_more
                self._made(self._trainer.take(event, more=more, behind=behind))
        self._log_versions()

    def _made(self, made: Made | None) -> None:
        if made is not None:
            due = len(self.log) + int(self._chance.integers(LATE_EVENTS_MAX))
            self._due.append((due, made))

    def _log_versions(self) -> None:
        while self._due and self._due[0][0] <= len(self.log):
            _, made = self._due.pop(0)
            verdict = self._heads.follow(self.agent.name, made)
            if verdict is Verdict.LOG:
                for kind, fact in ((Kind.UPDATE, made.update), (Kind.POLICY, made.policy)):
                    if fact is not None:
                        payload = msgspec.json.encode(fact).decode()
                        self.append(
                            Event(kind, 0, self.agent.name, policy=made.version, payload=payload)
                        )
                continue
            self.left += 1
            if verdict is Verdict.ASTRAY:
                self.kill()
                return


def _logged(trained: Trained | None) -> LoggedPolicy | None:
    return None if trained is None else LoggedPolicy(trained.version, trained.sha256)
