"""One simulated device: an environment that asks the hub for every action."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, field

from hub.errors import DeviceFault, OperatorFault
from hub.simulate.episode import Episode
from hub.simulate.exchange import PATIENCE_S, PAUSE_S_FIRST, Answered, Way, answered, unheeded
from hub.simulate.over_http import HttpExchange, ShepherdExchange
from hub.simulate.over_mqtt import MqttExchange
from hub.simulate.over_websocket import WebSocketExchange
from hub.simulate.progress import Acknowledged, Progress
from hub.words import Code

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hub.clock import Clock
    from hub.simulate.episode import Environment
    from hub.simulate.exchange import Endpoint, Exchange, Said
    from hub.simulate.fate import Fate
    from hub.words import DeviceId

REPORT_S: Final = 0.25
"""Between two lines of progress."""
BOOT_BITS: Final = 32
MISFITS: Final = (Code.SHAPE, Code.TYPE)
"""Refusals that say that agent and environment are not for each other."""


class Limits(Struct, frozen=True):
    """When a device is done; None = never."""

    seconds: float | None = None
    steps: int | None = None
    """Acknowledged."""
    episodes: int | None = None


class Counts(Struct):
    """What a device did in all; it grows."""

    steps: int = 0
    """Acknowledged."""
    episodes: int = 0
    repeats: int = 0
    """Sendings beyond the first of a step."""
    fallbacks: int = 0
    """Answers that the agent's fallback gave."""
    refused: dict[str, int] = field(default_factory=dict)
    """Observations by the code they were refused with."""
    policy: int | None = None
    """Newest version an answer named."""


class Device:
    """Walks its environment, one answered step after the other.

    Args:
        name: its id.
        environment: it stands in.
        exchange: to the hub.
        boot: number of its first boot; each reboot counts on.
        seed: of the environment's first reset.
        clock: for latencies.
        pause: sleeps between two repeats and two steps.
        stopping: asked before each step.
        report: told of its progress, now and then.
        acknowledge: told of each step that the hub answered, at once.
        fate: may reboot it; None = it lives on.
        period_s: from one step to the next, at least; 0 = as fast as it is answered.
        patience_s: after so long without an answer it gives up; None = never.
        troubled: told why a step has to be sent again, or was refused.
    """

    def __init__(
        self,
        name: str,
        environment: Environment,
        exchange: Exchange,
        *,
        boot: int,
        seed: int,
        clock: Clock,
        pause: Callable[[float], Awaitable[object]],
        stopping: Callable[[], bool],
        report: Callable[[Progress], None],
        acknowledge: Callable[[Acknowledged], None],
        fate: Fate | None = None,
        period_s: float = 0.0,
        patience_s: float | None = PATIENCE_S,
        troubled: Callable[[Exception], None] = unheeded,
    ) -> None:
        self.counts = Counts()
        self._name = name
        self._environment = environment
        self._exchange = exchange
        self._boot = boot
        self._seed = seed
        self._clock = clock
        self._pause = pause
        self._stopping = stopping
        self._report = report
        self._acknowledge = acknowledge
        self._fate = fate
        self._period_s = period_s
        self._patience_s = patience_s
        self._troubled = troubled
        self._step = 0
        """Of this boot, the next."""
        self._returns: list[float] = []
        self._latencies_ms: list[float] = []
        self._reported = 0.0

    async def run(self, limits: Limits) -> None:
        """Step until one of the limits is reached, or it is to stop.

        A step under way is finished first: what the hub has acknowledged is always written down.

        Raises:
            DeviceFault: agent and environment are not for each other.
            AccessDenied, TimeoutError: as `answered`; the device can't go on.
        """
        counts, now = self.counts, self._clock.monotonic()
        ends = None if limits.seconds is None else now + limits.seconds
        self._reported = due = now
        episode = Episode(self._environment, seed=self._seed)
        while not (self._stopping() or counts.steps == limits.steps):
            if ends is not None and self._clock.monotonic() >= ends:
                return
            if self._fate is not None and self._fate.reboots():
                await self._reboot(episode)
                episode = Episode(self._environment, seed=None)
            action = await self._ask(episode)
            if episode.over:
                counts.episodes += 1
                self._returns.append(episode.total_reward)
                if counts.episodes == limits.episodes:
                    return
                episode = Episode(self._environment, seed=None)
            else:
                self._do(episode, action)
            if self._clock.monotonic() - self._reported >= REPORT_S:
                self.report()
            due = await self._keep_pace(due)

    def report(self) -> None:
        """Tell of the progress and begin the next report."""
        self._report(
            Progress(
                self._name,
                steps=self.counts.steps,
                repeats=self.counts.repeats,
                returns=self._returns,
                latencies_ms=self._latencies_ms,
                policy=self.counts.policy,
            )
        )
        self._returns, self._latencies_ms = [], []
        self._reported = self._clock.monotonic()

    async def _ask(self, episode: Episode) -> Any:
        """The action for what the device sees now; None = it has to act by itself."""
        said = episode.say(self._step, self._boot, first=self._step == 0)
        self._step += 1
        try:
            reply = await answered(
                self._exchange,
                said,
                clock=self._clock,
                pause=self._pause,
                patience_s=self._patience_s,
                troubled=self._troubled,
            )
        except DeviceFault as fault:
            if fault.code in MISFITS:
                raise
            refused = self.counts.refused
            refused[fault.code] = refused.get(fault.code, 0) + 1
            self._troubled(fault)
            await self._pause(PAUSE_S_FIRST)
            return None
        self._count(said, reply)
        return reply.act.a

    def _do(self, episode: Episode, action: Any) -> None:
        """Carry it out.

        Raises:
            OperatorFault: the environment has no such action.
        """
        try:
            episode.act(action)
        except (AssertionError, ValueError, TypeError, IndexError, KeyError) as error:
            raise OperatorFault(
                f"the environment can't do action {action!r}, which the agent chose: {error}"
            ) from error

    async def _reboot(self, episode: Episode) -> None:
        """In the worst moment: it has said what it sees, and will never hear what to do."""
        await self._exchange.send(episode.say(self._step, self._boot, first=self._step == 0))
        self._exchange.close()
        self._boot = (self._boot + 1) % (1 << BOOT_BITS)
        self._step = 0

    async def _keep_pace(self, due: float) -> float:
        """When the step after the next is due."""
        now = self._clock.monotonic()
        due = max(due + self._period_s, now)
        if due > now:
            await self._pause(due - now)
        return due

    def _count(self, said: Said, reply: Answered) -> None:
        act, counts = reply.act, self.counts
        boot = self._boot if self._exchange.numbered else None
        self._acknowledge(Acknowledged(self._name, boot, said.s, act.a, act.seq))
        counts.steps += 1
        counts.repeats += reply.repeats
        counts.fallbacks += act.src == "fallback"
        self._latencies_ms.append(round(reply.latency_ms, 3))
        if act.pv is not None:
            counts.policy = act.pv


def open_exchange(way: Way, device: DeviceId, key: str, endpoint: Endpoint) -> Exchange:
    """The exchange for a protocol; nothing is sent yet."""
    match way:
        case Way.MQTT:
            return MqttExchange(device, key, endpoint)
        case Way.MQTT5:
            return MqttExchange(device, key, endpoint, five=True)
        case Way.HTTP:
            return HttpExchange(device, key, endpoint)
        case Way.WS:
            return WebSocketExchange(device, key, endpoint)
        case Way.SHEPHERD:
            return ShepherdExchange(device, key, endpoint)
