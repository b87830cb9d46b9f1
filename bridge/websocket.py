"""`/v1/ws`: what the native routes take, over one WebSocket, a document a frame.

    {"key": "…"}                                  first, unless a header showed the key
    {"device": "d", "s": 12, "o": [21.5]}         ─▶ {"s": 12, "a": 1, "seq": 4711, "device": "d"}
    {"device": "d", "r": 1}                       ─▶ {"seq": 4712, "device": "d"}
    {"env": "step", "device": "d", "action": 1}   ─▶ {"observation": …, "device": "d"}

Rule 1: each frame is answered by one frame, as soon as there is its answer; those of one device's
    observations keep its order. What is refused is answered by a problem document, at once. Beside
    them come warnings, and what Rule 3 says.
Rule 2: so many frames may wait for their answers; above, one more is read and the rest is not.
    Who has no answer for half an hour then is hung up on (`http.session_idle_s`).
Rule 3: the newest connection speaks for a device; the one before is told so and may not any more.
Rule 4: a connection ends when its key does.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec
from litestar.enums import ScopeType

from bridge import errors
from bridge.http import PROBLEM, Response, respond
from bridge.line import Line, RewardReply, StepReply
from bridge.native import NoDevice, device_of, reward_of, rewarded, secret_of
from bridge.origins import refuse
from hub.errors import AccessDenied, DeviceFault
from hub.intake.observation import from_document
from hub.registry.access import admit, agent_of
from hub.words import Code, DeviceId, Protocol

if TYPE_CHECKING:
    from litestar.types import Receive, Scope, Send

    from bridge.bodies import RemoteObservation
    from bridge.remote import Remote
    from hub.processes import Hub
    from hub.registry.fold import Spec
    from hub.words import Key

OBSERVATIONS: Final = ("o", "obs")
POLICY_VIOLATION: Final = 1008
"""RFC 6455, 7.4.1: the key is not accepted, or not any more."""
NO_KEY: Final = (
    'no header showed a key, so the first frame must: {"key": "…"}; this one was not taken. '
    "Connect again"
)
GONE: Final = "this key is not accepted any more"
NO_WEBSOCKET: Final = Response(
    HTTPStatus.UPGRADE_REQUIRED,
    b'{"type":"about:blank","title":"Upgrade Required","status":426,"detail":"open a WebSocket",'
    b'"code":"payload"}',
    PROBLEM,
    headers=((b"upgrade", b"websocket"),),
)
_decode: Final = msgspec.json.Decoder()


class WebSockets:
    """The route: all connections, and which of them speaks for a device."""

    def __init__(self, hub: Hub, remote: Remote) -> None:
        self.registry = hub.registry
        self.sessions = hub.sessions
        self.receiver = hub.receiver
        self.remote = remote
        self.waiting_max = hub.settings.http.ws_waiting_max
        self.full_s_max = hub.settings.http.session_idle_s
        self._key_s_max = hub.settings.mqtt.connect_timeout_s
        self._speaks: dict[DeviceId, Talk] = {}
        self._talks: set[Talk] = set()
        hub.control.rechecks.append(self._recheck)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, as ASGI has it."""
        if scope["type"] != ScopeType.WEBSOCKET:
            await respond(send, NO_WEBSOCKET)
            return
        await receive()  # websocket.connect
        try:
            secret = _secret(dict(scope["headers"]))
            if secret is not None:
                agent_of(self.registry, secret)
        except AccessDenied as error:
            await refuse(scope, send, errors.unauthorized(str(error)))
            return
        talk = Talk(self, Line(send, self.waiting_max), secret)
        self._talks.add(talk)  # before anything waits: its key may end meanwhile
        try:
            await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
            await self._hold(talk, receive)
        finally:
            self._talks.discard(talk)

    async def _hold(self, talk: Talk, receive: Receive) -> None:
        try:
            async with asyncio.timeout(self._key_s_max):
                while talk.secret is None:
                    frame = await _frame(receive)
                    if frame is None:
                        return  # it hung up; ASGI would have us wait for ever for what comes next
                    if not talk.introduce(frame):
                        break
        except TimeoutError:
            talk.deny(f"no key came within {self._key_s_max:g} s: send it as the first frame")
        await talk.go_on(receive)

    def _recheck(self) -> None:
        for talk in self._talks:
            talk.recheck()

    def speak(self, device: DeviceId, talk: Talk) -> None:
        """From now on this connection speaks for the device."""
        before = self._speaks.get(device)
        self._speaks[device] = talk
        if before is not None and before is not talk:
            before.fall_silent(device)

    def silence(self, talk: Talk, devices: list[DeviceId]) -> None:
        """The connection is gone."""
        for device in devices:
            if self._speaks.get(device) is talk:
                del self._speaks[device]


