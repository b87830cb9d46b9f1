"""The composition root: builds the hub from its rooms, starts its processes, stops them in order.

start   folder ─▶ log ─▶ recover ─▶ broker, gate ─▶ front end ─▶ operator's socket ─▶ ready.json
beside  analyst (SQL) and archive (segments): nothing that devices need waits for them
stop    refuse new sockets ─▶ answer what waits ─▶ trainers' snapshots ─▶ commit ─▶ end
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib
import logging
import os
import socket
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

import msgspec
import uvloop
from msgspec import Struct

from hub import garbage
from hub.action.deliver import Deliver
from hub.action.external import External
from hub.action.guard import Guard
from hub.action.waits import Waits
from hub.address import pages_url
from hub.alerts.watch import Alerts
from hub.check_agent import check_agent
from hub.clock import SystemClock
from hub.control import SOCKET_NAME, ChoosePolicy, Control
from hub.errors import OperatorFault
from hub.federation.link import FederationLink
from hub.figures import VERSION, watched
from hub.intake.door import Rooms, make_announcements, make_door, make_states
from hub.intake.mapping.bound import check_mapping
from hub.intake.mqtt.external_broker import ExternalBroker
from hub.intake.mqtt.gate import Gate
from hub.intake.mqtt.handshake import serve_tls
from hub.intake.mqtt.websocket import open_websocket
from hub.intake.overrides import Overrides
from hub.intake.receive import Receiver
from hub.intake.restore import restore
from hub.intake.session import Sessions
from hub.intake.silence import Silence
from hub.learner.processes.pool import Pool
from hub.log import messages
from hub.log.analyst import messages as analyst
from hub.log.analyst.link import AnalystLink
from hub.log.link import LogLink
from hub.log.moved import check_not_moved
from hub.log.segments.archive import Archive
from hub.provision import Provision
from hub.registry.acts import Acts, Chosen
from hub.registry.fold import Registry
from hub.registry.quotas import Quotas
from hub.settings import supervised
from hub.signals import stop_on_signals
from hub.supervisor import Supervisor
from hub.tls import read_tls
from hub.words import Event, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from hub.clock import Clock
    from hub.facts import Sealed
    from hub.intake.homeassistant.announce import Announcements
    from hub.intake.states import States
    from hub.settings import Settings
    from hub.words import AgentName

log: Final = logging.getLogger("hub")

READY: Final = "ready.json"
LOCK: Final = "hub.lock"
SOCKETS: Final = (SOCKET_NAME, messages.SOCKET_NAME, analyst.SOCKET_NAME)
"""Of the hub, the log and the analyst; they go with the hub."""


class Ready(Struct, frozen=True):
    """`DATA/ready.json`: where the hub can be reached."""

    pid: int
    http: int
    mqtt: int
    ws: int
    version: str


class Hub:
    """The rooms, wired together. Front ends stand on this."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        loop = asyncio.get_running_loop()
        self.settings = settings
        self.clock = clock
        self.data = Path(settings.hub.data)
        self.tls = read_tls(settings.tls, settings.hub.host)
        self.registry = Registry(devices_max=settings.quotas.devices_max)
        self.quotas = Quotas(self.registry, settings.quotas, clock)
        self.log = LogLink(
            self.data,
            settings.log,
            restart_s_first=settings.learner.restart_s_first,
            on_relief=lambda: self.gate.relieve(),
            coming=lambda: self.pool.choosing,
            gather_s=settings.step.gather_ms / 1000,
            on_reopened=lambda opened: self.alerts.reopened(opened.damage),
        )
        self.analyst = AnalystLink(self.data, settings.analyst)
        self.archive = Archive(
            self.data,
            settings.log,
            clock,
            position=lambda: (self.log.last_seq, self.log.appended_bytes),
            hub_id=lambda: self.log.hub,
            log_fact=self._log_fact,
            rotate=self.log.rotate,
        )
        self.sessions = Sessions(self.registry, self.log, clock, self.quotas)
        self.pool = Pool(self.registry, self.log, self.data, settings.learner, clock)
        self.guard = Guard(self.registry, clock, lambda alert: self.control.pause(alert))
        self.external = External(self.pool, self.sessions.unanswered)
        self.overrides = Overrides(self.registry, self.log, clock, settings.step.override_s)
        self.deliver = Deliver(
            self.log,
            self.external,
            clock,
            settings.step,
            Waits(loop).call_later,
            self.guard,
            self.overrides.choose,
        )
        self.external.deliver = self.deliver
        self.pool.choose = self.deliver.choose
        self.receiver = Receiver(self.registry, self.log, self.external, clock, settings.step)
        self.silence = Silence(self.registry, self.sessions, self.log, clock, settings.step)
        self.control, self.provision = self._make_control()
        self.sessions.key_used = self.provision.used
        self.gate, self.states, self.announcements = self._make_door(loop)
        self.federation = FederationLink(
            settings,
            self.registry,
            self.log,
            self.data,
            clock,
            join=self._join,
            changed=self.pool.changed,
            advise=self.pool.advise,
        )
        self.pool.consult = self.federation.consult
        self.alerts = Alerts(self)
        self.listens = Ready(os.getpid(), 0, 0, 0, VERSION)
        """Ports 0 until it does."""
        self.stopping = asyncio.Event()

    def _make_control(self) -> tuple[Control, Provision]:
        """Who carries out what operators ask, and what devices ask for themselves."""
        now_us, pool, keys = self.clock.now_us, self.pool, self.settings.keys
        host, tls, machine = self.settings.hub.host, self.tls is not None, socket.gethostname()
        acts = Acts(self.registry, now_us, os.urandom, check_agent, pool, check_mapping, keys)
        acts.keys.url = lambda: pages_url(host, self.listens.http, tls=tls, machine=machine)
        control = Control(
            acts,
            self.registry,
            self.log,
            self.archive,
            changed=self._changed,
            disconnect=lambda device: self.gate.disconnect(device),
            recheck=lambda: self.gate.recheck(),
            status=self.status,
            watched=lambda: watched(self),
        )
        return control, Provision(control, acts, self.registry, self.log, self.clock)

    def _make_door(
        self, loop: asyncio.AbstractEventLoop
    ) -> tuple[Gate | ExternalBroker, States, Announcements]:
        """The door for MQTT, and what is said there of each device, also to Home Assistant."""
        rooms = Rooms(
            self.registry,
            self.sessions,
            self.receiver,
            self.overrides,
            lambda agent, on, who: self.control.switch_learning(agent, on=on, by=who),
            self.clock,
            self.provision,
        )
        settings = self.settings.mqtt
        door = make_door(rooms, settings)
        states = make_states(rooms, door, settings, loop.call_later)
        return door, states, make_announcements(rooms, door, settings, self.data, VERSION)

    async def _join(self, agent: AgentName, sha256: str, name: str) -> None:
        """Have an agent that has learnt nothing begin with a policy of another hub."""
        act = ChoosePolicy(agent, Chosen(sha256, "joined"))
        await self.control.act(act, f"hub, from {name}", lambda: None)

    def not_ready(self) -> str | None:
        """Why a step sent now would not be answered; None when it would."""
        if self.stopping.is_set():
            return "stopping"
        if not self.log.available:
            return "the log is being opened again"
        if self.log.stalled is not None:
            return self.log.stalled
        if self.log.crowded:
            return "the log is behind"
        return None

    @property
    def processes(self) -> dict[str, int | None]:
        """Process ids by name; None of one that is being started again."""
        return {
            "hub": os.getpid(),
            "log": self.log.pid,
            "analyst": self.analyst.pid,
            **self.pool.processes,
            **self.federation.processes,
        }

    def status(self) -> dict[str, Any]:
        """Processes and counts since start."""
        return {
            "processes": self.processes,
            "federation": self.federation.shown,
            "seq": self.log.last_seq,
            "log_stalled": self.log.stalled,
            "archive_failed": self.archive.failed,
            "waiting": self.deliver.waiting,
            "answered": self.deliver.answered,
            "fallbacks": self.deliver.fallbacks,
            "sharing": {name: spec.agent.sharing for name, spec in self.registry.agents.items()},
            "clamped": self.guard.clamped,
            "alerts": len(self.alerts.standing.open),
            "paused_by_hub": self.guard.alerts,
            "refused": self.receiver.refused,
            "over_quota": self.quotas.refused,
            "unread": self.receiver.mappings.unread.counts.total(),
            "sockets": self.gate.sockets,
            "logins_refused": self.gate.logins_refused,
        }

    def _changed(self, agent: AgentName) -> None:
        """Its declaration, its devices or their keys are others now."""
        self.quotas.changed(agent)
        if isinstance(self.gate, ExternalBroker):
            self.gate.listen()
        self.pool.changed(agent)

    def _log_fact(self, fact: Sealed) -> None:
        """An act of the hub itself; nobody waits for it."""
        payload = msgspec.json.encode(fact).decode()
        self.log.append([Event(Kind.ADMIN, self.clock.now_us(), payload=payload)], lambda _: None)


