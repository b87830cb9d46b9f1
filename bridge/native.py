"""`POST /v1/step` and `/v1/reward`: one observation in, its action out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import structs

from bridge.answer import DurableReply, HttpReply
from bridge.bodies import RewardResponse
from bridge.errors import denied, not_found, problem, unauthorized
from bridge.http import Response
from hub.errors import AccessDenied, DeviceFault
from hub.intake.observation import from_document
from hub.payloads import Act, act_of
from hub.registry.access import admit, agent_of, rewarder_of
from hub.topics import is_device_id
from hub.words import Code, DeviceId, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.http import Request
    from hub.intake.receive import Receiver
    from hub.intake.session import Session, Sessions
    from hub.registry.fold import Registry, Spec
    from hub.words import Answer, Key

BEARER: Final = b"bearer "
_encode: Final = msgspec.json.Encoder().encode


class Native:
    """The native routes. A device's session opens with its first step and ends with the hub."""

    def __init__(self, registry: Registry, sessions: Sessions, receiver: Receiver) -> None:
        self._registry = registry
        self._sessions = sessions
        self._receiver = receiver
        self._open: dict[DeviceId, Session] = {}

    async def step(self, request: Request) -> Response:
        """Take an observation; answer with the action once both are durable."""
        device: str | None = None
        try:
            key, spec = self._known(request, agent_of)
            document = object_of(request)
            named = document.get("device")
            device = named if isinstance(named, str) else None
            self.admit(key, spec, len(request.body))
            device, session = self.enter(key, spec, named)
            return Response(200, _encode(await self._step(session, spec, document)))
        except DeviceFault as fault:
            return problem(fault, device=device)
        except NoKey as error:
            return unauthorized(str(error))
        except AccessDenied as error:
            return denied(str(error), device=device)

    async def reward(self, request: Request) -> Response:
        """Take a person's reward for the next observation of a device that there is."""
        named: str | None = None
        try:
            key, spec = self._known(request, rewarder_of)
            document = object_of(request, "'device' and 'r'")
            named = device_of(document.get("device") or key.device)
            # What is wrong is said before it is counted: it has cost nothing yet.
            reward = bounded(key, reward_of(document))
            device = rewarded(self._registry, key, spec, named)
            self.admit(key, spec, len(request.body))
            reply = DurableReply()
            by = None if key.rewarding is None else f"key {key.id}"
            session = self._sessions.standing(device, spec.agent.name)
            self._receiver.reward(session, reward, reply, by=by)
            return Response(200, _encode(RewardResponse(await reply.seq())))
        except NoDevice as error:
            return not_found(str(error), device=named)
        except DeviceFault as fault:
            return problem(fault, device=named)
        except NoKey as error:
            return unauthorized(str(error))
        except AccessDenied as error:
            return denied(str(error), device=named)

    async def _step(self, session: Session, spec: Spec, document: dict[str, object]) -> Act:
        message = from_document({k: v for k, v in document.items() if k != "device"})
        reply = HttpReply()
        try:
            self._receiver.take(session, message, reply)
        except DeviceFault as fault:
            self._receiver.refuse(session, fault, reply)
        return _act(await reply.answer(spec.agent.deadline_ms), reply.warning)

    def _known(
        self, request: Request, opened: Callable[[Registry, str], tuple[Key, Spec]]
    ) -> tuple[Key, Spec]:
        """The key and its agent, before anything of the body is read.

        Raises:
            NoKey: no key, or one that is not accepted.
        """
        try:
            return opened(self._registry, secret_of(request.headers))
        except AccessDenied as error:
            raise NoKey(str(error)) from error

    def admit(self, key: Key, spec: Spec, size_bytes: int) -> None:
        """One message of this size is within the quotas: asked before anything is opened for it.

        Raises:
            DeviceFault: `rate`, with the time after which it is.
        """
        self._sessions.quotas.of(key.id, spec.agent.name).take(size_bytes)

    def enter(self, key: Key, spec: Spec, named: object) -> tuple[str, Session]:
        """The device that speaks, and its session; the key may name it, too.

        Raises:
            AccessDenied: the key is not for this device.
            DeviceFault: nothing names a device, or what does is no string.
        """
        device = device_of(named or key.device)
        agent = spec.agent.name
        known = self._open.get(DeviceId(device))
        here = self._registry.devices.get(DeviceId(device)) == agent
        # A device that was moved, or comes with a key for another device, is admitted anew.
        # So is one with a new key of its own, that the one before may end (`Sessions.open`).
        unused = key.device is not None and key.id in self._registry.successions
        same = here and key.device in (None, device) and not unused
        if known is not None and known.agent == agent and same:
            return device, known
        admitted = admit(self._registry, key, device)
        session = self._sessions.open(admitted, agent, Protocol.HTTP, key=key.id)
        self._open[admitted] = session
        return device, session