class Talk:
    """One connection with its key and devices."""

    def __init__(self, all_: WebSockets, line: Line, secret: str | None) -> None:
        self.secret = secret
        self._all = all_
        self._line = line
        self._sessions: dict[str, Any] = {}
        """`Session` of each device this connection speaks for."""
        self._silenced: set[str] = set()
        self._acting: set[asyncio.Task[None]] = set()
        """Frames that wait for a device, as its remote learner."""

    def introduce(self, frame: bytes) -> bool:
        """The first frame shows the key; False = it does not, and the talk is over."""
        try:
            document = _object(frame)
            secret = document.get("key")
            if not isinstance(secret, str):
                raise AccessDenied(NO_KEY)
            agent_of(self._all.registry, secret)
        except (AccessDenied, DeviceFault) as error:
            self.deny(str(error))
            return False
        self.secret = secret
        self._line.say({"ok": 1})
        return True

    async def go_on(self, receive: Receive) -> None:
        """Take frames until either side is gone."""
        writing = asyncio.create_task(self._line.write())
        reading = asyncio.create_task(self._read(receive))
        try:
            await asyncio.wait({writing, reading}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()  # an error of ours is to be seen, not to end as a hang-up
            if self._line.closing:
                await writing
        finally:
            for task in (reading, writing, *self._acting):
                task.cancel()
            await asyncio.gather(reading, writing, return_exceptions=True)
            self._all.silence(self, [DeviceId(device) for device in self._sessions])

    async def _read(self, receive: Receive) -> None:
        frame = await _frame(receive)
        while frame is not None and not self._line.closing:
            self._take(frame)
            # One is read ahead of the room for it: else who hangs up meanwhile is never missed.
            frame = await _frame(receive)
            if frame is None or not await self._line.room(self._all.full_s_max):
                return

    def _take(self, frame: bytes) -> None:
        """One frame; its answer, or why there is none, goes to the line."""
        device = None
        self._line.waiting += 1
        try:
            document = _object(frame)
            key, spec = agent_of(self._all.registry, self.secret or "")
            self._all.sessions.quotas.of(key.id, spec.agent.name).take(len(frame))
            if document.get("env") == "spaces":
                self._line.settle(msgspec.json.encode(self._all.remote.describe(key, spec)))
                return
            device = device_of(document.pop("device", None) or key.device)
            if "env" in document:
                self._act_for(key, spec, device, document)
            else:
                self._take_from(key, spec, device, document)
        except DeviceFault as fault:
            self._line.refuse(fault, device)
        except NoDevice as error:
            self._line.settle(errors.not_found(str(error), device=device).body)
        except AccessDenied as error:
            if self._is_known():
                self._line.settle(errors.denied(str(error), device=device).body)
            else:
                self.deny(str(error))

    def _take_from(self, key: Key, spec: Spec, device: str, document: dict[str, Any]) -> None:
        """What a device says: an observation, or a person's reward."""
        receiver = self._all.receiver
        if not any(name in document for name in OBSERVATIONS) and _has_reward(document):
            known = rewarded(self._all.registry, key, spec, device)
            session = self._all.sessions.standing(known, spec.agent.name)
            receiver.reward(session, reward_of(document), RewardReply(self._line, device))
            return
        session = self._enter(key, spec, device)
        reply = StepReply(self._line, device)
        try:
            receiver.take(session, from_document(document), reply)
        except DeviceFault as fault:
            receiver.refuse(session, fault, reply)

    def _enter(self, key: Key, spec: Spec, device: str) -> Any:
        session = self._sessions.get(device)
        here = self._all.registry.devices.get(DeviceId(device)) == spec.agent.name
        if session is not None and session.agent == spec.agent.name and here:
            return session
        if device in self._silenced:
            raise AccessDenied(
                f"a newer connection speaks for device {device!r}; open another to take it back"
            )
        admitted = admit(self._all.registry, key, device)
        session = self._all.sessions.open(admitted, spec.agent.name, Protocol.HTTP, key=key.id)
        self._sessions[device] = session
        self._all.speak(admitted, self)
        return session

    def fall_silent(self, device: DeviceId) -> None:
        """Another connection speaks for the device now."""
        self._sessions.pop(device, None)
        self._silenced.add(device)
        message = f"a newer connection speaks for device {device!r}"
        self._line.say(msgspec.Raw(errors.denied(message, device=device).body))

    def _act_for(self, key: Key, spec: Spec, device: str, document: dict[str, Any]) -> None:
        """What a remote learner says: it waits for the device in a task of its own."""
        remote = self._all.remote
        verbs = {"reset": remote.reset, "step": remote.step}
        verb = document["env"]
        if not isinstance(verb, str) or verb not in verbs:
            raise DeviceFault(Code.PAYLOAD, '\'env\' is "spaces", "reset" or "step"')

        async def act() -> None:
            try:
                seen = await verbs[verb](key, spec, device, document)
            except DeviceFault as fault:
                self._line.refuse(fault, device)
            except AccessDenied as error:
                self._line.settle(errors.denied(str(error), device=device).body)
            else:
                self._line.settle(_named(seen, device))

        task = asyncio.create_task(act())
        self._acting.add(task)
        task.add_done_callback(self._acting.discard)

    def deny(self, why: str) -> None:
        """No key that is accepted: say so and hang up."""
        self._line.settle(errors.unauthorized(why).body)
        self._line.close(POLICY_VIOLATION)

    def recheck(self) -> None:
        """Hang up if the key is not accepted any more."""
        if self.secret is not None and not self._line.closing and not self._is_known():
            self._line.say(msgspec.Raw(errors.unauthorized(GONE).body))
            self._line.close(POLICY_VIOLATION)

    def _is_known(self) -> bool:
        with suppress(AccessDenied):
            agent_of(self._all.registry, self.secret or "")
            return True
        return False


def _secret(headers: dict[bytes, bytes]) -> str | None:
    """The key in the headers; None where the first frame has it: browsers can't set headers.

    Raises:
        AccessDenied: it is not written as it should be.
    """
    if b"authorization" not in headers and b"x-api-key" not in headers:
        return None
    return secret_of(headers)


async def _frame(receive: Receive) -> bytes | None:
    """The next frame, text or binary; None when the connection is over."""
    message = await receive()
    if message["type"] != "websocket.receive":
        return None
    text = message.get("text")
    return (message.get("bytes") or b"") if text is None else text.encode()


def _object(frame: bytes) -> dict[str, Any]:
    try:
        document = _decode.decode(frame)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DeviceFault(Code.PAYLOAD, f"not JSON: {error}") from error
    if not isinstance(document, dict):
        raise DeviceFault(Code.PAYLOAD, "expected an object with 'device' and 'o'")
    return document


def _has_reward(document: dict[str, Any]) -> bool:
    return "r" in document or "reward" in document


def _named(seen: RemoteObservation, device: str) -> bytes:
    return msgspec.json.encode(msgspec.to_builtins(seen) | {"device": device})
