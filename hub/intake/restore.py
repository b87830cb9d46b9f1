"""Devices as they were when the log ended, so that their repeats are recognised after a restart."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import structs

from hub.errors import DeviceFault
from hub.facts import EpisodeEnded, Rewarded
from hub.intake.device import BOOTS, Device, Episode, Past
from hub.intake.mapping.take import remembered
from hub.intake.receive import content_of
from hub.mask import read_mask
from hub.spaces import unflatten
from hub.step import Content, Held, Step
from hub.words import AgentName, Answer, DeviceId, Event, Kind, Observation, SessionId, Source

if TYPE_CHECKING:
    from hub.clock import Clock
    from hub.intake.session import Sessions
    from hub.log.recover import Recovered, Tail
    from hub.registry.fold import Registry, Spec
    from hub.words import Packet

MICROSECONDS: Final = 1_000_000

_ended = msgspec.json.Decoder(EpisodeEnded)
_rewarded = msgspec.json.Decoder(Rewarded)


def restore(recovered: Recovered, registry: Registry, sessions: Sessions, clock: Clock) -> None:
    """Fold what the log recovered into the registry and the devices' traces."""
    for event in recovered.facts:
        registry.apply(event)
        if event.kind is Kind.REWARD:  # a person's, still to be added to the next observation
            device = sessions.device(DeviceId(event.device))
            device.bonus += event.reward or 0.0
            if event.payload is not None:
                _know(device, _rewarded.decode(event.payload).packet, event.seq)
    sessions.last_id = recovered.session_last
    for tail in recovered.tails:
        # By the agent the steps were made for: the device may have been moved since.
        spec = registry.agents.get(AgentName(tail.events[-1].agent))
        if spec is not None:
            _restore_device(sessions.device(DeviceId(tail.device)), tail, spec, clock)


def _restore_device(device: Device, tail: Tail, spec: Spec, clock: Clock) -> None:
    observations = [event for event in tail.events if event.kind is Kind.OBSERVATION]
    actions = {event.step: event for event in tail.events if event.kind is Kind.ACTION}
    newest = observations[-1]
    assert newest.step is not None, "an observation has a step"
    device.agent = spec.agent.name
    device.boot = newest.boot
    device.given_boot = newest.boot % BOOTS
    device.count = newest.step
    device.wire_last = newest.step
    device.unsure = True
    device.heard_s = clock.monotonic() - max(0, clock.now_us() - newest.ts) / MICROSECONDS
    device.seen_us = newest.ts
    device.session = SessionId(newest.session)
    assert newest.obs is not None, "an observation event has values"
    device.memory = remembered(newest.obs, newest.payload)
    for event in observations:
        assert event.step is not None
        action = actions.get(event.step)
        if action is None and not (event.terminated or event.truncated):
            device.window[event.step] = _unanswered(device, event, spec, clock)
        else:
            device.window[event.step] = Past(_content(event, spec), _answer(event, action, spec))
        if action is not None and action.action is not None:
            device.last_action = action.action
    if spec.agent.safety is not None:
        _hold(device, [event for event in tail.events if event.kind is Kind.ACTION], clock)
    if tail.episode is not None and tail.episode.payload is not None:
        ended = _ended.decode(tail.episode.payload)
        device.episodes = ended.episode
        device.steps_before = ended.steps_total
        device.last_return = ended.total_reward
        _know(device, ended.packet, tail.episode.seq)
    if tail.started is not None:
        device.episodes += 1
        device.episode = Episode(device.episodes, tail.started, tail.steps, tail.reward_sum)


def _know(device: Device, packet: Packet | None, seq: int) -> None:
    """What came by this packet comes again: who sent it may not have been told."""
    if packet is not None:
        device.repeats.restore(packet, seq)


def _hold(device: Device, actions: list[Event], clock: Clock) -> None:
    """For how long each component of the last action has stood, as far as the log's tail tells."""
    now_s, now_us = clock.monotonic(), clock.now_us()
    for event in actions:
        # A clock that was set back makes it look as if it were still to come: then it was now.
        at_s = now_s - max(0, now_us - event.ts) / MICROSECONDS
        if device.held is not None:
            device.held.send(event.action, at_s)
        elif event.action is not None:
            device.held = Held(event.action, at_s)
        if device.held is None:
            continue
        if not _is_by_person(event):
            device.held.clamps = device.held.clamps + 1 if event.source is Source.CLAMP else 0
        device.last_action = device.held.action


def _is_by_person(event: Event) -> bool:
    """Whether the action is a person's wish, or what the rules made of one."""
    if event.source is Source.CLAMP and event.payload is not None:
        return "by" in msgspec.json.decode(event.payload)
    return event.source is Source.OVERRIDE


def _unanswered(device: Device, event: Event, spec: Spec, clock: Clock) -> Step:
    """Durable, but the hub ended before it chose: the device's repeat will have it answered."""
    assert event.step is not None
    step = Step(
        agent=spec,
        device=device,
        session=SessionId(event.session),
        boot=event.boot,
        number=event.step,
        wire_number=event.step,
        observation=structs.replace(_observation(event), mask=_mask(event, spec)),
        content=_content(event, spec),
        arrived=clock.monotonic(),
    )
    step.seq = event.seq
    return step


def _content(event: Event, spec: Spec) -> Content:
    """The log keeps the reward as it counted, not as it was sent: only the rest can be compared."""
    content = structs.replace(content_of(_observation(event)), rest=None)
    if event.truncated and spec.agent.max_episode_steps is not None:
        return structs.replace(content, end=None)
    return content


def _observation(event: Event) -> Observation:
    assert event.obs is not None, "an observation event has values"
    return Observation(
        values=event.obs,
        reward=event.reward,
        terminated=bool(event.terminated),
        truncated=bool(event.truncated),
        executed=event.executed,
        info=event.payload,
    )


def _mask(event: Event, spec: Spec) -> bytes | None:
    """It was checked when it came; None also where the agent was declared anew since."""
    if event.payload is None:
        return None
    with suppress(DeviceFault):
        return read_mask(spec.agent, spec.actions, msgspec.json.decode(event.payload))
    return None


def _answer(event: Event, action: Event | None, spec: Spec) -> Answer:
    assert event.step is not None
    values = None if action is None else action.action
    return Answer(
        step=event.step,
        action=None if values is None else unflatten(spec.actions, values),
        seq=event.seq,
        policy=None if action is None else action.policy,
        source=None if action is None else action.source,
        values=values,
    )
