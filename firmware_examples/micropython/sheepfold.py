"""A device's half of Sheepfold over MQTT for MicroPython: copy it beside your main.py.

hub = Hub("192.168.1.10", 1883, "lamp-1", KEY)
action = hub.act([0.4, 0.3])                        # of the first observation
action = hub.act([0.6, 0.3], reward=-0.1)           # and so on; the reward is of the action before
"""
import json, os, socket, struct, time

REPEAT_S = 2            # without an answer the observation is sent again
RETRY_MS = 1000         # from one call to the next while nobody answers
DEADLINE_MS = 10_000    # without an answer the device is on its own
KEEPALIVE_S = 60
PACKET_MAX = 1024       # more is read over
PASSING = ("busy", "rate")  # of the hub's errors: the same step will be taken later


class Refused(Exception):
    """The hub says why."""


class Hub:
    def __init__(self, host, port, device, key, tls=None):
        self.address, self.device, self.key, self.tls = (host, port), device, key, tls
        self.topic = f"rl/v1/{device}/"
        self.boot = int.from_bytes(os.urandom(4), "little")     # never the same again
        self.step, self.socket = -1, None

    def act(self, seen, reward=None, over=False, fallback=None):
        """The hub's action, None when the episode is `over`; `fallback` when the hub is silent."""
        self.step += 1
        document = {"s": self.step, "o": seen, "b": self.boot, "tr": int(over)}
        if reward is not None:
            document["r"] = reward
        document, began = json.dumps(document).encode(), time.ticks_ms()
        while time.ticks_diff(time.ticks_ms(), began) < DEADLINE_MS:
            try:
                if self.socket is None:
                    self.connect()
                self.send(0x30, self.text(self.topic + "obs") + document)
                answer = self.answer()
                if answer:
                    return answer["a"]
            except OSError:
                self.close()
                time.sleep_ms(RETRY_MS)
        self.step += 1      # what it does now, the hub didn't say: a gap, from which nothing is learnt
        return fallback

    def connect(self):
        self.socket = socket.socket()
        self.socket.settimeout(REPEAT_S)
        self.socket.connect(socket.getaddrinfo(*self.address)[0][-1])
        if self.tls:
            self.socket = self.tls.wrap_socket(self.socket, server_hostname=self.address[0])
        name = self.text(self.device)
        self.send(0x10, self.text("MQTT") + struct.pack(">BBH", 4, 0xc2, KEEPALIVE_S)
                  + name + name + self.text(self.key))
        kind, body = self.packet()
        if kind == 2 and body[1]:
            raise Refused("the key is not accepted")
        for leaf in ("act", "err"):
            self.send(0x82, b"\0\1" + self.text(self.topic + leaf) + b"\0")

    def answer(self):
        """The answer to this step; None after REPEAT_S without one. Other packets are passed over."""
        while True:
            try:
                kind, body = self.packet()
            except OSError as error:
                if error.errno in (11, 110, 116):   # timed out, on one port or another
                    return None
                raise
            if kind != 3:
                continue
            end = 2 + struct.unpack(">H", body)[0]
            if body[2:end] == (self.topic + "err").encode():
                error = json.loads(body[end:])
                if error["e"] not in PASSING:
                    raise Refused(error["m"])
                time.sleep_ms(RETRY_MS)
                return None
            if body[2:end] == (self.topic + "act").encode():
                answer = json.loads(body[end:])
                if answer["s"] == self.step:
                    return answer

    def packet(self):
        head, length, shift = self.take(1)[0], 0, 0
        while True:
            byte = self.take(1)[0]
            length |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                break
        while length > PACKET_MAX:
            length -= len(self.take(PACKET_MAX))
            head = 0                                # nothing of ours
        return head >> 4, self.take(length)

    def take(self, count):
        data = self.socket.read(count) if count else b""
        if data is None:
            raise OSError(110)
        if len(data) < count:
            raise OSError(104)                      # closed, or cut within a packet
        return data

    def send(self, head, body):
        length, size = bytearray(), len(body)
        while size > 127:
            length.append(size & 127 | 128)
            size >>= 7
        length.append(size)
        self.socket.write(bytes([head]) + length + body)

    def text(self, text):
        return struct.pack(">H", len(text)) + text.encode()

    def close(self):
        if self.socket is not None:
            self.socket.close()
        self.socket = None