def serve(settings: Settings, *, as_json: bool = False) -> NoReturn:
    """Run the hub until SIGTERM or SIGINT, and leave with exit code 0.

    Args:
        settings: all of them.
        as_json: the line that says where it is, for a program to read.

    Raises:
        OperatorFault: it can't start with these settings; the message says what to change.
        LogUnavailable: the log can't be opened.
    """
    os.umask(0o077)  # what the hub writes is its user's alone
    with claimed(Path(settings.hub.data)):
        check_not_moved(Path(settings.hub.data))
        uvloop.run(_serve(settings, as_json=as_json))
    raise AssertionError("the hub leaves by itself")


@contextlib.contextmanager
def claimed(data: Path) -> Iterator[None]:
    """The folder is this hub's alone; the kernel lets go of it however the process ends."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        lock = (data / LOCK).open("ab")
    except OSError as error:
        reason = f"data folder {data} can't be used ({error.strerror})"
        raise OperatorFault(f"{reason}; choose another with --data") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            reason = f"another hub runs on data folder {data}"
            raise OperatorFault(f"{reason}; stop it, or choose another with --data") from error
        yield


async def _serve(settings: Settings, *, as_json: bool) -> NoReturn:
    hub = Hub(settings, SystemClock())
    ready_file = hub.data / READY
    _remove_own(hub.data)
    async with AsyncExitStack() as stack:
        stack.callback(_remove_own, hub.data)
        opened = await hub.log.open()
        stack.push_async_callback(hub.log.close)
        if opened.damage is not None:
            log.error("the log was damaged: %s", opened.damage)
        recovered = await hub.log.recover()
        restore(recovered, hub.registry, hub.sessions, hub.clock)
        hub.alerts.restore(recovered, opened.damage)
        await hub.analyst.open(hub.log.hub)
        stack.push_async_callback(hub.analyst.close)
        stack.push_async_callback(_ended, asyncio.create_task(hub.archive.run()))
        stack.push_async_callback(_ended, asyncio.create_task(hub.silence.run()))
        stack.push_async_callback(_ended, asyncio.create_task(hub.provision.run()))
        hub.pool.prepare()
        stack.push_async_callback(hub.pool.close)
        await hub.gate.start(hub.log.hub)
        stack.push_async_callback(hub.gate.stop)
        stack.push_async_callback(_ended, asyncio.create_task(hub.states.run()))
        stack.push_async_callback(_ended, asyncio.create_task(hub.announcements.run()))
        http, mqtt, ws, told = await _open_listeners(hub, stack)
        await hub.control.open(hub.data)
        stack.push_async_callback(hub.control.close)
        hub.federation.open()
        stack.push_async_callback(hub.federation.close)
        stack.push_async_callback(_ended, asyncio.create_task(hub.alerts.run()))
        stop_on_signals(hub.stopping, hub.tls)
        garbage.look_seldom()
        hub.listens = Ready(os.getpid(), http, mqtt, ws, VERSION)
        _write_ready(ready_file, hub.listens)
        stack.callback(ready_file.unlink, missing_ok=True)
        host, tls = settings.hub.host, "" if hub.tls is None else "s"
        where = f"http{tls}://{host}:{http}  mqtt{tls}://{host}:{mqtt}"
        line = f"sheepfold is ready: {where}  data {hub.data}  {told}".rstrip()
        if as_json:
            line = msgspec.json.encode(hub.listens).decode()
        print(line, flush=True)  # noqa: T201 - the one line that says where we are
        supervisor = Supervisor(supervised())
        supervisor.say("READY=1", f"STATUS=ready: {where}")
        stack.push_async_callback(_ended, asyncio.create_task(supervisor.keep_alive()))
        await hub.stopping.wait()
        supervisor.say("STOPPING=1", "STATUS=answers what waits")
        await _drain(hub)
    _leave()


async def _ended(task: asyncio.Task[None]) -> None:
    """See a task that goes on for ever end."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _open_listeners(hub: Hub, stack: AsyncExitStack) -> tuple[int, int, int, str]:
    """The ports of HTTP, MQTT and MQTT over WebSocket, all served until the stack closes.

    And what the front end has to say, if anything.
    """
    settings = hub.settings
    mqtt, ws = await _listen_for_mqtt(hub, stack) if isinstance(hub.gate, Gate) else (0, 0)
    http_socket = _listen(settings.hub.host, settings.http.port, "--http-port")
    told = await stack.enter_async_context(_front_end(settings.http.app)(hub, http_socket))
    return http_socket.getsockname()[1], mqtt, ws, told


