"""Closed-loop devices in one process: each asks, waits for its answer, asks again at once.

with Load("127.0.0.1", [(port, talk), …]) as load:
    load.run(1.0)                     # warm up
    measured = load.run(4.0)
"""

from __future__ import annotations

import select
import socket
import time
from array import array
from typing import TYPE_CHECKING, Final, Self

from msgspec import Struct

from tests.bench.talk import CONNECT_TIMEOUT_S, READ_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.talk import Talk

STALL_S: Final = 10.0
"""No answer to anybody for so long is a failure of the bench, not a latency."""


class Measured(Struct, frozen=True):
    """What one run gave."""

    seconds: float
    latencies_ms: array[float]
    """From sending to answer, one a step; in no order of devices."""
    refused: int

    @property
    def actions_per_s(self) -> float:
        """Answered steps over the whole run."""
        return len(self.latencies_ms) / self.seconds

    def quantile_ms(self, quantile: float) -> float:
        """The latency that this part of the steps stayed below."""
        ordered = sorted(self.latencies_ms)
        return ordered[min(int(quantile * len(ordered)), len(ordered) - 1)]


class _Line:
    """One device's socket and the step in flight on it."""

    __slots__ = ("asked", "connection", "talk", "waits")

    def __init__(self, connection: socket.socket, talk: Talk) -> None:
        self.connection = connection
        self.talk = talk
        self.asked = 0.0
        self.waits = False

    def take(self) -> bool | None:
        """Read what has come, as `Talk.hear` says it.

        Raises:
            ConnectionError: the hub closed the connection.
        """
        data = self.connection.recv(READ_BYTES)
        if not data:
            raise ConnectionError("the hub closed a connection under load")
        answered = self.talk.hear(data)
        self.waits = answered is None
        return answered


class Load:
    """Devices that stay connected between runs; a step in flight at the end counts in the next.

    Args:
        host: of all ports.
        talks: the devices, each with the port where it is heard.
    """

    def __init__(self, host: str, talks: Sequence[tuple[int, Talk]]) -> None:
        self._host = host
        self._talks = talks
        self._lines: dict[int, _Line] = {}
        self._epoll = select.epoll()

    def __enter__(self) -> Self:
        for port, talk in self._talks:
            connection = connect((self._host, port))
            talk.greet(connection)
            self._lines[connection.fileno()] = _Line(connection, talk)
            self._epoll.register(connection, select.EPOLLIN)
        for line in self._lines.values():
            _ask(line)
        return self

    def __exit__(self, *_: object) -> None:
        self._epoll.close()
        for line in self._lines.values():
            line.connection.close()

    def run(self, seconds: float) -> Measured:
        """Step for so long.

        Raises:
            TimeoutError: nobody was answered for `STALL_S`.
            ConnectionError: the hub closed a connection.
        """
        latencies_ms = array("d")
        refused = 0
        started = time.perf_counter()
        ends = started + seconds
        while time.perf_counter() < ends:
            ready = self._epoll.poll(STALL_S)
            if not ready:
                raise TimeoutError(f"no answer for {STALL_S} s")
            for descriptor, _ in ready:
                line = self._lines[descriptor]
                answered = line.take()
                if answered is None:
                    continue
                if answered:
                    latencies_ms.append((time.perf_counter() - line.asked) * 1000)
                refused += not answered
                _ask(line)
        return Measured(time.perf_counter() - started, latencies_ms, refused)

    def run_paced(self, seconds: float, every_s: float) -> Measured:
        """Each device once in `every_s`, evenly spread; latencies count from when a step was due.

        A device that still waits when its next step is due waits for that answer first. When this
        is over, not all have a step in flight, so `run` can't follow.

        Raises:
            ConnectionError: the hub closed a connection.
        """
        latencies_ms = array("d")
        refused = 0
        lines = list(self._lines.values())
        apart_s = every_s / len(lines)
        started = time.perf_counter()
        for turn in range(int(seconds / apart_s)):
            due = started + turn * apart_s
            line = lines[turn % len(lines)]
            while (left_s := due - time.perf_counter()) > 0 or line.waits:
                for descriptor, _ in self._epoll.poll(left_s if left_s > 0 else STALL_S):
                    answering = self._lines[descriptor]
                    answered = answering.take()
                    if answered and answering.asked >= started:
                        latencies_ms.append((time.perf_counter() - answering.asked) * 1000)
                    refused += answered is False
            _ask(line)
            line.asked = due
        return Measured(time.perf_counter() - started, latencies_ms, refused)


class NewConnections:
    """Closed-loop devices that connect anew for each step and close after its answer.

    Args:
        host: of all ports.
        talks: the devices, greeted, each with the port where it is heard.
    """

    def __init__(self, host: str, talks: Sequence[tuple[int, Talk]]) -> None:
        self._host = host
        self._talks = talks

    def run(self, seconds: float) -> Measured:
        """Step for so long, all at once.

        Raises:
            TimeoutError: nobody was answered for `STALL_S`.
            ConnectionError: the hub closed a connection before it answered.
        """
        latencies_ms = array("d")
        refused = 0
        lines: dict[int, tuple[int, _Line]] = {}
        started = time.perf_counter()
        with select.epoll() as epoll:

            def begin(port: int, talk: Talk) -> None:
                asked = time.perf_counter()
                line = _Line(connect((self._host, port)), talk)
                line.connection.sendall(talk.ask())
                line.asked = asked
                lines[line.connection.fileno()] = port, line
                epoll.register(line.connection, select.EPOLLIN)

            for port, talk in self._talks:
                begin(port, talk)
            while lines:
                ready = epoll.poll(STALL_S)
                if not ready:
                    raise TimeoutError(f"no answer for {STALL_S} s")
                for descriptor, _ in ready:
                    port, line = lines[descriptor]
                    answered = line.take()
                    if answered is None:
                        continue
                    del lines[descriptor]
                    line.connection.close()
                    if answered:
                        latencies_ms.append((time.perf_counter() - line.asked) * 1000)
                    refused += not answered
                    if time.perf_counter() < started + seconds:
                        begin(port, line.talk)
        return Measured(time.perf_counter() - started, latencies_ms, refused)


def connect(address: tuple[str, int]) -> socket.socket:
    """A connection that sends at once."""
    connection = socket.create_connection(address, CONNECT_TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _ask(line: _Line) -> None:
    data = line.talk.ask()
    line.asked = time.perf_counter()
    line.waits = True
    line.connection.sendall(data)
