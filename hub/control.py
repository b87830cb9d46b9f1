"""The operator's socket: `DATA/hub.sock`, mode 0600. Who may open it may do everything.

One request and one answer a connection, each a frame of JSON, so that any tool can speak it; the
command line's end of it is `ask.py`.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeVar, assert_never

import msgspec
from msgspec import Struct, structs

from hub.errors import SheepfoldError
from hub.frames import LENGTH, frame
from hub.log.address import listen
from hub.registry.access import hash_password
from hub.registry.acts import Chosen, NewAgent
from hub.registry.claim_acts import ClaimAct, RevokeClaim
from hub.registry.fold import HUB
from hub.registry.key_acts import KeyAct, RevokeKey, RotateKey
from hub.registry.mapping_acts import MappingAct, ShowMappings
from hub.registry.user_acts import CreateUser, RemoveUser, SetPassword, UserAct
from hub.step import Appender
from hub.turn import Turn
from hub.words import DeviceId

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from hub.facts import Fact
    from hub.log.segments import manifest
    from hub.registry.acts import Acts
    from hub.registry.fold import Registry
    from hub.words import AgentName, Event

Answer = TypeVar("Answer")

log: Final = logging.getLogger("hub")

SOCKET_NAME: Final = "hub.sock"
REQUEST_BYTES_MAX: Final = 1 << 20
WAIT_S_MAX: Final = 60.0
SEAL_S_MAX: Final = 600.0  # it writes and syncs all that is new, maybe gigabytes
OPERATOR: Final = "operator"  # who acts, in the log: whoever may open the socket


class CreateAgent(Struct, frozen=True, tag="create_agent"):
    """`sheepfold agent create|clone`."""

    agent: NewAgent


class CreateTrained(Struct, frozen=True, tag="create_trained"):
    """`sheepfold rebuild --as`: a new agent with the policy that was trained for it."""

    agent: NewAgent
    policy: Chosen


class ChangeAgent(Struct, frozen=True, tag="change_agent"):
    """`sheepfold agent update|pause|resume|delete`."""

    name: str
    changes: dict[str, Any]


class RestartAgent(Struct, frozen=True, tag="restart_agent"):
    """`sheepfold agent restart`."""

    name: str


class ChoosePolicy(Struct, frozen=True, tag="choose_policy"):
    """`sheepfold policy import|promote|rollback`."""

    agent: str
    policy: Chosen


class Show(Struct, frozen=True, tag="show"):
    """`sheepfold … list`, `agent show`, and what `policy` commands look up."""

    what: Literal["agents", "agent", "policies", "devices", "keys", "claims", "users"]
    name: str = ""


class AddDevice(Struct, frozen=True, tag="add_device"):
    """`sheepfold device add|move`."""

    device: str
    agent: str
    must_be_there: bool = False
    """To be moved: a slip of the pen makes no device."""


class ForgetDevice(Struct, frozen=True, tag="forget_device"):
    """`sheepfold device forget`."""

    device: str


class Position(Struct, frozen=True, tag="position"):
    """Seq of the last event that was acknowledged: what a query must see."""


class SealNow(Struct, frozen=True, tag="seal"):
    """`sheepfold seal`: all that is committed, as segments; the answer is the seal, or null."""


class Status(Struct, frozen=True, tag="status"):
    """Process ids and counts, for operators and benchmarks."""


class Watch(Struct, frozen=True, tag="watch"):
    """`sheepfold top`: what is counted, as `hub.figures.Watched`."""


AgentAct = (
    CreateAgent
    | CreateTrained
    | ChangeAgent
    | RestartAgent
    | ChoosePolicy
    | AddDevice
    | ForgetDevice
)
Act = AgentAct | KeyAct | ClaimAct | UserAct | MappingAct
Request = Act | Show | ShowMappings | Position | SealNow | Status | Watch


class Done(Struct, frozen=True, tag="done"):
    """It was done; what was asked for."""

    answer: Any


class NotDone(Struct, frozen=True, tag="not_done"):
    """It was refused, and this is what to do."""

    message: str


Reply = Done | NotDone

_request: Final = msgspec.json.Decoder(Request)


class Ledger(Appender, Protocol):
    """The log as operators need it; `hub.log.link.LogLink` is one."""

    @property
    def last_seq(self) -> int:
        """Of the last event that was called back as durable; 0 when there is none."""
        ...

    async def forget(self, device: str) -> object:
        """Destroy the key of the device's payloads; done when it returns."""
        ...


