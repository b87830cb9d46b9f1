"""A simulated heater that learns to hold 21 °C: `python3 heater.py API_KEY`, nothing else needed."""
import json, sys, urllib.request
key, temperature, heat = sys.argv[1], 17.0, 0
for step in range(200):
    temperature += 0.6 * heat - 0.3
    observation = {"device": "heater-1", "s": step, "o": [temperature], "r": -abs(temperature - 21)}
    request = urllib.request.Request("http://127.0.0.1:8000/v1/step", json.dumps(observation).encode(),
                                     {"Authorization": f"Bearer {key}"})
    answer = json.load(urllib.request.urlopen(request))
    heat = answer["a"]
    print(f"{temperature:5.1f} °C  heat {'on ' if heat else 'off'}  policy {answer.get('pv')}  seq {answer['seq']}")
