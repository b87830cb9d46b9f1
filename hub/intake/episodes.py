"""When a device's episode goes on, is cut short or is over, and what the log is told of it.

Rule 1: an episode ends with an event in the log, and what follows it is `first`. So whoever folds
        the log, now or later, sees the same end without a clock.
Rule 2: an end without an observation of its own (silence, reset, reboot) is a truncation at the
        last observation that came; no reward is made up for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import structs

from hub.facts import EpisodeEnded
from hub.intake.device import Episode
from hub.intake.endings import Ended
from hub.words import EndedBy, Event, Kind

if TYPE_CHECKING:
    from hub.intake.device import Device, Place
    from hub.words import Agent, AgentName, Observation, Packet, SessionId

MILLISECONDS: Final = 1_000


def go_on(device: Device, reward: float | None, now_us: int, *, first: bool) -> None:
    """An observation came: the running episode is longer by a step, or a new one begins."""
    if first or device.episode is None:
        device.episodes += 1
        device.episode = Episode(device.episodes, now_us)
        return
    device.episode.steps += 1
    device.episode.total_reward += reward or 0.0


def end(
    device: Device,
    ended_by: EndedBy,
    now_us: int,
    *,
    agent: AgentName,
    session: SessionId,
    place: Place | None = None,
    by: str | None = None,
    packet: Packet | None = None,
) -> Event:
    """The open episode is over, with the observation at `place` or, without, the one before.

    `agent` and `session` are those of the message; the steps before it may have been of others.
    `by` is the person who ended it, if one did, and `packet` that by which it was said.
    """
    episode, device.episode = device.episode, None
    assert episode is not None, "only an open episode ends"
    device.steps_before += episode.steps
    device.last_return = episode.total_reward
    device.remember_end(
        Ended(episode.number, episode.total_reward, episode.steps, now_us, ended_by)
    )
    fact = EpisodeEnded(
        episode=episode.number,
        steps=episode.steps,
        total_reward=episode.total_reward,
        started=episode.started_us,
        ended_by=ended_by,
        steps_total=device.steps_before,
        by=by,
        packet=packet,
    )
    return Event(
        kind=Kind.EPISODE,
        ts=now_us,
        agent=device.agent or agent,
        device=device.id,
        session=device.session or session,
        boot=place.boot if place else device.boot,
        step=place.number if place else device.count,
        terminated=ended_by is EndedBy.TERMINATED,
        truncated=ended_by is not EndedBy.TERMINATED,
        reason=ended_by,
        payload=msgspec.json.encode(fact).decode(),
    )


def cut(agent: Agent, device: Device, observation: Observation, place: Place) -> Observation:
    """The observation, truncated where its episode has as many steps as the agent lets it have.

    There `done` alone says no more than that the time was over (Pardo et al. 2018).
    """
    if agent.max_episode_steps is None or place.first or device.episode is None:
        return observation
    if observation.truncated or device.episode.steps + 1 < agent.max_episode_steps:
        return observation
    return structs.replace(observation, terminated=False, truncated=True)


def is_silent(agent: Agent, device: Device, now_s: float) -> bool:
    """Whether the device has an episode open and was not heard for longer than it may be.

    Its time begins when its action was due: until then it may have waited for the hub. Where no
    deadline says when that is, it begins with the action.
    """
    if agent.silent_s is None or device.episode is None:
        return False
    if agent.deadline_ms is None and device.waits:
        device.heard_s = now_s
    return now_s - device.heard_s > agent.silent_s + (agent.deadline_ms or 0) / MILLISECONDS
