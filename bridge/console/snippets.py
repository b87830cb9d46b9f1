"""Ten lines for a device, in the languages people have, with address, key and an observation.

Each sends one observation a second to `POST /v1/step` and prints what it is told to do.
"""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

from hub import spaces
from hub.words import Floats

if TYPE_CHECKING:
    from hub.spaces import Space

VALUES_SHOWN: Final = 64
"""Of an observation; a picture's are for the reader to fill in."""

ARDUINO: Final = r"""#include <WiFi.h>        // ESP32; ESP8266: ESP8266WiFi.h, ESP8266HTTPClient.h
#include <HTTPClient.h>
int step = 0;
void setup() {{ Serial.begin(115200); WiFi.begin("NETWORK", "PASSWORD"); while (WiFi.status() != WL_CONNECTED) delay(200); }}
void loop() {{
  HTTPClient http; http.begin("{url}");
  http.addHeader("Authorization", "Bearer {key}");
  http.POST("{{\"device\":\"arduino-1\",\"o\":{escaped},\"r\":0,\"f\":" + String(step ? "false" : "true") + ",\"s\":" + String(step) + "}}");
  Serial.println(http.getString()); http.end(); step++; delay(1000);  // do what "a" says
}}
"""
MICROPYTHON: Final = """import time, requests  # older: urequests
step = 0
while True:
    said = {{"device": "pico-1", "s": step, "o": {observation}, "r": 0, "f": step == 0}}
    answer = requests.post("{url}", json=said, headers={{"Authorization": "Bearer {key}"}})
    print(answer.json())  # do what "a" says
    answer.close()
    step += 1
    time.sleep(1)
"""
PYTHON: Final = """import json, time, urllib.request
for step in range(1000):
    said = {{"device": "python-1", "s": step, "o": {observation}, "r": 0, "f": step == 0}}
    request = urllib.request.Request("{url}", json.dumps(said).encode(),
                                     {{"Authorization": "Bearer {key}"}})
    with urllib.request.urlopen(request) as answer:
        print(json.load(answer), flush=True)  # do what "a" says
    time.sleep(1)
"""
JAVASCRIPT: Final = """let step = 0;  // Node 18 or newer, or a browser
setInterval(async () => {{
  const said = {{ device: "js-1", s: step, o: {observation}, r: 0, f: step === 0 }};
  step += 1;
  const answer = await fetch("{url}", {{
    method: "POST", headers: {{ Authorization: "Bearer {key}" }}, body: JSON.stringify(said),
  }});
  console.log(JSON.stringify(await answer.json()));  // do what "a" says
}}, 1000);
"""
CURL: Final = """curl {url} -H 'Authorization: Bearer {key}' \\
  -d '{{"device":"curl-1","o":{in_shell},"r":0}}'
"""
MATLAB: Final = """options = weboptions('HeaderFields', {{'Authorization', 'Bearer {key}'}});  % or Octave
for step = 0:999
    said = ['{{"device":"matlab-1","r":0,"o":{in_matlab},"f":' num2str(step == 0) ...
            ',"s":' num2str(step) '}}'];
    answer = webwrite('{url}', 'json', said, options);
    disp(answer)  % do what "a" says
    pause(1)
end
"""
LANGUAGES: Final = {
    "Arduino": ARDUINO,
    "MicroPython": MICROPYTHON,
    "Python": PYTHON,
    "JavaScript": JAVASCRIPT,
    "curl": CURL,
    "MATLAB": MATLAB,
}


class Snippet(Struct, frozen=True):
    """One language's lines."""

    language: str
    code: str


def snippets(space: Space, url: str, key: str) -> list[Snippet]:
    """For an agent's observations, the address of its step route, and its key."""
    observation = json.dumps(example(space), separators=(",", ":"))
    filled = {
        "url": url,
        "key": key,
        "observation": observation,
        "escaped": json.dumps(observation)[1:-1],
        "in_shell": observation.replace("'", "'\\''"),
        "in_matlab": observation.replace("'", "''"),
    }
    return [Snippet(name, text.format(**filled)) for name, text in LANGUAGES.items()]


def example(space: Space) -> Any:
    """An observation of the space: of each number the one nearest to 0."""
    parts = space.spaces.values() if isinstance(space, spaces.Dict) else (space,)
    values = Floats(b"".join(spaces.neutral(part) for part in parts))
    return _plain(spaces.as_json(space, values), len(values) // struct.calcsize("f"))


def _plain(value: Any, count: int) -> Any:
    """Whole numbers without a point; a picture is cut short."""
    if isinstance(value, dict):
        return {name: _plain(part, count) for name, part in value.items()}
    if isinstance(value, list):
        shown = value if count <= VALUES_SHOWN else value[:2]
        return [_plain(part, count) for part in shown]
    return int(value) if float(value).is_integer() else value
