"""A learner elsewhere and its devices, a process each: `python -m tests.bench.remote_bench`.

A step of a remote environment is two commits: the observation is shown when it is durable, and the
action leaves when that is. Prints steps a second of all devices, and the CPU that each process uses
for one: what the busiest of them uses is a bound on a machine with a core for each.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np

from hub.remote import Address, make_vec
from hub.remote.errors import RemoteFault
from hub.remote.link import Link
from hub.words import EXTERNAL
from tests.acceptance.real_hub import HOST, RealHub
from tests.bench.processes import cpu_s

DEVICES: Final = (1, 4, 16)
SECONDS: Final = 4.0
EPISODE_STEPS: Final = 200


def devices(address: Address) -> None:
    """The far side: all devices on one WebSocket, a step each as soon as all are answered."""
    link = Link(address, timeout_s=5.0)
    seen = [0.1, 0.2, 0.3, 0.4]
    step = 0
    try:
        while True:
            end = step % EPISODE_STEPS == EPISODE_STEPS - 1
            said = {"s": step, "b": 1, "o": seen, "r": 1.0, "d": int(end)}
            link.exchange(dict.fromkeys(address.devices, said))
            step += 1
    except RemoteFault:
        pass  # the learner is done


def measure(hub: RealHub, count: int) -> dict[str, float]:
    """Steps a second of so many devices."""
    agent = f"bench-{count}"
    key = hub.make_agent(agent, algorithm=EXTERNAL, parameters={}, deadline_ms=None)
    names = tuple(f"{agent}-{i}" for i in range(count))
    address = Address(HOST, hub.ready.http, agent, key, names)
    far = multiprocessing.get_context("spawn").Process(target=devices, args=(address,))
    far.start()
    envs = make_vec(f"sheepfold://{key}@{HOST}:{hub.ready.http}/{agent}?devices={','.join(names)}")
    envs.reset()
    actions = np.zeros(count, dtype=np.int64)
    for _ in range(50):
        envs.step(actions)
    assert far.pid is not None, "it was started"
    pids = {"hub": hub.pid, "log": hub.processes["log"], "devices": far.pid, "learner": os.getpid()}
    before = {name: cpu_s([pid]) for name, pid in pids.items()}
    steps, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        envs.step(actions)
        steps += count
    took_s = time.perf_counter() - began
    used = {name: cpu_s([pid]) - before[name] for name, pid in pids.items()}
    envs.close()
    far.terminate()
    far.join()
    each = {f"{name}_cpu_us": round(seconds / steps * 1e6) for name, seconds in used.items()}
    return {"devices": count, "steps_per_s": round(steps / took_s), **each}


def main() -> None:
    """A line of JSON for each number of devices."""
    with tempfile.TemporaryDirectory() as folder:
        hub = RealHub(Path(folder) / "data")
        hub.start()
        for count in DEVICES:
            sys.stdout.write(json.dumps(measure(hub, count)) + "\n")
        hub.stop()


if __name__ == "__main__":
    main()
