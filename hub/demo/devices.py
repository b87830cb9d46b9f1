"""One simulated device: a Gymnasium environment that asks the hub for every action.

    python -m hub.demo.devices --protocol mqtt --env CartPole-v1 --device cart-1 --key K --port 1883

It writes its Progress as JSON lines on stdout, and with `--acknowledged FILE` one line for every
step the hub acknowledged, at once: what stands there must be in the log, whatever was killed since.
"""

from __future__ import annotations

import argparse
import secrets
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import gymnasium
import msgspec
import numpy as np
from msgspec import Struct, field

from hub.clock import SystemClock
from hub.demo.exchange import Answered, Exchange, Said, answered
from hub.demo.over_http import HttpExchange, ShepherdExchange
from hub.demo.over_mqtt import MqttExchange
from hub.demo.progress import Acknowledged, Progress
from hub.errors import SheepfoldError
from hub.words import DeviceId, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hub.clock import Clock

REPORT_S: Final = 0.25
"""Between two lines of progress."""
BOOT_BITS: Final = 32

Environment = gymnasium.Env[Any, Any]
"""Spaces are known at run time only."""


class Device:
    """Walks its environment, one acknowledged step after the other."""

    def __init__(
        self,
        name: str,
        environment: Environment,
        exchange: Exchange,
        *,
        boot: int,
        seed: int,
        clock: Clock,
        pause: Callable[[float], None],
        stopping: Callable[[], bool],
        report: Callable[[Progress], None],
        acknowledge: Callable[[Acknowledged], None],
    ) -> None:
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
        self._steps = 0
        self._repeats = 0
        self._policy: int | None = None
        self._returns: list[float] = []
        self._latencies_ms: list[float] = []
        self._reported = 0.0

    def run(self, seconds: float | None, *, steps_max: int | None = None) -> None:
        """Step until the time or the steps are over, or it is to stop; None = for ever.

        A step under way is finished first: what the hub has acknowledged is always written down.

        Raises:
            DeviceFault, AccessDenied, TimeoutError: as `answered`; the device can't go on.
        """
        ends = None if seconds is None else self._clock.monotonic() + seconds
        self._reported = self._clock.monotonic()
        episode = _Episode(self._environment, seed=self._seed)
        while not (self._stopping() or self._steps == steps_max):
            if ends is not None and self._clock.monotonic() >= ends:
                return
            said = episode.say(self._steps, self._boot)
            reply = answered(self._exchange, said, clock=self._clock, pause=self._pause)
            self._count(said, reply)
            if episode.over:
                self._returns.append(episode.total_reward)
                episode = _Episode(self._environment, seed=None)
            else:
                episode.act(reply.act.a)
            if self._clock.monotonic() - self._reported >= REPORT_S:
                self.report()

    def report(self) -> None:
        """Write a line of progress and begin the next."""
        self._report(
            Progress(
                self._name,
                steps=self._steps,
                repeats=self._repeats,
                returns=self._returns,
                latencies_ms=self._latencies_ms,
                policy=self._policy,
            )
        )
        self._returns, self._latencies_ms = [], []
        self._reported = self._clock.monotonic()

    def _count(self, said: Said, reply: Answered) -> None:
        act = reply.act
        boot = self._boot if self._exchange.numbered else None
        self._acknowledge(Acknowledged(self._name, boot, said.s, act.a, act.seq))
        self._steps += 1
        self._repeats += reply.repeats
        self._latencies_ms.append(round(reply.latency_ms, 3))
        if act.pv is not None:
            self._policy = act.pv


