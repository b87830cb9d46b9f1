"""A hub for one measurement: new, with one PPO agent that learns, awake."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from hub.clock import SystemClock
from hub.demo.serving import ServedHub
from hub.words import Protocol
from tests.bench.load import Load
from tests.bench.processes import roles
from tests.bench.talk import NativeTalk, walking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.walk import WalkStep

HOST: Final = "127.0.0.1"
WAKE_S: Final = 1.0
WAKE_TRIES: Final = 60
ACTED_SQL: Final = "SELECT count(*) AS actions FROM events WHERE source = 'policy'"


@contextmanager
def open_hub(folder: Path, steps: list[WalkStep]) -> Iterator[OpenHub]:
    """A new hub in a new folder, whose agent's policy acts."""
    folder.mkdir(parents=True)
    served = ServedHub(folder, log=folder / "hub.txt", clock=SystemClock(), pause=time.sleep)
    with served:
        agent = served.create_agent(
            "bench", algorithm="PPO", observations="[[4],-3.4e38,3.4e38]", actions="2"
        )
        hub = OpenHub(served, agent.api_key)
        _wake(hub, steps)
        yield hub


class OpenHub(Struct):
    """A hub with one learning agent."""

    served: ServedHub
    key: str

    def status(self) -> Status:
        """As the hub says now; the agent's processes are there once it has been asked."""
        return msgspec.json.decode(self.served.command("status"), type=Status)

    def port(self, protocol: Protocol) -> int:
        """Where this protocol is spoken."""
        ready = self.served.ready
        return ready.mqtt if protocol is Protocol.MQTT else ready.http


class Status(Struct, frozen=True):
    """The part of `sheepfold status` that is needed."""

    processes: dict[str, int]
    fallbacks: int
    """Actions that no policy chose, since the hub started."""

    @property
    def pids(self) -> dict[str, list[int]]:
        """By role."""
        return roles(self.processes)


def _wake(hub: OpenHub, steps: list[WalkStep]) -> None:
    """Step until the policy answers: until then each action is a fallback, at its deadline."""
    talk = NativeTalk("early", hub.key, walking(steps, 0))
    with Load(HOST, [(hub.port(Protocol.HTTP), talk)]) as load:
        for _ in range(WAKE_TRIES):
            load.run(WAKE_S)
            (acted,) = hub.served.sql(ACTED_SQL, _Acted)
            if acted.actions:
                return
    raise TimeoutError("no policy acted; see hub.txt in the run's folder")


class _Acted(Struct, frozen=True):
    """One row of `ACTED_SQL`."""

    actions: int