async def _listen_for_mqtt(hub: Hub, stack: AsyncExitStack) -> tuple[int, int]:
    """The ports of the hub's own broker."""
    gate, settings = hub.gate, hub.settings
    assert isinstance(gate, Gate)
    mqtt_socket = _listen(settings.hub.host, settings.mqtt.port, "--mqtt-port")
    context = None if hub.tls is None else hub.tls.context
    if context is None:
        server = await asyncio.get_running_loop().create_server(gate.accept, sock=mqtt_socket)
        stack.callback(server.close)
    else:
        stack.callback(mqtt_socket.close)
        accepting = asyncio.create_task(serve_tls(gate, mqtt_socket, context))
        stack.push_async_callback(_ended, accepting)
    ws_socket = _listen(settings.hub.host, settings.mqtt.ws_port, "--ws-port")
    await stack.enter_async_context(open_websocket(gate, ws_socket, context))
    return mqtt_socket.getsockname()[1], ws_socket.getsockname()[1]


def _front_end(name: str) -> Callable[[Hub, socket.socket], AbstractAsyncContextManager[str]]:
    """A front end by its name: the hub imports none, they stand on it."""
    module, _, function = name.partition(":")
    try:
        found: Any = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise OperatorFault(f"setting http.app = {name!r} can't be loaded: {error}") from error
    return cast("Callable[[Hub, socket.socket], AbstractAsyncContextManager[str]]", found)


