"""Shepherd's protocol, as its clients speak it: `pip install requests; python3 heater.py API_KEY [http://HUB:8000/]`."""
import sys, requests

def post(document, path):
    return requests.post((sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8000/") + path, json=document).json()

login = post({"apikey": sys.argv[1]}, "shepherd/login_user/")
if "ok" not in login:
    sys.exit(login["error"])
for day in range(3):
    temperature, reward = 17.0, 0.0
    for hour in range(25):
        answer = post({"session_key": login["session_key"], "obs": [temperature], "reward": reward,
                       "done": hour == 24, "info": {}}, "shepherd/env/")
        if "error" in answer:
            sys.exit(answer["error"])
        if answer["action"] is None:
            print(f"day {day}: {temperature:.1f} °C in the end")
            break
        temperature += 0.6 * answer["action"] - 0.3
        reward = -abs(temperature - 21)
