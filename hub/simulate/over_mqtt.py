"""A device's exchange over MQTT: `obs` out, `act` or `err` back, QoS 1 both ways."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from hub.errors import DeviceFault
from hub.mqtt import MqttLink
from hub.payloads import Act, Err
from hub.simulate.exchange import ANSWER_TIMEOUT_S, Busy, HalfOpen, Said
from hub.words import Code

if TYPE_CHECKING:
    from hub.simulate.exchange import Endpoint
    from hub.words import DeviceId

_WAIT: Final = (Code.BUSY, Code.RATE)


class MqttExchange:
    """One link; a lost one is opened again by the next `ask`."""

    numbered = True
    ordered = True

    def __init__(
        self, device: DeviceId, key: str, endpoint: Endpoint, *, five: bool = False
    ) -> None:
        self._device = device
        self._key = key
        self._endpoint = endpoint
        self._five = five
        self._link: MqttLink | None = None
        self._abandoned = HalfOpen()

    async def ask(self, said: Said) -> Act:
        """The `act` for this step, as `Exchange.ask`."""
        link = await self._opened()
        try:
            link.publish("obs", _said.encode(said))
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                while True:
                    if (act := _answer_to(said.s, *await link.receive())) is not None:
                        return act
        except ConnectionError:
            self._hang_up()
            raise
        except TimeoutError:
            raise TimeoutError(f"{self._device!r} got no act for step {said.s}") from None

    async def send(self, said: Said) -> None:
        """On the same link; the answer is to a step that nobody waits for, or comes twice."""
        if self._link is not None:
            with suppress(ConnectionError):
                self._link.publish("obs", _said.encode(said))

    def abandon(self) -> None:
        """Leave it half open."""
        if self._link is not None:
            self._link.abandon()
            self._abandoned.keep(self._link.close)
            self._link = None

    def close(self) -> None:
        """Disconnect."""
        self._hang_up()
        self._abandoned.close()

    async def _opened(self) -> MqttLink:
        if self._link is None:
            endpoint = self._endpoint
            link = MqttLink(
                self._device,
                self._key,
                host=endpoint.host,
                port=endpoint.port,
                five=self._five,
                tls=endpoint.tls,
            )
            await link.open()
            self._link = link
        return self._link

    def _hang_up(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None


_said: Final = msgspec.json.Encoder()
_act: Final = msgspec.json.Decoder(Act)
_err: Final = msgspec.json.Decoder(Err)


def _answer_to(step: int, leaf: str, payload: bytes) -> Act | None:
    """The answer to a step; None when this is about another one, a repeat's second answer, say."""
    if leaf == "act":
        act = _act.decode(payload)
        return act if act.s == step else None
    refusal = _err.decode(payload)
    if refusal.s not in (None, step):
        return None
    if refusal.e in _WAIT:
        raise Busy(refusal.m)
    raise DeviceFault(refusal.e, refusal.m, step=refusal.s)