class _Episode:
    """One episode of the environment, seen from the device.

    The last observation is sent too, with `d` (terminated) or `tr` (a time limit); its answer holds
    no action, and the next observation opens an episode (docs/device-maker.md, "Step").
    """

    def __init__(self, environment: Environment, *, seed: int | None) -> None:
        self._environment = environment
        self._observation, _ = environment.reset(seed=seed)
        self._reward: float | None = None
        self._terminated = False
        self._truncated = False
        self._executed: int | list[float] | None = None
        self._last_action: int | list[float] | None = None
        self.total_reward = 0.0

    @property
    def over(self) -> bool:
        return self._terminated or self._truncated

    def say(self, step: int, boot: int) -> Said:
        return Said(
            s=step,
            o=self._observation.tolist(),
            b=boot,
            r=self._reward,
            d=int(self._terminated),
            # A pole that falls on the last step has fallen: terminated wins over the time limit.
            tr=int(self._truncated and not self._terminated),
            f=int(step == 0),
            x=self._executed,
        )

    def act(self, action: int | list[float] | None) -> None:
        """Carry an action out; without one, do the last again and say so in the next `x`."""
        self._executed = None
        if action is None:
            action = self._last_action if self._last_action is not None else self._resting()
            self._executed = action
        self._last_action = action
        observation, reward, self._terminated, self._truncated, _ = self._environment.step(
            action if isinstance(action, int) else np.asarray(action, np.float32)
        )
        self._observation = observation
        self._reward = float(reward)
        self.total_reward += self._reward

    def _resting(self) -> int | list[float]:
        space = self._environment.action_space
        if isinstance(space, gymnasium.spaces.Discrete):
            return int(space.start)
        assert space.shape is not None
        return [float(value) for value in np.zeros(space.shape, np.float32).flat]


def open_exchange(
    protocol: Protocol, device: DeviceId, key: str, *, host: str, port: int, clock: Clock
) -> Exchange:
    """The exchange for a protocol; nothing is sent yet."""
    match protocol:
        case Protocol.MQTT:
            return MqttExchange(device, key, host=host, port=port, clock=clock)
        case Protocol.HTTP:
            return HttpExchange(device, key, host=host, port=port)
        case Protocol.SHEPHERD:
            return ShepherdExchange(device, key, host=host, port=port)


class Stop:
    """Remembers SIGTERM until the step under way is over."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, *_: object) -> None:
        """Handle the signal."""
        self.asked = True

    def pause(self, seconds: float) -> None:
        """Sleep between two repeats.

        Raises:
            KeyboardInterrupt: it was asked meanwhile; the step may never be answered.
        """
        time.sleep(seconds)
        if self.asked:
            raise KeyboardInterrupt


class Options(Struct, frozen=True):
    """The command line."""

    protocol: Protocol
    device: DeviceId
    key: str
    port: int
    host: str = "127.0.0.1"
    env: str = "CartPole-v1"
    seconds: float | None = None
    seed: int = field(default_factory=lambda: secrets.randbits(BOOT_BITS))
    acknowledged: Path | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one device until its time is over, SIGTERM, or its parent stops reading; 1 = refused."""
    options = _options(arguments)
    stop = Stop()
    signal.signal(signal.SIGTERM, stop)
    clock = SystemClock()
    exchange = open_exchange(
        options.protocol,
        options.device,
        options.key,
        host=options.host,
        port=options.port,
        clock=clock,
    )
    with _open_lines(options.acknowledged) as acknowledged:
        device = Device(
            options.device,
            gymnasium.make(options.env, disable_env_checker=True),
            exchange,
            boot=secrets.randbits(BOOT_BITS),
            seed=options.seed,
            clock=clock,
            pause=stop.pause,
            stopping=lambda: stop.asked,
            report=lambda progress: _write(sys.stdout, progress),
            acknowledge=lambda step: _write(acknowledged, step),
        )
        try:
            device.run(options.seconds)
        except KeyboardInterrupt:
            pass
        except BrokenPipeError:
            return 0
        except (SheepfoldError, TimeoutError) as error:
            print(f"device {options.device!r} stopped: {error}", file=sys.stderr)
            return 1
        finally:
            exchange.close()
        device.report()
    return 0


def _options(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="hub.demo.devices", description="One simulated device.")
    parser.add_argument("--protocol", required=True, choices=[str(p) for p in Protocol])
    parser.add_argument("--device", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--env", default="CartPole-v1", help="a Gymnasium id")
    parser.add_argument("--seconds", type=float, help="default: until stopped")
    parser.add_argument("--seed", type=int, default=None, help="of the environment's first reset")
    parser.add_argument("--acknowledged", type=Path, help="file for one line per acknowledged step")
    named = {k: v for k, v in vars(parser.parse_args(arguments)).items() if v is not None}
    return msgspec.convert(named, Options)


def _open_lines(path: Path | None) -> TextIO:
    # Line-buffered: a kill -9 of the device loses no line it has written.
    return (path or Path("/dev/null")).open("a", buffering=1)


def _write(stream: TextIO, line: Struct) -> None:
    stream.write(msgspec.json.encode(line).decode() + "\n")
    stream.flush()


if __name__ == "__main__":
    sys.exit(main())
