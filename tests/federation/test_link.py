"""The hub's end of the process for other hubs: a real one, at a real broker, stopped and killed."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec
import numpy as np
import pytest

from hub.clock import SystemClock
from hub.facts import AgentMade
from hub.federation.handed import STILL_S
from hub.federation.link import SAY_S, FederationLink
from hub.learner.messages import Consult, Counsel
from hub.learner.processes.start import learner_context
from hub.log.link import LogLink
from hub.registry.fold import Registry
from hub.settings import LearnerSettings, LogSettings, Settings
from hub.settings.federation import FederationSettings
from hub.words import Event, Floats, Kind
from tests.acceptance.expert import Expert, balancing
from tests.acceptance.meeting_place import meeting_place
from tests.acceptance.real_hub import HOST
from tests.federation.test_questions import ASKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from hub.federation.messages import Counted
    from tests.acceptance.mosquitto import Mosquitto

NAME: Final = ASKING.name
EXPERT: Final = "expert/?"
SEEN: Final = Floats(np.array([0.5, -0.25, 1.0, 2.0], dtype="<f4").tobytes())
WITHIN_S: Final = 60.0
"""The fork server imports torch, and other tests run beside."""
AT_ONCE_S: Final = 10.0
FOR_EVER_MS: Final = 60_000.0
"""Nobody is told by then that there is no answer, unless for another reason."""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with meeting_place(tmp_path) as broker:
        yield broker


@pytest.fixture
def expert(broker: Mosquitto) -> Iterator[Expert]:
    with Expert(broker.port, NAME, ASKING.observations, ASKING.actions) as expert:
        yield expert


class LaterClock(SystemClock):
    """The machine's, on which time may also be said to have passed."""

    later_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.later_s


class Desk:
    """An agent's hub, as far as it is needed to ask."""

    def __init__(self, folder: Path, broker: Mosquitto, advice_ms: float) -> None:
        self.clock = LaterClock()
        self._numbers = itertools.count(1)
        self._counsels: dict[int, asyncio.Future[Counsel]] = {}
        self._registry = Registry()
        payload = msgspec.json.encode(AgentMade(ASKING, "test")).decode()
        self._registry.apply(Event(Kind.ADMIN, 0, NAME, payload=payload, seq=1))
        self._log = LogLink(folder, LogSettings())
        place = f"mqtt://{HOST}:{broker.port}"
        federation = FederationSettings(broker=place, name="site-a", advice_ms=advice_ms)
        settings = Settings(federation=federation, learner=LearnerSettings(restart_s_first=0.01))
        self.link = FederationLink(
            settings,
            self._registry,
            self._log,
            folder,
            self.clock,
            join=_nobody_joins,
            changed=lambda _: None,
            advise=lambda _, counsel: self._counsels[counsel.id].set_result(counsel),
        )

    async def __aenter__(self) -> Self:
        learner_context()
        forkserver.ensure_running()
        await self._log.open()
        self.link.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.link.close()
        await self._log.close()

    async def answered(self) -> None:
        """The expert is asked, and its answer comes."""
        async with asyncio.timeout(WITHIN_S):
            while (await self.ask()).values is None:  # noqa: ASYNC110 - each ask is another
                await asyncio.sleep(0.01)

    def ask(self) -> asyncio.Future[Counsel]:
        """As the agent's actor would; what it is told."""
        number = next(self._numbers)
        counsel = self._counsels[number] = asyncio.get_running_loop().create_future()
        self.link.consult(NAME, Consult(number, EXPERT, SEEN))
        return counsel

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.link.processes["federation"], number)

    @property
    def counted(self) -> Counted:
        counted = self.link.counted
        assert counted is not None, "there is a broker"
        return counted


async def _nobody_joins(*_: Any) -> None:
    raise AssertionError("nobody offers a policy")


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110 - processes have no event
            await asyncio.sleep(0.01)


async def test_a_process_that_stands_still_is_asked_nothing_until_it_goes_on(
    tmp_path: Path, broker: Mosquitto, expert: Expert, caplog: pytest.LogCaptureFixture
) -> None:
    async with Desk(tmp_path, broker, advice_ms=1000.0) as desk:
        await desk.answered()
        desk.signal(signal.SIGSTOP)
        waiting, asked = desk.ask(), expert.asked
        await until(lambda: desk.link.still)
        assert not waiting.done()
        refused = desk.ask()
        assert refused.done(), "its actor does not wait"
        assert refused.result().values is None
        assert desk.link.unasked == 1
        desk.signal(signal.SIGCONT)
        assert (await asyncio.wait_for(waiting, AT_ONCE_S)).values is None
        await until(lambda: not desk.link.still)
        assert expert.asked == asked, "nobody wants that answer any more"
        await desk.answered()

        desk.signal(signal.SIGSTOP)
        waiting = desk.ask()
        desk.clock.later_s += 1.0 + 2 * STILL_S
        await until(lambda: desk.link.still)
        assert still_said(caplog) == [True, False], "it had just been said"
        desk.clock.later_s += SAY_S
        await until(lambda: still_said(caplog) == [True, False, True])
        desk.signal(signal.SIGCONT)
        await asyncio.wait_for(waiting, AT_ONCE_S)
        await until(lambda: still_said(caplog) == [True, False, True, False])

        desk.signal(signal.SIGSTOP)
        waiting = desk.ask()
        desk.clock.later_s += 1.0 + 2 * STILL_S
        await until(lambda: desk.link.still)
        desk.signal(signal.SIGCONT)
        await asyncio.wait_for(waiting, AT_ONCE_S)
        await until(lambda: not desk.link.still)
    assert still_said(caplog) == [True, False, True, False], "nor that a short one is over"


def still_said(caplog: pytest.LogCaptureFixture) -> list[bool]:
    """Whether each line says that the process does not answer, or that it does again."""
    said = [record.message for record in caplog.records if record.name == "hub.federation"]
    assert all("does not answer" in text or "answers again" in text for text in said)
    return ["does not answer" in text for text in said]


async def test_nobody_waits_for_a_process_that_is_gone(
    tmp_path: Path, broker: Mosquitto, expert: Expert
) -> None:
    async with Desk(tmp_path, broker, advice_ms=FOR_EVER_MS) as desk:
        await desk.answered()
        expert.says, before = (lambda _: None), desk.counted.asked
        waiting = desk.ask()
        await until(lambda: desk.counted.asked > before)
        desk.signal(signal.SIGKILL)
        assert (await asyncio.wait_for(waiting, AT_ONCE_S)).values is None
        expert.says = balancing
        await desk.answered()
        assert desk.counted.asked > before + 1, "what the first had counted stays"

        desk.signal(signal.SIGSTOP)
        waiting = desk.ask()
        desk.signal(signal.SIGKILL)
        assert (await asyncio.wait_for(waiting, AT_ONCE_S)).values is None
