"""`sheepfold sql`: what it asks the analyst, and how it ends. The analyst here is played."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

import pytest

from hub.frames import receive_frame
from hub.log.analyst.messages import Ask, Chunk, End, Refused, framed, from_client, socket_path
from tests.commands.typed import typed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from hub.log.analyst.messages import ToClient
    from tests.commands.control_room import ControlRoom

WAIT_S = 20.0


class Analyst:
    """Answers one query with a list of messages, then waits until the client has gone."""

    def __init__(self, data: Path) -> None:
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listening.bind(str(socket_path(data)))
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        self._listening.listen(1)
        self._listening.settimeout(WAIT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()
        self._listening.close()

    def will_say(self, answer: Iterable[ToClient]) -> None:
        """To the next client."""
        self._asked = self._thread.submit(self._answer, answer)

    @property
    def asked(self) -> Ask:
        """By the client, who has gone since."""
        return self._asked.result(WAIT_S)

    def _answer(self, answer: Iterable[ToClient]) -> Ask:
        connection, _ = self._listening.accept()
        with connection:
            connection.settimeout(WAIT_S)
            asked = from_client.decode(receive_frame(connection) or b"")
            try:
                for message in answer:
                    connection.sendall(framed(message))
                assert connection.recv(1) == b""
            except ConnectionError:
                pass  # gone while it was told
            return asked


@pytest.fixture
def analyst(room: ControlRoom) -> Iterator[Analyst]:
    """In the room's folder."""
    with Analyst(room.data) as analyst:
        yield analyst


def started(room: ControlRoom) -> subprocess.Popen[bytes]:
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "hub", "sql", "FROM events", "--data", str(room.data)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def test_a_query_asks_for_all_that_was_acknowledged_of_all_agents(
    room: ControlRoom, analyst: Analyst
) -> None:
    create = ("walker", "--algorithm", "PPO", "--observations", "2", "--actions", "2")
    typed(room.data, "agent", "create", *create)
    analyst.will_say([Chunk(b"agent\n"), Chunk(b"walker\n"), End()])
    said = typed(room.data, "sql", "SELECT agent FROM agents", "--format", "csv")
    assert (said.code, said.out, said.err) == (0, "agent\nwalker\n", "")
    assert analyst.asked == Ask("SELECT agent FROM agents", "csv", after=2, agents=None)


@pytest.mark.parametrize("before", [[], [Chunk(b"half of it\n")]])
@pytest.mark.parametrize("again", [True, False])
def test_a_refused_query_is_1_with_the_reason(
    room: ControlRoom, analyst: Analyst, before: list[ToClient], *, again: bool
) -> None:
    analyst.will_say([*before, Refused("there is no table 'no_such'", again)])
    said = typed(room.data, "sql", "FROM no_such")
    assert (said.code, said.err) == (1, "sheepfold: there is no table 'no_such'")


def test_without_an_analyst_it_is_said_so(room: ControlRoom) -> None:
    said = typed(room.data, "sql", "FROM events")
    assert (said.code, said.out) == (1, "")
    assert "ask again" in said.err


def test_ctrl_c_ends_the_query_quietly(room: ControlRoom, analyst: Analyst) -> None:
    analyst.will_say([Chunk(b"first\n")])
    with started(room) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        assert command.stdout.readline() == b"first\n"
        command.send_signal(signal.SIGINT)
        assert command.stderr.read() == b""
        assert command.wait(WAIT_S) == 130
    assert analyst.asked.sql == "FROM events", "and the analyst has heard that nobody listens"


def test_a_reader_that_has_seen_enough_ends_the_query_quietly(
    room: ControlRoom, analyst: Analyst
) -> None:
    """As with `sheepfold sql … | head`."""
    analyst.will_say(Chunk(b"x" * 1000) for _ in range(1_000_000))
    with started(room) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        assert command.stdout.read(5000) == b"x" * 5000
        command.stdout.close()
        assert command.stderr.read() == b""
        assert command.wait(WAIT_S) == 141
    assert analyst.asked.sql == "FROM events"
