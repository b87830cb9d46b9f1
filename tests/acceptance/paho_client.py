"""An ordinary MQTT client, as most devices and dashboards have it: paho, with its own thread.

with PahoClient(port, "heater", key) as client:
    assert client.subscribe("rl/v1/heater/#", 1) == 1
    until(lambda: client.messages, "a message")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.acceptance.real_hub import HOST, until

if TYPE_CHECKING:
    from paho.mqtt.client import ConnectFlags
    from paho.mqtt.reasoncodes import ReasonCode

WAIT_S = 15.0


class Listening:
    """What clients of both versions have: they subscribe, and what they heard is in `messages`."""

    def __init__(self, port: int, username: str, key: str, paho: Client) -> None:
        self.messages: list[MQTTMessage] = []
        self.paho = paho
        self._port = port
        self._granted: dict[int, list[int]] = {}
        paho.username_pw_set(username, key)
        paho.on_message = lambda _c, _u, message: self.messages.append(message)
        paho.on_subscribe = self._on_subscribe

    def __exit__(self, *_: object) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()

    def subscribe(self, topic_filter: str, qos: int) -> int:
        """The code of the SUBACK."""
        _, mid = self.paho.subscribe(topic_filter, qos)
        assert mid is not None
        until(lambda: mid in self._granted, f"SUBACK for {topic_filter}", timeout_s=WAIT_S)
        return self._granted[mid][0]

    def _on_subscribe(
        self, _c: Client, _u: object, mid: int, codes: list[ReasonCode], _p: object
    ) -> None:
        self._granted[mid] = [code.value for code in codes]


class PahoClient(Listening):
    """Connects when entered."""

    def __init__(
        self,
        port: int,
        username: str,
        key: str,
        *,
        client_id: str = "anything",
        clean: bool = True,
        will: tuple[str, bytes] | None = None,
        address: str = "",
    ) -> None:
        self._address = address
        paho = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=clean,
            protocol=MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        super().__init__(port, username, key, paho)
        self.code: int | None = None
        """Of the CONNACK; None before."""
        self.session_present = False
        self.online = False
        self._unsubscribed: set[int] = set()
        if will is not None:
            self.paho.will_set(*will, qos=1, retain=True)
        self.paho.on_connect = self._on_connect
        self.paho.on_disconnect = self._on_disconnect
        self.paho.on_unsubscribe = lambda _c, _u, mid, *_: self._unsubscribed.add(mid)

    def __enter__(self) -> Self:
        self.paho.connect(HOST, self._port, keepalive=60, bind_address=self._address)
        self.paho.loop_start()
        until(lambda: self.code is not None, "CONNACK", timeout_s=WAIT_S)
        return self

    def unsubscribe(self, topic_filter: str) -> None:
        """Returns after the UNSUBACK."""
        _, mid = self.paho.unsubscribe(topic_filter)
        until(lambda: mid in self._unsubscribed, "UNSUBACK", timeout_s=WAIT_S)

    def publish(self, topic: str, payload: bytes, qos: int, *, retain: bool = False) -> None:
        """Returns when its handshake is over."""
        self.paho.publish(topic, payload, qos, retain).wait_for_publish(WAIT_S)

    def drop(self) -> None:
        """Lose the connection, as in a power cut: no DISCONNECT."""
        connection: Any = self.paho.socket()
        connection.close()
        until(lambda: not self.online, "the loss is noticed", timeout_s=WAIT_S)

    def heard(self) -> list[tuple[str, bytes, int, bool]]:
        """Topic, payload, QoS and whether it was retained, of all messages so far."""
        return [(m.topic, bytes(m.payload), m.qos, m.retain) for m in list(self.messages)]

    def _on_connect(
        self, _c: Client, _u: object, flags: ConnectFlags, reason: ReasonCode, _p: object
    ) -> None:
        self.session_present = flags.session_present
        self.online = not reason.is_failure
        self.code = reason.value

    def _on_disconnect(self, *_: object) -> None:
        self.online = False
