"""`POST /v1/claim` and `/v1/key/rotate`: how a device comes by a key of its own, and changes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from bridge.bodies import ClaimResponse, Ports, RotateResponse
from bridge.errors import denied, problem, unauthorized
from bridge.http import Response
from bridge.native import object_of, secret_of
from hub.errors import AccessDenied, DeviceFault
from hub.registry.access import agent_of
from hub.registry.buckets import Buckets
from hub.registry.claim_acts import UnknownToken, asked
from hub.topics import DEVICE_PUBLISHES, HUB_PUBLISHES, KEY, device_topic
from hub.words import Code

if TYPE_CHECKING:
    from bridge.http import Request
    from hub.processes import Hub

BURST_S: Final = 20.0
ADDRESSES_MAX: Final = 10_000
_encode: Final = msgspec.json.Encoder().encode


class Provisioning:
    """The two routes."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._wrong: Buckets[str] = Buckets(
            hub.settings.keys.failures_per_minute / 60, burst_s=BURST_S, most=ADDRESSES_MAX
        )

    async def claim(self, request: Request) -> Response:
        """A key for a token; durable when it returns."""
        device: str | None = None
        try:
            document = object_of(request, "'token' and 'device'")
            token, named = document.get("token"), document.get("device")
            if not isinstance(token, str) or not isinstance(named, str):
                raise DeviceFault(Code.PAYLOAD, "'token' and 'device' are needed, both text")
            device = named
            said = asked(token, named, document.get("nonce"), document.get("dt"))
            given = await self._hub.provision.claim(said)
        except DeviceFault as fault:
            return problem(fault, device=device)
        except UnknownToken as error:
            return self._refuse(request, str(error))
        except AccessDenied as error:
            return denied(str(error), device=device)
        ready = self._hub.listens
        answer = ClaimResponse(
            device=given.device,
            agent=given.agent,
            key=given.key,
            topics=self._topics(given.device),
            ports=Ports(ready.http, ready.mqtt, ready.ws),
            tls=self._hub.tls is not None,
        )
        return Response(200, _encode(answer))

    async def rotate(self, request: Request) -> Response:
        """Another key for the device that asks, by the one it has; durable when it returns."""
        try:
            key, _ = agent_of(self._hub.registry, secret_of(request.headers))
        except AccessDenied as error:
            return unauthorized(str(error))
        try:
            return Response(200, _encode(RotateResponse(await self._hub.provision.rotate(key))))
        except DeviceFault as fault:
            return problem(fault, device=key.device)
        except AccessDenied as error:
            return denied(str(error))

    def _refuse(self, request: Request, why: str) -> Response:
        """A wrong token: 401, or 429 where there were too many from the address."""
        wait_s = self._wrong.take(request.peer, self._hub.clock.monotonic())
        if not wait_s:
            return unauthorized(why)
        fault = DeviceFault(Code.RATE, "too many wrong claim tokens from here", retry_s=wait_s)
        return problem(fault)

    def _topics(self, device: str) -> dict[str, str]:
        base = self._hub.settings.mqtt.base
        leaves = (*DEVICE_PUBLISHES, *HUB_PUBLISHES)
        return {leaf: device_topic(base, device, leaf) for leaf in leaves if leaf != KEY}
