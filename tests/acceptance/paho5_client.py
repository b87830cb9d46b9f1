"""An ordinary MQTT 5 client: paho, with its own thread, and what it was told by reasons.

with Paho5Client(port, "heater", key, SessionExpiryInterval=600) as client:
    assert client.publish("rl/v1/heater/obs", b"[0,1]") == (0, "")
"""

from __future__ import annotations

from typing import Any, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.acceptance.paho_client import WAIT_S, Listening
from tests.acceptance.real_hub import HOST, until


def saying(packet: int, **said: Any) -> Properties:
    """Properties in paho's form."""
    properties = Properties(packet)  # type: ignore[no-untyped-call]  # paho has no types for it
    for name, value in said.items():
        setattr(properties, name, value)
    return properties


class Paho5Client(Listening):
    """Connects when entered; what it was told is in its lists."""

    def __init__(
        self, port: int, username: str, key: str, *, clean: bool = True, **said: Any
    ) -> None:
        version = MQTTProtocolVersion.MQTTv5
        paho = Client(CallbackAPIVersion.VERSION2, "", protocol=version, reconnect_on_failure=False)
        super().__init__(port, username, key, paho)
        self._clean = clean
        self._connect = saying(PacketTypes.CONNECT, **said)
        self.accepted: Any = None
        """Reason, session present, properties."""
        self.ended: list[int] = []
        self._acknowledged: dict[int, tuple[int, str]] = {}
        self.paho.on_connect = self._on_connect
        self.paho.on_disconnect = lambda _c, _u, _f, why, _p: self.ended.append(why.value)
        self.paho.on_publish = self._on_publish

    def __enter__(self) -> Self:
        self.paho.connect(HOST, self._port, clean_start=self._clean, properties=self._connect)
        self.paho.loop_start()
        until(lambda: self.accepted is not None, "CONNACK", timeout_s=WAIT_S)
        return self

    def publish(self, topic: str, payload: bytes, qos: int = 1, **said: Any) -> tuple[int, str]:
        """The reason in its acknowledgement, and the reason string."""
        properties = saying(PacketTypes.PUBLISH, **said)
        mid = self.paho.publish(topic, payload, qos, properties=properties).mid
        until(lambda: mid in self._acknowledged, "the acknowledgement", timeout_s=WAIT_S)
        return self._acknowledged[mid]

    def hear(self, count: int) -> list[MQTTMessage]:
        """The first messages."""
        until(lambda: len(self.messages) >= count, f"{count} messages", timeout_s=WAIT_S)
        return self.messages

    def _on_connect(self, _c: Client, _u: object, flags: Any, reason: Any, said: Any) -> None:
        self.accepted = reason.value, flags.session_present, said

    def _on_publish(self, _c: Client, _u: object, mid: int, reason: Any, said: Any) -> None:
        self._acknowledged[mid] = reason.value, getattr(said, "ReasonString", "")
