"""Shepherd's two routes, for its clients as they are.

    POST /shepherd/login_user/  {"apikey"}                            {"ok": true, "session_key"}
    POST /shepherd/env/         {"session_key", "obs", "reward", "done"}            {"action"}

Errors come with status 200 as {"error": "a sentence"} and no `ok`: its clients test for that key.
A login is device `http-<n>` unless it names a `device`; its session key outlives the hub.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from bridge.answer import DurableReply, HttpReply
from bridge.http import Response
from bridge.origins import origin_of
from hub.errors import AccessDenied, DeviceFault
from hub.intake.observation import from_document
from hub.registry.access import admit, check_origin, check_room, fingerprint, login_of, make_secret
from hub.words import AgentName, Code, DeviceId, Protocol, SessionId

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.http import Request
    from hub.clock import Clock
    from hub.intake.receive import Receiver
    from hub.intake.session import Session, Sessions
    from hub.registry.fold import Registry, Spec
    from hub.words import Key, KeyId, Publishable

HTTP_DEVICE: Final = "http-"
ENDED_MAX: Final = 10_000
"""Sessions of which it is remembered why they are over."""
_END: Final = Response(200, b'{"action":null}')
_encode: Final = msgspec.json.Encoder().encode


class Open(Struct):
    """A login in use."""

    session: Session
    key: KeyId | None
    """The API key it was opened with."""
    used: float
    """Seconds on the monotonic clock when it was used last."""


class Shepherd:
    """Logins and steps in Shepherd's protocol. A device's newest login is the one that counts."""

    def __init__(
        self,
        registry: Registry,
        sessions: Sessions,
        receiver: Receiver,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        idle_s: float,
    ) -> None:
        self._registry = registry
        self._sessions = sessions
        self._receiver = receiver
        self._clock = clock
        self._random_bytes = random_bytes
        self._idle_s = idle_s
        self._open: dict[bytes, Open] = {}
        """By the SHA-256 of the session key; in the order of their use."""
        self._newest: dict[DeviceId, bytes] = {}
        """The SHA-256 of the session key of each device's newest login."""
        self._ended: dict[bytes, str] = {}
        """Why a session is over, by the SHA-256 of its session key; the oldest are forgotten."""
        self._free: dict[AgentName, list[DeviceId]] = {}
        """`http-<n>` of expired logins: taken again, by the same agent only."""
        self._numbers = 0

    def reopen(self) -> None:
        """Open the logins that the log knows again: session keys outlive the hub."""
        logins = self._registry.logins
        self._newest = {login.device: secret for secret, login in logins.items()}  # in log order
        now, now_us = self._clock.monotonic(), self._clock.now_us()
        found = []
        for secret in self._newest.values():
            login = logins[secret]
            idle_s = max(0.0, (now_us - self._sessions.last_used_us(login)) / 1_000_000)
            session = self._sessions.again(
                SessionId(login.session),
                login.device,
                login.agent,
                Protocol.SHEPHERD,
                key=login.key,
            )
            found.append((secret, Open(session, login.key, now - idle_s)))
        self._open = dict(sorted(found, key=lambda one: one[1].used))

    async def login(self, request: Request) -> Response:
        """Open a session for an API key; durable when it returns."""
        page = False
        try:
            document = _object(request)
            origin = _origin(request)
            key, spec = login_of(self._registry, str(document.get("apikey", "")), origin)
            named = document.get("device") or key.device
            self._expire()
            agent = spec.agent.name
            page = key.publishable is not None
            self._sessions.quotas.of(key.id, agent).take(len(request.body))
            if key.publishable is not None:
                self._check_room(key, key.publishable, named)
            if named is None:
                device = self._next_device(agent)
                if device not in self._registry.devices:
                    check_room(self._registry, agent)
            else:
                device = admit(self._registry, key, str(named), reserved=True)
            _, session_key = make_secret(self._random_bytes)
            secret = fingerprint(session_key)
            reply = DurableReply()
            session = self._sessions.open(
                device,
                agent,
                Protocol.SHEPHERD,
                key=key.id,
                secret=secret,
                committed=reply.durable,
            )
            self._supersede(device, secret)
            self._open[secret] = Open(session, key.id, self._clock.monotonic())
            await reply.seq()
        except (AccessDenied, DeviceFault) as error:
            return _refused(error, page=page)
        return Response(200, _encode({"ok": True, "session_key": session_key}))

    async def env(self, request: Request) -> Response:
        """Take an observation, answer with the action; `null` after done and never otherwise."""
        page = False
        try:
            document = _object(request)
            if "obs" in document and document["obs"] is None and not document.get("session_key"):
                return _END  # its clients probe so, before they have logged in
            session, spec, key = self._session(document.get("session_key"), _origin(request))
            page = key is not None and key.publishable is not None
            self._receiver.admit(session, len(request.body))
            if document.get("obs") is None:
                await self._end_episode(session)
                return _END
            reply = HttpReply()
            try:
                message = from_document(_without_key(document))
                self._receiver.take(session, message, reply)
            except DeviceFault as fault:
                self._receiver.refuse(session, fault, reply)
            answer = await reply.answer(spec.agent.deadline_ms)
        except (AccessDenied, DeviceFault) as error:
            return _refused(error, page=page)
        warned = {} if reply.warning is None else {"warning": reply.warning}
        return Response(200, _encode({"action": answer.action, **warned}))

    async def _end_episode(self, session: Session) -> None:
        """Durable when it returns.

        Raises:
            DeviceFault: `busy`, it is not in time.
        """
        if session.device.episode is not None:
            reply = DurableReply()
            self._receiver.reset(session, reply.durable)
            await reply.seq()

    def _check_room(self, key: Key, publishable: Publishable, named: object) -> None:
        """A page may open one more session, which is a device of its own.

        Raises:
            AccessDenied: it names a device, which may be another visitor's.
            DeviceFault: `rate`, it has as many as it may.
        """
        if named is not None:
            raise AccessDenied("a publishable key opens devices of its own; leave 'device' out")
        most = publishable.sessions_max
        if sum(open_.key == key.id for open_ in self._open.values()) >= most:
            message = f"this key has {most} open sessions, as many as it may; come again later"
            raise DeviceFault(Code.RATE, message, retry_s=self._idle_s)

    def _session(self, session_key: object, origin: str | None) -> tuple[Session, Spec, Key | None]:
        """The login's session, its agent, and the key it was opened with.

        Raises:
            AccessDenied: no such login, it expired, or its device, agent or key is gone.
        """
        if not isinstance(session_key, str):
            raise AccessDenied("there is no session_key in this request; log in first")
        secret = fingerprint(session_key)
        open_ = self._open.get(secret)
        if open_ is None:
            why = self._ended.get(secret, "this session_key is not known")
            raise AccessDenied(f"{why}; log in again")
        now = self._clock.monotonic()
        if now - open_.used > self._idle_s:
            raise AccessDenied(f"{self._expired()}; log in again")
        if secret not in self._registry.logins:
            raise AccessDenied(
                f"agent {open_.session.agent!r} was restarted, or device "
                f"{open_.session.device.id!r} forgotten, since this login; log in again"
            )
        session = open_.session
        spec = self._registry.agents.get(session.agent)
        key = None if open_.key is None else self._registry.key(open_.key)
        if key is not None:
            check_origin(key, origin)
        if spec is None or (open_.key is not None and key is None):
            raise AccessDenied("this session's API key was revoked; ask the agent's owner")
        if self._registry.devices.get(DeviceId(session.device.id)) != session.agent:
            raise AccessDenied(f"device {session.device.id!r} was moved to another agent")
        open_.used = now
        self._open[secret] = self._open.pop(secret)  # at the end: the first is unused longest
        return session, spec, key

    def _supersede(self, device: DeviceId, secret: bytes) -> None:
        """The device's login before this one is over: the newest wins."""
        before = self._newest.get(device)
        if before is not None:
            self._open.pop(before, None)
            self._registry.logins.pop(before, None)
            self._end(before, f"a newer login of device {device!r} took this session's place")
        self._newest[device] = secret

    def _expire(self) -> None:
        """Forget logins unused for too long; their numbers are free again."""
        before = self._clock.monotonic() - self._idle_s
        while self._open:
            secret, oldest = next(iter(self._open.items()))
            if oldest.used >= before:
                return
            del self._open[secret]
            self._registry.logins.pop(secret, None)
            self._end(secret, self._expired())
            device = DeviceId(oldest.session.device.id)
            del self._newest[device]
            if device.startswith(HTTP_DEVICE):
                self._free.setdefault(oldest.session.agent, []).append(device)

    def _end(self, secret: bytes, why: str) -> None:
        self._ended[secret] = why
        if len(self._ended) > ENDED_MAX:
            del self._ended[next(iter(self._ended))]

    def _expired(self) -> str:
        return f"this session expired: it was not used for {self._idle_s:g} s"

    def _next_device(self, agent: AgentName) -> DeviceId:
        free = self._free.get(agent, [])
        while free:
            device = free.pop()
            # It may have been moved, forgotten, or logged in by its name since it was free.
            if self._registry.devices.get(device) == agent and device not in self._newest:
                return device
        while True:
            self._numbers += 1
            device = DeviceId(f"{HTTP_DEVICE}{self._numbers}")
            if device not in self._registry.devices:
                return device


