"""A device's exchange over MQTT: `obs` out, `act` or `err` back, QoS 1 both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from hub.demo.exchange import ANSWER_TIMEOUT_S, Busy, Said
from hub.errors import DeviceFault
from hub.mqtt import MqttLink
from hub.payloads import Act, Err
from hub.words import Code, DeviceId

if TYPE_CHECKING:
    from hub.clock import Clock

_WAIT: Final = (Code.BUSY, Code.RATE)


class MqttExchange:
    """One step in flight on one link; a lost link is opened again by the next `ask`."""

    numbered = True

    def __init__(self, device: DeviceId, key: str, *, host: str, port: int, clock: Clock) -> None:
        self._device = device
        self._key = key
        self._host = host
        self._port = port
        self._clock = clock
        self._link: MqttLink | None = None

    def ask(self, said: Said) -> Act:
        """The `act` for this step, as `Exchange.ask`."""
        try:
            link = self._opened()
            link.publish("obs", _said.encode(said))
            deadline = self._clock.monotonic() + ANSWER_TIMEOUT_S
            while True:
                received = link.receive(deadline - self._clock.monotonic())
                if received is None:
                    raise TimeoutError(f"{self._device!r} got no act for step {said.s}")
                if (act := _answer_to(said.s, *received)) is not None:
                    return act
        except ConnectionError:
            self.close()
            raise

    def close(self) -> None:
        """Disconnect."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def _opened(self) -> MqttLink:
        if self._link is None:
            link = MqttLink(
                self._device, self._key, host=self._host, port=self._port, clock=self._clock
            )
            link.open()
            self._link = link
        return self._link


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
