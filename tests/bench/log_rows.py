"""Events as a hub's log has them: many devices of a few agents that walk, episode after episode."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from hub.clock import SystemClock
from hub.facts import EpisodeEnded
from hub.log.store import DuckLog
from hub.settings import LogSettings
from hub.words import EndedBy, Event, Floats, Kind, Source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AGENTS: Final = 8
DEVICES: Final = 64
EPISODE_STEPS_MEAN: Final = 200
POLICY_STEPS: Final = 2048
"""Steps of a device between two policy versions."""
TS_US: Final = 1_795_219_200_000_000
TICK_US: Final = 1_000_000
"""Each device steps once in it."""
OBSERVATION_BYTES: Final = 16
COMMIT_ROWS: Final = 4096
MEBIBYTE: Final = 1 << 20


def walk_rows(seed: int = 1) -> Iterator[Event]:
    """Observations of 4 floats and the actions that answer them, in turn, without end.

    Numbers move as a CartPole's do, with four decimals; rewards are 1, log-probabilities and
    values are float32 of a policy. An `episode` event follows every 200th step or so.
    """
    draw = np.random.default_rng(seed)
    positions = np.zeros((DEVICES, 4))
    started = [0] * DEVICES
    step = 0
    while True:
        positions += draw.normal(0.0, 0.05, positions.shape)
        ends = draw.random(DEVICES) < 1 / EPISODE_STEPS_MEAN
        observed = np.round(positions, 4).astype(np.float32).tobytes()
        chosen = draw.normal(0.0, 1.0, (DEVICES, 2)).astype(np.float32).tolist()
        waits_us = draw.gamma(4.0, 80.0, DEVICES).astype(int).tolist()
        for device, end in enumerate(ends.tolist()):
            ts = TS_US + step * TICK_US + device * (TICK_US // DEVICES)
            agent, name = f"agent-{device % AGENTS}", f"device-{device}"
            values = Floats(observed[device * OBSERVATION_BYTES : (device + 1) * OBSERVATION_BYTES])
            yield Event(
                Kind.OBSERVATION, ts, agent, name, device + 1, 1, step, values,
                reward=None if step == started[device] else 1.0,
                terminated=end, truncated=False, first=step == started[device],
            )  # fmt: skip
            if not end:
                logprob, value = chosen[device]
                yield Event(
                    Kind.ACTION, ts + waits_us[device], agent, name, device + 1, 1, step,
                    action=_ACTIONS[value > 0], policy=1 + step // POLICY_STEPS,
                    logprob=-abs(logprob), value=value, source=Source.POLICY,
                    latency_us=waits_us[device],
                )  # fmt: skip
            else:
                yield _episode(ts, agent, name, device, step, started[device])
                started[device] = step + 1
        positions[ends] = 0.0
        step += 1


def _episode(ts: int, agent: str, name: str, device: int, step: int, started: int) -> Event:
    steps = step - started
    fact = EpisodeEnded(
        episode=started + 1,
        steps=steps,
        total_reward=float(steps),
        started=ts - steps * TICK_US,
        ended_by=EndedBy.TERMINATED,
    )
    payload = msgspec.json.encode(fact).decode()
    return Event(Kind.EPISODE, ts, agent, name, device + 1, 1, step, payload=payload)


_ACTIONS: Final = [Floats(np.float32(number).tobytes()) for number in (0.0, 1.0)]


def fill(folder: Path, count: int) -> str:
    """A log of so many events in a new folder, checkpointed; returns the hub's id."""
    folder.mkdir(parents=True)
    settings = LogSettings()
    events = islice(walk_rows(), count)
    log = DuckLog.open(folder, settings, clock=SystemClock())
    while batch := list(islice(events, COMMIT_ROWS)):
        log.append(batch)
        if log.wal_bytes >= settings.checkpoint_wal_mb * MEBIBYTE:
            log.checkpoint()
    log.close()
    return log.hub
