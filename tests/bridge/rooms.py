"""The bridge over real rooms of a hub, without its processes: a log that commits when it is told.

async with Rooms() as rooms:
    key = rooms.make_agent("cart")
    answer = await rooms.post("/v1/step", {"device": "d", "s": 0, "o": [0, 0]}, bearer(key))
    rooms.log.events                # what was committed
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Self, cast

import httpx
import msgspec

from bridge.app import create_app
from hub.action.deliver import Deliver
from hub.action.external import External
from hub.action.guard import Guard
from hub.control import Control
from hub.histogram import Seen
from hub.intake.mapping.bound import check_mapping
from hub.intake.receive import Receiver
from hub.intake.restore import restore
from hub.intake.session import Sessions
from hub.learner.algorithms.parameters import read_parameters
from hub.log import recover
from hub.log.memory import MemoryLog
from hub.processes import Ready
from hub.provision import Provision
from hub.registry.acts import Acts, NewAgent
from hub.registry.fold import Registry
from hub.registry.mapping_acts import AddMapping
from hub.settings import HttpSettings, Settings, StepSettings
from hub.spaces import neutral
from hub.step import Choice
from hub.words import Kind, Source
from tests.intake.fakes import Policies

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hub.control import Archive
    from hub.mappings import Mapping
    from hub.processes import Hub
    from hub.step import Step
    from hub.words import Event, Publishable, Rewarding

SESSION_IDLE_S: Final = 60.0
BODY_BYTES_MAX: Final = 4096
SETTINGS: Final = Settings(
    http=HttpSettings(session_idle_s=SESSION_IDLE_S, body_bytes_max=BODY_BYTES_MAX),
    step=StepSettings(grace_ms=1.0, commit_s_max=0.05),
)
POLICY_VERSION: Final = 7
START_US: Final = 1_800_000_000_000_000


class Rooms:
    """Registry, sessions, receiver and action room of a hub, with the bridge in front of them.

    Args:
        events: the log as an earlier hub left it.
        clock: shared by hubs that follow each other.
        settings: what is read of them by the bridge.
    """

    def __init__(
        self,
        events: Sequence[Event] = (),
        clock: HandClock | None = None,
        settings: Settings = SETTINGS,
    ) -> None:
        self.clock = clock or HandClock()
        self.settings = settings
        self.log = HandLog(events)
        self.actor = Actor()
        self.registry = Registry()
        self.sessions = Sessions(self.registry, self.log, self.clock)
        loop = asyncio.get_running_loop()
        guard = Guard(self.registry, self.clock, self._pause)
        self.external = External(self.actor, self.sessions.unanswered)
        self.deliver = deliver = Deliver(
            self.log, self.external, self.clock, SETTINGS.step, loop.call_later, guard
        )
        self.external.deliver = deliver
        self.actor.choose = deliver.choose
        self.receiver = Receiver(self.registry, self.log, self.external, self.clock, SETTINGS.step)
        self.tls = None
        self.ready: str | None = None
        """Why it is not; None = it is."""
        self._seed = 0
        self._acts = Acts(
            self.registry,
            self.clock.now_us,
            self._random,
            read_parameters,
            Policies(),
            check_mapping,
            settings.keys,
        )
        self.control = Control(
            self._acts,
            self.registry,
            self.log,
            cast("Archive", None),  # nothing is sealed
            changed=lambda _: None,
            disconnect=lambda _: None,
            recheck=lambda: None,
            status=dict,
            watched=Seen,
        )
        self.provision = Provision(self.control, self._acts, self.registry, self.log, self.clock)
        self.sessions.key_used = self.provision.used
        self.listens = Ready(1, 8000, 1883, 8083, "1")
        recovered = recover.fold(list(self.log.events))
        restore(recovered, self.registry, self.sessions, self.clock)

    async def __aenter__(self) -> Self:
        # The bridge takes of a hub what is here under the same names.
        app = create_app(cast("Hub", self))
        self.app = app
        transport = httpx.ASGITransport(app=cast("Any", app))
        self._client = httpx.AsyncClient(transport=transport, base_url="http://hub")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    def stop(self) -> None:
        """As the hub does when it is told to end."""
        self.receiver.closing = True
        self.external.close()

    def not_ready(self) -> str | None:
        """As `Hub.not_ready`."""
        return self.ready

    async def ask(
        self, method: str, path: str, body: object = b"", headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """One request; the body is bytes as they are, or a document."""
        content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return await self._client.request(method, path, content=content, headers=headers)

    async def post(
        self, path: str, body: object, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """One POST."""
        return await self.ask("POST", path, body, headers)

    async def shepherd(self, route: str, body: object, **headers: str) -> Any:
        """The document of a Shepherd route, which comes with 200 whatever happened."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await self.post(f"/shepherd/{route}", body, named)
        assert response.status_code == 200
        return response.json()

    def make_agent(self, name: str, **declared: Any) -> str:
        """A new agent and its key; two numbers from -1 to 1 and two actions unless declared."""
        spaces: dict[str, Any] = {"observations": [[2], -1.0, 1.0], "actions": 2}
        usual = spaces | {"algorithm": "PPO", "deadline_ms": 20}
        new = NewAgent(name=name, **usual | declared)
        return str(self._act(self._acts.create_agent(new, "operator"))["api_key"])

    def make_key(
        self,
        agent: str,
        device: str | None = None,
        publishable: Publishable | None = None,
        rewarding: Rewarding | None = None,
    ) -> str:
        """A further key."""
        made = self._acts.keys.create(agent, device, "operator", publishable, rewarding)
        return str(self._act(made)["api_key"])

    def revoke(self, key: str) -> None:
        """The key, named by the id in front of its secret, is not accepted any more."""
        self._act(self._acts.keys.revoke(key.partition(".")[0], "operator"))

    def change_agent(self, name: str, **changes: Any) -> None:
        """`sheepfold agent update`."""
        self._act(self._acts.change_agent(name, changes, "operator"))

    def add_mapping(self, name: str, agent: str, mapping: Mapping) -> None:
        """`sheepfold mapping add`."""
        self._act(self._acts.mappings.decide(AddMapping(name, agent, mapping), "operator"))

    def move(self, device: str, agent: str) -> None:
        """`sheepfold device move`."""
        self._act(self._acts.add_device(device, agent, "operator"))

    def forget(self, device: str) -> None:
        """`sheepfold device forget`."""
        self._act(self._acts.forget_device(device, "operator"))

    def logged(self, kind: Kind) -> list[Event]:
        """The committed events of a kind."""
        return [event for event in self.log.events if event.kind is kind]

    def _pause(self, alert: Event) -> asyncio.Future[None]:
        self._act(self._acts.change_agent(alert.agent, {"status": "paused"}, "hub"))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def _act(self, outcome: tuple[list[Event], Any]) -> Any:
        events, answer = outcome
        for event in events:
            self.registry.apply(event)
        self.log.memory.append(events)
        return answer

    def _random(self, count: int) -> bytes:
        self._seed += 1
        return self._seed.to_bytes(2, "big") * (count // 2 + 1)


class HandClock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now_us(self) -> int:
        """Microseconds since 1970 UTC."""
        return START_US + int(self.seconds * 1_000_000)

    def monotonic(self) -> float:
        """Seconds."""
        return self.seconds


class HandLog:
    """Commits at the next turn of the loop, or when `held` ends."""

    def __init__(self, events: Sequence[Event] = ()) -> None:
        self.memory = MemoryLog()
        self.hub = self.memory.hub
        if events:
            self.memory.append(events)
        self.last_seq = len(events)
        """As `LogLink.last_seq`."""
        self.crowded = False
        self.held = False
        """Nothing becomes durable."""
        self._waiting: list[tuple[list[Event], Callable[[int], None]]] = []

    @property
    def events(self) -> list[Event]:
        """All that is durable."""
        return self.memory.read()

    async def forget(self, device: str) -> None:
        """It keeps no payloads apart."""
        del device

    def append(self, events: list[Event], committed: Callable[[int], None]) -> None:
        """As `LogLink.append`."""
        self._waiting.append((list(events), committed))
        asyncio.get_running_loop().call_soon(self._commit)

    def release(self) -> None:
        """Let it commit again."""
        self.held = False
        self._commit()

    def _commit(self) -> None:
        while self._waiting and not self.held:
            events, committed = self._waiting.pop(0)
            first = self.memory.append(events)
            self.last_seq = first + len(events) - 1
            committed(first)


class Actor:
    """Answers at the next turn of the loop with `action`, or, `silent`, never."""

    def __init__(self) -> None:
        self.choose: Callable[[Step, Choice], None] | None = None
        self.action: bytes | None = None
        """float32 bytes; None = the neutral action of the space."""
        self.silent = False

    def ask(self, step: Step) -> str | None:
        """As `Pool.ask`."""
        if not self.silent:
            asyncio.get_running_loop().call_soon(self._answer, step)
        return None

    def _answer(self, step: Step) -> None:
        assert self.choose is not None
        action = self.action or neutral(step.agent.actions)
        self.choose(step, Choice(cast("Any", action), Source.POLICY, policy=POLICY_VERSION))


def bearer(key: str) -> dict[str, str]:
    """The header that shows a key."""
    return {"Authorization": f"Bearer {key}"}
