"""A lamp that fetches its own key at its first start: `python3 claim.py TOKEN [HUB [PORT [FOLDER]]]`.

What must outlive a power cut is written before it is needed: the nonce before the token is shown,
the key before it is used. Later starts need no token.
"""
import json, os, pathlib, secrets, sys, time
import paho.mqtt.client as mqtt

DEVICE = "lamp-7"
token, hub, port, folder = (sys.argv[1:] + ["", "127.0.0.1", 1883, "."][len(sys.argv) - 1:])[:4]

def kept(name, make):
    """What stands in flash under a name; made and written there where nothing does yet."""
    file = pathlib.Path(folder, f"{DEVICE}.{name}")
    if not file.exists():
        made, new = make(), file.with_name(f"{file.name}.new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            out.write(made)
            out.flush()
            os.fsync(out.fileno())
        new.replace(file)
    return file.read_text()

def talk(password, topics, first):
    """One conversation: subscribe, publish, and what comes on the first of the topics."""
    heard, ours = {}, [f"rl/v1/{DEVICE}/{leaf}" for leaf in topics]
    def say(client):
        client.publish(f"rl/v1/{DEVICE}/{first[0]}", json.dumps(first[1]), qos=1)
    def on_connect(client, userdata, flags, reason, properties):
        if reason.is_failure:
            heard["err"] = {"m": f"refused: {reason}"}
            client.disconnect()
        client.subscribe([(topic, 1) for topic in ours])
    def on_message(client, userdata, message):
        if message.topic not in ours:
            return                                      # what a broker sends by mistake
        answer = json.loads(message.payload)
        if answer.get("e") in ("busy", "rate"):         # it will pass: the same again
            time.sleep(1)
            say(client)
        else:
            heard[message.topic.rpartition("/")[2]] = answer
            client.disconnect()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.username_pw_set(DEVICE, password)
    client.on_connect, client.on_message = on_connect, on_message
    client.on_subscribe = lambda client, *_: say(client)
    client.connect_async(hub, int(port))
    client.loop_forever(retry_first_connection=True)    # connects again, whenever the hub was away
    if topics[0] not in heard:
        sys.exit(heard.get("err", {}).get("m", "no answer"))
    return heard[topics[0]]

def claim():
    nonce = kept("nonce", lambda: secrets.token_urlsafe(24))
    return talk(token, ("key", "err"), ("claim", {"nonce": nonce}))["key"]

key = kept("key", claim)
for step in range(10):
    answer = talk(key, ("act", "err"), ("obs", {"s": step, "o": [step / 10], "r": 0, "f": step == 0}))
print(f"{step + 1} steps, the last is answered by {answer['a']}")
