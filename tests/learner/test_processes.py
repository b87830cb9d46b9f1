"""Actor and trainer as processes: what they say, and that they end with the hub."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from hub.frames import receive_frame
from hub.learner.columns import Question, Questions, unpacked
from hub.learner.messages import (
    Answers,
    Greedy,
    Idle,
    Load,
    Loaded,
    LoggedPolicy,
    Made,
    decode_from_actor,
    decode_from_trainer,
    framed,
    policy_path,
)
from hub.learner.processes.start import learner_context, run_actor, run_trainer
from hub.learner.training.train import Trainer
from hub.log.messages import Page, Subscribe, from_reader, socket_path
from hub.log.messages import framed as log_framed
from hub.registry.fold import Begun
from hub.settings import LearnerSettings
from hub.words import Agent, AgentName, Event, Kind, Source
from tests.learner.test_transitions import floats
from tests.learning.harness import StoppedClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.process import BaseProcess
    from pathlib import Path

    from hub.learner.messages import FromActor, FromTrainer

BUSY_S: Final = 0.5
ANSWER_S: Final = 20.0
"""The first child waits for the fork server to import torch."""

AGENT: Final = Agent(
    AgentName("walker"), "PPO", [[2], "-inf", "inf"], 2, seed=1, parameters={"n_steps": "8"}
)
SETTINGS: Final = LearnerSettings(nice=0)


@contextmanager
def started(target: object, *args: object) -> Iterator[tuple[socket.socket, BaseProcess]]:
    """The hub's end of a child's socket, and the child."""
    ours, theirs = socket.socketpair()
    process = learner_context().Process(target=target, args=(theirs, *args))  # type: ignore[arg-type]
    process.start()
    theirs.close()
    ours.settimeout(ANSWER_S)
    with ours:
        try:
            yield ours, process
        finally:
            process.kill()
            process.join()


class FakeLog:
    """Listens as the log process does, and sends each reader one page of events."""

    def __init__(self, data: Path, events: list[Event]) -> None:
        self.asked: list[Subscribe] = []
        self._events = events
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(socket_path(data)))
        self._listener.listen()
        self._readers: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> FakeLog:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for one in (self._listener, *self._readers):
            one.close()

    def end(self) -> None:
        """As if the log process had died."""
        for one in self._readers:
            one.shutdown(socket.SHUT_RDWR)

    def _serve(self) -> None:
        while True:
            try:
                reader, _ = self._listener.accept()
            except OSError:
                return
            self._readers.append(reader)
            body = receive_frame(reader)
            assert body is not None
            asked = from_reader.decode(body)
            events = [event for event in self._events if event.seq > asked.after]
            last = len(self._events)
            reader.sendall(log_framed(Page(asked.after + 1, last, events, live=True)))
            self.asked.append(asked)


def stepped(count: int) -> list[Event]:
    """The log of one device that version 0 led."""
    events = []
    for step in range(count):
        obs = Event(Kind.OBSERVATION, ts=0, device="d", step=step, obs=floats(step, -step))
        act = Event(Kind.ACTION, ts=0, device="d", step=step, action=floats(1), policy=0)
        drawn = msgspec.structs.replace(act, source=Source.POLICY, logprob=-0.7, value=0.0)
        events += [msgspec.structs.replace(obs, reward=1.0, first=step == 0), drawn]
    return [msgspec.structs.replace(event, seq=i) for i, event in enumerate(events, 1)]


def said_by_actor(ours: socket.socket) -> FromActor:
    body = receive_frame(ours)
    assert body is not None, "the actor has ended"
    message: FromActor = decode_from_actor(body)
    return message


def said_by_trainer(ours: socket.socket) -> Made:
    said: FromTrainer = Idle(on=True)
    while not isinstance(said, Made):
        body = receive_frame(ours)
        assert body is not None, "the trainer has ended"
        said = decode_from_trainer(body)
    assert isinstance(said, Made), f"the trainer dies: {said}"
    return said


def made(folder: Path) -> Load:
    first = Trainer(AGENT, folder, StoppedClock(), policies_kept=2).open(None)
    assert first is not None
    return Load(first.version, str(policy_path(folder, AGENT.name, first.policy.sha256)))


def ask(*ids: int) -> Questions:
    return Questions.of([Question(i, "heater", 0, i, floats(0.5, i)) for i in ids])


def test_an_actor_loads_a_policy_and_answers_what_came_together_in_one_frame(
    tmp_path: Path,
) -> None:
    with started(run_actor, AGENT) as (ours, _):
        ours.sendall(framed(made(tmp_path)))
        assert said_by_actor(ours) == Loaded(0)
        ours.sendall(framed(ask(1, 2)) + framed(ask(3)))
        answers = said_by_actor(ours)
        assert isinstance(answers, Answers)
        assert list(unpacked(answers.ids)) == [1, 2, 3]
        assert all(choice.logprob is not None for choice in answers.choices)
        ours.sendall(framed(Greedy(on=True)) + framed(ask(4)))
        greedy = said_by_actor(ours)
        assert isinstance(greedy, Answers)
        (choice,) = greedy.choices
        assert choice.logprob is None


def test_an_actor_keeps_its_version_when_a_file_is_bad(tmp_path: Path) -> None:
    with started(run_actor, AGENT) as (ours, _):
        ours.sendall(framed(made(tmp_path)) + framed(Load(1, str(tmp_path / "gone.safetensors"))))
        assert said_by_actor(ours) == Loaded(0)
        failed = said_by_actor(ours)
        assert isinstance(failed, Loaded)
        assert failed.version == 1
        assert "can't be read" in str(failed.error)
        ours.sendall(framed(ask(1)))
        answers = said_by_actor(ours)
        assert isinstance(answers, Answers)
        (choice,) = answers.choices
        assert choice.policy == 0


def test_an_actor_ends_with_the_hub() -> None:
    with started(run_actor, AGENT) as (ours, process):
        ours.close()
        process.join(ANSWER_S)
        assert process.exitcode == 0


def test_a_trainer_makes_version_0_at_once_and_then_learns_from_the_log(tmp_path: Path) -> None:
    with (
        FakeLog(tmp_path, stepped(20)) as log,
        started(run_trainer, Begun(AGENT), str(tmp_path), None, frozenset(), SETTINGS) as (ours, _),
    ):
        first, second = said_by_trainer(ours), said_by_trainer(ours)
        assert (first.version, first.update, first.policy.position) == (0, None, 0)
        assert second.update is not None
        assert (second.version, second.policy.parent, second.update.transitions) == (1, 0, 8)
        assert second.policy.position == 17  # the ninth observation
        assert log.asked[0].agent == "walker"


def test_a_trainer_goes_on_from_the_newest_logged_version(tmp_path: Path) -> None:
    with FakeLog(tmp_path, stepped(20)) as log:
        with started(run_trainer, Begun(AGENT), str(tmp_path), None, frozenset(), SETTINGS) as (
            ours,
            _,
        ):
            said_by_trainer(ours)
            second, third = said_by_trainer(ours), said_by_trainer(ours)
        newest = LoggedPolicy(second.version, second.policy.sha256)
        with started(run_trainer, Begun(AGENT), str(tmp_path), newest, frozenset(), SETTINGS) as (
            ours,
            _,
        ):
            again = said_by_trainer(ours)
            assert log.asked[1].after == second.policy.position
            assert (again.version, again.policy.sha256) == (third.version, third.policy.sha256)


def test_a_trainer_ends_with_the_hub_even_in_the_middle_of_an_update(tmp_path: Path) -> None:
    endless = msgspec.structs.replace(AGENT, parameters={"n_steps": "8", "n_epochs": "10000000"})
    with (
        FakeLog(tmp_path, stepped(20)),
        started(run_trainer, Begun(endless), str(tmp_path), None, frozenset(), SETTINGS) as (
            ours,
            process,
        ),
    ):
        said_by_trainer(ours)
        process.join(BUSY_S)
        assert process.is_alive(), "an update of ten million epochs is under way"
        ours.close()
        process.join(ANSWER_S)
        assert process.exitcode == 0, "it outlives the hub"


def test_a_trainer_ends_with_the_log_so_that_it_can_be_started_again(tmp_path: Path) -> None:
    with (
        FakeLog(tmp_path, stepped(20)) as log,
        started(run_trainer, Begun(AGENT), str(tmp_path), None, frozenset(), SETTINGS) as (
            ours,
            process,
        ),
    ):
        said_by_trainer(ours)
        said_by_trainer(ours)
        log.end()
        process.join(ANSWER_S)
        assert process.exitcode == 1