def _origin(request: Request) -> str | None:
    origin = origin_of(request.headers)
    return None if origin is None else origin.decode("latin-1")


def _object(request: Request) -> dict[str, object]:
    document = request.document()
    if not isinstance(document, dict):
        raise DeviceFault(Code.PAYLOAD, "expected a JSON object, or form fields")
    return document


def _without_key(document: dict[str, object]) -> dict[str, object]:
    """The message in a request; `info` that is no object says nothing."""
    message = {k: v for k, v in document.items() if k != "session_key"}
    if not isinstance(message.get("info"), dict):
        message.pop("info", None)
    return message


def _refused(error: AccessDenied | DeviceFault, *, page: bool) -> Response:
    """The error; a page, whose key has a quota, is told as HTTP tells it when to come again."""
    if not page or not isinstance(error, DeviceFault) or error.retry_s is None:
        return _error(str(error))
    retry = (b"retry-after", b"%d" % math.ceil(error.retry_s))
    body = _encode({"error": str(error), "code": error.code, "retry_s": error.retry_s})
    return Response(HTTPStatus.TOO_MANY_REQUESTS, body, headers=(retry,))


def _error(sentence: str) -> Response:
    return Response(200, _encode({"error": sentence}))


def too_large(body_bytes_max: int) -> Response:
    """A body over the limit, in the protocol's own shape."""
    return _error(f"the body has over {body_bytes_max} bytes")
