"""A tank that learns to keep its level, over HTTP: `micropython tank.py http://HUB:8000 DEVICE KEY`."""
import math, os, sys, time
import requests

STEPS, WANTED, RETRY_S = 100, 2.0, 1
url, device, key = sys.argv[1:4]
boot = int.from_bytes(os.urandom(4), "little")      # never the same again


def ask(observation):
    """The answer; what can't be answered now is sent again as it is."""
    while True:
        try:
            response = requests.post(url + "/v1/step", json=observation, headers={"Authorization": "Bearer " + key})
            answer = response.json()
        except (OSError, ValueError):               # nobody there, or gone in the middle of the answer
            time.sleep(RETRY_S)
            continue
        if response.status_code == 200:
            return answer
        if response.status_code not in (429, 503):
            raise SystemExit(answer["detail"])
        time.sleep(RETRY_S)


level = 1.0
for step in range(STEPS):
    answer = ask({"device": device, "b": boot, "s": step, "o": [level], "r": -abs(level - WANTED)})
    level = max(0, level + 0.05 * answer["a"] - 0.04 * math.sqrt(level))
print(f"{STEPS} steps, the level at {level:.2f} m")
