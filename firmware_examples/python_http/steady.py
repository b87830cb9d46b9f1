"""The same heater, whatever becomes of the hub: `python3 steady.py API_KEY [http://HUB:8000 [STEPS]]`, nothing else needed."""
import json, secrets, sys, time, urllib.error, urllib.request
from http.client import HTTPException

key, hub, steps = (sys.argv[1:] + ["http://127.0.0.1:8000", "500"][len(sys.argv) - 2:])[:3]
temperature, heat, boot = 17.0, 0, secrets.randbits(32)  # a boot number is never the same again


def ask(observation):
    """The answer; the same step is sent again while there is none, or the hub is busy."""
    request = urllib.request.Request(f"{hub}/v1/step", json.dumps(observation).encode(),
                                     {"Authorization": f"Bearer {key}"})
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code not in (429, 503):
                sys.exit(json.load(error)["detail"])
        except (OSError, HTTPException, ValueError) as error:  # nobody there, or gone in the middle of the answer
            print(f"{error}; once more", file=sys.stderr)
        time.sleep(1)


for step in range(int(steps)):
    temperature += 2 * heat - (temperature - 12) / 20
    answer = ask({"device": "heater-1", "b": boot, "s": step, "o": [temperature - 21], "r": -abs(temperature - 21)})
    heat = answer["a"]
    print(f"{temperature:5.1f} °C  heat {'on ' if heat else 'off'}  policy {answer.get('pv')}  seq {answer['seq']}")
    time.sleep(0.01)
