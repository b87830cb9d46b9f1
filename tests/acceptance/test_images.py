"""Pictures through a real hub: sent, logged, learnt from and answered by what was learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import numpy as np
import pytest

from tests.acceptance.devices import Http, Mqtt
from tests.acceptance.real_hub import until

if TYPE_CHECKING:
    from tests.acceptance.real_hub import RealHub

pytestmark = pytest.mark.acceptance

QUICK: Final = {"n_steps": "8", "batch_size": "8", "n_epochs": "1", "net_arch": "8"}
ROLLOUT: Final = 10
"""Observations of which more than `n_steps` transitions come."""
LARGEST: Final = (160, 160, 3)


def pictures(hub: RealHub, name: str, shape: tuple[int, ...]) -> str:
    """An agent's key."""
    return hub.make_agent(
        name, observations=[list(shape), 0, 255], actions=3, parameters=QUICK, deadline_ms=5000
    )


def newest(hub: RealHub, agent: str) -> int:
    """Its newest version; -1 without any."""
    return int(
        hub.value(f"SELECT coalesce(max(version), -1) FROM policies WHERE agent = '{agent}'")
    )


@pytest.mark.parametrize("transport", ["http", "mqtt"])
@pytest.mark.parametrize("shape", [(36, 36, 1), (84, 84, 4)])
def test_pictures_are_learnt_from_through_the_hub(
    hub: RealHub, transport: str, shape: tuple[int, ...]
) -> None:
    device = f"eye-{transport}-{shape[0]}"
    key = pictures(hub, device, shape)
    chance = np.random.default_rng(1)
    with Http(hub.ready.http) as http, Mqtt(hub.ready.mqtt) as mqtt:
        if transport == "mqtt":
            assert mqtt.connect(device, key) == 0
        versions: set[int | None] = set()
        step = 0

        def look() -> bool:
            nonlocal step
            seen = chance.integers(0, 256, shape).tolist()
            document: dict[str, Any] = {"s": step, "o": seen, "r": 0.5}
            if transport == "http":
                status, answer = http.step(key, {"device": device, **document})
                assert status == 200, answer
            else:
                mqtt.observe(device, msgspec.json.encode(document), packet_id=step + 1)
                answer = mqtt.said("act", "err")
            assert answer["a"] in (0, 1, 2)
            versions.add(answer.get("pv"))
            step += 1
            if step % ROLLOUT == 0:  # or a busy trainer falls behind, and learns from nothing
                wanted = min(step // ROLLOUT, 2)
                until(lambda: newest(hub, device) >= wanted, f"version {wanted}", timeout_s=120.0)
            return 2 in versions

        until(look, "a version made of pictures acts", timeout_s=150.0)
    bytes_logged = hub.value(
        f"SELECT max(len(obs)) FROM events WHERE agent = '{device}' AND kind = 'observation'"
    )
    assert bytes_logged == np.prod(shape)


def test_the_largest_picture_that_may_be_declared_can_be_sent(hub: RealHub) -> None:
    key = pictures(hub, "wide", LARGEST)
    seen = np.full(LARGEST, 255).tolist()
    with Http(hub.ready.http) as http:
        status, answer = http.step(key, {"device": "wide-http", "s": 0, "o": seen})
        assert (status, answer["s"]) == (200, 0)
    with Mqtt(hub.ready.mqtt) as mqtt:
        assert mqtt.connect("wide-mqtt", key) == 0
        mqtt.observe("wide-mqtt", msgspec.json.encode({"s": 0, "o": seen}), packet_id=1)
        assert mqtt.said("act", "err")["a"] in (0, 1, 2)
