"""A lamp that learns to keep a desk at the same brightness: `micropython lamp.py HUB PORT DEVICE KEY [CA.der]`.

With the certificate of an authority it speaks TLS, and to that hub only.
"""
import math, sys
from sheepfold import Hub

STEPS, WANTED = 100, 0.7


def look(step):
    return 0.3 + 0.3 * math.sin(step / 20)      # on a board: a light sensor beside the window


def shine(brightness):
    pass                                        # on a board: machine.PWM(machine.Pin(2)).duty_u16(…)


tls = None
if len(sys.argv) > 5:
    import ssl
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.verify_mode = ssl.CERT_REQUIRED         # without this line MicroPython trusts anybody
    with open(sys.argv[5], "rb") as authority:
        tls.load_verify_locations(cadata=authority.read())

hub = Hub(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], tls)
daylight, lamp, reward = look(0), 0.0, None
for step in range(STEPS):
    desk = daylight + 0.7 * lamp
    action = hub.act([desk, daylight], reward, fallback=[lamp])
    lamp, daylight = action[0], look(step + 1)
    shine(lamp)
    reward = -abs(daylight + 0.7 * lamp - WANTED)
print(f"{STEPS} steps, the desk at {daylight + 0.7 * lamp:.2f}")
