"""THE MAIN PATH: a payload from a device becomes an observation at its place, a step on its way.

    decode ─▶ check against the agent's spaces ─▶ repeat? same answer ─▶ place ─▶ action room

The action room's first door is `hub.action.external.External`, which keeps the steps of external
agents for their remote learners and gives every step on to `hub.action.deliver.Deliver`.
MQTT and HTTP both end here. Whatever a device sends wrong ends in `refuse` and costs it alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec import structs

from hub.errors import DeviceFault
from hub.facts import Rewarded
from hub.intake import episodes
from hub.intake.device import Past
from hub.intake.mapping.bound import Mappings
from hub.intake.misspelt import warning
from hub.intake.observation import REWARD_MAX, check, decode
from hub.intake.refusals import Refusals
from hub.over_observation import Undefined
from hub.step import REPEATS_MAX, Content, Step
from hub.words import Code, EndedBy, Event, Kind, Observation
from hub.words import Protocol as DeviceProtocol

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from hub.clock import Clock
    from hub.intake.device import Device, Place
    from hub.intake.session import Session
    from hub.registry.fold import Registry, Spec
    from hub.settings import StepSettings
    from hub.step import Appender, Reply
    from hub.words import AgentName, Message, Packet


class Delivery(Protocol):
    """The action room; `hub.action.external.External` is one, and `Deliver` behind it."""

    def begin(self, step: Step) -> None:
        """Find an action for the step, log both, answer."""
        ...


class Receiver:
    """Takes payloads in; everything it needs of the world is handed to it."""

    def __init__(
        self,
        registry: Registry,
        log: Appender,
        delivery: Delivery,
        clock: Clock,
        settings: StepSettings,
    ) -> None:
        self._registry = registry
        self._log = log
        self._delivery = delivery
        self._clock = clock
        self.mappings = Mappings(registry)
        """How legacy devices send."""
        self._refusals = Refusals(log, clock, settings.refused_per_minute)
        self.closing = False
        """The hub is stopping: nothing new is taken."""
        self.refused = 0
        """Messages refused since start."""
        self.episode_ended: Callable[[Device], None] = _pass
        """Told of each episode that a message ends."""

    @property
    def crowded(self) -> bool:
        """Nothing new should be taken now: too much is waiting for the log."""
        return self._log.crowded

    def receive(
        self,
        session: Session,
        payload: bytes,
        encoding: str,
        reply: Reply,
        *,
        packet: tuple[int, int] | None = None,
        duplicate: bool = False,
    ) -> None:
        """Take one observation; every outcome goes to `reply`.

        `packet` is (MQTT packet id, hash of the payload), `duplicate` the DUP flag: they tell the
        repeats of a device that doesn't number its steps.
        """
        try:
            session.quota.take(len(payload))
            message = decode(encoding, payload)
            self.take(session, message, reply, packet=packet, duplicate=duplicate)
        except DeviceFault as fault:
            self.refuse(session, fault, reply)

    def take(
        self,
        session: Session,
        message: Message,
        reply: Reply,
        *,
        packet: tuple[int, int] | None = None,
        duplicate: bool = False,
    ) -> None:
        """Take one decoded message.

        Raises:
            DeviceFault: it was refused; `refuse` tells the device and the log.
        """
        spec = self._registry.agents.get(session.agent)
        if spec is None:
            raise DeviceFault(Code.AUTH, f"agent {session.agent!r} was deleted", step=message.s)
        observation = check(spec, message)
        device = session.device
        if device.agent != session.agent:
            self._move(session)
        if episodes.is_silent(spec.agent, device, self._clock.monotonic()):
            ended = self._end_episode(session, EndedBy.SILENT, self._clock.now_us())
            self._log.append([ended], _ignore)
        if message.b is not None and session.boot is not None:
            session.boot = message.b  # what hello said was true until now
        boot = session.boot if message.b is None else message.b
        content = content_of(observation)
        if duplicate and message.s is None and packet in device.packets:
            known = device.window.get(device.packets[packet])
        else:
            known = device.find(
                message.s, boot=boot, first=message.f, content=content, duplicate=duplicate
            )
        if known is not None:
            device.heard_s = self._clock.monotonic()
            self._repeat(known, message, reply)
            return
        if self._log.crowded or self.closing:
            raise _busy("the hub is stopping" if self.closing else "the log is behind", message)
        place = device.place(message.s, boot=boot, first=message.f, session=session.id)
        observation = episodes.cut(spec.agent, device, observation, place)
        step = self._step(session, spec, message, observation, place, content)
        step.can_repeat = message.s is not None or packet is not None
        device.take(place, step, given_boot=boot)
        if packet is not None and message.s is None:
            device.remember_packet(packet, place.number)
        step.replies.append(reply)
        for doubt in _doubts(device, message, observation):
            reply.warn(doubt)
        self._delivery.begin(step)

    def admit(self, session: Session, size_bytes: int) -> None:
        """One message of this size is within the quotas of its key and agent.

        For whoever does not use `receive`; nobody is told and nothing logged but the count.

        Raises:
            DeviceFault: `rate`, with the time after which it is.
        """
        session.quota.take(size_bytes)

    def refuse(self, session: Session, fault: DeviceFault, reply: Reply) -> None:
        """Tell the device, log it within the limit, acknowledge it: or it is sent for ever."""
        self.refused += 1
        self._refusals.take(session, fault, reply)

    def refusals_of(self, agent: AgentName) -> Counter[Code]:
        """What an agent's devices were refused since start, by code."""
        return self._refusals.of(agent)

    def reset(
        self,
        session: Session,
        committed: Callable[[int], None] | None = None,
        *,
        by: str | None = None,
        packet: Packet | None = None,
        duplicate: bool = False,
    ) -> None:
        """End the device's episode, if one is open, as truncated, without an observation.

        `committed` is called once the log has it, at once where there is nothing to end; `by` is
        the person who wants it, `packet` and `duplicate` tell what is sent again.
        """
        committed = committed or _ignore
        if packet is not None:
            known = session.device.repeats
            if duplicate and known.repeats(packet, committed):
                return
            committed = known.take(packet, committed)
        if session.device.episode is None:
            committed(0)
            return
        ended = self._end_episode(
            session, EndedBy.RESET, self._clock.now_us(), by=by, packet=packet
        )
        self._log.append([ended], committed)

    def reward(
        self,
        session: Session,
        reward: float,
        reply: Reply,
        *,
        by: str | None = None,
        packet: Packet | None = None,
        duplicate: bool = False,
    ) -> None:
        """A person's reward: it adds to that of the device's next observation.

        `by` is the person, where the hub knows; `packet` and `duplicate` tell what is sent again.
        """
        device = session.device
        if packet is not None and duplicate and device.repeats.repeats(packet, reply.durable):
            return
        if self._log.crowded or self.closing:
            why = "the hub is stopping" if self.closing else "the log is behind"
            self.refuse(session, DeviceFault(Code.BUSY, f"{why}; send the reward again"), reply)
            return
        bonus = device.bonus + reward
        if not abs(bonus) <= REWARD_MAX:
            who = "" if by is None else f"{by}: "
            self.refuse(
                session, DeviceFault(Code.RANGE, f"{who}reward {reward} is no float32"), reply
            )
            return
        device.bonus = bonus
        event = Event(
            kind=Kind.REWARD,
            ts=self._clock.now_us(),
            agent=session.agent,
            device=device.id,
            session=session.id,
            boot=device.boot,
            step=device.count,
            reward=reward,
            payload=_rewarded(by, packet),
        )
        committed: Callable[[int], None] = reply.durable
        if packet is not None:
            committed = device.repeats.take(packet, committed)
        self._log.append([event], committed)

    def _step(
        self,
        session: Session,
        spec: Spec,
        message: Message,
        observation: Observation,
        place: Place,
        content: Content,
    ) -> Step:
        """The step with its events: the observation, and episodes that end before or with it."""
        device = session.device
        step = Step(
            agent=spec,
            device=device,
            session=session.id,
            boot=place.boot,
            number=place.number,
            wire_number=place.number if message.s is None else message.s,
            observation=observation,
            content=content,
            arrived=self._clock.monotonic(),
            must_act=session.protocol is DeviceProtocol.SHEPHERD,
            unaware=not (message.d or message.tr),
        )
        now_us = self._clock.now_us()
        if place.broken is not None:
            step.events.append(self._end_episode(session, place.broken, now_us))
        step.observation_at = len(step.events)
        reward = self._reward_of(session, spec, observation, place)
        step.events.append(
            Event(
                kind=Kind.OBSERVATION,
                ts=now_us,
                agent=session.agent,
                device=device.id,
                session=session.id,
                boot=place.boot,
                step=place.number,
                obs=observation.values,
                executed=None if place.first else observation.executed,
                reward=reward,
                terminated=observation.terminated,
                truncated=observation.truncated,
                first=place.first,
                payload=observation.info,
            )
        )
        episodes.go_on(device, reward, now_us, first=place.first)
        if observation.terminated or observation.truncated:
            ended_by = EndedBy.TERMINATED if observation.terminated else EndedBy.TRUNCATED
            step.events.append(self._end_episode(session, ended_by, now_us, place))
        return step

    def _end_episode(
        self,
        session: Session,
        ended_by: EndedBy,
        now_us: int,
        place: Place | None = None,
        *,
        by: str | None = None,
        packet: Packet | None = None,
    ) -> Event:
        ended = episodes.end(
            session.device,
            ended_by,
            now_us,
            agent=session.agent,
            session=session.id,
            place=place,
            by=by,
            packet=packet,
        )
        self.episode_ended(session.device)
        return ended

    def _reward_of(
        self, session: Session, spec: Spec, observation: Observation, place: Place
    ) -> float | None:
        """What the log keeps as the reward of the action before; None = there is none."""
        bonus, session.device.bonus = session.device.bonus, 0.0
        if place.first:
            return None
        reward = _reward_in(spec, observation)
        if reward is None:
            reward = spec.agent.missing_reward
        if reward is None and session.protocol is DeviceProtocol.SHEPHERD:
            reward = 0.0
        if reward is None:
            return bonus or None
        return max(-REWARD_MAX, min(reward + bonus, REWARD_MAX))

    def _repeat(self, known: Step | Past, message: Message, reply: Reply) -> None:
        """The same stored answer, now or as soon as there is one."""
        if isinstance(known, Past):
            answer = known.answer
            if message.s not in (None, answer.step):  # a u16 that had wrapped before a restart
                answer = structs.replace(answer, step=message.s)
            reply.durable(answer.seq)
            reply.act(answer)
            return
        if self.closing and known.timer is None:
            raise _busy("the hub is stopping", message)  # it would have to be begun once more
        if message.s is not None:
            known.wire_number = message.s  # the same: the log keeps a u16 unwrapped
        left = known.reply_too(reply)
        if left is not None:
            why = f"sent more than {REPEATS_MAX} times before there was an action"
            left.refuse(_busy(why, message), acknowledge=False)
        if known.seq:
            reply.durable(known.seq)
        if known.timer is None:
            # Durable before a restart and never answered; or the device was told `busy` meanwhile.
            if not known.chosen:
                known.arrived = self._clock.monotonic()
            self._delivery.begin(known)

    def _move(self, session: Session) -> None:
        """The device is another agent's now: its running episode ends with the old one's."""
        device = session.device
        if device.episode is not None:
            ended = self._end_episode(session, EndedBy.RESET, self._clock.now_us())
            self._log.append([ended], _ignore)
        device.move(session.agent)


