"""A lamp that learns to keep a desk at the same brightness, for boards with WiFi that run CircuitPython."""
import json, math, os, random, time
import adafruit_minimqtt.adafruit_minimqtt as MQTT

STEPS, WANTED, REPEAT_S, TRIES = int(os.getenv("SHEEPFOLD_STEPS") or 0), 0.7, 2, 20

try:
    import wifi, socketpool
    wifi.radio.connect(os.getenv("CIRCUITPY_WIFI_SSID"), os.getenv("CIRCUITPY_WIFI_PASSWORD"))
    pool = socketpool.SocketPool(wifi.radio)
except ImportError:
    import socket as pool                       # on a desk

device = os.getenv("SHEEPFOLD_DEVICE")
topic = f"rl/v1/{device}"
boot = random.getrandbits(32)                   # never the same again
answer = {}


def look(step):
    return 0.3 + 0.3 * math.sin(step / 20)      # on a board: analogio.AnalogIn(board.A0).value / 65535


def shine(brightness):
    pass                                        # on a board: pwmio.PWMOut(board.LED).duty_cycle = …


def on_message(client, from_topic, payload):
    if from_topic not in (f"{topic}/act", f"{topic}/err"):
        return                                  # what a broker sends by mistake
    said = json.loads(payload)
    if from_topic.endswith("/act"):
        answer.update(said)
    elif said["e"] not in ("busy", "rate"):     # those pass: the step is sent again
        raise RuntimeError(said["m"])


client = MQTT.MQTT(broker=os.getenv("SHEEPFOLD_HUB"), port=int(os.getenv("SHEEPFOLD_PORT")), client_id=device,
                   username=device, password=os.getenv("SHEEPFOLD_KEY"), socket_pool=pool, socket_timeout=0.05,
                   recv_timeout=REPEAT_S)       # a line that was cut is noticed by then
client.on_message = on_message


def connect():
    """Anew; the hub may come late, or be back in a moment."""
    for attempt in range(TRIES):
        try:
            if client.is_connected():
                client.disconnect()
            client.connect()
            client.subscribe([(f"{topic}/act", 0), (f"{topic}/err", 0)])
        except (MQTT.MMQTTException, OSError):
            if attempt == TRIES - 1:
                raise
            time.sleep(1)
        else:
            return


def act(step, seen, reward):
    """The hub's action; the same step is sent again until it is there."""
    observation = json.dumps({"b": boot, "s": step, "o": seen, "r": reward})
    while True:
        try:
            client.publish(f"{topic}/obs", observation)
            for _ in range(int(REPEAT_S / 0.05)):
                client.loop(0.05)
                if answer.get("s") == step:
                    return answer["a"]
        except (MQTT.MMQTTException, OSError):
            connect()


connect()
daylight, lamp, reward, step = look(0), 0.0, 0.0, 0
while not STEPS or step < STEPS:                # on a board it never ends
    lamp = act(step, [daylight + 0.7 * lamp, daylight], reward)[0]
    step += 1
    daylight = look(step)
    shine(lamp)
    reward = -abs(daylight + 0.7 * lamp - WANTED)
print(f"{step} steps, the desk at {daylight + 0.7 * lamp:.2f}")
