"""Devices fetch keys of their own from a real hub, change them, and lose them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest

from hub.registry.claim_acts import CreateClaim, RevokeClaim
from hub.registry.key_acts import RotateKey
from tests.acceptance.devices import Http, Mqtt, bearer
from tests.acceptance.paho5_client import Paho5Client
from tests.acceptance.paho_client import PahoClient
from tests.acceptance.real_hub import until
from tests.acceptance.test_examples import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance

NONCE: Final = "a-nonce-of-24-letters-24"
SEEN: Final = {"s": 0, "o": [0, 0, 0, 0], "r": 0, "f": 1}


@pytest.fixture(scope="module")
def pumps(hub: RealHub) -> str:
    """An agent for all of them; its key."""
    return hub.make_agent("pumps")


def token(hub: RealHub, **terms: Any) -> str:
    """A new one."""
    return str(hub.ask(CreateClaim("pumps", **terms))["token"])


def claimed(http: Http, token: str, device: str, **said: Any) -> tuple[int, Any]:
    """`POST /v1/claim`."""
    return http.ask("POST", "/v1/claim", {"token": token, "device": device, **said})


def key_of(http: Http, token: str, device: str) -> str:
    """What the device gets."""
    status, answer = claimed(http, token, device)
    assert status == 200, answer
    return str(answer["key"])


def connected(hub: RealHub, device: str, key: str) -> Mqtt:
    """A device over MQTT, to be closed."""
    client = Mqtt(hub.ready.mqtt)
    assert client.connect(device, key) == 0
    return client


def test_a_token_made_by_the_command_gives_a_key_and_says_where_to_use_it(
    hub: RealHub, http: Http, pumps: str
) -> None:
    done = hub.command("claim", "create", "pumps", "--uses", "2", "--expires", "2h")
    made = json.loads(done.stdout)
    status, answer = claimed(http, made["token"], "pump-1", nonce=NONCE)
    assert status == 200
    ready = hub.ready
    assert answer["ports"] == {"http": ready.http, "mqtt": ready.mqtt, "ws": ready.ws}
    assert answer["topics"]["obs"] == "rl/v1/pump-1/obs"
    assert (answer["agent"], answer["tls"]) == ("pumps", False)
    assert http.step(answer["key"], {"device": "pump-1", **SEEN})[0] == 200
    assert http.step(answer["key"], {"device": "pump-2", **SEEN})[0] == 403, "its own, no other's"
    assert made["token"] not in hub.command("claim", "list").stdout
    status, _ = http.step(made["token"], {"device": "pump-1", **SEEN})
    assert status == 401, "a token opens nothing but a key"
    assert pumps != answer["key"]


def test_of_two_devices_that_redeem_a_token_at_the_same_instant_one_gets_a_key(
    hub: RealHub, pumps: str
) -> None:
    del pumps
    for i in range(5):
        shared = token(hub)

        def race(device: str, shared: str = shared) -> int:
            with Http(hub.ready.http) as http:
                return claimed(http, shared, device)[0]

        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(race, [f"twin-{i}-{n}" for n in range(4)]))
        assert sorted(answers) == [200, 403, 403, 403]
    made = "SELECT count(*) FROM events WHERE payload->>'type' = 'claimed' AND device LIKE 'twin%'"
    assert hub.value(made) == 5


def test_what_is_refused_says_what_to_do_and_is_in_the_log(
    hub: RealHub, http: Http, pumps: str
) -> None:
    del pumps
    hub.make_agent("others")
    hub.command("device", "add", "fan-1", "--agent", "others")
    shared = token(hub, prefix="p")
    status, answer = claimed(http, shared, "fan-1")
    assert (status, answer["code"]) == (403, "auth")
    assert "is for devices p" in answer["detail"]
    assert claimed(http, "no.token", "p-1")[0] == 401
    assert claimed(http, shared, "p-1", nonce="short")[0] == 400
    assert http.ask("POST", "/v1/claim", {"device": "p-1"})[0] == 400
    assert http.ask("POST", "/v1/claim", b"[]")[0] == 400
    why = hub.sql("SELECT payload->>'message' AS m FROM operators WHERE act = 'claim_refused'")
    assert any("is for devices p" in row["m"] for row in why)


def test_an_address_that_guesses_is_told_to_wait_and_a_right_token_from_there_is_not(
    hub: RealHub, http: Http, pumps: str
) -> None:
    del pumps
    statuses = [claimed(http, f"guess.{i}", "g")[0] for i in range(20)]
    assert statuses[-1] == 429
    assert int(http.headers["retry-after"]) >= 1
    assert claimed(http, token(hub), "g-1")[0] == 200


def test_a_device_asks_again_after_a_power_cut_of_its_own_and_one_of_the_hub(
    hub: RealHub, pumps: str
) -> None:
    del pumps
    shared = token(hub)
    with Http(hub.ready.http) as http:
        key = claimed(http, shared, "cut-1", nonce=NONCE)[1]["key"]
    hub.kill_nine()
    hub.start()
    with Http(hub.ready.http) as http:
        assert claimed(http, shared, "cut-1", nonce=NONCE)[1]["key"] == key
        assert claimed(http, shared, "cut-1", nonce=NONCE[::-1])[0] == 403
        assert claimed(http, shared, "cut-2", nonce=NONCE)[0] == 403
        assert http.step(key, {"device": "cut-1", **SEEN})[0] == 200


@pytest.mark.parametrize("client", [PahoClient, Paho5Client])
def test_over_mqtt_a_token_fetches_a_key(hub: RealHub, pumps: str, client: Any) -> None:
    del pumps
    device = client.__name__.lower()
    shared = token(hub)
    keys = []
    for _ in range(2):  # the second time its flash was empty again
        with client(hub.ready.mqtt, device, shared) as paho:
            paho.subscribe(f"rl/v1/{device}/key", 1)
            paho.publish(f"rl/v1/{device}/claim", b'{"nonce":"%s"}' % NONCE.encode(), 1)
            until(partial(bool, paho.messages), "the key")
            keys.append(json.loads(paho.messages[0].payload)["key"])
    assert keys[0] == keys[1]
    with client(hub.ready.mqtt, device, keys[0]) as paho:
        paho.subscribe(f"rl/v1/{device}/act", 1)
        paho.publish(f"rl/v1/{device}/obs", json.dumps(SEEN).encode(), 1)
        until(lambda: paho.messages, "an action")


def test_a_token_opens_nothing_else_and_disturbs_nobody(hub: RealHub, pumps: str) -> None:
    shared = token(hub, uses=9)
    with Mqtt(hub.ready.mqtt) as known:
        assert known.connect("busy", pumps) == 0
        # To claim, it must have subscribed to what it asks for: this one has not.
        for topic in ("obs", "reward", "status", "cmd/reset", "claim"):
            with Mqtt(hub.ready.mqtt) as claimer:
                assert claimer.connect("one-more", shared) == 0
                claimer.observe("one-more", json.dumps(SEEN).encode(), packet_id=1, leaf=topic)
                assert claimer.closed_by_hub()
        known.observe("busy", json.dumps(SEEN).encode(), packet_id=2)
        assert known.said("act")["s"] == 0
    assert hub.value("SELECT count(*) FROM events WHERE device = 'busy' AND kind = 'observation'")
    assert hub.value("SELECT count(*) FROM events WHERE payload->>'device' = 'busy'") <= 1


def test_a_refused_token_is_a_refused_login_and_a_will_is_none_of_its_business(
    hub: RealHub, http: Http, pumps: str
) -> None:
    del pumps
    shared = token(hub)
    key_of(http, shared, "first")
    with Mqtt(hub.ready.mqtt) as second:
        assert second.connect("second", shared) == 4
    will = ("rl/v1/third/status", b"offline")
    with PahoClient(hub.ready.mqtt, "third", token(hub), will=will) as paho:
        assert not paho.online


def test_keys_of_a_revoked_token_are_disconnected_at_once(
    hub: RealHub, http: Http, pumps: str
) -> None:
    del pumps
    shared = token(hub, uses=2)
    key = key_of(http, shared, "gone-1")
    with Mqtt(hub.ready.mqtt) as device:
        assert device.connect("gone-1", key) == 0
        hub.ask(RevokeClaim(shared.partition(".")[0], keys=True))
        assert device.closed_by_hub()
    with Mqtt(hub.ready.mqtt) as device:
        assert device.connect("gone-1", key) == 4
    assert http.step(key, {"device": "gone-1", **SEEN})[0] == 401
    assert claimed(http, shared, "gone-2")[0] in (401, 429)


def test_a_device_changes_its_key_and_the_old_one_ends_when_the_new_one_is_used(
    hub: RealHub, http: Http, pumps: str
) -> None:
    del pumps
    old = key_of(http, token(hub), "turn-1")
    device = connected(hub, "turn-1", old)
    status, lost = http.ask("POST", "/v1/key/rotate", None, bearer(old))
    assert status == 200
    new = http.ask("POST", "/v1/key/rotate", None, bearer(old))[1]["key"]
    assert http.step(lost["key"], {"device": "turn-1", **SEEN})[0] == 401, "another took its place"
    assert http.step(old, {"device": "turn-1", **SEEN})[0] == 200, "the new one was not used yet"
    assert http.step(new, {"device": "turn-1", "s": 1, "o": [0, 0, 0, 0], "r": 0})[0] == 200
    with device:
        assert device.closed_by_hub()
    assert http.step(old, {"device": "turn-1", **SEEN})[0] == 401


def test_a_key_rotated_by_an_operator_ends_when_its_time_is_over(
    hub: RealHub, http: Http, pumps: str
) -> None:
    old = key_of(http, token(hub), "late-1")
    device = connected(hub, "late-1", old)
    new = hub.ask(RotateKey(old.partition(".")[0], overlap_s=0.1))["api_key"]
    with device:
        assert device.closed_by_hub()
    assert http.step(new, {"device": "late-1", **SEEN})[0] == 200
    status, answer = http.ask("POST", "/v1/key/rotate", None, bearer(pumps))
    assert status == 403, "others use it too"
    assert "not of one device" in answer["detail"]


def test_a_lamp_claims_at_its_first_start_and_never_again(hub: RealHub, tmp_path: Path) -> None:
    hub.make_agent("lamps", observations=[[1], 0, 1])
    shared = str(hub.ask(CreateClaim("lamps"))["token"])
    where = ("127.0.0.1", str(hub.ready.mqtt), str(tmp_path))
    assert "10 steps" in run("python_mqtt/claim.py", shared, *where)
    assert "10 steps" in run("python_mqtt/claim.py", "no token", *where)
    (tmp_path / "lamp-7.key").unlink()  # as if the power had failed before it was written
    hub.change("lamps", messages_per_s=3)
    assert "10 steps" in run("python_mqtt/claim.py", shared, *where)
    slowed = "SELECT count(*) FROM events WHERE agent = 'lamps' AND reason = 'rate'"
    assert hub.value(slowed), "it waits, and says the same step again"
    made = "SELECT count(*) FROM events WHERE agent = 'lamps' AND payload->>'type' = 'claimed'"
    assert hub.value(made) == 1