class Archive(Protocol):
    """What seals."""

    async def seal_now(self) -> manifest.Seal | None:
        """Seal all that is committed; None when all of it is sealed already."""
        ...


class Control:
    """Serves the operator's requests inside the hub."""

    def __init__(
        self,
        acts: Acts,
        registry: Registry,
        log: Ledger,
        archive: Archive,
        changed: Callable[[AgentName], None],
        disconnect: Callable[[DeviceId], None],
        recheck: Callable[[], None],
        status: Callable[[], dict[str, Any]],
        watched: Callable[[], Struct],
    ) -> None:
        self._acts = acts
        self._registry = registry
        self._log = log
        self._archive = archive
        self._changed = changed
        self._disconnect = disconnect
        self.rechecks = [recheck]
        """Called when keys, agents or devices are others: each ends the connections it has let in
        that would not be let in now. A front end adds its own."""
        self._status = status
        self._watched = watched
        self._server: asyncio.Server | None = None
        self.turn = Turn()
        self._pausing: set[asyncio.Task[None]] = set()

    async def open(self, data: Path) -> None:
        """Listen in the data folder."""
        self._server = await asyncio.start_unix_server(self._serve, sock=listen(data / SOCKET_NAME))

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    def pause(self, alert: Event) -> asyncio.Task[None]:
        """Log an alert of the hub's own and pause its agent; done when that is folded."""
        task = asyncio.get_running_loop().create_task(self._pause(alert))
        self._pausing.add(task)  # or nobody holds it, and it may be collected half done
        task.add_done_callback(self._pausing.discard)
        return task

    async def switch_learning(self, agent: str, *, on: bool, by: str) -> None:
        """As `sheepfold agent update --learning`; done when the log has it.

        Raises:
            OperatorFault: there is no such agent any more.
        """
        await self.act(ChangeAgent(agent, {"learning": on}), by, lambda: None)

    async def _pause(self, alert: Event) -> None:
        def decide() -> tuple[Coroutine[None, None, None], None]:
            made, _ = self._acts.change_agent(alert.agent, {"status": "paused"}, HUB)
            paused = [structs.replace(event, reason=alert.reason) for event in made]
            return self._log_and_fold([alert, *paused]), None

        try:
            await self.turn.take(decide)
        except SheepfoldError as error:
            log.warning("agent %s could not be paused: %s", alert.agent, error)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            async with asyncio.timeout(WAIT_S_MAX):
                (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                body = await reader.readexactly(length) if length <= REQUEST_BYTES_MAX else None
            if body is not None:
                reply = await self._answer(body)
                async with asyncio.timeout(WAIT_S_MAX):
                    writer.write(frame(msgspec.json.encode(reply)))
                    await writer.drain()
        writer.close()

    async def _answer(self, body: bytes) -> Reply:
        try:
            request = _request.decode(body)
            async with asyncio.timeout(limit_s(request)):
                return Done(await self._carry_out(request))
        except msgspec.MsgspecError as error:
            return NotDone(f"request not understood: {error}; is the command older than the hub?")
        except SheepfoldError as error:
            return NotDone(str(error))
        except TimeoutError:
            return NotDone("the hub takes too long; see its messages, and whether it was done")
        except OSError as error:
            return NotDone(f"the system refused: {error}")

    async def act(self, act: Act, by: str, allowed: Callable[[], object]) -> Any:
        """Have it done in somebody's name; `allowed` is asked when nothing else can change.

        Raises:
            SheepfoldError: it was refused, or `allowed` refuses it.
        """
        hashed = await _hashed(act)

        def decide() -> tuple[Coroutine[None, None, None], Any]:
            allowed()
            events, answer = self._decide(act, hashed, by)
            if isinstance(act, ForgetDevice):
                return self._forget(DeviceId(act.device), events), answer
            if isinstance(act, AddDevice):
                return self._move(DeviceId(act.device), events), answer
            if _takes_away(act):
                return self._take_away(events), answer
            return self._log_and_fold(events), answer

        return await self.turn.take(decide)

    async def settle(
        self, decide: Callable[[], tuple[list[Event], Answer]], *, ends_keys: bool = False
    ) -> Answer:
        """Have decided, when nothing else can change, what a device asked for; then logged, folded.

        Raises:
            SheepfoldError: it was refused.
        """

        def decided() -> tuple[Coroutine[None, None, None], Answer]:
            events, answer = decide()
            return (self._take_away if ends_keys else self._log_and_fold)(events), answer

        return await self.turn.take(decided)

    async def note(self, fact: Fact, agent: AgentName | None = None) -> None:
        """Log what a person did that changes nothing devices know; folded when it is durable."""
        event = self._acts.noted(fact, agent or "")
        await self.turn.take(lambda: (self._log_and_fold([event]), None))

    async def _carry_out(self, request: Request) -> Any:
        match request:
            case Show(what, name):
                return self._show(what, name)
            case ShowMappings(name):
                return self._acts.mappings.show(name)
            case Status():
                return self._status()
            case Watch():
                return self._watched()
            case Position():
                return {"seq": self._log.last_seq}
            case SealNow():
                return msgspec.to_builtins(await self._archive.seal_now())
            case _:
                return await self.act(request, OPERATOR, lambda: None)

    async def _forget(self, device: DeviceId, events: list[Event]) -> None:
        # CRUCIAL: the key first. A crash between the two leaves a device that is known, not
        # payloads that can still be read.
        await self._log.forget(device)
        await self._log_and_fold(events)
        self._disconnect(device)
        # What it sent until its sessions were over has a new key.
        await self._log.forget(device)

    async def _take_away(self, events: list[Event]) -> None:
        await self._log_and_fold(events)
        self._recheck()

    def _recheck(self) -> None:
        for recheck in self.rechecks:
            recheck()

    async def _move(self, device: DeviceId, events: list[Event]) -> None:
        """What is kept of the device, and who may see it, was its agent's."""
        before = self._registry.devices.get(device)
        await self._log_and_fold(events)
        if before not in (None, self._registry.devices.get(device)):
            self._recheck()
            self._disconnect(device)

    def _decide(self, act: Act, hashed: bytes, by: str) -> tuple[list[Event], Any]:
        if isinstance(act, UserAct):
            return self._acts.users.decide(act, hashed, by)
        if isinstance(act, KeyAct):
            return self._acts.keys.decide(act, by)
        if isinstance(act, ClaimAct):
            return self._acts.claims.decide(act, by)
        if isinstance(act, MappingAct):
            return self._acts.mappings.decide(act, by)
        return self._decide_on_agent(act, by)

    def _decide_on_agent(self, request: AgentAct, by: str) -> tuple[list[Event], Any]:
        match request:
            case CreateAgent(agent):
                return self._acts.create_agent(agent, by)
            case CreateTrained(agent, policy):
                return self._acts.create_trained(agent, policy, by)
            case ChangeAgent(name, changes):
                return self._acts.change_agent(name, changes, by)
            case RestartAgent(name):
                return self._acts.restart_agent(name, by)
            case ChoosePolicy(agent_name, policy):
                return self._acts.choose_policy(agent_name, policy, by)
            case AddDevice(device_id, agent_name, must_be_there):
                return self._acts.add_device(device_id, agent_name, by, must_be_there=must_be_there)
            case ForgetDevice(device_id):
                return self._acts.forget_device(device_id, by)
            case _:
                assert_never(request)

    async def _log_and_fold(self, events: list[Event]) -> None:
        """An act is done when the log has it, and not before."""
        if not events:
            return
        durable: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def committed(seq: int) -> None:
            for i, event in enumerate(events):
                self._registry.apply(structs.replace(event, seq=seq + i))
            for name in {event.agent for event in events if event.agent}:
                self._changed(name)  # type: ignore[arg-type]  # an event's agent is an AgentName
            if not durable.done():
                durable.set_result(seq)

        self._log.append(events, committed)
        await durable

    def _show(self, what: str, name: str) -> Any:
        of_one = {"agent": self._acts.show_agent, "policies": self._acts.show_policies}
        if what in of_one:
            return of_one[what](name)
        lists = {
            "agents": self._acts.list_agents,
            "devices": self._acts.list_devices,
            "keys": self._acts.keys.listed,
            "claims": self._acts.claims.listed,
            "users": self._acts.users.listed,
        }
        return lists[what]()


def _takes_away(act: Act) -> bool:
    """Whether connections may be open, or messages kept, that would not be let in after it."""
    if isinstance(act, ChangeAgent):
        return act.changes.get("status") == "deleted" or "owner" in act.changes
    return isinstance(act, RevokeKey | RotateKey | RevokeClaim | RemoveUser)


async def _hashed(request: Act) -> bytes:
    """Of the password in it; in a thread and before the lock: every device would feel 0.1 s."""
    if isinstance(request, CreateUser | SetPassword):
        return await asyncio.to_thread(hash_password, request.password)
    return b""


def limit_s(request: Request) -> float:
    """How long the hub may take to carry it out."""
    return SEAL_S_MAX if isinstance(request, SealNow) else WAIT_S_MAX
