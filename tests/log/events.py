"""Events as tests need them: short to write, every column of them of use."""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from hub.facts import AgentMade, EpisodeEnded
from hub.words import Agent, AgentName, EndedBy, Event, Floats, Kind, Source

NOW_US = 1_700_000_000_000_000


def floats(*numbers: float) -> Floats:
    """A vector."""
    return Floats(struct.pack(f"<{len(numbers)}f", *numbers))


def observation(step: int, device: str = "a", **columns: Any) -> Event:
    """What a device of agent `walker` saw; its values and reward are its step."""
    given: dict[str, Any] = {
        "agent": "walker",
        "session": 1,
        "boot": 1,
        "obs": floats(step, -step),
        "reward": float(step),
        "terminated": False,
        "truncated": False,
        "first": False,
    }
    given.update(columns)
    return Event(Kind.OBSERVATION, NOW_US + step, device=device, step=step, **given)


def action(step: int, device: str = "a", **columns: Any) -> Event:
    """What the device was told at that step: twice its number."""
    given: dict[str, Any] = {
        "agent": "walker",
        "session": 1,
        "boot": 1,
        "action": floats(2 * step),
        "policy": 3,
        "logprob": -0.1,
        "value": 0.3,
        "source": Source.POLICY,
        "latency_us": 120,
    }
    given.update(columns)
    return Event(Kind.ACTION, NOW_US + step, device=device, step=step, **given)


def steps(first: int, last: int, device: str = "a", **columns: Any) -> list[Event]:
    """Observations and the actions that answered them."""
    return [
        event
        for step in range(first, last + 1)
        for event in (observation(step, device, **columns), action(step, device))
    ]


def episode(step: int, device: str = "a", *, boot: int = 1, by: EndedBy | None = None) -> Event:
    """The end of an episode whose last observation was at `step`."""
    fact = EpisodeEnded(
        episode=1,
        steps=step,
        total_reward=4.5,
        started=NOW_US,
        ended_by=EndedBy.TERMINATED if by is None else by,
    )
    return Event(
        Kind.EPISODE,
        NOW_US + step,
        agent="walker",
        device=device,
        session=1,
        boot=boot,
        step=step,
        payload=text(fact),
    )


def agent_made(name: str = "walker", **declared: Any) -> Event:
    """An agent's declaration."""
    agent = Agent(AgentName(name), "PPO", [[2], -1, 1], 2, 7, **declared)
    return Event(Kind.ADMIN, NOW_US, agent=name, payload=text(AgentMade(agent, by="admin")))


def text(fact: msgspec.Struct) -> str:
    """A fact as the payload has it."""
    return msgspec.json.encode(fact).decode()


def unnumbered(events: list[Event]) -> list[Event]:
    """The events as they were before the log gave them their seq."""
    return [msgspec.structs.replace(event, seq=0) for event in events]
