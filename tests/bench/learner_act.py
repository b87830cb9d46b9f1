"""What an action costs in the actor, alone and in a batch; how late it comes beside training."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hub.frames import Splitter
from hub.learner.acting.choose import Chooser
from hub.learner.columns import Question, Questions
from hub.learner.messages import Answers, Load, decode_from_actor, decode_to_actor, framed
from hub.learner.processes.start import learner_context, run_actor
from hub.words import Floats
from tests.bench.learner_figures import ActCost, Lateness
from tests.bench.learner_train import model_of
from tests.learning.harness import Hub, cartpole, pendulum

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hub.words import Agent

AGENTS: Final[dict[str, Callable[..., Agent]]] = {
    "PPO": cartpole,
    "DQN": cartpole,
    "SAC": pendulum,
    "TD3": pendulum,
}
BATCH: Final = 256
DEVICES: Final = 32
PERIOD_S: Final = 0.005
PAST_WARM_UP: Final = 0.1
"""Exploration of a version that has left its first, random steps behind."""
TRAIN: Final = """
import hub.learner.one_thread
from tests.bench.learner_train import train_without_pause
train_without_pause({!r})
"""
TRAINERS: Final = ((), ("PPO",), ("SAC",), ("PPO", "SAC"))
"""Who train at once, each in a process of its own."""
NET: Final = "64,64"
"""Stable-Baselines3's own for PPO and DQN; the tuned ones are wider for some."""


def act_costs(folder: Path, rounds: int) -> Iterator[ActCost]:
    """Each kind of policy, 64 by 64, and what the library's own takes."""
    for name, agent_of in AGENTS.items():
        agent = agent_of(name, seed=1, net_arch=NET)
        chooser = _chooser(agent, folder / f"act-{name}")
        asked = questions(4 * BATCH, chooser)
        one_by_one = [Questions.of([question]) for question in asked]
        batches = [Questions.of(asked[i : i + BATCH]) for i in range(0, len(asked), BATCH)]
        frames = [framed(batch) for batch in batches]
        rows = [np.frombuffer(question.values, "<f4") for question in asked[:BATCH]]
        predict = model_of(agent).predict
        choose = partial(chooser.choose, greedy=False)
        answer = partial(_from_frame_to_frame, chooser, Splitter())
        alone_us, batch_us, frames_us, predict_us = (
            float(np.median([_took_ns(act, one) for _ in range(rounds) for one in each])) / 1e3
            for act, each in (
                (choose, one_by_one),
                (choose, batches),
                (answer, frames),
                (predict, rows),
            )
        )
        yield ActCost(name, alone_us, batch_us / BATCH, frames_us / BATCH, predict_us)


def lateness(folder: Path, seconds: float, *, quick: bool) -> Iterator[Lateness]:
    """200 observations a second to an actor process while another trains without a pause."""
    for trained in TRAINERS[:2] if quick else TRAINERS:
        agent = cartpole("PPO", seed=1)
        beside = " and ".join(trained) or "nothing"
        files = folder / f"beside {beside}"
        Hub(agent, files)  # writes version 0
        path = next((files / "policies").rglob("*.safetensors"))
        asked = questions(DEVICES, _chooser(agent, files / "asked"))
        with ExitStack() as trainers:
            for algorithm in trained:
                trainers.enter_context(_Training(algorithm))
            waits = np.array(_waits_ms(agent, str(path), asked, seconds))
        p50, p99 = np.percentile(waits, (50, 99))
        yield Lateness(beside, len(waits), float(p50), float(p99), float(waits.max()))


def questions(count: int, chooser: Chooser) -> list[Question]:
    """From 32 devices, with observations about zero."""
    chance = np.random.default_rng(1)
    values = chance.normal(size=(count, chooser._size)).astype("<f4")
    return [
        Question(i, f"device-{i % DEVICES}", 1, i, Floats(row.tobytes()))
        for i, row in enumerate(values)
    ]


def _chooser(agent: Agent, folder: Path) -> Chooser:
    hub = Hub(agent, folder)
    assert isinstance(hub._chooser, Chooser), "version 0 acts at once"
    drawing = hub._chooser._drawing
    drawing.exploration = min(drawing.exploration, PAST_WARM_UP)
    return hub._chooser


def _took_ns(act: Callable[[Any], object], asked: object) -> int:
    started = time.perf_counter_ns()
    act(asked)
    return time.perf_counter_ns() - started


def _from_frame_to_frame(chooser: Chooser, splitter: Splitter, frame: bytes) -> bytes:
    (body,) = splitter.feed(frame)
    message = decode_to_actor(body)
    assert isinstance(message, Questions), message
    return framed(Answers(message.ids, chooser.choose(message, greedy=False)))


class _Training:
    """`train_without_pause` in another process, for as long as it is entered."""

    def __init__(self, algorithm: str) -> None:
        code = TRAIN.format(algorithm)
        self._process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)

    def __enter__(self) -> None:
        assert self._process.stdout is not None, "it was asked for"
        assert self._process.stdout.readline(), "it says when it begins to train"

    def __exit__(self, *_: object) -> None:
        assert self._process.poll() is None, "it trains until it is killed"
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None, "it was asked for"
        self._process.stdout.close()


def _waits_ms(agent: Agent, path: str, asked: list[Question], seconds: float) -> list[float]:
    ours, theirs = socket.socketpair()
    process = learner_context().Process(target=run_actor, args=(theirs, agent))
    process.start()
    theirs.close()
    splitter = Splitter()
    try:
        ours.sendall(framed(Load(1, path)))
        _answer(ours, splitter)
        waits: list[float] = []
        begun = time.perf_counter()
        while len(waits) < int(seconds / PERIOD_S):
            due = begun + len(waits) * PERIOD_S
            time.sleep(max(0.0, due - time.perf_counter()))
            ours.sendall(framed(Questions.of([asked[len(waits) % len(asked)]])))
            answers = _answer(ours, splitter)
            assert isinstance(answers, Answers), answers
            waits.append(1e3 * (time.perf_counter() - due))
    finally:
        ours.close()
        process.join()
    return waits


def _answer(ours: socket.socket, splitter: Splitter) -> Any:
    while data := ours.recv(1 << 16):
        for body in splitter.feed(data):
            return decode_from_actor(body)
    raise EOFError("the actor has ended")