def _listen(host: str, port: int, flag: str) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=1024)
    except OSError as error:
        why = str(error.strerror).partition(" (")[0]  # behind it is the address once more
        message = f"can't listen on {host}:{port} ({why}); choose another port with {flag}"
        raise OperatorFault(f'{message} (make hub HUB_FLAGS="{flag} 0"), 0 = any free') from error


async def _drain(hub: Hub) -> None:
    """Steps that wait get their answers; nothing new is taken.

    A remote learner takes as long as it takes: it and its devices are told to come again at once,
    devices of other agents when the time is over.
    """
    hub.receiver.closing = True
    hub.gate.say_offline()
    hub.external.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(hub.settings.hub.drain_s):
            await hub.deliver.idle.wait()
    hub.deliver.close()


def _leave() -> NoReturn:
    """End at once: all is closed, and threads that wait for a learner to start would take 5 s."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _remove_own(data: Path) -> None:
    """Take away what only a running hub has in its folder; a killed one leaves it behind.

    Raises:
        OperatorFault: something else is in its place.
    """
    for name in (READY, *SOCKETS):
        try:
            (data / name).unlink(missing_ok=True)
        except OSError as error:
            reason = f"{data / name} can't be replaced ({error.strerror})"
            raise OperatorFault(f"{reason}; move it elsewhere, the hub needs the name") from error


def _write_ready(file: Path, ready: Ready) -> None:
    """Whole or not at all: whoever waits for the file reads it at once."""
    draft = file.with_suffix(".tmp")
    draft.write_bytes(msgspec.json.encode(ready) + b"\n")
    draft.replace(file)
