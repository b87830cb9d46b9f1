"""`python -m tests.bench.paho_echo PORT`: answers every `obs` on a broker with the same `act`.

The hub's own door to paho is a device's end; this is the other one, and only a yardstick.
"""

from __future__ import annotations

import socket
import sys

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

RETRY_S = 1
"""The broker is starting at the same moment."""


def main(port: int) -> None:
    """Connect, subscribe, say so on stdout, answer until killed."""
    client = Client(CallbackAPIVersion.VERSION2, client_id="echo")
    client.on_socket_open = lambda _c, _u, sock: sock.setsockopt(  # type: ignore[attr-defined] # paho's SocketLike is too narrow
        socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
    )
    client.on_connect = lambda c, *_: c.subscribe("rl/v1/+/obs", qos=1)
    client.on_subscribe = lambda *_: print("subscribed", flush=True)
    client.on_message = _answer
    client.reconnect_delay_set(min_delay=RETRY_S)
    client.connect_async("127.0.0.1", port)
    client.loop_forever(retry_first_connection=True)


def _answer(client: Client, _userdata: object, message: MQTTMessage) -> None:
    client.publish(message.topic.removesuffix("obs") + "act", b'{"s":0,"a":1}', qos=1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
