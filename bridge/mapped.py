"""`POST /v1/map/{mapping}`: what a legacy device posts, read by a mapping, answered in its words.

The body goes to the mapping as it is, whatever its content type. The device is named by the key, by
`?device=`, or in the body where the mapping says so; the key may also be the password of the URL.
"""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

import msgspec
from msgspec import structs

from bridge.answer import HttpReply
from bridge.errors import denied, not_found, problem, too_large, unauthorized
from bridge.http import JSON, Response, endpoint
from bridge.multiserver import key_of
from hub.errors import AccessDenied, DeviceFault
from hub.intake.mapping.take import take
from hub.payloads import act_of
from hub.registry.access import agent_of
from hub.words import Code

if TYPE_CHECKING:
    from litestar.types import Receive, Scope, Send

    from bridge.http import Request
    from bridge.native import Native
    from hub.intake.mapping.bound import Bound
    from hub.intake.receive import Receiver
    from hub.registry.fold import Registry, Spec
    from hub.words import Answer, Key

ROUTE: Final = "/v1/map"
"""And a mapping's name below it: Litestar reads no names from the paths of bare applications."""
TEXT: Final = b"text/plain; charset=utf-8"
NO_PACKET_ID: Final = 0
"""Where a packet of MQTT, which has another, is known by its id and payload."""
NOTHING: Final = Response(HTTPStatus.NO_CONTENT, b"")
"""The payload held nothing of the mapping; or the episode is over, and there is nothing to do."""


class Mapped:
    """The route; sessions are those of the native routes."""

    def __init__(
        self,
        registry: Registry,
        receiver: Receiver,
        native: Native,
        body_bytes_max: int,
    ) -> None:
        self._registry = registry
        self._receiver = receiver
        self._native = native
        self._body_bytes_max = body_bytes_max
        self._unanswered: dict[str, tuple[int, int]] = {}
        """What was taken and answered by 503, one a device: sent again, it is the same step."""

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        query = parse_qs(scope["query_string"].decode("latin-1"))
        device = query.get("device", [None])[0]
        name = scope["path"].strip("/").removeprefix(ROUTE.strip("/") + "/")
        answer = partial(self._answer, name, device)
        await endpoint(answer, too_large, self._body_bytes_max)(scope, receive, send)

    async def _answer(self, name: str, device: str | None, request: Request) -> Response:
        """What comes of it, and every refusal as its problem document."""
        try:
            key, spec = agent_of(self._registry, key_of(request.headers))
        except AccessDenied as error:
            return unauthorized(str(error))
        bound = self._receiver.mappings.named(spec.agent.name, name)
        if bound is None:
            return not_found(f"agent {spec.agent.name!r} has no mapping {name!r:.60}")
        try:
            return await self._step(bound, key, spec, device, request.body)
        except DeviceFault as fault:
            return problem(fault, device=device)
        except AccessDenied as error:
            return denied(str(error), device=device)

    async def _step(
        self, bound: Bound, key: Key, spec: Spec, device: str | None, body: bytes
    ) -> Response:
        if device is None and bound.device_of is not None:
            device = bound.device_in(body)
        self._native.admit(key, spec, len(body))
        if device is None and key.device is None:
            raise DeviceFault(Code.PAYLOAD, _unnamed(bound))
        _, session = self._native.enter(key, spec, device)
        reply, packet = HttpReply(), (NO_PACKET_ID, hash(body))
        duplicate = self._unanswered.pop(session.device.id, None) == packet
        taken = True
        try:
            if not take(
                self._receiver, session, bound.mapper, body, reply,
                packet=packet, duplicate=duplicate,
            ):  # fmt: skip
                return NOTHING
        except DeviceFault as fault:
            self._receiver.refuse(session, fault, reply)
            taken = False
        try:
            return _response(bound, await reply.answer(spec.agent.deadline_ms))
        except DeviceFault as fault:
            if fault.code is Code.BUSY and taken:
                self._unanswered[session.device.id] = packet
            raise


def _unnamed(bound: Bound) -> str:
    path = bound.mapper.mapping.device
    missing = "the address" if path is None else f"the address, nor the payload at {path!r}"
    return (
        f"no device is named by {missing}: add '?device=ID', or use a key of one device "
        "('sheepfold key create AGENT --device ID')"
    )


def _response(bound: Bound, answer: Answer) -> Response:
    """The action in the device's own words, else as natively."""
    seq = ((b"sheepfold-seq", b"%d" % answer.seq),)
    if bound.say is None:
        act = structs.replace(act_of(answer), seq=answer.seq)
        return Response(HTTPStatus.OK, msgspec.json.encode(act), headers=seq)
    if answer.action is None:
        return NOTHING
    payload = bound.say(answer.action)
    kind = JSON if payload[:1] in (b"{", b"[") else TEXT
    return Response(HTTPStatus.OK, payload, kind, seq)
