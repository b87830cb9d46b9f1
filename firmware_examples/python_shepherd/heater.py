"""Shepherd's protocol, as its clients speak it: `pip install requests; python3 heater.py API_KEY [http://HUB:8000/]`."""
import sys, time, requests

hub = sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8000/"

def post(document, path):
    answer = requests.post(hub + path, json=document, timeout=10).json()
    if "error" in answer:
        sys.exit(answer["error"])
    return answer

def live(session):
    """A day; the temperature in the end."""
    temperature, reward = 17.0, 0.0
    for hour in range(25):
        answer = post({"session_key": session, "obs": [temperature], "reward": reward,
                       "done": hour == 24, "info": {}}, "shepherd/env/")
        if answer["action"] is not None:
            temperature += 0.6 * answer["action"] - 0.3
            reward = -abs(temperature - 21)
    return temperature

day, session = 0, None
while day < 3:
    try:
        session = session or post({"apikey": sys.argv[1]}, "shepherd/login_user/")["session_key"]
        print(f"day {day}: {live(session):.1f} °C in the end")
        day += 1
    except requests.RequestException as error:
        # Steps have no numbers here, and nobody knows whether the hub has heard the last one: what was sent again might be
        # taken for one more. So the day begins anew, in a session of its own, and is joined to nothing.
        print(f"{error}; the day begins anew", file=sys.stderr)
        session = None
        time.sleep(1)
