"""Sessions: one connection or login of a device. The newest one of a device wins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from hub.facts import DeviceAdded, SessionOpened
from hub.intake.device import Device
from hub.payloads import Cfg
from hub.registry.quotas import Quotas
from hub.settings import QuotaSettings
from hub.spaces import Discrete, size
from hub.step import Step
from hub.words import AgentName, DeviceId, Event, Kind, Protocol, SessionId

if TYPE_CHECKING:
    from collections.abc import Callable

    from hub.clock import Clock
    from hub.registry.fold import Login, Registry, Spec
    from hub.registry.quotas import Quota
    from hub.spaces import Space
    from hub.step import Appender
    from hub.words import Hello, KeyId


SILENCE_MS: Final = 60_000
"""`t` in the answer to hello, for agents that do not say when a device is silent."""


class Session:
    """A device that has shown a key, over one protocol."""

    __slots__ = ("agent", "boot", "device", "id", "protocol", "quota")

    def __init__(
        self,
        session: SessionId,
        device: Device,
        agent: AgentName,
        protocol: Protocol,
        quota: Quota,
    ) -> None:
        self.id = session
        self.device = device
        self.agent = agent
        self.protocol = protocol
        self.quota = quota
        self.boot: int | None = None
        """From hello; stands in for observations that give none."""


class Sessions:
    """Opens sessions and keeps every device the hub has met."""

    def __init__(
        self, registry: Registry, log: Appender, clock: Clock, quotas: Quotas | None = None
    ) -> None:
        self.quotas = quotas or Quotas(registry, QuotaSettings(), clock)
        self._registry = registry
        self._log = log
        self._clock = clock
        self.devices: dict[DeviceId, Device] = {}
        self.last_id = 0
        """Highest session id of the log."""
        self.key_used: Callable[[KeyId], None] = _pass
        """Told of each session that opens by a key that takes another's place."""

    def open(
        self,
        device: DeviceId,
        agent: AgentName,
        protocol: Protocol,
        *,
        key: KeyId | None = None,
        secret: bytes | None = None,
        committed: Callable[[int], None] | None = None,
    ) -> Session:
        """A new session; the log is told, and the device is the agent's from now on.

        `secret` is the SHA-256 of a session key that opens the session again after a restart;
        `committed` is called once the log has it.
        """
        self.last_id += 1
        session = Session(
            SessionId(self.last_id),
            self.device(device),
            agent,
            protocol,
            self.quotas.of(key, agent),
        )
        events = []
        if device not in self._registry.devices:
            events.append(self._event(Kind.ADMIN, session, DeviceAdded(device, by=f"key {key}")))
        events.append(self._event(Kind.HELLO, session, SessionOpened(protocol, key=key), secret))
        for event in events:
            self._registry.apply(event)
        self._log.append(events, committed or _ignore)
        if key in self._registry.successions:
            self.key_used(key)
        return session

    def again(
        self,
        session: SessionId,
        device: DeviceId,
        agent: AgentName,
        protocol: Protocol,
        *,
        key: KeyId | None = None,
    ) -> Session:
        """The same session after a restart of the hub; the log already has it."""
        return Session(session, self.device(device), agent, protocol, self.quotas.of(key, agent))

    def standing(self, device: DeviceId, agent: AgentName) -> Session:
        """The device's newest session, for what is said of the device and not by it."""
        newest = self.device(device).session or SessionId(0)
        return self.again(newest, device, agent, Protocol.MQTT)

    def last_used_us(self, login: Login) -> int:
        """Hub time of a login's last step that the log knows, else of the login itself."""
        device = self.devices.get(login.device)
        if device is not None and device.session == login.session:
            return max(device.seen_us, login.opened_us)
        return login.opened_us

    def hello(self, session: Session, hello: Hello, committed: Callable[[int], None]) -> None:
        """What the device says of itself; `committed` is called once the log has it."""
        session.boot = hello.b
        fact = SessionOpened(session.protocol, hello)
        self._log.append([self._event(Kind.HELLO, session, fact)], committed)

    def spec(self, session: Session) -> Spec | None:
        """The session's agent; None once it was deleted."""
        return self._registry.agents.get(session.agent)

    def configuration(self, session: Session, hello: Hello) -> Cfg:
        """The answer to hello: the agent's sizes, and where the device's counter stood."""
        spec = self.spec(session)
        device = session.device
        silent_s = None if spec is None else spec.agent.silent_s
        counted = device.count is not None and hello.b in (None, device.given_boot)
        return Cfg(
            ok=int(spec is not None),
            n=0 if spec is None else size(spec.observations),
            a=0 if spec is None else _choices(spec.actions),
            t=SILENCE_MS if silent_s is None else round(1000 * silent_s),
            g=device.wire_last if counted else None,
            ts=self._clock.now_us() // 1_000_000,
        )

    def device(self, device: DeviceId) -> Device:
        """The device's trace, made at first sight."""
        known = self.devices.get(device)
        if known is None:
            known = self.devices[device] = Device(device)
        return known

    def unanswered(self, device: str) -> Step | None:
        """The device's newest step, durable before a restart, that nobody has taken up since."""
        known = self.devices.get(DeviceId(device))
        step = None if known is None or known.count is None else known.window.get(known.count)
        return step if isinstance(step, Step) and step.timer is None and not step.chosen else None

    def _event(
        self,
        kind: Kind,
        session: Session,
        fact: DeviceAdded | SessionOpened,
        secret: bytes | None = None,
    ) -> Event:
        return Event(
            kind=kind,
            ts=self._clock.now_us(),
            agent=session.agent,
            device=session.device.id,
            session=session.id,
            boot=session.boot or 0,
            payload=msgspec.json.encode(fact).decode(),
            secret=secret,
        )


def _choices(actions: Space) -> int:
    return actions.n if isinstance(actions, Discrete) else size(actions)


def _pass(_key: KeyId) -> None:
    """Nobody wants to know."""


def _ignore(_seq: int) -> None:
    """Nobody waits for this commit: it comes before any answer that depends on it."""
