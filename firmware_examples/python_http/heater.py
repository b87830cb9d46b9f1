"""A simulated heater that learns to hold 21 °C: `python3 heater.py API_KEY`, nothing else needed."""
import json, sys, time, urllib.request
key, temperature, answer = sys.argv[1], 17.0, {"a": 0}
for step in range(500):
    temperature += 2 * answer["a"] - (temperature - 12) / 20
    observation = {"device": "heater-1", "s": step, "f": step == 0, "o": [temperature - 21], "r": -abs(temperature - 21)}
    request = urllib.request.Request("http://127.0.0.1:8000/v1/step", json.dumps(observation).encode(),
                                     {"Authorization": f"Bearer {key}"})
    answer = json.load(urllib.request.urlopen(request))
    print(f"{temperature:5.1f} °C  heat {'on ' if answer['a'] else 'off'}  policy {answer.get('pv')}  seq {answer['seq']}")
    time.sleep(0.01)
