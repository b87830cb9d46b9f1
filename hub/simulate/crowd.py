"""Many devices in one process, and what became of them.

    crowd = Crowd(plan, clock=clock, say=print)
    summary = await crowd.walk(stop, watch)

Rule 1: a hub that is away is waited for by every device, and said once for all of them.
Rule 2: a device that is refused ends alone; when none is left, or nobody was ever answered, the
    crowd ends.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from typing import TYPE_CHECKING, Final

import gymnasium
from msgspec import Struct

from hub.errors import AccessDenied, DeviceFault, OperatorFault
from hub.histogram import Histogram
from hub.simulate.device import BOOT_BITS, Device, Limits, open_exchange
from hub.simulate.fate import BadLine, Fate, Made
from hub.simulate.faults import Chance, Faults
from hub.simulate.standing import EPISODES_JUDGED, Standing
from hub.simulate.summary import Summary, sum_up
from hub.words import DeviceId

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.clock import Clock
    from hub.simulate.episode import Environment
    from hub.simulate.exchange import Endpoint, Way
    from hub.simulate.progress import Progress

FIRST_ANSWER_S: Final = 10.0
"""Nobody answered for so long from the start: there is no hub, or not for us."""
SILENCE_S: Final = 3.0
"""Nobody answered for so long: said, once."""
GOODBYE_S: Final = 2.0
"""For the steps in hand when it ends; then they are given up."""
LOOK_S: Final = 0.25


class Plan(Struct, frozen=True):
    """Who shall walk where."""

    environment: str
    """Of Gymnasium's registry."""
    devices: list[str]
    way: Way
    endpoint: Endpoint
    key: str
    seed: int
    faults: Faults = Faults()
    seconds: float | None = None
    """Until it ends, whatever the devices wait for; None = when they are done."""
    limits: Limits = Limits()
    """Of each device."""
    period_s: float = 0.0
    """Between two steps of a device."""
    first_answer_s: float = FIRST_ANSWER_S


class Crowd:
    """The devices of a plan.

    Args:
        plan: whose.
        clock: for all of them.
        say: told sentences for a person.
    """

    def __init__(self, plan: Plan, *, clock: Clock, say: Callable[[str], None]) -> None:
        self.standing = Standing(plan.devices, now=clock.monotonic(), solved_return=None)
        self.made = Made()
        self._plan = plan
        self._clock = clock
        self._say = say
        self._latencies_us = Histogram()
        self._first: dict[str, list[float]] = {device: [] for device in plan.devices}
        """Returns of each device's first episodes; the standing has those of the last."""
        self._devices: list[Device] = []
        self._failures: Counter[str] = Counter()
        self._trouble: Exception | None = None
        self._answered_at: float | None = None
        self._silent = False
        self._stopping = False

    async def walk(self, stop: asyncio.Event, watch: Callable[[], None]) -> Summary:
        """Walk until all are done, or told to stop.

        Args:
            stop: set by whoever has had enough.
            watch: called now and then.
        """
        started, plan = self._clock.monotonic(), self._plan
        tasks = [asyncio.create_task(self._walk_one(index)) for index in range(len(plan.devices))]
        waiting: set[asyncio.Task[None]] = set(tasks)
        while waiting and not stop.is_set() and not self._is_over(started):
            _, waiting = await asyncio.wait(waiting, timeout=LOOK_S)
            self._look(started)
            watch()
            if self._answered_at is None and self._silent_s(started) > plan.first_answer_s:
                break
        self._stopping = True
        if waiting and self._answered_at is not None:
            _, waiting = await asyncio.wait(waiting, timeout=GOODBYE_S)
        for task in waiting:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome  # ours: what a hub or an environment may do was dealt with
        for device in self._devices:
            device.report()
        if self._answered_at is None and not self._failures:
            self._failures[self._nobody_there(self._silent_s(started))] += 1
        return sum_up(
            [device.counts for device in self._devices],
            self._first,
            self.standing.returns,
            self._latencies_us.seen(),
            made=self.made,
            failures=self._failures,
            seconds=self._clock.monotonic() - started,
        )

    def _is_over(self, started: float) -> bool:
        seconds = self._plan.seconds
        return seconds is not None and self._clock.monotonic() - started >= seconds

    async def _walk_one(self, index: int) -> None:
        plan, chance = self._plan, Chance([self._plan.seed, index])
        name = DeviceId(plan.devices[index])
        fate = Fate(plan.faults, chance, self.made, clock=self._clock, pause=asyncio.sleep)
        exchange = BadLine(open_exchange(plan.way, name, plan.key, plan.endpoint), fate)
        environment = make(plan.environment)
        device = Device(
            name,
            environment,
            exchange,
            # Of this run alone: with the boot of an earlier one its steps would be repeats.
            boot=secrets.randbits(BOOT_BITS),
            seed=plan.seed + index,
            clock=self._clock,
            pause=asyncio.sleep,
            stopping=lambda: self._stopping,
            report=self._take,
            acknowledge=self._heard,
            fate=fate,
            period_s=plan.period_s,
            patience_s=None,
            troubled=self._remember,
        )
        self._devices.append(device)
        try:
            # Else all would step in the same moment, for ever.
            await asyncio.sleep(plan.period_s * float(chance.numbers.random()))
            await device.run(plan.limits)
        except (AccessDenied, DeviceFault, OperatorFault) as fault:
            why = str(fault).replace(repr(name), "DEVICE")
            if why not in self._failures:
                self._say(f"device {name!r} stopped: {fault}")
            self._failures[why] += 1
        finally:
            exchange.close()
            environment.close()

    def _take(self, progress: Progress) -> None:
        self.standing.add(progress, now=self._clock.monotonic())
        first = self._first[progress.device]
        first += progress.returns[: EPISODES_JUDGED - len(first)]
        for latency_ms in progress.latencies_ms:
            self._latencies_us.add(round(latency_ms * 1000))

    def _heard(self, _: object) -> None:
        self._answered_at = self._clock.monotonic()

    def _remember(self, error: Exception) -> None:
        self._trouble = error

    def _silent_s(self, started: float) -> float:
        return self._clock.monotonic() - (self._answered_at or started)

    def _look(self, started: float) -> None:
        """Say that the hub is away, or that it is back; each once."""
        silent_s = self._silent_s(started)
        if silent_s > SILENCE_S and not self._silent and self._trouble is not None:
            self._silent = True
            self._say(
                f"no answer from {self._plan.endpoint} for {silent_s:.0f} s "
                f"({self._trouble}); the devices go on asking"
            )
        elif silent_s < SILENCE_S and self._silent:
            self._silent = False
            self._say(f"{self._plan.endpoint} answers again")

    def _nobody_there(self, seconds: float) -> str:
        plan = self._plan
        return (
            f"nothing was answered by {plan.endpoint} over {plan.way} within "
            f"{seconds:.0f} s ({self._trouble or 'no sign of it'}); is a hub there, and is it the "
            f"port of this protocol, {'with' if plan.endpoint.tls else 'without'} TLS (--ca)?"
        )


def make(environment: str) -> Environment:
    """The environment of an id.

    Raises:
        OperatorFault: there is none of this id, or what it needs is not installed.
    """
    try:
        return gymnasium.make(environment, disable_env_checker=True)
    except (gymnasium.error.Error, ImportError, TypeError, ValueError) as error:
        raise OperatorFault(f"environment {environment!r} can't be made: {error}") from error
