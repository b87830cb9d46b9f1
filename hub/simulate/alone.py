"""One device in a process of its own, as the demo starts them.

    python -m hub.simulate.alone --protocol mqtt --device cart-1 --key K --port 1883

It writes its Progress as JSON lines on stdout, and with `--acknowledged FILE` one line for every
step the hub acknowledged, at once: what stands there must be in the log, whatever was killed since.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import gymnasium
import msgspec
from msgspec import Struct, field

from hub.clock import SystemClock
from hub.errors import SheepfoldError
from hub.simulate.device import BOOT_BITS, Device, Limits, open_exchange
from hub.simulate.exchange import Endpoint, Way
from hub.words import DeviceId

if TYPE_CHECKING:
    from collections.abc import Sequence


class Stopped(Exception):
    """The device is to end, in the middle of a step."""


class Stop:
    """Remembers SIGTERM until the step under way is over."""

    def __init__(self) -> None:
        self.asked = False

    def __call__(self, *_: object) -> None:
        """Handle the signal."""
        self.asked = True

    async def pause(self, seconds: float) -> None:
        """Sleep between two repeats.

        Raises:
            Stopped: it was asked meanwhile; the step may never be answered.
        """
        await asyncio.sleep(seconds)
        if self.asked:
            raise Stopped


class Options(Struct, frozen=True):
    """The command line."""

    protocol: Way
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
    try:
        asyncio.run(_walk(options, stop))
    except BrokenPipeError:
        return 0
    except (SheepfoldError, TimeoutError) as error:
        print(f"device {options.device!r} stopped: {error}", file=sys.stderr)
        return 1
    return 0


async def _walk(options: Options, stop: Stop) -> None:
    endpoint = Endpoint(options.host, options.port)
    exchange = open_exchange(options.protocol, options.device, options.key, endpoint)
    with _open_lines(options.acknowledged) as acknowledged:
        device = Device(
            options.device,
            gymnasium.make(options.env, disable_env_checker=True),
            exchange,
            boot=secrets.randbits(BOOT_BITS),
            seed=options.seed,
            clock=SystemClock(),
            pause=stop.pause,
            stopping=lambda: stop.asked,
            report=lambda progress: _write(sys.stdout, progress),
            acknowledge=lambda step: _write(acknowledged, step),
        )
        try:
            await device.run(Limits(seconds=options.seconds))
        except Stopped:
            pass
        finally:
            exchange.close()
        device.report()


def _options(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="hub.simulate.alone", description="One simulated device.")
    parser.add_argument("--protocol", required=True, choices=[*Way])
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
