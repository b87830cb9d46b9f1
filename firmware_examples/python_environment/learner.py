"""A learner elsewhere drives a device: `python3 learner.py API_KEY DEVICE [http://HUB:8000]`, nothing else needed."""
import json, sys, urllib.error, urllib.request

key, device = sys.argv[1:3]
hub = sys.argv[3] if len(sys.argv) > 3 else "http://127.0.0.1:8000"

def ask(verb, document):
    request = urllib.request.Request(f"{hub}/v1/env/{device}/{verb}", json.dumps(document).encode(),
                                     {"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(json.load(error)["detail"])

total = 0.0
for _ in range(3):
    seen, over = ask("reset", {}), False
    while not over:
        angle, spin = seen["observation"][2:4]
        seen = ask("step", {"action": int(angle + spin > 0)})     # CartPole: push where it falls
        total += seen["reward"]
        over = seen["terminated"] or seen["truncated"]
print(f"3 episodes, {total:.0f} steps in all")
