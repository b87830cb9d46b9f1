"""A heater over MQTT: `pip install paho-mqtt; python3 heater.py API_KEY [HUB [PORT]]`."""
import json, secrets, sys, time
import paho.mqtt.client as mqtt

hub, port = (sys.argv[2:] + ["127.0.0.1", 1883][len(sys.argv) - 2:])[:2]
boot = secrets.randbits(32)                             # never the same again
room = {"step": 0, "temperature": 17.0, "error": "no answer"}

def observe(client):
    seen = {"b": boot, "s": room["step"], "o": [room["temperature"]], "r": -abs(room["temperature"] - 21)}
    client.publish("rl/v1/heater-3/obs", json.dumps(seen), qos=1)

def on_connect(client, userdata, flags, reason, properties):
    if reason.is_failure:
        room["error"] = f"refused: {reason}"
        client.disconnect()
    client.subscribe([("rl/v1/heater-3/act", 1), ("rl/v1/heater-3/err", 1)])

def on_message(client, userdata, message):
    if message.topic not in ("rl/v1/heater-3/act", "rl/v1/heater-3/err"):
        return                                          # what a broker sends by mistake
    answer = json.loads(message.payload)
    if answer.get("e") in ("busy", "rate"):             # it will pass: the same step again
        time.sleep(1)
        observe(client)
    elif message.topic.endswith("/err"):
        room["error"] = answer["m"]
        client.disconnect()
    elif answer["s"] == room["step"]:                   # a repeat of an older one says nothing new
        room["step"] += 1
        room["temperature"] += 0.6 * answer["a"] - 0.3
        if room["step"] == 100:
            room["error"] = ""
            client.disconnect()
        else:
            observe(client)

client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
client.username_pw_set("heater-3", sys.argv[1])
client.on_connect, client.on_message = on_connect, on_message
client.on_subscribe = lambda client, *_: observe(client)
client.connect_async(hub, int(port))
client.loop_forever(retry_first_connection=True)        # connects again, whenever the hub was away
if room["error"]:
    sys.exit(room["error"])
print(f"{room['temperature']:.1f} °C after {room['step']} steps")
