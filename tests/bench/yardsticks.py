"""What the machine itself can do, in the same run: the hub's figures are read beside these."""

from __future__ import annotations

import os
import sys
import time
from statistics import median
from typing import TYPE_CHECKING, Final

import duckdb
import msgspec
import pyarrow as pa
from msgspec import Struct

from hub.words import Event, Floats, Kind, Source
from tests.bench.load import Load
from tests.bench.mosquitto import mosquitto, paho_echo, process, program
from tests.bench.processes import cpu_s
from tests.bench.talk import EchoTalk, MqttTalk, walking

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.walk import WalkStep

STEPS_OF_COMMIT: Final = (1, 8, 32)
INSERT_ROWS: Final = 100_000
ECHO_BYTES: Final = 100
TS_US: Final = 1_795_237_200_000_000


class Commit(Struct, frozen=True):
    """Plain append and fdatasync of what the log keeps of so many steps."""

    steps: int
    size_bytes: int
    p50_ms: float
    p99_ms: float


class Echo(Struct, frozen=True):
    """Closed loop against something that does nothing but answer."""

    name: str
    devices: int
    answers_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """Of the server, for one answer."""


def commits(folder: Path, seconds: float) -> Iterator[Commit]:
    """The floor under every acknowledgement."""
    with (folder / "commits").open("wb", buffering=0) as file:
        for steps in STEPS_OF_COMMIT:
            data = b"".join(map(msgspec.msgpack.encode, _events(steps)))
            took_ms = []
            ends = time.perf_counter() + seconds
            while time.perf_counter() < ends:
                started = time.perf_counter()
                file.write(data)
                os.fdatasync(file.fileno())
                took_ms.append((time.perf_counter() - started) * 1000)
            took_ms.sort()
            yield Commit(steps, len(data), median(took_ms), took_ms[int(0.99 * len(took_ms))])


def insert_rows_per_s(folder: Path) -> float:
    """DuckDB taking rows of the log's shape in one transaction, from Arrow, with its commit."""
    rows = {
        "seq": pa.array(range(INSERT_ROWS)),
        "kind": pa.array([Kind.OBSERVATION, Kind.ACTION] * (INSERT_ROWS // 2), pa.uint8()),
        "device": pa.array(["load-1"] * INSERT_ROWS),
        "step": pa.array(range(INSERT_ROWS)),
        "obs": pa.array([[0.1, 0.2, 0.3, 0.4], None] * (INSERT_ROWS // 2), pa.list_(pa.float32())),
        "action": pa.array([None, [1.0]] * (INSERT_ROWS // 2), pa.list_(pa.float32())),
        "reward": pa.array([1.0, None] * (INSERT_ROWS // 2)),
    }
    table = pa.table(rows)
    with duckdb.connect(str(folder / "insert.duckdb")) as connection:
        connection.register("arrived", table)
        connection.execute("CREATE TABLE log AS SELECT * FROM arrived LIMIT 0")
        started = time.perf_counter()
        connection.execute("INSERT INTO log SELECT * FROM arrived")
        return INSERT_ROWS / (time.perf_counter() - started)


def echoes(counts: tuple[int, ...], seconds: float) -> Iterator[Echo]:
    """A bare asyncio server that sends back what it gets."""
    with process([sys.executable, "-m", "tests.bench.echo_server"]) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        for count in counts:
            talks = [EchoTalk(b"x" * ECHO_BYTES) for _ in range(count)]
            with Load("127.0.0.1", [(port, talk) for talk in talks]) as load:
                yield _measured("asyncio echo", load, count, seconds, [server.pid])


def broker_echoes(
    counts: tuple[int, ...], seconds: float, steps: list[WalkStep], folder: Path
) -> Iterator[Echo]:
    """mosquitto with a paho client that answers; nothing is logged or learnt. Empty without it."""
    if program() is None:
        return
    with mosquitto(folder) as broker, paho_echo(broker.port) as echo:
        for count in counts:
            talks = [MqttTalk(f"load-{i}", "key", walking(steps, i)) for i in range(count)]
            with Load("127.0.0.1", [(broker.port, talk) for talk in talks]) as load:
                yield _measured("mosquitto + paho echo", load, count, seconds, [broker.pid, echo])


def _measured(name: str, load: Load, devices: int, seconds: float, pids: list[int]) -> Echo:
    load.run(seconds / 4)
    before_s = cpu_s(pids)
    measured = load.run(seconds)
    return Echo(
        name,
        devices,
        answers_per_s=measured.actions_per_s,
        p50_ms=measured.quantile_ms(0.5),
        p99_ms=measured.quantile_ms(0.99),
        cpu_us=(cpu_s(pids) - before_s) * 1e6 / len(measured.latencies_ms),
    )


def _events(steps: int) -> list[Event]:
    """What the log keeps of so many CartPole steps: an observation and an action each."""
    observation = Event(
        Kind.OBSERVATION,
        TS_US,
        agent="bench",
        device="load-1",
        session=1,
        boot=1,
        step=1,
        obs=Floats(bytes(16)),
        reward=1.0,
        terminated=False,
        truncated=False,
    )
    action = Event(
        Kind.ACTION,
        TS_US,
        agent="bench",
        device="load-1",
        session=1,
        boot=1,
        step=1,
        action=Floats(bytes(4)),
        policy=1,
        logprob=-0.7,
        value=10.0,
        source=Source.POLICY,
        latency_us=300,
    )
    return [observation, action] * steps