def _reward_in(spec: Spec, observation: Observation) -> float | None:
    """As the agent's expression has it, or else as the device sent it; None where there is none."""
    if spec.reward is None:
        return observation.reward
    try:
        reward = spec.reward(observation.values)
    except Undefined:
        return None
    return reward if abs(reward) <= REWARD_MAX else None


def _pass(_device: Device) -> None:
    """Nobody wants to know."""


def _doubts(device: Device, message: Message, observation: Observation) -> list[DeviceFault]:
    """What of a message was not taken as it was sent."""
    doubts = []
    if observation.missing_value:
        text = "reward is no float32: taken as missing"
        doubts.append(DeviceFault(Code.RANGE, text, step=message.s))
    misspelt = warning(device, message)
    return doubts if misspelt is None else [*doubts, misspelt]


def _rewarded(by: str | None, packet: Packet | None) -> str | None:
    """What the log keeps of a person's reward beside the number."""
    if by is None and packet is None:
        return None
    return msgspec.json.encode(Rewarded(by, packet)).decode()


def _ignore(_seq: int) -> None:
    """Nobody is told: the next answer comes after it."""


def _busy(why: str, message: Message) -> DeviceFault:
    return DeviceFault(Code.BUSY, f"{why}; send the same step again", step=message.s)


def content_of(observation: Observation) -> Content:
    """What a repeat must have in common with the message before."""
    return Content(
        saw=hash(observation.values),
        end=hash((observation.terminated, observation.truncated)),
        rest=hash((observation.reward, observation.executed)),
    )
