"""Ten heaters over one WebSocket: `pip install websockets; python3 heaters.py API_KEY [ws://HUB:8000]`."""
import json, sys
from websockets.sync.client import connect

hub = sys.argv[2] if len(sys.argv) > 2 else "ws://127.0.0.1:8000"
temperatures = {f"room-{n}": 15.0 + n for n in range(10)}
heat = dict.fromkeys(temperatures, 0)
with connect(f"{hub}/v1/ws", additional_headers={"Authorization": f"Bearer {sys.argv[1]}"}) as socket:
    for step in range(50):
        for room, temperature in temperatures.items():
            temperatures[room] = temperature + 0.6 * heat[room] - 0.3
            socket.send(json.dumps({"device": room, "s": step, "o": [temperatures[room]],
                                    "r": -abs(temperatures[room] - 21)}))
        for _ in temperatures:
            answer = json.loads(socket.recv())
            if "detail" in answer:
                sys.exit(answer["detail"])
            heat[answer["device"]] = answer["a"]
print("50 steps:", {room: round(temperature, 1) for room, temperature in temperatures.items()})
