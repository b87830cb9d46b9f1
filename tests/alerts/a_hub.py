"""What the rules look at, set by hand: real registry, sessions and devices, no processes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from hub.alerts.of_agents import OfAgents
from hub.alerts.of_hub import OfHub
from hub.alerts.segments import Segments
from hub.intake.endings import Ended
from hub.intake.mqtt.takeovers import Takeovers
from hub.intake.session import Sessions
from hub.registry.fold import Begun, Registry
from hub.settings import AlertSettings, Settings
from hub.words import AgentName, DeviceId, EndedBy
from tests.intake.fakes import EagerLog, ManualClock, agent_spec

if TYPE_CHECKING:
    from hub.alerts.cause import Cause, Subject
    from hub.alerts.standing import Open
    from hub.intake.device import Device
    from hub.learner.processes.child import Trouble
    from hub.processes import Hub

AGENT = AgentName("walker")


class Learners:
    """What the pool says of them."""

    def __init__(self) -> None:
        self.waiting: dict[str, int] = {}
        self.asleep: set[str] = set()
        self.of: dict[str, list[tuple[str, Trouble]]] = {}

    def awake(self, name: str) -> bool:
        return name not in self.asleep

    def troubles(self, name: str) -> list[tuple[str, Trouble]]:
        return self.of.get(name, [])


class AHub:
    """Has what rules ask a hub for under the same names."""

    def __init__(self, data: Path = Path(), **settings: Any) -> None:
        self.data = data
        self.settings = Settings(alerts=AlertSettings(**settings))
        self.clock = ManualClock()
        self.registry = Registry()
        self.sessions = Sessions(self.registry, EagerLog(), self.clock)
        self.pool = Learners()
        self.log = SimpleNamespace(restarts=0, hub="hub-1", append=lambda events, done: done(9))
        self.takeovers = Takeovers(self.clock)
        self.gate = SimpleNamespace(
            connection=1, announce=lambda topic, payload: None, takeovers=self.takeovers
        )
        self.analyst = SimpleNamespace(restarts=0)
        self.federation = SimpleNamespace(trouble=None)
        self.archive = SimpleNamespace(failed=None)
        self.stopping = SimpleNamespace(is_set=lambda: False)
        self.reason: str | None = None
        self.open: dict[Subject, Open] = {}
        self.segments = Segments(data, 0.0)
        hub = cast("Hub", self)
        self.of_agents = OfAgents(hub, self.open)
        self.of_hub = OfHub(hub, self.open, self.segments)
        self.declare()

    def not_ready(self) -> str | None:
        return self.reason

    def declare(self, **columns: Any) -> None:
        """The agent, as it is from now on."""
        spec = agent_spec(**columns)
        self.registry.agents[AGENT] = spec
        self.registry.begun[AGENT] = Begun(spec.agent)

    def device(self, name: str = "heater", agent: AgentName = AGENT) -> Device:
        """One that was heard just now."""
        self.registry.devices[DeviceId(name)] = agent
        device = self.sessions.device(DeviceId(name))
        device.agent, device.count, device.taken = agent, 1, 1
        device.heard_s = self.clock.monotonic()
        return device

    def earn(self, device: Device, returned: float, ended_by: EndedBy = EndedBy.TERMINATED) -> None:
        """One more episode of a device."""
        device.episodes += 1
        device.remember_end(Ended(device.episodes, returned, 9, 0, ended_by))

    async def see(self) -> list[Cause]:
        """What the rules about agents see."""
        return await self.of_agents.look()