class NoKey(AccessDenied):
    """401 where AccessDenied alone is 403."""


class NoDevice(AccessDenied):
    """404: nothing is called that."""


def device_of(named: object) -> str:
    """What a request calls its device.

    Raises:
        DeviceFault: nothing names a device, or what does is no string.
    """
    if named is None:
        raise DeviceFault(Code.PAYLOAD, "'device' (the device's id, a string) is missing")
    if not isinstance(named, str):
        raise DeviceFault(Code.PAYLOAD, "'device' (the device's id) is no string")
    return named


def rewarded(registry: Registry, key: Key, spec: Spec, named: str) -> DeviceId:
    """The device that a person's reward is for. None is made of it: it may be a slip of the pen.

    Raises:
        NoDevice: there is none.
        AccessDenied: it is not this key's to reward.
    """
    there = DeviceId(named) in registry.devices
    if not there and key.device in (None, named) and is_device_id(named, reserved=True):
        raise NoDevice(
            f"agent {spec.agent.name!r} has no device {named!r}: one is known from its first "
            "observation on, or from 'sheepfold device add'; see 'sheepfold device list'"
        )
    return admit(registry, key, named, reserved=True)


def bounded(key: Key, reward: float) -> float:
    """The reward, if the key may give so much.

    Raises:
        DeviceFault: `range`, it may not.
    """
    most = None if key.rewarding is None else key.rewarding.most
    if most is not None and not abs(reward) <= most:
        raise DeviceFault(Code.RANGE, f"a reward by this key is {-most:g} to {most:g}")
    return reward


def object_of(request: Request, fields: str = "'device' and 'o'") -> dict[str, object]:
    """The body as an object; `fields` says what should be in it.

    Raises:
        DeviceFault: `payload`, it is none.
    """
    document = request.document()
    if not isinstance(document, dict):
        raise DeviceFault(Code.PAYLOAD, f"expected an object with {fields}")
    return document


def reward_of(document: dict[str, object]) -> float:
    """A person's reward.

    Raises:
        DeviceFault: it is no number, or has more digits than any float.
    """
    reward = document.get("r", document.get("reward"))
    if isinstance(reward, bool) or not isinstance(reward, (int, float)):
        raise DeviceFault(Code.TYPE, "'r' (reward) must be a number")
    try:
        return float(reward)
    except OverflowError:
        raise DeviceFault(Code.RANGE, "'r' (reward) is no float32") from None


def secret_of(headers: dict[bytes, bytes]) -> str:
    """The API key of a request.

    Raises:
        AccessDenied: there is none.
    """
    authorization = headers.get(b"authorization", b"")
    if authorization[: len(BEARER)].lower() == BEARER:
        return authorization[len(BEARER) :].strip().decode("latin-1")
    if b"x-api-key" in headers:
        return headers[b"x-api-key"].decode("latin-1")
    raise AccessDenied("send the API key as 'Authorization: Bearer KEY' or 'X-Api-Key: KEY'")


def _act(answer: Answer, warning: str | None) -> Act:
    return structs.replace(act_of(answer), seq=answer.seq, w=warning)
