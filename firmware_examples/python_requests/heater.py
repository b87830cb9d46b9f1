"""The native call over one kept connection: `pip install requests; python3 heater.py API_KEY [http://HUB:8000]`."""
import sys, requests

hub = sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8000"
temperature, heat = 17.0, 0
with requests.Session() as session:
    session.headers["Authorization"] = f"Bearer {sys.argv[1]}"
    for step in range(100):
        temperature += 0.6 * heat - 0.3
        observation = {"device": "heater-2", "s": step, "o": [temperature], "r": -abs(temperature - 21)}
        answer = session.post(f"{hub}/v1/step", json=observation)
        if answer.status_code != 200:
            sys.exit(answer.json()["detail"])
        heat = answer.json()["a"]
print(f"{temperature:.1f} °C after {step + 1} steps")
