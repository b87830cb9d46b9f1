"""The device processes of the demo: started, listened to, stopped."""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from hub.simulate.exchange import Way
from hub.simulate.progress import Acknowledged, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hub.demo.serving import Ready

PROTOCOLS: Final = (Way.MQTT, Way.MQTT, Way.HTTP, Way.SHEPHERD)
"""Of the first four devices, and again of the next four."""
STOP_TIMEOUT_S: Final = 5.0
READ_BYTES: Final = 65_536


class Member(Struct, frozen=True):
    """One simulated device."""

    device: str
    protocol: Way


class Fleet:
    """Simulated devices, one process each; `with` stops them all."""

    def __init__(self, members: list[Member], folder: Path, *, key: str, ready: Ready) -> None:
        self.members = members
        self._folder = folder
        self._key = key
        self._ready = ready
        self._selector = selectors.DefaultSelector()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._unfinished: dict[str, bytes] = {}

    def __enter__(self) -> Fleet:
        self._folder.mkdir(parents=True, exist_ok=True)
        for seed, member in enumerate(self.members, start=1):
            self._acknowledged_path(member.device).touch()  # there even if it never gets that far
            self._start(member, seed)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self._selector.close()

    @property
    def running(self) -> int:
        """Devices whose process has not ended."""
        return sum(process.poll() is None for process in self._processes.values())

    def receive(self, timeout_s: float) -> Iterator[Progress]:
        """The lines that came within the timeout."""
        for key, _ in self._selector.select(timeout_s):
            process = self._processes[key.data]
            assert process.stdout is not None
            data = os.read(process.stdout.fileno(), READ_BYTES)
            if not data:
                self._selector.unregister(key.fileobj)
            *lines, rest = (self._unfinished.get(key.data, b"") + data).split(b"\n")
            self._unfinished[key.data] = rest
            yield from map(_progress.decode, lines)

    def stop(self) -> Iterator[Progress]:
        """End the devices in good order and give their last lines; one that hangs is killed."""
        for process in self._processes.values():
            process.terminate()
        while self._selector.get_map() and self._selector.select(STOP_TIMEOUT_S):
            yield from self.receive(0)
        for process in self._processes.values():
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def failures(self) -> list[str]:
        """The last words of devices that stopped by themselves."""
        return [
            self._said(device)
            for device, process in self._processes.items()
            if process.poll() not in (None, 0)
        ]

    def acknowledged(self) -> Iterator[Acknowledged]:
        """Every step the hub acknowledged to any of them."""
        for member in self.members:
            with self._acknowledged_path(member.device).open("rb") as lines:
                yield from map(_acknowledged.decode, lines)

    def _start(self, member: Member, seed: int) -> None:
        port = self._ready.mqtt if member.protocol is Way.MQTT else self._ready.http
        options = {
            "protocol": member.protocol,
            "device": member.device,
            "key": self._key,
            "port": port,
            "seed": seed,
            "acknowledged": self._acknowledged_path(member.device),
        }
        flags = [f"--{name}={value}" for name, value in options.items()]
        with self._words_path(member.device).open("wb") as words:
            process = subprocess.Popen(
                [sys.executable, "-m", "hub.simulate.alone", *flags],
                stdout=subprocess.PIPE,
                stderr=words,
                # Ctrl-C is for the demo, which then asks for the last lines.
                start_new_session=True,
            )
        assert process.stdout is not None
        self._processes[member.device] = process
        self._selector.register(process.stdout, selectors.EVENT_READ, member.device)

    def _said(self, device: str) -> str:
        words = self._words_path(device).read_text(errors="replace").strip().splitlines()
        return words[-1] if words else f"device {device!r} stopped without a word"

    def _acknowledged_path(self, device: str) -> Path:
        return self._folder / f"{device}.acknowledged.jsonl"

    def _words_path(self, device: str) -> Path:
        return self._folder / f"{device}.stderr.txt"


def muster(count: int) -> list[Member]:
    """`cart-1` to `cart-<count>`, with the protocols in turn."""
    return [Member(f"cart-{i + 1}", PROTOCOLS[i % len(PROTOCOLS)]) for i in range(count)]


_progress: Final = msgspec.json.Decoder(Progress)
_acknowledged: Final = msgspec.json.Decoder(Acknowledged)
