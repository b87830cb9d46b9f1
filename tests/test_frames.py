"""Frames between processes: any split of the stream gives the same bodies."""

from __future__ import annotations

import itertools
import socket
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import HubFault
from hub.frames import FRAME_BYTES_MAX, LENGTH, Splitter, frame, receive_frame

if TYPE_CHECKING:
    from collections.abc import Iterator

bodies_lists = st.lists(st.binary(max_size=50), max_size=8)
TOO_LONG = LENGTH.pack(FRAME_BYTES_MAX + 1)


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(places)]


@given(bodies_lists, st.lists(st.integers(0, 500), max_size=20))
def test_any_split_of_the_stream_gives_the_same_bodies(
    bodies: list[bytes], cuts: list[int]
) -> None:
    splitter = Splitter()
    stream = b"".join(map(frame, bodies))
    assert [body for piece in pieces(stream, cuts) for body in splitter.feed(piece)] == bodies
    assert splitter.feed(b"") == [], "nothing is left over"


@given(st.binary(min_size=1, max_size=50))
def test_half_a_frame_gives_nothing_until_the_rest_comes(body: bytes) -> None:
    splitter = Splitter()
    assert splitter.feed(frame(body)[:-1]) == []
    assert splitter.feed(frame(body)[-1:] + frame(b"next")) == [body, b"next"]


def test_bodies_nobody_looks_at_are_not_given_twice() -> None:
    splitter = Splitter()
    splitter.feed(frame(b"first") + frame(b"second")[:5])
    assert splitter.feed(frame(b"second")[5:]) == [b"second"]


def test_frame_over_the_limit_is_a_broken_peer() -> None:
    with pytest.raises(HubFault, match=str(FRAME_BYTES_MAX + 1)):
        Splitter().feed(TOO_LONG)


@given(bodies_lists)
def test_blocking_reader_gives_the_same_bodies(bodies: list[bytes]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        # From a thread: a body may be larger than what the socket holds.
        sender = threading.Thread(target=theirs.sendall, args=(b"".join(map(frame, bodies)),))
        sender.start()
        assert [receive_frame(ours) for _ in bodies] == bodies
        sender.join()


@pytest.mark.parametrize("sent", [b"", b"\x01", frame(b"whole")[:-1]])
def test_peer_that_closes_ends_the_reading(
    sockets: tuple[socket.socket, socket.socket], sent: bytes
) -> None:
    ours, theirs = sockets
    theirs.sendall(sent)
    theirs.shutdown(socket.SHUT_WR)
    assert receive_frame(ours) is None


def test_blocking_reader_refuses_a_frame_over_the_limit(
    sockets: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = sockets
    theirs.sendall(TOO_LONG)
    with pytest.raises(HubFault, match=str(FRAME_BYTES_MAX + 1)):
        receive_frame(ours)
